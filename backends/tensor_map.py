"""What a copy engine must know of a buffer to bring boxes of it into shared memory: a value among a launch's arguments.

Only devices with "wgmma" among their matrix units have such an engine. The rules are those of cuTensorMapEncodeTiled in
the CUDA driver API, "Tensor Map Object Management".
"""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.backends.dtypes import DTYPES

TENSOR_MAP = "tensor_map"
"""The dtype of a Parameter whose argument is a TensorMap."""

PIECE_NBYTES = 16  # what addresses and strides are multiples of
SPANS = (32, 64, 128)


@dataclass(frozen=True, slots=True)
class TensorMap:
    """Axes are innermost first. The innermost has unit stride; `strides` are those of the others, in bytes.

    What a box takes from outside `shape` is zeros. A row of a box has `span` bytes; in shared memory its pieces of 16
    bytes are exchanged within so many, by bits of their address.
    """

    argument: int  # the buffer's place among the launch's arguments
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int  # bytes
    box: tuple[int, ...]  # elements
    span: int

    def refusal(self, address: int = 0) -> str | None:
        """Why a buffer at `address` cannot be copied so; None if it can."""
        start, nbytes = address + self.offset, DTYPES[self.dtype].nbytes
        inner, outer = self.shape[0] * nbytes, self.strides[:1]
        rules = (
            (start % PIECE_NBYTES == 0, f"its first element is at {start:#x}, not at a multiple of 16"),
            (all(s > 0 and s % PIECE_NBYTES == 0 for s in self.strides), "a stride is no multiple of 16 bytes"),
            (all(s < 1 << 40 for s in self.strides), "a stride is 2^40 bytes or more"),
            (all(s >= inner for s in outer), "its rows overlap"),
            (all(0 < e < 1 << 31 for e in self.shape), "an axis is empty or has 2^31 elements or more"),
            (all(0 < e <= 256 for e in self.box), "a box has more than 256 elements along an axis"),
            (self.span in SPANS and self.box[0] * nbytes == self.span, "a row of a box is not as long as its span"),
        )
        return next((reason for holds, reason in rules if not holds), None)
