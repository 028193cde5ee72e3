"""Searching, sorting and sets. What no kernel does, NumPy does on the host, and it is counted as a fallback."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any, NamedTuple

import numpy as np

from tilewright import elementwise as ew
from tilewright import statistical as st
from tilewright.array import Array, wrap
from tilewright.dtypes import KINDS
from tilewright.elementwise import device_of, node_of, one
from tilewright.kernels.node import Node, View
from tilewright.kernels.ops import OPS
from tilewright.manipulation import axis_of, expand_dims, reshape
from tilewright.transfer import host

FEW_TAKEN = 8  # taken elements are read again, each from a line of its own
MAX_COMPARED = 256  # values that isin compares one by one; sorting on the host costs less beyond


class UniqueAll(NamedTuple):
    """What `unique_all` returns."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """What `unique_counts` returns."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: Array
    inverse_indices: Array


class TopK(NamedTuple):
    """What `top_k` returns."""

    values: Array
    indices: Array


def on_host(name: str, function: Callable[..., Any], *arrays: Any) -> Any:
    """`function` of the arrays' values, computed by NumPy on the host for their device; counted under `name`."""
    device = device_of(name, *arrays)
    nodes = [node_of(x, device, name) for x in arrays]
    result = host(name, function, [n for n in nodes if isinstance(n, Node)], device)
    return tuple(wrap(r, device) for r in result) if isinstance(result, tuple) else wrap(result, device)


def take(x: Array, indices: Array, /, *, axis: int | None = None) -> Array:
    """The elements of `x` at `indices` along `axis`, which may be left out for one axis. Raises IndexError."""
    if axis is None and one(x, "take").ndim != 1:
        raise ValueError(f"take: an array of {x.ndim} axes needs `axis`")
    along = axis_of(axis or 0, one(x, "take").ndim, "take")
    return x[(*(slice(None),) * along, indices)]


def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    """For each line along `axis` the elements at that line's `indices`; other axes broadcast. Raises IndexError."""
    along = axis_of(axis, one(x, "take_along_axis").ndim, "take_along_axis")
    if one(indices, "take_along_axis").ndim != x.ndim:
        raise ValueError(f"take_along_axis: indices of {indices.ndim} axes do not fit an array of {x.ndim}")
    before = _taken_before(x, indices, along)
    if before is not None:
        return before
    key: list[Any] = []
    for a, extent in enumerate(x.shape):
        line = np.arange(extent).reshape([extent if b == a else 1 for b in range(x.ndim)])
        key.append(indices if a == along else line)
    return x[tuple(key)]


def _taken_before(x: Array, indices: Array, along: int) -> Array | None:
    """The few elements of an operation that nobody has computed yet: taken from what it is of, and computed alone.

    A loss takes one of a row's thousand differences; storing them all would be most of its work. None where `x` is no
    such operation, or where more than one in FEW_TAKEN is taken.
    """
    node, shape = x.node(), indices.shape
    op = OPS.get(node.op)
    wanted = (*x.shape[:along], shape[along], *x.shape[along + 1 :])
    if op is None or op.costly or op.arity != 2 or shape != wanted or shape[along] * FEW_TAKEN > x.shape[along]:
        return None
    sources, taken = [], 0
    for source in node.src:
        if source.op == "view" and source.shape == x.shape and source.arg.strides[along] == 0:
            source = Node("view", source.src, View(shape, source.arg.strides, source.arg.offset), shape, source.dtype)
        elif source.shape == x.shape:
            source, taken = take_along_axis(wrap(source, x._device), indices, axis=along).node(), taken + 1
        elif source.op != "const":
            return None
        sources.append(source)
    return wrap(Node(node.op, tuple(sources), node.arg, shape, node.dtype), x._device) if taken else None


def nonzero(x: Array, /) -> tuple[Array, ...]:
    """The indices of the elements that are not zero, one array per axis."""
    if one(x, "nonzero").ndim == 0:
        raise ValueError("nonzero: a 0-dimensional array has no axes to index")
    return on_host("nonzero", np.nonzero, x)


def searchsorted(x1: Array, x2: Array | float, /, *, side: str = "left", sorter: Array | None = None) -> Array:
    """Where in the sorted `x1` the elements of `x2`, an array or a number, would go."""
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side is 'left' or 'right', not {side!r}")
    find: Callable[..., Any] = np.searchsorted
    if one(x1, "searchsorted").ndim != 1:
        raise ValueError(f"searchsorted: the sorted array needs one axis, its shape is {x1.shape}")
    if sorter is not None:
        x1 = take(x1, sorter)
    if isinstance(x2, (int, float)):
        return on_host("searchsorted", lambda a: find(a, x2, side=side), one(x1, "searchsorted"))
    return on_host("searchsorted", lambda a, v: find(a, v, side=side), one(x1, "searchsorted"), x2)


def _descending(data: Any, along: int, stable: bool) -> Any:
    """Order of largest first; equal elements keep their order."""
    turned = np.flip(data, axis=along)
    order = np.flip(np.argsort(turned, axis=along, stable=stable), axis=along)
    return data.shape[along] - 1 - order


def _merges(x: Array) -> bool:
    """Whether our kernels sort `x`: they do where there are groups of threads, for what is ordered.

    NumPy's sort is the cpu's library: it uses vectors within a thread, several times as fast as merging.
    """
    return x._device.limits.threads_per_group > 1 and KINDS[x._cell.value.dtype] != "c"


def _sorted(x: Array, op: str, along: int, descending: bool, keep: int | None = None) -> Array:
    shape = tuple(keep if a == along and keep is not None else extent for a, extent in enumerate(x.shape))
    node = x.node()
    arg = (along, bool(descending), shape[along])
    return wrap(Node(op, (node,), arg, shape, "int64" if op == "argsort" else node.dtype), x._device)


def argsort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The order that sorts `x` along `axis`; NaN counts as larger than all numbers. On the cpu NumPy's."""
    along = axis_of(axis, one(x, "argsort").ndim, "argsort")
    if _merges(x):
        return _sorted(x, "argsort", along, descending)
    if descending:
        return on_host("argsort", lambda d: _descending(d, along, stable), x)
    return on_host("argsort", lambda d: np.argsort(d, axis=along, stable=stable), x)


def sort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """`x` sorted along `axis`; NaN counts as larger than all numbers. On the cpu NumPy's."""
    along = axis_of(axis, one(x, "sort").ndim, "sort")
    if _merges(x):
        return _sorted(x, "sort", along, descending)

    def ordered(data: Any) -> Any:
        result = np.sort(data, axis=along, stable=stable)
        return np.flip(result, axis=along) if descending else result

    return on_host("sort", ordered, x)


def top_k(x: Array, k: int, /, *, axis: int = -1, largest: bool = True) -> TopK:
    """The `k` largest elements along `axis`, or the smallest, in order from the most extreme on, and where they are.

    Equal elements come in the order of their places; NaN counts as larger than all numbers. Raises ValueError for a `k`
    that is negative or more than there are, TypeError for complex numbers.
    """
    along = axis_of(axis, one(x, "top_k").ndim, "top_k")
    if KINDS[x._cell.value.dtype] == "c":
        raise TypeError("top_k: complex numbers have no order; take real() or abs() first")
    count = index(k)
    if not 0 <= count <= x.shape[along]:
        raise ValueError(f"top_k: k must be between 0 and the {x.shape[along]} elements along axis {axis}, not {k}")
    places = _sorted(x, "argsort", along, largest, count)
    return TopK(take_along_axis(x, places, axis=along), places)


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Array:
    """Whether each element of `x1` equals one of `x2` (or none, if `invert`); one of the two may be a Python scalar.

    Few values to look for are compared one by one on the device; for many the host sorts.
    """
    device_of("isin", x1, x2)  # raises TypeError without an array
    if not isinstance(x2, Array):
        return ew.not_equal(x1, x2) if invert else ew.equal(x1, x2)
    if not isinstance(x1, Array):
        found = st.any(ew.equal(x1, x2))
        return ew.logical_not(found) if invert else found
    if x2.size <= MAX_COMPARED:
        found = st.any(ew.equal(expand_dims(x1, -1), reshape(x2, (-1,))), axis=-1)
        return ew.logical_not(found) if invert else found
    return on_host("isin", lambda a, b: np.isin(a, b, invert=invert), x1, x2)


def unique_all(x: Array, /) -> UniqueAll:
    """Distinct values, where each is first, which of them each element is, and how often each is there."""
    return UniqueAll(*on_host("unique_all", lambda d: tuple(np.unique_all(d)), one(x, "unique_all")))


def unique_counts(x: Array, /) -> UniqueCounts:
    """Distinct values and how often each is there."""
    return UniqueCounts(*on_host("unique_counts", lambda d: tuple(np.unique_counts(d)), one(x, "unique_counts")))


def unique_inverse(x: Array, /) -> UniqueInverse:
    """Distinct values and which of them each element is."""
    return UniqueInverse(*on_host("unique_inverse", lambda d: tuple(np.unique_inverse(d)), one(x, "unique_inverse")))


def unique_values(x: Array, /) -> Array:
    """Distinct values."""
    return on_host("unique_values", lambda d: np.sort(np.unique_values(d)), one(x, "unique_values"))
