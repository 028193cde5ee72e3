"""Views and shapes as pure functions, remembered: a program uses the same few of them again and again."""

from __future__ import annotations

from functools import lru_cache
from math import inf, prod

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
def memory_order(view: View) -> tuple[int, ...] | None:
    """The axes of `view` from the longest stride to the shortest; None if they are so already, or some are repeated."""
    shape, strides, _ = view
    if overlaps(view):
        return None
    order = tuple(sorted(range(len(shape)), key=lambda axis: -abs(strides[axis]) if shape[axis] != 1 else -inf))
    long = [axis for axis in order if shape[axis] != 1]
    return None if long == sorted(long) else order


@lru_cache(maxsize=4096)
def turned(view: View, order: tuple[int, ...]) -> View:
    """`view` with its axes in another order."""
    return View(tuple(view.shape[a] for a in order), tuple(view.strides[a] for a in order), view.offset)


@lru_cache(maxsize=4096)
def turned_back(shape: Shape, order: tuple[int, ...]) -> View:
    """The view of `shape` onto an array whose axes are those of `shape` in `order`."""
    steps = dict(zip(order, row_major(tuple(shape[a] for a in order)), strict=True))
    return View(shape, tuple(steps[a] for a in range(len(shape))), 0)


@lru_cache(maxsize=4096)
def shows_all(view: View, shape: Shape) -> bool:
    """Whether `view` onto an array of `shape` shows each of its elements once, in whatever order."""
    return prod(view.shape) == prod(shape) and not overlaps(view)


@lru_cache(maxsize=4096)
def overlaps(view: View) -> bool:
    """Whether `view` is a broadcast, which shows one element at several places."""
    return view.size > 1 and any(s == 0 and e > 1 for e, s in zip(view.shape, view.strides, strict=True))
