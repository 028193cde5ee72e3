"""Where extremes are: argmin and argmax."""

from __future__ import annotations

from math import isqrt

from tilewright import record
from tilewright.array import Array, wrap
from tilewright.creation import iota
from tilewright.dtypes import KINDS, default_int
from tilewright.elementwise import one
from tilewright.kernels.node import Node, View
from tilewright.kernels.places import FIRST
from tilewright.kernels.space import serial
from tilewright.manipulation import axis_of, reshape
from tilewright.statistical import cast, kept_axes, reduced
from tilewright.views import in_order

NARROW = 1 << 31  # places from there on need 64 bits
LONG, LONG_FOR_A_CORE = 1 << 15, 1 << 18  # elements of a line; a shorter one is looked through by one group in no time


def _blocks(x: Array, along: int) -> int | None:
    """How long the blocks are in which `_arg_in_blocks` walks the lines of `x`; None where it does not apply."""
    extent, value = x.shape[along], x._cell.value
    stored = value.op == "buffer" and (x._view is None or in_order(x._view, value.shape))
    if along != x.ndim - 1 or extent < (LONG_FOR_A_CORE if serial(x._device.limits) else LONG) or not stored:
        return None
    return next((size for size in range(isqrt(extent), 127, -1) if extent % size == 0), None)


def _arg_in_blocks(x: Array, name: str, size: int) -> Array:
    """As `_arg` along the last axis in one pass: the extremes of blocks, the first of these, and its place in there."""
    lines, device = x.size // x.shape[-1], x._device
    count = x.shape[-1] // size
    best = reduced(reshape(x, (lines, count, size)), name[3:], (2,), False)
    block = _arg(best, name, 1, False)
    starts = (wrap(iota(lines, device), device) * count + block) * size
    places = cast(reshape(starts, (lines, 1)) + wrap(iota(size, device), device), "int64", device)
    chosen = Node("gather", (x._cell.value, places.node()), None, (lines, size), x._cell.value.dtype)
    return reshape(block * size + _arg(wrap(chosen, device), name, 1, False), x.shape[:-1])


def _arg(x: Array, name: str, axis: int | None, keepdims: bool) -> Array:
    """The first place of an extreme: the least of the places where it is reached. NaN counts as the extreme."""
    flat = reshape(one(x, name), (-1,)) if axis is None else x
    along, device, dtype = axis_of(axis or 0, flat.ndim, name), x._device, x._cell.value.dtype
    extent = flat.shape[along]
    if extent == 0:
        raise ValueError(f"{name}: axis {axis} of shape {x.shape} is empty")
    if KINDS[dtype] == "c":
        raise TypeError(f"{name}: complex numbers have no order")
    size = _blocks(flat, along)
    if size is not None:
        result = _arg_in_blocks(flat, name, size)
        return kept_axes(result, x.shape, tuple(range(x.ndim)) if axis is None else (along,)) if keepdims else result
    best = reduced(flat, name[3:], (along,), True)
    found = flat == best
    if KINDS[dtype] == "f":
        found = found | (flat != flat)
    steps = tuple(int(a == along) for a in range(flat.ndim))
    whole = default_int(device)
    narrow = "int32" if extent < NARROW else whole  # twice as many in a vector
    places = record.window(Node("iota", (), None, (extent,), narrow), View(flat.shape, steps, 0))
    chosen = record.where(found.node(), places, extent, device)
    picked = wrap(Node(chosen.op, chosen.src, FIRST, chosen.shape, chosen.dtype), device)
    result = cast(reduced(picked, "min", (along,), False), whole, device)
    return kept_axes(result, x.shape, tuple(range(x.ndim)) if axis is None else (along,)) if keepdims else result


def argmax(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The first index of the largest element along `axis`, or in the flattened array."""
    return _arg(x, "argmax", axis, keepdims)


def argmin(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The first index of the smallest element along `axis`, or in the flattened array."""
    return _arg(x, "argmin", axis, keepdims)
