"""Strided views onto flat arrays in an array library's own words: reshape, slice, flip, permute and broadcast."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from tilewright.backends.protocol import Layout


def in_order(layout: Layout) -> bool:
    """Whether the elements lie from the first on, in order; an axis of extent 1 has no say."""
    step = 1
    for extent, stride in zip(reversed(layout.shape), reversed(layout.strides), strict=True):
        if extent != 1 and stride != step:
            return False
        step *= extent
    return layout.offset == 0


def reach(layout: Layout) -> int:
    """How many elements of a flat array `window` may want, whole runs of its longest stride: `_slices` cuts those."""
    if prod(layout.shape) == 0:
        return 0
    steps = [(extent - 1) * stride for extent, stride in zip(layout.shape, layout.strides, strict=True)]
    count = layout.offset + sum(step for step in steps if step > 0) + 1
    run = max((abs(s) for e, s in zip(layout.shape, layout.strides, strict=True) if e > 1), default=1) or 1
    return -(-count // run) * run


def window(xp: Any, flat: Any, layout: Layout, upload: Callable[[Any], Any]) -> Any:
    """`layout` onto the flat array: by the library's slices, else by the numbers of its elements."""
    size = prod(layout.shape)
    if size == 0:
        return xp.reshape(flat[:0], layout.shape)
    if in_order(layout):
        return xp.reshape(flat if flat.shape[0] == size else flat[:size], layout.shape)
    plan = _slices(layout, flat.shape[0])
    if plan is None:
        numbers = upload(_numbers(Layout("", layout.shape, layout.strides, layout.offset)).reshape(-1))
        return xp.reshape(xp.take(flat, numbers, axis=0), layout.shape)
    used, base, slices, flips, order, kept = plan
    part = xp.reshape(flat[:used], base)[slices]
    part = xp.flip(part, axis=flips) if flips else part
    part = xp.permute_dims(part, order) if hasattr(xp, "permute_dims") else xp.transpose(part, order)
    return xp.broadcast_to(xp.reshape(part, kept), layout.shape)


@lru_cache(4096)
def _slices(layout: Layout, count: int) -> tuple[Any, ...] | None:
    """The flat array as one of more axes, and a slice of each; None where strides do not nest.

    Axes by stride, longest first: each but the first has as many places as its stride goes into the one before.
    """
    axes = [a for a, (e, s) in enumerate(zip(layout.shape, layout.strides, strict=True)) if e != 1 and s != 0]
    axes.sort(key=lambda a: -abs(layout.strides[a]))
    units = [abs(layout.strides[a]) for a in axes] + [1]
    if any(a % b for a, b in pairwise(units)) or not axes:
        return None
    lowest = layout.offset + sum(min(layout.strides[a], 0) * (layout.shape[a] - 1) for a in axes)
    used = count // units[0] * units[0]
    base = (used // units[0], *(a // b for a, b in pairwise(units)))
    slices, rest = [], lowest
    for a, unit, places in zip([*axes, None], units, base, strict=True):
        digit, rest = divmod(rest, unit)
        extent = 1 if a is None else layout.shape[a]
        if digit + extent > places:
            return None
        slices.append(slice(digit, digit + extent))
    flips = tuple(k for k, a in enumerate(axes) if layout.strides[a] < 0)
    order = (*(axes.index(a) for a in sorted(axes)), len(axes))
    kept = tuple(e if s != 0 else 1 for e, s in zip(layout.shape, layout.strides, strict=True))
    return used, base, tuple(slices), flips, order, kept


@lru_cache(64)
def _numbers(layout: Layout) -> np.ndarray[Any, Any]:
    """Which element of the flat array stands at each place."""
    numbers = np.full(layout.shape, layout.offset, np.int64)
    for axis, (extent, stride) in enumerate(zip(layout.shape, layout.strides, strict=True)):
        numbers += (np.arange(extent) * stride).reshape([-1 if a == axis else 1 for a in range(len(layout.shape))])
    return numbers


@lru_cache(64)
def element_numbers(layout: Layout, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For each of `count` elements whether the layout covers it, and which of the layout's, in order, it is."""
    places = _numbers(Layout("", layout.shape, layout.strides, layout.offset)).reshape(-1)
    hit, number = np.zeros(count, bool), np.zeros(count, np.int64)
    hit[places], number[places] = True, np.arange(places.size)
    return hit, number


def dtype_name(array: Any) -> str:
    """NumPy's name of an array's dtype, whatever the library writes before it."""
    return str(array.dtype).rpartition(".")[2]


def as_dtype(xp: Any, array: Any, dtype: str) -> Any:
    """`array` in the dtype of that name."""
    if dtype_name(array) == dtype:
        return array
    if hasattr(xp, "astype"):
        return xp.astype(array, getattr(xp, dtype))
    return array.astype(getattr(xp, dtype))
