"""Elementwise functions of the array API standard (and erf), each recorded as ops of the one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tilewright import record
from tilewright.array import Array, wrap
from tilewright.backends.protocol import Device
from tilewright.dtypes import KINDS, name_of
from tilewright.kernels.node import Node
from tilewright.operators import apply, operand


def one(x: Any, name: str) -> Array:
    """`x`, which must be an Array. Raises TypeError naming the function otherwise."""
    if type(x) is not Array:
        raise TypeError(f"{name}: the operand must be a tilewright array, not {type(x).__name__}; use asarray")
    return x


def device_of(name: str, *operands: Any) -> Device:
    """The device of the first Array among the operands. Raises TypeError if there is none."""
    for x in operands:
        if type(x) is Array:
            return x._device
    kinds = ", ".join(type(x).__name__ for x in operands)
    raise TypeError(f"{name}: one operand at least must be a tilewright array, not {kinds}; use asarray")


def node_of(x: Any, device: Device, name: str) -> record.Operand:
    """`x` as an operand on `device`. Raises TypeError for what is none."""
    found = operand(x, device, name)
    if found is None:
        raise TypeError(f"{name}: {type(x).__name__} is no operand; use asarray")
    return found


def _unary(op: str) -> Callable[[Array], Array]:
    name = record.title(op)

    def function(x: Array, /) -> Array:
        return wrap(record.unary(op, one(x, name).node(), x._device), x._device)

    return _named(function, name)


def _binary(op: str) -> Callable[[Any, Any], Array]:
    name = record.title(op)

    def function(x1: Any, x2: Any, /) -> Array:
        device = device_of(name, x1, x2)
        node = apply(op, x1, x2, device)
        if node is None:
            raise TypeError(f"{name}: {type(x1).__name__} and {type(x2).__name__} are no operands; use asarray")
        return wrap(node, device)

    return _named(function, name)


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Elementwise {name}, as the array API standard defines it; integers and booleans as NumPy."
    return function


acos, acosh, asin, asinh = _unary("acos"), _unary("acosh"), _unary("asin"), _unary("asinh")
atan, atanh, cos, cosh = _unary("atan"), _unary("atanh"), _unary("cos"), _unary("cosh")
sin, sinh, tan, tanh = _unary("sin"), _unary("sinh"), _unary("tan"), _unary("tanh")
exp, expm1, log, log1p = _unary("exp"), _unary("expm1"), _unary("log"), _unary("log1p")
log2, log10, sqrt, erf = _unary("log2"), _unary("log10"), _unary("sqrt"), _unary("erf")
abs, negative, sign, signbit = _unary("abs"), _unary("neg"), _unary("sign"), _unary("signbit")
ceil, floor, round, trunc = _unary("ceil"), _unary("floor"), _unary("round"), _unary("trunc")
isfinite, isinf, isnan = _unary("isfinite"), _unary("isinf"), _unary("isnan")
bitwise_invert, logical_not = _unary("invert"), _unary("not")

add, subtract, multiply, divide = _binary("add"), _binary("sub"), _binary("mul"), _binary("div")
floor_divide, remainder = _binary("floordiv"), _binary("mod")
atan2, copysign, hypot = _binary("atan2"), _binary("copysign"), _binary("hypot")
logaddexp, nextafter = _binary("logaddexp"), _binary("nextafter")
maximum, minimum = _binary("max"), _binary("min")
bitwise_and, bitwise_or, bitwise_xor = _binary("and"), _binary("or"), _binary("xor")
bitwise_left_shift, bitwise_right_shift = _binary("shl"), _binary("shr")
equal, not_equal, less = _binary("eq"), _binary("ne"), _binary("lt")
less_equal, greater, greater_equal = _binary("le"), _binary("gt"), _binary("ge")


def pow(x1: Any, x2: Any, /) -> Array:
    """`x1` to the power `x2`; squares and roots are recorded as such."""
    device = device_of("pow", x1, x2)
    if type(x1) is Array:
        return x1**x2
    return wrap(record.binary("pow", node_of(x1, device, "pow"), node_of(x2, device, "pow"), device), device)


def _logical(op: str, name: str) -> Callable[[Any, Any], Array]:
    def function(x1: Any, x2: Any, /) -> Array:
        device = device_of(name, x1, x2)
        a, b = (node_of(x, device, name) for x in (x1, x2))
        x, y = (record.cast(p, "bool", device) if isinstance(p, Node) else bool(p) for p in (a, b))
        return wrap(record.binary(op, x, y, device), device)

    return _named(function, name)


logical_and, logical_or = _logical("and", "logical_and"), _logical("or", "logical_or")
logical_xor = _logical("xor", "logical_xor")


def positive(x: Array, /) -> Array:
    """A copy of `x`."""
    return +one(x, "positive")


def square(x: Array, /) -> Array:
    """`x` times itself."""
    return one(x, "square") * x


def reciprocal(x: Array, /) -> Array:
    """1 / `x`."""
    return 1 / one(x, "reciprocal")


def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:
    """`x` held between `min` and `max`, scalars or arrays that broadcast; None leaves a side open. NaN stays.

    A Python integer that the dtype of `x` cannot hold, on the side where it bounds nothing, leaves that side open.
    """
    result = one(x, "clip")
    dtype = x._cell.value.dtype
    for op, bound in (("max", min), ("min", max)):
        if bound is None or (type(bound) is int and record.beyond(bound, dtype) == {"max": -1, "min": 1}[op]):
            continue
        node = record.binary(op, result.node(), node_of(bound, x._device, "clip"), x._device)
        result = wrap(node, x._device)
    return result.__copy__() if result is x else result


def where(condition: Array, x1: Any, x2: Any, /) -> Array:
    """`x1` where `condition`, else `x2`; all broadcast, and `x1` and `x2` promote. Scalars are weak."""
    device = device_of("where", condition, x1, x2)
    test, a, b = (node_of(x, device, "where") for x in (condition, x1, x2))
    if not isinstance(test, Node):
        raise TypeError("where: the condition must be an array")
    if not isinstance(a, Node) and not isinstance(b, Node):
        kind = name_of(np.result_type(a, b) if type(a) is not type(b) else type(a))
        name = kind if KINDS[kind] == "b" else name_of({"i": int, "f": float, "c": complex}[KINDS[kind]], device)
        a = record.filled(a, (), name, device)
    return wrap(record.where(test, a, b, device), device)


def _part(op: str, x: Array) -> Array:
    return wrap(record.unary(op, x.node(), x._device), x._device)


def conj(x: Array, /) -> Array:
    """The complex conjugate; `x` copied where it is real."""
    return _part("conj", x) if KINDS[one(x, "conj")._cell.value.dtype] == "c" else x.__copy__()


def real(x: Array, /) -> Array:
    """The real part."""
    return _part("real", x) if KINDS[one(x, "real")._cell.value.dtype] == "c" else x.__copy__()


def imag(x: Array, /) -> Array:
    """The imaginary part; zeros where `x` is real."""
    if KINDS[one(x, "imag")._cell.value.dtype] == "c":
        return _part("imag", x)
    return wrap(record.filled(0, x.shape, x._cell.value.dtype, x._device), x._device)
