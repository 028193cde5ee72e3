"""Leaf: what a "buffer" node of the frontend holds."""

from __future__ import annotations

import os
import sys
import weakref
from types import FrameType
from typing import Any

from tilewright.backends.protocol import Buffer, Device
from tilewright.kernels.node import Node, toposort

_OURS = os.path.dirname(__file__)


class Leaf:
    """Evaluated elements, C-contiguous, in `buffer` on `device`.

    `origin` names the op that the host computed for the device, or after "vendor " the device's own library; "" where a
    kernel did. It is for `explain`.
    NumPy arrays may share the memory: a buffer that a leaf has held is never written again, unless its cell is pinned.
    `buffer` is None for an argument of a function that `jit` is tracing: it has no value yet.
    `shown` refers weakly to what NumPy arrays on the memory keep alive, None while there was none.
    """

    __slots__ = ("buffer", "device", "origin", "shown")

    def __init__(self, buffer: Buffer | None, device: Device, origin: str = "") -> None:
        self.buffer, self.device, self.origin = buffer, device, origin
        self.shown: weakref.ref[Any] | None = None

    def __repr__(self) -> str:
        return f"Leaf({self.buffer!r})"


class TracedValueError(TypeError):
    """A value was asked for inside a function that is being traced by `jit`, where there is none yet.

    `pinned`: by an operation with an array that others may write at any time, so that it cannot wait.
    """

    def __init__(self, pinned: bool = False) -> None:
        if pinned:
            what = "jit cannot capture an array whose memory NumPy or another library shares: pass it as an argument"
        else:
            what = (
                "jit needs this array's value while it traces the function (bool(), float(), an index, a mask, an "
                "operation that the host must do): move this out of the function, or write it with where()"
            )
        super().__init__(f"{_users_line()}: {what}")


def _users_line() -> str:
    """The innermost line on the stack that is not ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and os.path.dirname(frame.f_code.co_filename).startswith(_OURS):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "a function"


def is_traced(node: Node) -> bool:
    """Whether `node` depends on an argument of a function that is being traced."""
    return any(n.op == "buffer" and n.arg.buffer is None for n in toposort([node]))
