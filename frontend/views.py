"""Views and shapes as pure functions, remembered: a program uses the same few of them again and again."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from tilewright.kernels import node
from tilewright.kernels.node import View

Shape = tuple[int, ...]

row_major = lru_cache(maxsize=4096)(node.row_major)
whole = lru_cache(maxsize=4096)(node.whole)
compose = lru_cache(maxsize=4096)(node.compose)


@lru_cache(maxsize=4096)
def stretch(view: View, shape: Shape) -> View:
    """`view` broadcast to `shape`, which it fits."""
    missing = len(shape) - len(view.shape)
    kept = (0 if e == 1 else s for e, s in zip(view.shape, view.strides, strict=True))
    return View(shape, (0,) * missing + tuple(kept), view.offset)


@lru_cache(maxsize=4096)
def broadcast(shapes: tuple[Shape, ...]) -> Shape | None:
    """The shape to which all of `shapes`, at least one, broadcast; None if there is none."""
    result = [1] * max(len(shape) for shape in shapes)
    for shape in shapes:
        for axis in range(-len(shape), 0):
            extent, have = shape[axis], result[axis]
            if extent != have:
                if have == 1:
                    result[axis] = extent
                elif extent != 1:
                    return None
    return tuple(result)


@lru_cache(maxsize=4096)
def in_order(view: View, shape: Shape) -> bool:
    """Whether `view` onto an array of `shape` shows all its elements in their order."""
    return view.offset == 0 and prod(view.shape) == prod(shape) and view.strides == row_major(view.shape)


@lru_cache(maxsize=4096)
def overlaps(view: View) -> bool:
    """Whether `view` is a broadcast, which shows one element at several places."""
    return any(s == 0 and e > 1 for e, s in zip(view.shape, view.strides, strict=True))
