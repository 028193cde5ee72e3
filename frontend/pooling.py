"""Windows of images and sequences: what convolution and pooling share, and pooling as slices that are combined."""

from __future__ import annotations

import functools
from itertools import product
from math import inf, prod
from typing import Any, NamedTuple

from tilewright import elementwise as ew
from tilewright import statistical as st
from tilewright.arguments import integer
from tilewright.arranging import pad
from tilewright.array import Array
from tilewright.creation import astype
from tilewright.dtypes import HALVES, KINDS, iinfo
from tilewright.elementwise import one

Size = int | tuple[int, ...]
AT_ONCE = 12  # slices that one kernel reads


class Windows(NamedTuple):
    """Along the axes of space: how many windows there are, their steps, gaps, and what is padded on both sides."""

    counts: tuple[int, ...]
    steps: tuple[int, ...]
    gaps: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def padded(self) -> bool:
        return any(map(sum, self.pads))


def windows(
    op: str, size: tuple[int, ...], taps: tuple[int, ...], stride: Any, padding: Any, dilation: Any
) -> Windows:  # fmt: skip
    """Windows of `taps` elements over an input of that size. Raises ValueError where none fits or a size is wrong."""
    rank = len(size)
    steps, gaps, pads = (
        sizes(op, "stride", stride, rank),
        sizes(op, "dilation", dilation, rank),
        _pads(op, padding, rank),
    )
    counts = tuple(
        (e + sum(pad) - gap * (tap - 1) - 1) // step + 1
        for e, pad, gap, tap, step in zip(size, pads, gaps, taps, steps, strict=True)
    )
    if min(counts) < 1 or min(taps) < 1:
        raise ValueError(f"{op}: windows of {taps} do not fit an input of {size}; pad more, or dilate less")
    return Windows(counts, steps, gaps, pads)


def sizes(op: str, name: str, value: Any, rank: int) -> tuple[int, ...]:
    """One positive integer for all axes, or one for each."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    if len(given) != rank or any(integer(g, op, f"the {name}") < 1 for g in given):
        raise ValueError(f"{op}: {name} is a positive integer or one for each of {rank} axes, not {value!r}")
    return given


def _pads(op: str, value: Any, rank: int) -> tuple[tuple[int, int], ...]:
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    pairs = [tuple(g) if isinstance(g, (tuple, list)) else (g, g) for g in given]
    if len(pairs) != rank or any(len(p) != 2 or min(integer(e, op, "the padding") for e in p) < 0 for p in pairs):
        raise ValueError(
            f"{op}: padding is an integer from 0 on, or one or a pair for each of {rank} axes, not {value!r}"
        )
    return tuple((before, after) for before, after in pairs)


def split_layout(op: str, x: Array, order: str) -> tuple[int, tuple[int, ...]]:
    """The first axis of space and the sizes along those, 1 or 2. Raises ValueError for anything else."""
    if one(x, op).ndim not in (3, 4) or order not in ("NCHW", "NHWC"):
        raise ValueError(
            f"{op}: x of 3 or 4 axes in layout 'NCHW' or 'NHWC' is needed, not {x.shape} in {order!r} "
            "(sequences, with one axis of space, go by the same names)"
        )
    first = 2 if order == "NCHW" else 1
    return first, x.shape[first : first + x.ndim - 2]


def max_pool(
    x: Array, /, size: Size, *, stride: Any = None, padding: Any = 0, dilation: Size = 1, layout: str = "NCHW"
) -> Array:
    """The largest of each window of `size` elements, one number or one for each axis of space; NaN if there is one.

    x, `padding`, `dilation`, `layout` and the sizes of the result are as in `conv`. `stride` is `size` if not given.
    """
    kind = KINDS[one(x, "max_pool")._cell.value.dtype]
    least = -inf if kind == "f" else iinfo(x.dtype).min if kind in "iu" else False
    return _pooled("max_pool", x, size, stride, padding, dilation, layout, least)[0]


def avg_pool(x: Array, /, size: Size, *, stride: Any = None, padding: Any = 0, layout: str = "NCHW") -> Array:
    """The mean of each window of `size` elements, what is padded counting as zeros; all else as in `max_pool`."""
    dtype = one(x, "avg_pool")._cell.value.dtype
    if KINDS[dtype] != "f":
        raise TypeError(f"avg_pool: x must be of floats, not {dtype}; convert it with astype")
    wide = astype(x, "float32") if dtype in HALVES else x
    total, count = _pooled("avg_pool", wide, size, stride, padding, 1, layout, 0.0)
    return astype(total * (1.0 / count), x.dtype, copy=False)


def _pooled(
    op: str, x: Array, size: Size, stride: Any, padding: Any, dilation: Size, layout: str, outside: Any
) -> tuple[Array, int]:
    """Sums (avg_pool) or maxima of windows, and the elements of each.

    A window's elements are as many slices of the whole, combined in one kernel; of large windows first along one axis.
    """
    first, extents = split_layout(op, x, layout)
    taps = sizes(op, "size", size, len(extents))
    found = windows(op, extents, taps, taps if stride is None else stride, padding, dilation)
    combine, reduce = (ew.maximum, st.max) if op == "max_pool" else (ew.add, st.sum)
    axes = tuple(range(first, first + len(extents)))
    if taps == extents and not found.padded:
        return reduce(x, axis=axes, keepdims=True), prod(taps)
    if found.padded:
        x = pad(x, [found.pads[a - first] if a in axes else (0, 0) for a in range(x.ndim)], constant_values=outside)
    for group in [axes] if prod(taps) <= AT_ONCE else [(axis,) for axis in axes]:
        each = [range(taps[axis - first]) for axis in group]
        slices = [_slice(x, found, first, dict(zip(group, at, strict=True))) for at in product(*each)]
        x = functools.reduce(combine, slices)
    return x, prod(taps)


def _slice(x: Array, found: Windows, first: int, at: dict[int, int]) -> Array:
    """The elements of `x` that are number `at` of their window along each of those axes."""
    key = [slice(None)] * x.ndim
    for axis, tap in at.items():
        begin, step = tap * found.gaps[axis - first], found.steps[axis - first]
        key[axis] = slice(begin, begin + (found.counts[axis - first] - 1) * step + 1, step)
    return x[tuple(key)]
