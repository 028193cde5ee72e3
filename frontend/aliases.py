"""Names that NumPy has beside the standard's, and that software probes for: elementwise functions, sums and products.

Each is made of the standard's functions and stays on the device; what NumPy takes by position is taken by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Any

from tilewright import elementwise as ew
from tilewright import record
from tilewright import statistical as st
from tilewright.array import Array, wrap
from tilewright.creation import astype
from tilewright.dtypes import HALVES, KINDS, default_float, finfo, object_of
from tilewright.elementwise import one
from tilewright.linalg import matmul, tensordot
from tilewright.manipulation import axes_of, broadcast_arrays, expand_dims, reshape

Axis = int | tuple[int, ...] | None

arccos, arccosh, arcsin, arcsinh = ew.acos, ew.acosh, ew.asin, ew.asinh
arctan, arctan2, arctanh = ew.atan, ew.atan2, ew.atanh
absolute, fabs, conjugate, fix, rint = ew.abs, ew.abs, ew.conj, ew.trunc, ew.round
power, mod, true_divide = ew.pow, ew.remainder, ew.divide
invert, bitwise_not, left_shift, right_shift = (
    ew.bitwise_invert, ew.bitwise_invert, ew.bitwise_left_shift, ew.bitwise_right_shift,
)  # fmt: skip
bool_, intp = object_of("bool"), object_of("int64")


def _is_float(x: Array) -> bool:
    return KINDS[x._cell.value.dtype] in "fc"


def exp2(x: Array, /) -> Array:
    """2 to the power `x`."""
    return wrap(record.unary("exp2", one(x, "exp2").node(), x._device), x._device)


def cbrt(x: Array, /) -> Array:
    """The real cube root, also of negative numbers: a power, and a step of Newton's method after it."""
    one(x, "cbrt")
    size = ew.abs(x if _is_float(x) else x * 1.0)
    root = size ** (1 / 3)
    better = root - (root - size / (root * root)) / 3
    plain = (root == 0) | ew.isinf(root)
    return ew.copysign(ew.where(plain, root, better), x if _is_float(x) else x * 1.0)


def deg2rad(x: Array, /) -> Array:
    """Degrees as radians."""
    return one(x, "deg2rad") * (pi / 180)


def rad2deg(x: Array, /) -> Array:
    """Radians as degrees."""
    return one(x, "rad2deg") * (180 / pi)


radians, degrees = deg2rad, rad2deg


def around(a: Array, decimals: int = 0) -> Array:
    """Rounded to so many decimals, halves to even; negative ones round before the point."""
    if decimals == 0 or not _is_float(one(a, "around")):
        return ew.round(a) if decimals >= 0 else astype(around(a * 1.0, decimals), a.dtype)
    scale = 10.0 ** abs(decimals)
    return ew.round(a * scale) / scale if decimals > 0 else ew.round(a / scale) * scale


def divmod(x1: Any, x2: Any, /) -> tuple[Array, Array]:
    """Quotient and remainder of a division that rounds down."""
    return ew.floor_divide(x1, x2), ew.remainder(x1, x2)


def heaviside(x1: Array, x2: Any, /) -> Array:
    """0 where `x1` is negative, 1 where it is positive, `x2` where it is 0."""
    return ew.where(one(x1, "heaviside") == 0, x2, ew.where(ew.isnan(x1), x1, astype(x1 > 0, x1.dtype)))


def fmax(x1: Array, x2: Array, /) -> Array:
    """The larger one; the other where one is NaN."""
    return ew.where(x1 != x1, x2, ew.where(x2 != x2, x1, ew.maximum(x1, x2)))


def fmin(x1: Array, x2: Array, /) -> Array:
    """The smaller one; the other where one is NaN."""
    return ew.where(x1 != x1, x2, ew.where(x2 != x2, x1, ew.minimum(x1, x2)))


def isposinf(x: Array, /) -> Array:
    """Where `x` is infinity."""
    return ew.isinf(one(x, "isposinf")) & (x > 0)


def isneginf(x: Array, /) -> Array:
    """Where `x` is minus infinity."""
    return ew.isinf(one(x, "isneginf")) & (x < 0)


def isclose(a: Array, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Array:
    """Where |a - b| <= atol + rtol |b|; equal infinities are close, NaN only to NaN if `equal_nan`."""
    wide = a if isinstance(a, Array) and _is_float(a) else a * 1.0
    other = b if not isinstance(b, Array) or _is_float(b) else b * 1.0
    size = ew.abs(other) if isinstance(other, Array) else abs(other)
    close = (ew.abs(wide - other) <= atol + rtol * size) & ew.isfinite(wide - other) | (wide == other)
    return close | ((wide != wide) & (other != other)) if equal_nan else close


def allclose(a: Array, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere. Evaluates."""
    return bool(st.all(isclose(a, b, rtol, atol, equal_nan)))


def array_equal(a1: Array, a2: Array, equal_nan: bool = False) -> bool:
    """Whether shapes and all elements are equal. Evaluates."""
    if one(a1, "array_equal").shape != one(a2, "array_equal").shape:
        return False
    same = a1 == a2
    return bool(st.all(same | ((a1 != a1) & (a2 != a2)) if equal_nan else same))


def nan_to_num(x: Array, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Array:
    """`x` with NaN and the infinities replaced, these by the largest finite numbers unless given.

    `copy=False` writes into `x`.
    """
    result = x
    if KINDS[one(x, "nan_to_num")._cell.value.dtype] == "f":
        most = float(finfo(x.dtype).max)
        result = ew.where(isposinf(x), most if posinf is None else posinf, ew.where(ew.isnan(x), nan, x))
        result = ew.where(isneginf(x), -most if neginf is None else neginf, result)
    if copy:
        return result.__copy__()
    x[...] = result
    return x


def select(condlist: Sequence[Array], choicelist: Sequence[Any], default: Any = 0) -> Array:
    """For each element the choice of the first condition that is true there, else `default`."""
    if not condlist or len(condlist) != len(choicelist):
        raise ValueError(f"select: {len(condlist)} conditions do not fit {len(choicelist)} choices")
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = ew.where(condition, choice, result)
    return result  # type: ignore[no-any-return]


def amax(a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """Largest over `axis`."""
    return st.max(a, axis=axis, keepdims=keepdims)


def amin(a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """Smallest over `axis`."""
    return st.min(a, axis=axis, keepdims=keepdims)


def ptp(a: Array, axis: Axis = None, keepdims: bool = False) -> Array:
    """Largest less smallest over `axis`."""
    return amax(a, axis, keepdims) - amin(a, axis, keepdims)


def average(a: Array, axis: Axis = None, weights: Array | None = None, *, keepdims: bool = False) -> Array:
    """Mean over `axis`, weighted by an array of the shape of `a` or, over one axis, of that axis."""
    if weights is None:
        return st.mean(a, axis=axis, keepdims=keepdims)
    if weights.ndim == 1 and isinstance(axis, int) and one(a, "average").ndim > 1:
        (along,) = axes_of(axis, a.ndim, "average")
        weights = reshape(weights, [-1 if k == along else 1 for k in range(a.ndim)])
    weighted, spread = broadcast_arrays(a * weights, weights)
    return st.sum(weighted, axis=axis, keepdims=keepdims) / st.sum(spread, axis=axis, keepdims=keepdims)


def cumsum(a: Array, axis: int | None = None, dtype: Any = None) -> Array:
    """Sums of all elements up to each along `axis`; of the flattened array where that is None."""
    x, along = (reshape(one(a, "cumsum"), (-1,)), 0) if axis is None else (a, axis)
    return st.cumulative_sum(x, axis=along, dtype=dtype)


def cumprod(a: Array, axis: int | None = None, dtype: Any = None) -> Array:
    """Products of all elements up to each along `axis`; of the flattened array where that is None."""
    x, along = (reshape(one(a, "cumprod"), (-1,)), 0) if axis is None else (a, axis)
    return st.cumulative_prod(x, axis=along, dtype=dtype)


def _without_nan(a: Array, value: float) -> Array:
    return ew.where(a != a, value, a) if KINDS[a._cell.value.dtype] == "f" else a


def nansum(a: Array, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    """Sum over `axis` of what is not NaN."""
    return st.sum(_without_nan(one(a, "nansum"), 0.0), axis=axis, dtype=dtype, keepdims=keepdims)


def nanprod(a: Array, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    """Product over `axis` of what is not NaN."""
    return st.product(_without_nan(one(a, "nanprod"), 1.0), axis=axis, dtype=dtype, keepdims=keepdims)


def _nan_extreme(a: Array, name: str, axis: Axis, keepdims: bool) -> Array:
    function, limit = (st.max, float("-inf")) if name == "nanmax" else (st.min, float("inf"))
    found = function(_without_nan(one(a, name), limit), axis=axis, keepdims=keepdims)
    if KINDS[a._cell.value.dtype] != "f":
        return found
    return ew.where(st.all(a != a, axis=axis, keepdims=keepdims), float("nan"), found)


def nanmax(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Largest over `axis` of what is not NaN; NaN where nothing else is."""
    return _nan_extreme(a, "nanmax", axis, keepdims)


def nanmin(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Smallest over `axis` of what is not NaN; NaN where nothing else is."""
    return _nan_extreme(a, "nanmin", axis, keepdims)


def _wide(a: Array, name: str, dtype: Any) -> tuple[Array, Any]:
    """`a` in the dtype in which its mean is computed, and the dtype of the mean, which may be given."""
    if dtype is not None:
        a = astype(one(a, name), dtype, copy=False)
    source = one(a, name)._cell.value.dtype
    target = a.dtype if KINDS[source] in "fc" else object_of(default_float(a._device))
    return astype(a, "float32" if source in HALVES else target, copy=False), target


def nanmean(a: Array, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    """Mean over `axis` of what is not NaN, computed as `dtype` if given."""
    wide, target = _wide(a, "nanmean", dtype)
    count = st.sum(astype(wide == wide, wide.dtype), axis=axis, keepdims=keepdims)
    return astype(nansum(wide, axis, keepdims=keepdims) / count, target, copy=False)


def nanvar(a: Array, axis: Axis = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Array:
    """Variance over `axis` of what is not NaN, divided by their count less `ddof`; computed as `dtype` if given."""
    wide, target = _wide(a, "nanvar", dtype)
    apart = wide - nanmean(wide, axis, keepdims=True)
    left = st.sum(astype(wide == wide, wide.dtype), axis=axis, keepdims=keepdims) - ddof
    total = nansum(apart * apart, axis, keepdims=keepdims)
    return astype(total / ew.where(left > 0, left, float("nan")), target, copy=False)


def nanstd(a: Array, axis: Axis = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Array:
    """Standard deviation over `axis` of what is not NaN, computed as `dtype` if given."""
    return ew.sqrt(nanvar(a, axis, dtype, ddof=ddof, keepdims=keepdims))


def dot(a: Array, b: Array, /) -> Array:
    """NumPy's dot: scalars multiply; else sums over the last axis of `a` and the last but one, or only one, of `b`."""
    if not isinstance(a, Array) or not isinstance(b, Array) or a.ndim == 0 or b.ndim == 0:
        return ew.multiply(a, b)
    if a.ndim <= 2 and b.ndim <= 2:
        return matmul(a, b)
    return tensordot(a, b, axes=((a.ndim - 1,), (max(b.ndim - 2, 0),)))


def inner(a: Array, b: Array, /) -> Array:
    """Sums of products over the last axes."""
    if one(a, "inner").ndim == 0 or one(b, "inner").ndim == 0:
        return ew.multiply(a, b)
    return tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))


def vdot(a: Array, b: Array, /) -> Array:
    """The sum of products of all elements, those of `a` conjugated."""
    return matmul(reshape(ew.conj(one(a, "vdot")), (-1,)), reshape(one(b, "vdot"), (-1,)))


def outer(a: Array, b: Array, /) -> Array:
    """All products of the elements of two arrays, which are flattened."""
    return reshape(one(a, "outer"), (-1, 1)) * reshape(one(b, "outer"), (1, -1))


def kron(a: Array, b: Array, /) -> Array:
    """Kronecker product: each element of `a` times all of `b`."""
    ndim = max(one(a, "kron").ndim, one(b, "kron").ndim)
    shapes = [(1,) * (ndim - x.ndim) + x.shape for x in (a, b)]
    first = expand_dims(reshape(a, shapes[0]), tuple(range(1, 2 * ndim, 2)))
    second = expand_dims(reshape(b, shapes[1]), tuple(range(0, 2 * ndim, 2)))
    return reshape(first * second, tuple(x * y for x, y in zip(*shapes, strict=True)))


def cov(m: Array, y: None = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None) -> Array:
    """Covariance matrix of variables in rows (columns unless `rowvar`), over the count less 1, or less `ddof`."""
    if y is not None or one(m, "cov").ndim > 2:
        raise ValueError("cov: one array of at most 2 axes is taken; concatenate variables before")
    wide = astype(m, default_float(m._device), copy=False) if KINDS[m._cell.value.dtype] != "c" else m  # as NumPy
    rows = reshape(wide, (1, -1)) if m.ndim < 2 else wide if rowvar else wide.T
    apart = rows - st.mean(rows, axis=1, keepdims=True)
    left = rows.shape[1] - ((0 if bias else 1) if ddof is None else ddof)
    product = matmul(apart, ew.conj(apart).T) / float(left)
    return product[0, 0] if product.shape == (1, 1) else product
