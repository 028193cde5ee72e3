"""NumPy's ufuncs on our arrays: on their device where the namespace has the function, else on the host, counted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES
from tilewright.dtypes import KINDS, object_of
from tilewright.hosting import array_of, assigned, on_host, one_like
from tilewright.operators import Recorded, keeps_its_type, overrides_ufuncs
from tilewright.record import SCALARS

_SAME = """
    add subtract multiply divide floor_divide remainder logaddexp maximum minimum hypot nextafter copysign
    negative positive sign signbit sqrt exp expm1 log log1p log2 log10 sin cos tan sinh cosh tanh
    floor ceil trunc isfinite isinf isnan equal not_equal less less_equal greater greater_equal
    logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor matmul
    exp2 divmod
"""
_NAMES = {getattr(np, name): name for name in _SAME.split()} | {
    np.absolute: "abs", np.power: "pow", np.invert: "bitwise_invert", np.arctan2: "atan2",
    np.left_shift: "bitwise_left_shift", np.right_shift: "bitwise_right_shift", np.arccos: "acos", np.arcsin: "asin",
    np.arctan: "atan", np.arccosh: "acosh", np.arcsinh: "asinh", np.arctanh: "atanh",
}  # fmt: skip
"""The name that the namespace has for each of NumPy's ufuncs, as far as both do the same."""

_REDUCTIONS = {
    np.add: "sum", np.multiply: "prod", np.maximum: "max", np.minimum: "min", np.logical_and: "all",
    np.logical_or: "any",
}  # fmt: skip
_ACCUMULATIONS = {np.add: "cumulative_sum", np.multiply: "cumulative_prod"}
_BY_KIND = {
    np.square: ("square", "iufc"), np.conjugate: ("conj", "iufc"), np.fabs: ("abs", "f"), np.rint: ("round", "f"),
    np.cbrt: ("cbrt", "f"), np.deg2rad: ("deg2rad", "f"), np.rad2deg: ("rad2deg", "f"), np.radians: ("deg2rad", "f"),
    np.degrees: ("rad2deg", "f"),
}  # fmt: skip
"""Functions of one array that do the same for dtypes of these kinds only."""
_DTYPES = frozenset(object_of(name) for name in DTYPES if name != "bfloat16")
_OURS = (np.ndarray, np.generic)
_IGNORED = ("order", "subok", "casting")  # memory order and subclasses mean nothing here; casting is checked apart


def array_ufunc(kind: type, ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What `__array_ufunc__` of our array type `kind` returns. Raises ValueError for operands on several devices."""
    if not options and method == "__call__":  # the usual case, told apart first
        name = _NAMES.get(ufunc)
        if name is not None and all([type(x) is kind or _is_plain(x) for x in inputs]):
            return getattr(sys.modules["tilewright"], name)(*inputs)
    outs = options.pop("out", ())
    if any(overrides_ufuncs(x) for x in (*inputs, *outs)):
        return NotImplemented
    like = one_like(ufunc.__name__, inputs, outs, options)
    assert like is not None  # NumPy asks us because there is one
    if method == "at":
        return _at(ufunc, inputs, like)
    where = options.pop("where", True) if method == "__call__" else True
    inputs = tuple(np.asarray(x) if isinstance(x, (list, tuple)) else x for x in inputs)
    result = None
    if all(x.dtype.name in DTYPES and not keeps_its_type(x) for x in inputs if isinstance(x, _OURS)):
        result = _NATIVE.get(method, _nowhere)(ufunc, inputs, options)
    if result is None:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        result = on_host(name, getattr(ufunc, method), inputs, options, like)
    results = result if isinstance(result, tuple) else (result,)
    casting = options.get("casting", "same_kind")
    pairs = zip(results, outs or (None,) * len(results), strict=True)
    stored = tuple(_masked(r, where) if out is None else assigned(out, r, casting, where) for r, out in pairs)
    return stored if isinstance(result, tuple) else stored[0]


def _is_plain(x: Any) -> bool:
    """Whether `x` is a number, or an array of NumPy's and of a dtype of ours, and no more than that."""
    return type(x) in SCALARS or (type(x) is np.ndarray and x.dtype in _DTYPES)


def _masked(result: Any, where: Any) -> Any:
    """NumPy leaves what `where` excludes undefined; here it is 0."""
    if where is True:
        return result
    xp: Any = sys.modules["tilewright"]
    mask = where if isinstance(where, Recorded) else array_of(np.asarray(where, bool), result)
    return xp.where(mask, result, xp.zeros_like(result))


def _ours(ufunc: Any, names: dict[Any, str]) -> Callable[..., Any] | None:
    """The namespace's function for one of NumPy's ufuncs; None where there is none."""
    name = names.get(ufunc)
    return None if name is None else getattr(sys.modules["tilewright"], name)


def _nowhere(ufunc: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A method that only the host has."""


def _called(ufunc: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    xp: Any = sys.modules["tilewright"]
    rest = {k: v for k, v in options.items() if k not in (*_IGNORED, "dtype")}
    if rest or not any(isinstance(x, Recorded) for x in inputs):
        return None
    function = _ours(ufunc, _NAMES)
    if ufunc in _BY_KIND:
        name, kinds = _BY_KIND[ufunc]
        function = getattr(xp, name) if KINDS[inputs[0]._cell.value.dtype] in kinds else None
    dtype = options.get("dtype")
    if function is None or dtype is None:
        return function and function(*inputs)
    casting = options.get("casting", "same_kind")
    arrays = [x for x in inputs if hasattr(x, "dtype")]
    boolean = ufunc.types[1].endswith("?")  # of two numbers: there `dtype` is that of the operands, in NumPy's own way
    if boolean or not all(np.can_cast(x.dtype, dtype, casting) for x in arrays):
        return None
    return function(*(xp.astype(x, dtype) if isinstance(x, Recorded) else _cast(x, dtype) for x in inputs))


def _cast(x: Any, dtype: Any) -> Any:
    return x.astype(dtype) if hasattr(x, "dtype") else x


def _reduced(ufunc: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    function = _ours(ufunc, _REDUCTIONS)
    given = {k: v for k, v in options.items() if v is not None or k == "axis"}
    if function is None or not given.keys() <= {"axis", "keepdims", "dtype"}:
        return None
    if "dtype" in given and ufunc not in (np.add, np.multiply):
        return None
    return function(inputs[0], **{"axis": 0, **given})


def _accumulated(ufunc: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    function = _ours(ufunc, _ACCUMULATIONS)
    return function and function(inputs[0], **{"axis": 0, **options})


def _outer(ufunc: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    first, second = (x if isinstance(x, Recorded) else np.asarray(x) for x in inputs)
    spread: Any = first
    return _called(ufunc, (spread[(..., *(None,) * second.ndim)], second), options)


def _at(ufunc: Any, inputs: tuple[Any, ...], like: Recorded) -> None:
    """`ufunc.at` writes into its first operand one element after the other, which only the host can."""
    target = inputs[0]

    def written(data: Any, *rest: Any) -> Any:
        copy = np.array(data)
        ufunc.at(copy, *rest)
        return copy

    result = on_host(f"{ufunc.__name__}.at", written, inputs, {}, like)
    target[...] = result if isinstance(target, Recorded) else np.asarray(result)


_NATIVE: dict[str, Callable[..., Any]] = {
    "__call__": _called, "reduce": _reduced, "accumulate": _accumulated, "outer": _outer,
}  # fmt: skip
