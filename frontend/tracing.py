"""Which function `jit` is tracing in this thread, and the random draws that it makes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tilewright.kernels.node import Node

Redraw = tuple[Callable[[], tuple[int, ...]], tuple[Node, ...]]
"""What gives the words of a next draw, and the const nodes that hold those of this one."""


class Trace:
    """One tracing of one function; `draws` in the order in which it made them."""

    def __init__(self) -> None:
        self.draws: list[Redraw] = []


_local = threading.local()


def current() -> Trace | None:
    """The trace that this thread is in, if any; a function traced inside another has its own."""
    found: Trace | None = getattr(_local, "trace", None)
    return found


@contextmanager
def tracing() -> Iterator[Trace]:
    """Within it, `current()` is a new trace."""
    outer, _local.trace = current(), Trace()
    try:
        yield _local.trace
    finally:
        _local.trace = outer
