"""Steps that compute element by element."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.frontend.differential.drawing import (
    DTYPES,
    LIBM,
    SCALARS,
    Draw,
    castable,
    data,
    partner,
    pick,
    together,
    written,
)
from tests.frontend.differential.machine import Machine, Pair


def like(m: Machine, draw: Draw) -> None:
    """An array that goes with one of the pool: the same shape or one that broadcasts, any dtype."""
    x = pick(m, draw)
    shape = tuple(e if draw(st.integers(0, 4)) else 1 for e in x.theirs.shape)
    shape = shape[draw(st.integers(0, len(shape))) :] if draw(st.booleans()) else shape
    m.put(data(draw, draw(st.sampled_from([x.theirs.dtype.name, *DTYPES])), shape))


EXACT = {
    "abs": "biuf", "negative": "iufc", "positive": "iufc", "ceil": "biuf", "floor": "biuf", "trunc": "biuf",
    "round": "iuf", "sign": "iuf", "sqrt": "biuf", "square": "iuf", "isnan": "biufc", "isinf": "biufc",
    "isfinite": "biufc", "signbit": "biuf", "logical_not": "biuf", "bitwise_invert": "biu", "conj": "iufc",
    "real": "iufc", "imag": "c",
}  # fmt: skip
CLOSE = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "sin",
    "sinh",
    "tan",
    "tanh",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "reciprocal",
]
BINARY = {
    "add": "biufc", "subtract": "biufc", "multiply": "biuf", "divide": "biuf", "maximum": "biuf", "minimum": "biuf",
    "floor_divide": "biuf", "remainder": "biuf", "copysign": "f", "nextafter": "f", "equal": "biufc",
    "not_equal": "biufc", "less": "biuf", "less_equal": "biuf", "greater": "biuf", "greater_equal": "biuf",
    "logical_and": "biuf", "logical_or": "biuf", "logical_xor": "biuf", "bitwise_and": "biuf", "bitwise_or": "biu",
    "bitwise_xor": "biu", "bitwise_left_shift": "biu", "bitwise_right_shift": "biu",
}  # fmt: skip
CLOSE_BINARY = {"atan2": "biuf", "hypot": "biuf", "logaddexp": "biuf", "pow": "f"}
OPERATORS = {
    "+": (operator.add, operator.iadd), "-": (operator.sub, operator.isub), "*": (operator.mul, operator.imul),
    "/": (operator.truediv, operator.itruediv), "//": (operator.floordiv, operator.ifloordiv),
    "%": (operator.mod, operator.imod), "&": (operator.and_, operator.iand), "|": (operator.or_, operator.ior),
    "^": (operator.xor, operator.ixor), "<<": (operator.lshift, operator.ilshift),
    ">>": (operator.rshift, operator.irshift), "**": (operator.pow, operator.ipow),
}  # fmt: skip
COMPARISONS = {"==": operator.eq, "<": operator.lt, ">=": operator.ge, "!=": operator.ne}


def unary(m: Machine, draw: Draw) -> None:
    name = draw(st.sampled_from(sorted(EXACT)))
    x = pick(m, draw, EXACT[name])
    m.make(f"xp.{name}({x.name})", lambda xp, a: _fresh(xp, getattr(xp, name)(a)), x)


def _fresh(xp: Any, x: Any) -> Any:
    return np.array(x) if xp is np else x  # NumPy's real() is a view


def transcendental(m: Machine, draw: Draw) -> None:
    name = draw(st.sampled_from(CLOSE))
    x = pick(m, draw, "f" if name == "reciprocal" else "biuf")
    m.make(f"xp.{name}({x.name})", lambda xp, a: getattr(xp, name)(a), x, ulps=LIBM)


def binary(m: Machine, draw: Draw) -> None:
    name = draw(st.sampled_from(sorted(BINARY)))
    x = pick(m, draw, BINARY[name])
    y = partner(m, draw, x, BINARY[name])
    if not _unclear(name, x.theirs, y.theirs):
        call = lambda xp, a, b: getattr(xp, name)(a, b)  # noqa: E731
        m.make(f"xp.{name}({x.name}, {y.name})", call, x, y, ulps=rounding(name, x, y))


def rounding(name: str, *pairs: Pair) -> float | None:
    """Complex products and quotients are rounded in more than one way; all else here is exact."""
    inexact = name in ("multiply", "divide", "*", "/", "**")
    return LIBM if inexact and any(p.theirs.dtype.kind == "c" for p in pairs) else None


def close_binary(m: Machine, draw: Draw) -> None:
    name = draw(st.sampled_from(sorted(CLOSE_BINARY)))
    x = pick(m, draw, CLOSE_BINARY[name])
    y = partner(m, draw, x, CLOSE_BINARY[name])
    m.make(f"xp.{name}({x.name}, {y.name})", lambda xp, a, b: getattr(xp, name)(a, b), x, y, ulps=LIBM)


def _operand(m: Machine, draw: Draw, x: Pair) -> tuple[Any, list[Pair]]:
    """A Python scalar, or an array as a pair."""
    if draw(st.booleans()):
        return draw(SCALARS), []
    return None, [partner(m, draw, x)]


def _unclear(symbol: str, *sides: Any) -> bool:
    """Where there is nothing to compare: NumPy goes its own way, or none that is written down."""
    x, y = map(np.asarray, sides)
    kinds = {x.dtype.kind, y.dtype.kind}
    if symbol == "**":  # NumPy has int8 for squares of booleans; integers to negative powers fail for some data only
        return "b" in kinds or (kinds <= set("iu") and bool((y < 0).any()))
    if symbol in ("//", "floor_divide"):  # the standard says what inf // x is, NumPy says NaN
        return not (np.isfinite(x).all() and np.isfinite(y).all())
    return symbol in ("<", ">=") and "c" in kinds  # NumPy orders complex numbers


def infix(m: Machine, draw: Draw) -> None:
    symbol = draw(st.sampled_from(sorted({**OPERATORS, **COMPARISONS})))
    x = pick(m, draw)
    scalar, others = _operand(m, draw, x)
    y: Any = others[0].theirs if others else scalar
    if _unclear(symbol, x.theirs, y) or (not others and _unclear(symbol, y, x.theirs)):
        return
    function = OPERATORS[symbol][0] if symbol in OPERATORS else COMPARISONS[symbol]
    inexact = symbol == "**" or (symbol in "*/" and "c" in (x.theirs.dtype.kind, np.asarray(y).dtype.kind))
    ulps = LIBM if inexact else None
    if others:
        text, strict = f"{x.name} {symbol} {others[0].name}", together(x.theirs.shape, y.shape)
        m.make(text, lambda xp, a, b: function(a, b), x, others[0], ulps=ulps, strict=strict)
    elif draw(st.booleans()):
        m.make(f"{x.name} {symbol} {scalar!r}", lambda xp, a: function(a, scalar), x, ulps=ulps)
    else:
        m.make(f"{scalar!r} {symbol} {x.name}", lambda xp, a: function(scalar, a), x, ulps=ulps)


def inplace(m: Machine, draw: Draw) -> None:
    symbol = draw(st.sampled_from(sorted(set(OPERATORS) - {"**"})))
    x = written(m, draw)
    scalar, others = _operand(m, draw, x)
    y: Any = others[0].theirs if others else scalar
    if "c" in (x.theirs.dtype.kind, np.asarray(y).dtype.kind) and symbol in "*/":
        return
    if _unclear(symbol, x.theirs, y):
        return
    change = OPERATORS[symbol][1]
    if others:
        m.make(
            f"{x.name} {symbol}= {others[0].name}",
            lambda xp, a, b: _nothing(change(a, b), a),
            x,
            others[0],
            strict=False,
        )
    else:
        m.make(f"{x.name} {symbol}= {scalar!r}", lambda xp, a: _nothing(change(a, scalar), a), x)


def _nothing(result: Any, target: Any) -> None:
    assert result is target, "an in-place operator returns its left operand"


def clip(m: Machine, draw: Draw) -> None:
    x = pick(m, draw, "iuf")
    low, high = draw(st.sampled_from([(-2, 3), (None, 1), (0, None), (None, None), (3, -2), (0.5, 2)]))
    if low == 0.5 and x.theirs.dtype.kind != "f":
        return
    m.make(
        f"xp.clip({x.name}, {low}, {high})",
        lambda xp, a: np.array(xp.clip(a, low, high)) if xp is np else xp.clip(a, low, high),
        x,
    )


def where(m: Machine, draw: Draw) -> None:
    c = pick(m, draw, "b")
    x = partner(m, draw, c)
    y = partner(m, draw, c)
    if not together(
        x.theirs.shape, np.broadcast(c.theirs, y.theirs).shape if together(c.theirs.shape, y.theirs.shape) else (9, 9)
    ):
        return  # NumPy's where() takes some shapes that do not broadcast, where there are no elements
    m.make(f"xp.where({c.name}, {x.name}, {y.name})", lambda xp, *parts: xp.where(*parts), c, x, y)


def astype(m: Machine, draw: Draw) -> None:
    x, dtype = pick(m, draw), draw(st.sampled_from(DTYPES))
    if castable(x.theirs, dtype):
        m.make(f"xp.astype({x.name}, '{dtype}')", lambda xp, a: xp.astype(a, getattr(xp, dtype)), x)
