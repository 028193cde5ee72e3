"""Reductions and what is made of them. Several axes are reduced one after the other, neighbours as one."""

from __future__ import annotations

from builtins import sum as sum_of
from collections.abc import Callable
from math import prod
from typing import Any

from tilewright import record
from tilewright.arguments import number
from tilewright.array import Array, layout, viewed, wrap
from tilewright.backends.dtypes import PARTS
from tilewright.backends.protocol import Device
from tilewright.creation import full
from tilewright.dtypes import HALVES, KINDS, default_float, default_int, name_of, narrow, object_of
from tilewright.elementwise import imag, one, real
from tilewright.kernels.node import Node, View
from tilewright.manipulation import axes_of, axis_of, reshape
from tilewright.views import compose, in_order, row_major, whole

Axis = int | tuple[int, ...] | None


def _groups(axes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Runs of neighbouring axes as (first, behind last)."""
    runs: list[tuple[int, int]] = []
    for axis in axes:
        if runs and runs[-1][1] == axis:
            runs[-1] = (runs[-1][0], axis + 1)
        else:
            runs.append((axis, axis + 1))
    return runs


def _merged(x: Array, runs: list[tuple[int, int]]) -> Array | None:
    """A view of `x` with each run of axes as one axis; None where strides cannot say it."""
    shape, at = [], 0
    for first, behind in runs:
        shape += [*x.shape[at:first], prod(x.shape[first:behind])]
        at = behind
    view = compose(layout(x), whole((*shape, *x.shape[at:])))
    return None if view is None else viewed(x, view)


def reduced(x: Array, name: str, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Reduction `name` of the table over `axes`, which are sorted; in the dtype of `x`."""
    runs = _groups(axes)
    merged = x if len(runs) == len(axes) else _merged(x, runs)
    if merged is None:
        merged, runs = x, [(a, a + 1) for a in axes]
    node = merged.node()
    kept = [a - sum_of(b - f - 1 for f, b in runs if b <= a) for a, _ in runs]  # where the runs are once merged
    for axis in reversed(kept):
        shape = (*node.shape[:axis], *node.shape[axis + 1 :])
        node = Node("reduce", (node,), (name, axis), shape, node.dtype)
    result = wrap(node, x._device)
    return kept_axes(result, x.shape, axes) if keepdims else result


def kept_axes(result: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """A view of a reduction's result that has the reduced axes again, with extent 1."""
    extents = tuple(1 if a in axes else e for a, e in enumerate(shape))
    return viewed(result, View(extents, row_major(extents), 0))


def _sum_dtype(x: Array, title: str, dtype: Any) -> str:
    """The dtype in which sums and products of `x` are returned. Raises TypeError for complex numbers as real ones."""
    device, source = one(x, title)._device, x._cell.value.dtype
    if dtype is not None:
        target = name_of(dtype, device)
    elif KINDS[source] in "biu":  # small integers add up in the default one, as in NumPy
        wide = narrow("uint64", device) if KINDS[source] == "u" else default_int(device)
        target = source if source in ("int64", "uint64") else wide
    else:
        target = source
    if KINDS[source] == "c" and KINDS[target] not in "cb":
        raise TypeError(f"{title}: {source} does not convert to {target}; take real() or abs() first")
    return target


def _summed(x: Array, name: str, title: str, axis: Axis, dtype: Any, keepdims: bool) -> Array:
    target, device = _sum_dtype(x, title, dtype), one(x, title)._device
    axes = axes_of(axis, x.ndim, title)
    if target == "bool":  # in the arithmetic of booleans a sum is any, a product all
        return reduced(cast(x, "bool", device), "max" if name == "sum" else "min", axes, keepdims)
    compute = "float32" if target in HALVES else target  # halves add up in float32
    result = reduced(cast(x, compute, device), name, axes, keepdims)
    return cast(result, target, device)


def cast(x: Array, dtype: str, device: Device) -> Array:
    return x if x._cell.value.dtype == dtype else _mapped(x, lambda node: record.cast(node, dtype, device))


def _mapped(x: Array, function: Callable[[Node], Node]) -> Array:
    """An elementwise function of `x`; where `x` shows all of its cell in order, as a view with the same shape.

    So the kept axes of a reduction stay one view away from it, however it was scaled.
    """
    value, view = x._cell.value, x._view
    if view is not None and in_order(view, value.shape):
        return viewed(wrap(function(value), x._device), view)
    return wrap(function(x.node()), x._device)


def sum(x: Array, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Sum over `axis`, one, several or all; 0 over nothing. Small integers add up in the default integer dtype."""
    return _summed(x, "sum", "sum", axis, dtype, keepdims)


def product(x: Array, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Product over `axis`, one, several or all; 1 over nothing."""
    return _summed(x, "prod", "prod", axis, dtype, keepdims)


def _extreme(x: Array, name: str, axis: Axis, keepdims: bool) -> Array:
    axes = axes_of(axis, one(x, name).ndim, name)
    if prod(x.shape[a] for a in axes) == 0:
        raise ValueError(f"{name}: axis {axis} of shape {x.shape} is empty, and nothing has no {name}")
    if KINDS[x._cell.value.dtype] == "c":
        raise TypeError(f"{name}: complex numbers have no order")
    return reduced(x, name, axes, keepdims)


def max(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Largest over `axis`; NaN if there is one. Raises ValueError over nothing."""
    return _extreme(x, "max", axis, keepdims)


def min(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Smallest over `axis`; NaN if there is one. Raises ValueError over nothing."""
    return _extreme(x, "min", axis, keepdims)


def any(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether one element over `axis` is not zero; false over nothing."""
    axes = axes_of(axis, one(x, "any").ndim, "any")
    return reduced(cast(x, "bool", x._device), "max", axes, keepdims)


def all(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether every element over `axis` is not zero; true over nothing."""
    axes = axes_of(axis, one(x, "all").ndim, "all")
    return reduced(cast(x, "bool", x._device), "min", axes, keepdims)


def count_nonzero(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """How many elements over `axis` are not zero."""
    truths = cast(one(x, "count_nonzero"), "bool", x._device)
    return _summed(truths, "sum", "count_nonzero", axis, None, keepdims)


def _spread_dtype(x: Array, title: str) -> str:
    """The dtype of a variance: that of the mean, but real."""
    target = _mean_dtype(x, title)
    return narrow(PARTS.get(target, target), x._device)


def _mean_dtype(x: Array, title: str) -> str:
    """The dtype of a mean: that of `x`, or NumPy's for integers, float64."""
    source = one(x, title)._cell.value.dtype
    return source if KINDS[source] in "fc" else default_float(x._device)


def _wide(x: Array, target: str) -> Array:
    """`x` in the dtype in which a mean of dtype `target` is computed: halves add up in float32."""
    return cast(x, "float32" if target in HALVES else target, x._device)


def mean(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Arithmetic mean over `axis`; NaN over nothing."""
    target, axes = _mean_dtype(x, "mean"), axes_of(axis, x.ndim, "mean")
    total = reduced(_wide(x, target), "sum", axes, keepdims)
    return cast(_divided(total, prod(x.shape[a] for a in axes)), target, x._device)


def _divided(x: Array, count: float) -> Array:
    return _mapped(x, lambda node: record.binary("div", node, float(count), x._device))


def _variance(x: Array, title: str, axis: Axis, correction: float, keepdims: bool) -> Array:
    target, axes = _mean_dtype(x, title), axes_of(axis, x.ndim, title)
    count = prod(x.shape[a] for a in axes)
    number(correction, title, "the correction")
    wide, left = _wide(x, target), count - correction
    if KINDS[target] == "c":
        total = _spread(real(wide), axes, keepdims) + _spread(imag(wide), axes, keepdims)
    else:
        total = _spread(wide, axes, keepdims)
    return _divided(total, left if left > 0 else 0.0)


def _spread(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """The sum of squared deviations from the mean over `axes`: of neighbouring axes in one pass.

    Of others, the spreads within the lines along the last of them, and that of the lines' means.
    """
    runs = _groups(axes)
    if len(axes) == 1 or (len(runs) == 1 and _merged(x, runs) is not None):
        return reduced(x, "spread", axes, keepdims)
    line = tuple(a for a in axes if a >= runs[-1][0]) if len(runs) > 1 else axes[-1:]
    if not line:
        return x * 0.0  # each element apart from itself
    first = x[tuple(slice(0, 1) if a in axes else slice(None) for a in range(x.ndim))]
    moved = x - first  # a large mean would cost digits
    count, rest = prod(x.shape[a] for a in line), tuple(a for a in axes if a not in line)
    within = reduced(_spread(x, line, True), "sum", rest, True)
    means = _divided(reduced(moved, "sum", line, True), count)
    total = within + _spread(means, rest, True) * float(count)
    return total if keepdims else reshape(total, tuple(e for a, e in enumerate(x.shape) if a not in axes))


def var(x: Array, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Variance over `axis`, in one pass where its axes are neighbours; divided by the count less `correction`."""
    return cast(_variance(x, "var", axis, correction, keepdims), _spread_dtype(x, "var"), x._device)


def std(x: Array, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Standard deviation over `axis`: the root of `var`."""
    variance = _variance(x, "std", axis, correction, keepdims)
    root = _mapped(variance, lambda node: record.unary("sqrt", node, x._device))
    return cast(root, _spread_dtype(x, "std"), x._device)


def _cumulative(x: Array, name: str, title: str, axis: int | None, dtype: Any, initial: bool) -> Array:
    if axis is None and one(x, title).ndim != 1:
        raise ValueError(f"{title}: an array of {x.ndim} axes needs `axis`")
    along, device = axis_of(axis or 0, one(x, title).ndim, title), x._device
    target = _sum_dtype(x, title, dtype)
    name = {"sum": "max", "prod": "min"}[name] if target == "bool" else name  # booleans add up to any, multiply to all
    source = cast(x, target, device).node()
    scanned = wrap(Node("scan", (source,), (name, along), x.shape, target), device)
    if not initial:
        return scanned
    shape = tuple(extent + (a == along) for a, extent in enumerate(x.shape))
    result = full(shape, name in ("prod", "min"), dtype=object_of(target), device=device.name)
    if scanned.size:
        result[(*(slice(None),) * along, slice(1, None))] = scanned
    return result


def cumulative_sum(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Running sums along `axis`, in the dtype of `sum`; with a 0 in front if `include_initial`.

    Floats are summed in blocks of 4096: of n numbers, the error is at most (4096 + n / 4096) eps times the sum of their
    magnitudes, and about the root of that in the mean.
    """
    return _cumulative(x, "sum", "cumulative_sum", axis, dtype, include_initial)


def cumulative_prod(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Running products along `axis`, in the dtype of `prod`; with a 1 in front if `include_initial`."""
    return _cumulative(x, "prod", "cumulative_prod", axis, dtype, include_initial)
