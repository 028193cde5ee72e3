"""What a "buffer" node holds."""

from __future__ import annotations

from tilewright.backends.protocol import Buffer, Device


class Leaf:
    """C-contiguous elements in `buffer` on `device`. `buffer` is None for an argument of a function being traced."""

    __slots__ = ("buffer", "device")

    def __init__(self, buffer: Buffer | None, device: Device) -> None:
        self.buffer, self.device = buffer, device


class TracedValueError(TypeError):
    """A value was asked for inside a function that is being traced by `jit`, where there is none yet."""

    def __init__(self) -> None:
        super().__init__(
            "a jit function needed an array's value while it was being traced (bool(), float(), an index, a mask, "
            "an operation the host must do): move this out of the function, or write it with where()"
        )
