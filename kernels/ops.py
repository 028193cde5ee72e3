"""The one op table: name, arity, dtype rule, C spelling and NumPy oracle of every elementwise op and reduction.

C spellings are templates: {0} {1} {2} are operands in the compute type, {t} that type's C name, {u} the unsigned
integer of its width, {p} (in a reduction's start) the type of a complex number's parts. Signed integers wrap through
{u}, since overflow is undefined in C. Half-precision values are float32 here; the oracle runs in the dtype that NumPy
would use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tilewright.backends.dtypes import PARTS
from tilewright.kernels import philox


@dataclass(frozen=True, slots=True)
class Op:
    """An elementwise op. `kinds` are the dtype kinds it takes; `result` is "same", "part" (of a complex number; others
    stay), "pair" (the complex number of two floats) or a dtype's name.

    `c` maps a dtype kind ("f", "i", "u", "b", "c") to the C template; `costly` marks what must not be computed
    twice to save a pass over memory.
    """

    name: str
    arity: int
    kinds: str
    result: str
    c: dict[str, str] = field(hash=False)
    oracle: Callable[..., Any] = field(hash=False, compare=False)
    costly: bool = False

    def result_dtype(self, dtype: str) -> str:
        """The dtype of the result for operands of `dtype`."""
        if self.result == "part":
            return PARTS.get(dtype, dtype)
        if self.result == "pair":
            return "complex128" if dtype == "float64" else "complex64"
        return dtype if self.result == "same" else self.result


OPS: dict[str, Op] = {}
Oracle = Callable[..., Any]


def _op(
    name: str, arity: int, kinds: str, oracle: Any, c: str | dict[str, str], result: str = "same", costly: bool = False
) -> None:
    table = dict.fromkeys(kinds, c) if isinstance(c, str) else c
    OPS[name] = Op(name, arity, kinds, result, table, oracle, costly)


def _wrap(symbol: str, name: str) -> dict[str, str]:
    return {
        "c": f"{name}_{{t}}({{0}}, {{1}})",
        "f": f"({{0}} {symbol} {{1}})",
        "u": f"({{t}})({{0}} {symbol} {{1}})",
        "i": f"({{t}})(({{u}}){{0}} {symbol} ({{u}}){{1}})",
    }


def _erf(x: Any) -> Any:
    from math import erf  # NumPy has none; exact to the last digit, slow, and only an oracle

    return np.vectorize(erf, otypes=[np.float64])(x)


def _floor_divide(a: Any, b: Any) -> Any:
    """NumPy's, but an infinite operand gives a / b, as the array API standard says where NumPy gives NaN or -1."""
    a, b = np.asarray(a), np.asarray(b)
    quotient = np.floor_divide(a, b)
    if quotient.dtype.kind != "f":
        return quotient
    return np.where(np.isinf(a) | np.isinf(b), np.divide(a, b), quotient).astype(quotient.dtype)[()]


def _power(a: Any, b: Any) -> Any:
    """NumPy's, but it refuses negative powers of integers: here they are rounded towards zero, 0's are 0."""
    if np.asarray(a).dtype.kind != "i" or not np.any(np.less(b, 0)):
        return np.power(a, b)  # as they come: a Python scalar is weak
    a, b = np.asarray(a), np.asarray(b)
    ones = np.where(b % 2 == 0, a * a, a)  # of 1 and -1
    return np.where(b >= 0, np.power(a, np.maximum(b, 0)), np.where(np.abs(a) == 1, ones, 0)).astype(a.dtype)[()]


def _expm1(x: Any) -> Any:
    """NumPy's, but for complex x the standard's special values: expm1(a) cos b - 2 sin(b/2)^2 + i exp(a) sin b."""
    x = np.asarray(x)
    if x.dtype.kind != "c":
        return np.expm1(x)
    a, b = x.real, x.imag
    lost = np.isinf(a) & ~np.isfinite(b)  # an infinite modulus with no direction, or none at all
    result = np.empty_like(x)
    result.real = np.where(b == 0, np.expm1(a) + 0.0, np.expm1(a) * np.cos(b) - 2 * np.sin(b / 2) ** 2)  # no -0
    result.real = np.where(a == -np.inf, -1, np.where(lost, np.inf, result.real))
    result.imag = np.where(b == 0, b, np.exp(a) * np.sin(b))
    result.imag = np.where(lost, np.where(a > 0, np.nan, 0), result.imag)
    return result[()]


def _tanh(x: Any) -> Any:
    """NumPy's, but where a complex x is infinite along the real axis, its imaginary part keeps x's sign."""
    x = np.asarray(x)
    result = np.tanh(x)
    if x.dtype.kind == "c":
        result = np.where(np.isinf(x.real) & np.isfinite(x.imag), np.copysign(1, x.real) + 0j, result).astype(x.dtype)
        result.imag = np.where(np.isinf(x.real) & np.isfinite(x.imag), np.copysign(0, x.imag), result.imag)
    return result[()]


def _pair(re: Any, im: Any) -> Any:
    """re + i im, but exactly: infinity times i is no longer an infinity without a real part."""
    result = np.empty(np.broadcast(re, im).shape, np.result_type(re, im, np.complex64))
    result.real, result.imag = re, im
    return result


# arithmetic
_op("add", 2, "fiuc", np.add, _wrap("+", "add"))
_op("sub", 2, "fiuc", np.subtract, _wrap("-", "sub"))
_op("mul", 2, "fiuc", np.multiply, {**_wrap("*", "mul"), **dict.fromkeys("iu", "({t})((u64){0} * (u64){1})")})
_op("div", 2, "fc", np.divide, {"f": "({0} / {1})", "c": "div_{t}({0}, {1})"})
_op("floordiv", 2, "fiu", _floor_divide, {k: "floordiv_{t}({0}, {1})" for k in "fiu"}, costly=True)
_op("mod", 2, "fiu", np.remainder, {k: "mod_{t}({0}, {1})" for k in "fiu"}, costly=True)
_op("neg", 1, "fiuc", np.negative, {"f": "(-{0})", "i": "({t})(0 - ({u}){0})", "u": "({t})(0 - {0})", "c": "neg_{t}({0})"})  # fmt: skip
_op("abs", 1, "fiuc", np.abs, {"f": "fabs_{t}({0})", "i": "({t})({0} < 0 ? 0 - ({u}){0} : ({u}){0})", "u": "{0}", "c": "abs_{t}({0})"}, result="part")  # fmt: skip
_op("sign", 1, "fiu", np.sign, {"f": "({0} != {0} ? {0} : ({t})(({0} > 0) - ({0} < 0)))", "i": "({t})(({0} > 0) - ({0} < 0))", "u": "({t})({0} > 0)"})  # fmt: skip
_op("max", 2, "fiub", np.maximum, {"f": "max_nan_{t}({0}, {1})", "i": "({0} > {1} ? {0} : {1})", "u": "({0} > {1} ? {0} : {1})", "b": "({0} | {1})"})  # fmt: skip
_op("min", 2, "fiub", np.minimum, {"f": "min_nan_{t}({0}, {1})", "i": "({0} < {1} ? {0} : {1})", "u": "({0} < {1} ? {0} : {1})", "b": "({0} & {1})"})  # fmt: skip
_op("pow", 2, "fiu", _power, {"f": "pow_{t}({0}, {1})", "i": "ipow_{t}({0}, {1})", "u": "ipow_{t}({0}, {1})"}, costly=True)  # fmt: skip

# rounding
_ROUNDING: tuple[tuple[str, str, Oracle], ...] = (
    ("floor", "floor", np.floor), ("ceil", "ceil", np.ceil), ("trunc", "trunc", np.trunc), ("round", "rint", np.round),
)  # fmt: skip
for _name, _c, _oracle in _ROUNDING:
    _op(_name, 1, "fiu", _oracle, {"f": f"{_c}_{{t}}({{0}})", "i": "{0}", "u": "{0}"})

# transcendental
_op("sqrt", 1, "f", np.sqrt, "sqrt_{t}({0})")
_UNARY: tuple[tuple[str, Oracle], ...] = (
    ("exp", np.exp), ("expm1", _expm1), ("exp2", np.exp2), ("log", np.log), ("log1p", np.log1p), ("log2", np.log2),
    ("log10", np.log10), ("sin", np.sin), ("cos", np.cos), ("tan", np.tan), ("asin", np.arcsin), ("acos", np.arccos),
    ("atan", np.arctan), ("sinh", np.sinh), ("cosh", np.cosh), ("tanh", _tanh), ("asinh", np.arcsinh),
    ("acosh", np.arccosh), ("atanh", np.arctanh), ("erf", _erf),
)  # fmt: skip
for _name, _oracle in _UNARY:
    _op(_name, 1, "f", _oracle, f"{_name}_{{t}}({{0}})", costly=True)
_BINARY: tuple[tuple[str, Oracle], ...] = (("atan2", np.arctan2), ("hypot", np.hypot), ("nextafter", np.nextafter))
for _name, _oracle in _BINARY:
    _op(_name, 2, "f", _oracle, f"{_name}_{{t}}({{0}}, {{1}})", costly=True)
_op("copysign", 2, "f", np.copysign, "copysign_{t}({0}, {1})")
_op("logaddexp", 2, "f", np.logaddexp, "logaddexp_{t}({0}, {1})", costly=True)

# comparison and logic; results are bool
_COMPARISON: tuple[tuple[str, str, Oracle], ...] = (
    ("eq", "==", np.equal), ("ne", "!=", np.not_equal), ("lt", "<", np.less), ("le", "<=", np.less_equal),
    ("gt", ">", np.greater), ("ge", ">=", np.greater_equal),
)  # fmt: skip
_EQUAL = {"eq": {"c": "eq_{t}({0}, {1})"}, "ne": {"c": "!eq_{t}({0}, {1})"}}  # complex numbers have no order
for _name, _symbol, _oracle in _COMPARISON:
    _spelled = dict.fromkeys("fiub", f"(b8)({{0}} {_symbol} {{1}})") | _EQUAL.get(_name, {})
    _op(_name, 2, "".join(_spelled), _oracle, _spelled, result="bool")
_op("isnan", 1, "fc", np.isnan, {"f": "(b8)({0} != {0})", "c": "isnan_{t}({0})"}, result="bool")
_op("isinf", 1, "fc", np.isinf, {"f": "(b8)(fabs_{t}({0}) == INF_{t})", "c": "isinf_{t}({0})"}, result="bool")
_op("isfinite", 1, "fc", np.isfinite, {"f": "(b8)(fabs_{t}({0}) < INF_{t})", "c": "isfinite_{t}({0})"}, result="bool")
_op("signbit", 1, "f", np.signbit, "(b8)(copysign_{t}(1, {0}) < 0)", result="bool")
_op("not", 1, "b", np.logical_not, "(b8)({0} ^ 1)")
_BITWISE: tuple[tuple[str, str, Oracle], ...] = (
    ("and", "&", np.bitwise_and), ("or", "|", np.bitwise_or), ("xor", "^", np.bitwise_xor),
)  # fmt: skip
for _name, _symbol, _oracle in _BITWISE:
    _op(_name, 2, "iub", _oracle, f"({{t}})({{0}} {_symbol} {{1}})")
_op("invert", 1, "iub", np.invert, {"i": "({t})(~{0})", "u": "({t})(~{0})", "b": "(b8)({0} ^ 1)"})
# A shift by the width or more is undefined in C; NumPy gives 0, or all sign bits to the right.
_op("shl", 2, "iu", np.left_shift, {k: "({t})((u64){1} >= sizeof({t}) * 8 ? 0 : ({u}){0} << {1})" for k in "iu"})
_op("shr", 2, "iu", np.right_shift, {"i": "({t})({0} >> ((u64){1} >= sizeof({t}) * 8 ? sizeof({t}) * 8 - 1 : {1}))", "u": "({t})((u64){1} >= sizeof({t}) * 8 ? 0 : {0} >> {1})"})  # fmt: skip

# random words from a counter and a key, numbers below a bound from two or four words, and normal deviates: see philox.py
for _k in range(4):
    _op(f"philox{_k}", 6, "u", partial(philox.word, _k), f"({{t}})philox({{0}}, {{1}}, {{2}}, {{3}}, {{4}}, {{5}}, {_k})", costly=True)  # fmt: skip
for _k in range(2):
    _op(f"below64_{_k}", 6, "u", partial(philox.below64, _k), f"({{t}})(below_u64({{0}}, {{1}}, {{2}}, {{3}}, {{4}}, {{5}}) >> {32 * _k})", costly=True)  # fmt: skip
_op("below32", 3, "u", philox.below32, "({t})below_u32({0}, {1}, {2})", costly=True)
_op("normal32", 1, "u", philox.normal32, "normal_f32({0})", result="float32", costly=True)
_op("normal64", 2, "u", philox.normal64, "normal_f64({0}, {1})", result="float64", costly=True)

# complex numbers of floats and back; two constants make a complex one
_op("complex", 2, "f", _pair, "complex_{t}({0}, {1})", result="pair")
_op("real", 1, "c", np.real, "({0}.re)", result="part")
_op("imag", 1, "c", np.imag, "({0}.im)", result="part")
_op("conj", 1, "c", np.conj, "conj_{t}({0})")

# where(condition, a, b): the first operand is bool, the result has the dtype of the others
_op("where", 3, "fiubc", np.where, {**dict.fromkeys("fiub", "({0} ? {1} : {2})"), "c": "where_{t}({0}, {1}, {2})"})


def _spread(x: Any, axis: int) -> Any:
    """The sum of squared deviations from the mean; 0 of nothing."""
    return np.sum((x - np.sum(x, axis=axis, keepdims=True) / max(1, x.shape[axis])) ** 2, axis=axis)


def _mean_offset(x: Any, axis: int) -> Any:
    """The mean of what the caller has taken the line's first element from; 0 of nothing."""
    return np.sum(x, axis=axis) / max(1, x.shape[axis])


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reduction: `combine` is an op of OPS, `start` its neutral element per dtype kind as a C expression."""

    name: str
    combine: str
    start: dict[str, str] = field(hash=False)
    oracle: Callable[..., Any] = field(hash=False, compare=False)


REDUCTIONS: dict[str, Reduction] = {
    "sum": Reduction("sum", "add", {**dict.fromkeys("fiu", "0"), "c": "complex_{p}(0, 0)"}, np.sum),
    "prod": Reduction("prod", "mul", {**dict.fromkeys("fiu", "1"), "c": "complex_{p}(1, 0)"}, np.prod),
    "max": Reduction("max", "max", {"f": "-INF_{t}", "i": "MIN_{t}", "u": "0", "b": "0"}, np.max),
    "min": Reduction("min", "min", {"f": "INF_{t}", "i": "MAX_{t}", "u": "MAX_{t}", "b": "1"}, np.min),
    "spread": Reduction("spread", "add", {"f": "0"}, _spread),
    "offset": Reduction("offset", "add", {"f": "0"}, _mean_offset),
}
"""The last two of floats only, see kernels/spread.py: the sum of squared deviations from the mean, and beside one of the
same elements, how far that mean is from the line's first element. Their `combine` is that of the sums inside."""
