"""Names that NumPy has beside the standard's, and that software probes for: making, joining, splitting and turning.

Each is made of the standard's functions and stays on the device; what NumPy takes by position is taken by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tilewright import statistical as st
from tilewright.array import Array, permuted
from tilewright.creation import asarray, astype, eye, full, linspace, ones, tril, zeros
from tilewright.dtypes import narrow, promote
from tilewright.elementwise import one
from tilewright.linalg import diagonal as last_diagonal
from tilewright.manipulation import (
    axis_of,
    concat,
    diff,
    flip,
    moveaxis,
    permute_dims,
    reshape,
)
from tilewright.searching import take

asanyarray = asarray


def copy(a: Array) -> Array:
    """An array of its own with the same elements."""
    return one(a, "copy").__copy__()


def ascontiguousarray(a: Any, dtype: Any = None, *, device: str | None = None) -> Array:
    """An array of at least one axis; strides are not seen here, so a view is as good."""
    return atleast_1d(asarray(a, dtype=dtype, device=device))


def identity(n: int, dtype: Any = None, *, device: str | None = None) -> Array:
    """The square matrix with ones on its diagonal."""
    return eye(n, dtype=dtype, device=device)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None, *, device: str | None = None) -> Array:
    """Ones at and below the `k`-th diagonal, zeros above."""
    return tril(ones((N, N if M is None else M), dtype=dtype, device=device), k=k)


def logspace(
    start: float, stop: float, num: int = 50, endpoint: bool = True, base: float = 10.0, dtype: Any = None,
    *, device: str | None = None,
) -> Array:  # fmt: skip
    """`base` to the power of `num` evenly spaced numbers."""
    result = base ** linspace(start, stop, num, endpoint=endpoint, device=device)
    return result if dtype is None else astype(result, dtype)


def vander(x: Array, N: int | None = None, increasing: bool = False) -> Array:
    """The powers of the elements of a 1-dimensional array, in columns, the highest first unless `increasing`."""
    if one(x, "vander").ndim != 1:
        raise ValueError(f"vander: a 1-dimensional array is needed, the shape is {x.shape}")
    count = x.shape[0] if N is None else N
    base = astype(x, narrow(promote(x._cell.value.dtype, "int64"), x._device), copy=False)
    columns = [ones(x.shape, dtype=base.dtype, device=x.device)]
    while len(columns) < count:
        columns.append(columns[-1] * base)
    if not count:
        return zeros((x.shape[0], 0), dtype=base.dtype, device=x.device)
    return column_stack(columns if increasing else columns[::-1])


def ndim(a: Any) -> int:
    """How many axes there are."""
    return int(np.ndim(a)) if not isinstance(a, Array) else a.ndim


def shape(a: Any) -> tuple[int, ...]:
    """The extents of all axes."""
    return np.shape(a) if not isinstance(a, Array) else a.shape


def size(a: Any, axis: int | None = None) -> int:
    """How many elements there are, in all or along `axis`."""
    extents = shape(a)
    return int(np.prod(extents)) if axis is None else extents[axis_of(axis, len(extents), "size")]


def transpose(a: Array, axes: Sequence[int] | None = None) -> Array:
    """A view with its axes reversed, or in the order of `axes`."""
    return one(a, "transpose").T if axes is None else permute_dims(a, axes)


def swapaxes(a: Array, axis1: int, axis2: int) -> Array:
    """A view with two axes exchanged."""
    order = list(range(one(a, "swapaxes").ndim))
    first, second = (axis_of(k, a.ndim, "swapaxes") for k in (axis1, axis2))
    order[first], order[second] = second, first
    return permuted(a, tuple(order))


def ravel(a: Array, order: str = "C") -> Array:
    """All elements along one axis, a view where strides allow; `order` "F" runs along the first axis first."""
    if order not in ("C", "F"):
        raise ValueError(f"ravel: order is 'C' or 'F', not {order!r}")
    return reshape(one(a, "ravel") if order == "C" else a.T, (-1,))


def _each(function: Any, arrays: tuple[Any, ...]) -> Any:
    found = [function(x if isinstance(x, Array) else asarray(x)) for x in arrays]
    return found[0] if len(found) == 1 else tuple(found)


def atleast_1d(*arys: Any) -> Any:
    """Scalars with one axis; everything else as it is. Several arguments give a tuple."""
    return _each(lambda x: x if x.ndim else x[None], arys)


def atleast_2d(*arys: Any) -> Any:
    """Axes of 1 in front until there are two."""
    return _each(lambda x: reshape(x, (1,) * (2 - x.ndim) + x.shape) if x.ndim < 2 else x, arys)


def atleast_3d(*arys: Any) -> Any:
    """Axes of 1 until there are three: a vector becomes (1, n, 1), a matrix (m, n, 1)."""
    return _each(lambda x: x[..., None] if x.ndim == 2 else x if x.ndim > 2 else reshape(x, (1, -1, 1)), arys)


def concatenate(arrays: Sequence[Array], axis: int | None = 0, *, dtype: Any = None) -> Array:
    """The arrays one after the other along `axis`, or all flattened where it is None."""
    result = concat(arrays, axis=axis)
    return result if dtype is None else astype(result, dtype)


def append(arr: Array, values: Array, axis: int | None = None) -> Array:
    """`values` behind `arr` along `axis`; both flattened where it is None."""
    return concat([arr, values], axis=axis)


def hstack(tup: Sequence[Array]) -> Array:
    """Side by side: along the second axis, vectors along their only one."""
    parts = [atleast_1d(x) for x in tup]
    return concat(parts, axis=0 if parts and parts[0].ndim == 1 else 1)


def vstack(tup: Sequence[Array]) -> Array:
    """One below the other, vectors as rows."""
    return concat([atleast_2d(x) for x in tup], axis=0)


def dstack(tup: Sequence[Array]) -> Array:
    """One behind the other: along the third axis."""
    return concat([atleast_3d(x) for x in tup], axis=2)


def column_stack(tup: Sequence[Array]) -> Array:
    """Side by side, vectors as columns."""
    return concat([x if x.ndim > 1 else reshape(x, (-1, 1)) for x in tup], axis=1)


def array_split(ary: Array, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Views of pieces along `axis`: so many, the first ones longer by one where need be, or cut at the indices."""
    along = axis_of(axis, one(ary, "array_split").ndim, "array_split")
    extent, before = ary.shape[along], (slice(None),) * along
    if hasattr(indices_or_sections, "__index__"):
        count = indices_or_sections.__index__()
        if count < 1:
            raise ValueError(f"array_split: at least one piece is needed, not {count}")
        short, longer = divmod(extent, count)
        cuts = [k * short + min(k, longer) for k in range(1, count)]
    else:
        cuts = [int(k) for k in indices_or_sections]
    edges = [0, *cuts, extent]
    return [ary[(*before, slice(a, b))] for a, b in pairwise(edges)]


def split(ary: Array, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Views of equal pieces along `axis`, or of what lies between the indices. Raises ValueError for unequal ones."""
    extent = one(ary, "split").shape[axis_of(axis, ary.ndim, "split")]
    if hasattr(indices_or_sections, "__index__") and extent % indices_or_sections.__index__():
        raise ValueError(f"split: {extent} elements make no {indices_or_sections} equal pieces; see array_split")
    return array_split(ary, indices_or_sections, axis)


def hsplit(ary: Array, indices_or_sections: Any) -> list[Array]:
    """`split` along the second axis, of a vector along its only one."""
    return split(ary, indices_or_sections, 1 if one(ary, "hsplit").ndim > 1 else 0)


def vsplit(ary: Array, indices_or_sections: Any) -> list[Array]:
    """`split` along the first axis."""
    return split(ary, indices_or_sections, 0)


def dsplit(ary: Array, indices_or_sections: Any) -> list[Array]:
    """`split` along the third axis."""
    return split(ary, indices_or_sections, 2)


def flipud(m: Array) -> Array:
    """A view with the rows in reverse order."""
    return flip(m, axis=0)


def fliplr(m: Array) -> Array:
    """A view with the columns in reverse order."""
    return flip(m, axis=1)


def rot90(m: Array, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """A view turned `k` times by a right angle, from the first of `axes` to the second."""
    first, second = (axis_of(a, one(m, "rot90").ndim, "rot90") for a in axes)
    if first == second:
        raise ValueError(f"rot90: axes {axes} must be different")
    if k % 4 == 0:
        return m[...]
    if k % 4 == 2:
        return flip(m, axis=(first, second))
    return (
        swapaxes(flip(m, axis=second), first, second) if k % 4 == 1 else flip(swapaxes(m, first, second), axis=second)
    )


def diagonal(a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """A view of the `offset`-th diagonals of the matrices in two axes; its last axis runs along them."""
    return last_diagonal(moveaxis(one(a, "diagonal"), (axis1, axis2), (-2, -1)), offset=offset)


def trace(a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Array:
    """Sums of the `offset`-th diagonals of the matrices in two axes."""
    return st.sum(diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


def diag(v: Array, k: int = 0) -> Array:
    """A matrix with a vector on its `k`-th diagonal; of a matrix, that diagonal."""
    if one(v, "diag").ndim == 2:
        return last_diagonal(v, offset=k)
    if v.ndim != 1:
        raise ValueError(f"diag: a vector or a matrix is needed, the shape is {v.shape}")
    extent = v.shape[0] + abs(k)
    result = zeros((extent, extent), dtype=v.dtype, device=v.device)
    last_diagonal(result, offset=k)[...] = v
    return result


def ediff1d(ary: Array, to_end: Any = None, to_begin: Any = None) -> Array:
    """Differences of neighbours in the flattened array, with arrays in front and behind."""
    parts = [to_begin, diff(reshape(one(ary, "ediff1d"), (-1,))), to_end]
    return concat([reshape(p, (-1,)) for p in parts if p is not None])


def pad(array: Array, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Array:
    """`array` with so many elements put before and behind: one number, a pair, or a pair for each axis.

    `mode` is "constant", "edge", "reflect", "symmetric" or "wrap", as in NumPy; the constant is a scalar.
    """
    widths = np.broadcast_to(np.asarray(pad_width), (one(array, "pad").ndim, 2)).tolist()
    if any(w < 0 for pair in widths for w in pair):
        raise ValueError(f"pad: widths must not be negative: {pad_width}")
    if mode == "constant":
        extents = tuple(a + e + b for (a, b), e in zip(widths, array.shape, strict=True))
        result = full(extents, constant_values, dtype=array.dtype, device=array.device)
        result[tuple(slice(a, a + e) for (a, _), e in zip(widths, array.shape, strict=True))] = array
        return result
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ValueError(f"pad: mode is 'constant', 'edge', 'reflect', 'symmetric' or 'wrap', not {mode!r}")
    result = array
    for axis, pair in enumerate(widths):
        places: Any = np.pad(np.arange(array.shape[axis]), pair, mode=mode)  # type: ignore[call-overload]
        result = take(result, places, axis=axis) if any(pair) else result
    return copy(result) if result is array else result
