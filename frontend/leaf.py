"""Leaf: what a "buffer" node of the frontend holds."""

from __future__ import annotations

from tilewright.backends.protocol import Buffer, Device
from tilewright.kernels.node import Node, toposort


class Leaf:
    """Evaluated elements, C-contiguous, in `buffer` on `device`.

    `origin` names the op that the host computed for the device ("" where a kernel did), for `explain`.
    NumPy arrays may share the memory: a buffer that a leaf has held is never written again.
    `buffer` is None for an argument of a function that `jit` is tracing: it has no value yet.
    """

    __slots__ = ("buffer", "device", "origin")

    def __init__(self, buffer: Buffer | None, device: Device, origin: str = "") -> None:
        self.buffer, self.device, self.origin = buffer, device, origin

    def __repr__(self) -> str:
        return f"Leaf({self.buffer!r})"


class TracedValueError(TypeError):
    """A value was asked for inside a function that is being traced by `jit`, where there is none yet."""

    def __init__(self) -> None:
        super().__init__(
            "a jit function needed an array's value while it was being traced (bool(), float(), an index, a mask, "
            "an operation the host must do): move this out of the function, or write it with where()"
        )


def is_traced(node: Node) -> bool:
    """Whether `node` depends on an argument of a function that is being traced."""
    return any(n.op == "buffer" and n.arg.buffer is None for n in toposort([node]))
