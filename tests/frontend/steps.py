"""What a random program may do: each step draws its operands from the machine's pool and does it on both sides."""

from __future__ import annotations

import copy as copies
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tilewright as tw
from tests.frontend.keys import basic_keys, mixed_keys, on
from tests.frontend.machine import Data, Machine, Pair

Draw = Callable[[Any], Any]
REAL = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
DTYPES = (*REAL, "float16", "complex64", "complex128")
SHAPES = st.lists(st.sampled_from([2, 3, 1, 4, 0, 2, 3, 1, 7]), max_size=3).map(tuple)
SEEDS = st.integers(0, 2**16)
SPECIALS = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -0.5, 1.5, 2.5, 3.0, 1e30, -1e30, 1e-42, 1e-310, 65504.0)
SCALARS = st.sampled_from([0, 1, -1, 2, 3, True, False, 0.5, -1.5, 2.0, 100, 300, -129, 2**40, float("inf"), 1j, 2.5 - 1j])


def data(draw: Draw, dtype: str, shape: tuple[int, ...]) -> Data:
    """Small numbers, any numbers, or the special ones of that dtype."""
    rng = np.random.default_rng(draw(SEEDS))
    kind, flavour = np.dtype(dtype).kind, draw(st.sampled_from(["small", "small", "any", "special"]))
    if kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if kind in "iu":
        info = np.iinfo(dtype)
        if flavour == "small":
            return rng.integers(max(info.min, -9), 10, shape).astype(dtype)
        if flavour == "any":
            return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
        return rng.choice(np.array([0, 1, 2, info.max, info.min, info.max - 1, info.max // 2], dtype), shape)
    if kind == "c":
        half = "float32" if dtype == "complex64" else "float64"
        return (rng.integers(-9, 10, shape) / 4 + 1j * rng.integers(-9, 10, shape) / 4 if flavour == "small"
                else rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(half if 0 else dtype)
    if flavour == "small":
        return (rng.integers(-36, 37, shape) / 4).astype(dtype)
    if flavour == "any":
        return rng.standard_normal(shape).astype(dtype)
    with np.errstate(all="ignore"):
        return rng.choice(np.array(SPECIALS), shape).astype(dtype)


def new(m: Machine, draw: Draw) -> None:
    m.put(data(draw, draw(st.sampled_from(DTYPES)), draw(SHAPES)))


def like(m: Machine, draw: Draw) -> None:
    """An array that goes with one of the pool: the same shape or one that broadcasts, any dtype."""
    x = pick(m, draw)
    shape = tuple(e if draw(st.integers(0, 4)) else 1 for e in x.theirs.shape)
    shape = shape[draw(st.integers(0, len(shape))) :] if draw(st.booleans()) else shape
    m.put(data(draw, draw(st.sampled_from([x.theirs.dtype.name, *DTYPES])), shape))


def pick(m: Machine, draw: Draw, kinds: str = "biufc") -> Pair:
    """One of the pool, of these kinds if there is one; the latest are likeliest."""
    found = [p for p in m.pool if p.theirs.dtype.kind in kinds]
    if not found:
        dtype = {"b": "bool", "i": "int32", "f": "float32", "c": "complex64"}[kinds[0]]
        return m.put(data(draw, dtype, draw(SHAPES)))
    return found[-1 - draw(st.integers(0, min(len(found), 6) - 1))]


def written(m: Machine, draw: Draw) -> Pair:
    """One that may be written to, which NumPy says of no broadcast view and nothing that looks at one."""
    x = pick(m, draw)
    return x if x.theirs.flags.writeable else m.put(x.theirs)


def partner(m: Machine, draw: Draw, x: Pair, kinds: str = "biufc") -> Pair:
    """One of the pool that broadcasts with `x`, or a new one; now and then one that may not."""
    if not draw(st.integers(0, 9)):
        return pick(m, draw, kinds)
    found = [p for p in m.pool if p.theirs.dtype.kind in kinds and _together(p.theirs.shape, x.theirs.shape)]
    if found and draw(st.booleans()):
        return found[-1 - draw(st.integers(0, min(len(found), 6) - 1))]
    names = [d for d in DTYPES if np.dtype(d).kind in kinds]
    return m.put(data(draw, draw(st.sampled_from(names)), x.theirs.shape))


def _together(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


# elementwise

EXACT = {
    "abs": "biuf", "negative": "iufc", "positive": "iufc", "ceil": "biuf", "floor": "biuf", "trunc": "biuf",
    "round": "iuf", "sign": "iuf", "sqrt": "biuf", "square": "iuf", "isnan": "biufc", "isinf": "biufc",
    "isfinite": "biufc", "signbit": "biuf", "logical_not": "biuf", "bitwise_invert": "biu", "conj": "iufc",
    "real": "iufc", "imag": "c",
}  # fmt: skip
CLOSE = (
    "acos acosh asin asinh atan atanh cos cosh sin sinh tan tanh exp expm1 log log1p log2 log10 reciprocal".split()
)
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
LIBM = 8
"""Units in the last place: libmvec and NumPy's SVML are each off by up to 4."""


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
    m.make(f"xp.{name}({x.name}, {y.name})", lambda xp, a, b: getattr(xp, name)(a, b), x, y, ulps=rounding(name, x, y))


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


def _unclear(symbol: str, x: Pair, y: Any) -> bool:
    """What NumPy or C leave open, so that there is nothing to compare: see the README of the suite."""
    kinds = x.theirs.dtype.kind, np.asarray(y).dtype.kind
    if symbol == "**":
        return set(kinds) <= set("biu") and bool((np.asarray(y) < 0).any())  # an error in NumPy, of the data
    return symbol in ("<", ">=") and "c" in kinds


def infix(m: Machine, draw: Draw) -> None:
    symbol = draw(st.sampled_from(sorted({**OPERATORS, **COMPARISONS})))
    x = pick(m, draw)
    scalar, others = _operand(m, draw, x)
    y: Any = others[0].theirs if others else scalar
    if _unclear(symbol, x, y) or (not others and _unclear(symbol, Pair("", None, np.asarray(y)), x.theirs)):
        return
    function = OPERATORS[symbol][0] if symbol in OPERATORS else COMPARISONS[symbol]
    ulps = LIBM if symbol == "**" or (symbol in "*/" and "c" in (x.theirs.dtype.kind, np.asarray(y).dtype.kind)) else None
    if others:
        m.make(f"{x.name} {symbol} {others[0].name}", lambda xp, a, b: function(a, b), x, others[0], ulps=ulps)
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
    change = OPERATORS[symbol][1]
    if others:
        m.make(f"{x.name} {symbol}= {others[0].name}", lambda xp, a, b: _nothing(change(a, b), a), x, others[0],
               strict=False)
    else:
        m.make(f"{x.name} {symbol}= {scalar!r}", lambda xp, a: _nothing(change(a, scalar), a), x)


def _nothing(result: Any, target: Any) -> None:
    assert result is target, "an in-place operator returns its left operand"


def clip(m: Machine, draw: Draw) -> None:
    x = pick(m, draw, "iuf")
    low, high = draw(st.sampled_from([(-2, 3), (None, 1), (0, None), (None, None), (3, -2), (0.5, 2)]))
    if low == 0.5 and x.theirs.dtype.kind != "f":
        return
    m.make(f"xp.clip({x.name}, {low}, {high})", lambda xp, a: np.array(xp.clip(a, low, high)) if xp is np
           else xp.clip(a, low, high), x)


def where(m: Machine, draw: Draw) -> None:
    c = pick(m, draw, "b")
    x = partner(m, draw, c)
    y = partner(m, draw, c)
    if not _together(x.theirs.shape, np.broadcast(c.theirs, y.theirs).shape if _together(c.theirs.shape, y.theirs.shape) else (9, 9)):
        return  # NumPy's where() takes some shapes that do not broadcast, where there are no elements
    m.make(f"xp.where({c.name}, {x.name}, {y.name})", lambda xp, *parts: xp.where(*parts), c, x, y)


def astype(m: Machine, draw: Draw) -> None:
    x, dtype = pick(m, draw), draw(st.sampled_from(DTYPES))
    if castable(x.theirs, dtype):
        m.make(f"xp.astype({x.name}, '{dtype}')", lambda xp, a: xp.astype(a, getattr(xp, dtype)), x)


def castable(x: Data, dtype: str) -> bool:
    """Whether the standard says what it converts to: floats that an integer dtype cannot hold it leaves open."""
    target = np.dtype(dtype)
    if x.dtype.kind == "c" and target.kind != "c":
        return False
    if x.dtype.kind != "f" or target.kind not in "iu":
        return True
    info = np.iinfo(target)
    with np.errstate(all="ignore"):
        wide = np.trunc(x.astype(np.float64))
        return bool((np.isfinite(wide) & (wide >= float(info.min)) & (wide < float(info.max) + 1)).all())


# indexing

def getitem(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    key = draw(basic_keys(x.theirs.shape))
    m.make(f"{x.name}[{key!r}]", lambda xp, a: a[_viewing(xp, key)], x)


def _viewing(xp: Any, key: Any) -> Any:
    """NumPy gives scalars, not views, where all axes are named, unless there are dots."""
    return key if xp is tw or Ellipsis in key else (*key, Ellipsis)


def gather(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    key = draw(mixed_keys(x.theirs.shape))
    m.make(f"{x.name}[{key!r}]", lambda xp, a: a[on(xp, key, m.device)], x)


def setitem(m: Machine, draw: Draw) -> None:
    x = written(m, draw)
    keys = basic_keys if draw(st.integers(0, 2)) else mixed_keys
    key = draw(keys(x.theirs.shape))
    key = key if keys is mixed_keys or Ellipsis in key else (*key, Ellipsis)  # NumPy's elements take no arrays of one
    try:
        target = np.shape(x.theirs[key])
    except IndexError:
        target = ()
    if draw(st.booleans()):
        scalar = draw(SCALARS.filter(lambda s: x.theirs.dtype.kind not in "iu" or castable(np.asarray(s), x.theirs.dtype.name)))
        if x.theirs.dtype.kind != "c" and isinstance(scalar, complex):
            return
        m.make(f"{x.name}[{key!r}] = {scalar!r}", lambda xp, a: operator.setitem(a, on(xp, key, m.device), scalar), x)
        return
    y = pick(m, draw)
    if not _together(y.theirs.shape, target):
        shape = tuple(e if draw(st.booleans()) else 1 for e in target)
        y = m.put(data(draw, draw(st.sampled_from([x.theirs.dtype.name, *DTYPES])), shape))
    if castable(y.theirs, x.theirs.dtype.name):
        m.make(f"{x.name}[{key!r}] = {y.name}", lambda xp, a, b: operator.setitem(a, on(xp, key, m.device), b), x, y,
               strict=False)


def take(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    if not x.theirs.ndim:
        return
    axis = draw(st.integers(-x.theirs.ndim, x.theirs.ndim - 1))
    extent = x.theirs.shape[axis]
    if not x.theirs.size:
        return  # NumPy does not check indices where there is nothing to take
    at = draw(st.lists(st.integers(-extent, extent), max_size=4))
    key = np.asarray(at, "int64")
    m.make(f"xp.take({x.name}, {at}, axis={axis})", lambda xp, a: xp.take(a, on(xp, key, m.device), axis=axis), x)


def take_along(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    if not x.theirs.ndim:
        return
    axis = draw(st.integers(-x.theirs.ndim, x.theirs.ndim - 1))
    shape = list(x.theirs.shape)
    extent, shape[axis] = shape[axis], draw(st.integers(0, 3))
    if not extent:
        return
    key = np.random.default_rng(draw(SEEDS)).integers(-extent, extent, shape)
    m.make(f"xp.take_along_axis({x.name}, {key.tolist()}, axis={axis})",
           lambda xp, a: xp.take_along_axis(a, on(xp, key, m.device), axis=axis), x)


# shape

def reshape(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    size = x.theirs.size
    options: list[Any] = [(-1,), (size,), (1, -1), (-1, 1), (2, -1), (3, -1), (size, 1, 1), (-1, 2), (2, 2, -1), (5, 0), ()]
    shape = draw(st.sampled_from(options))
    copy = draw(st.sampled_from([None, None, True]))
    m.make(f"xp.reshape({x.name}, {shape}, copy={copy})", lambda xp, a: xp.reshape(a, shape, copy=copy), x)


def rearrange(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    ndim = x.theirs.ndim
    axis = draw(st.integers(-ndim - 1, ndim)) if ndim else 1  # NumPy lets 0-dimensional ones have an axis 0
    order = draw(st.permutations(range(ndim)))
    other = draw(st.integers(-ndim - 1, ndim))
    functions: dict[str, Callable[[Any, Any], Any]] = {
        f"xp.permute_dims({x.name}, {order})": lambda xp, a: xp.permute_dims(a, tuple(order)),
        f"xp.expand_dims({x.name}, axis={axis})": lambda xp, a: xp.expand_dims(a, axis=axis),
        f"xp.squeeze({x.name}, axis={axis})": lambda xp, a: xp.squeeze(a, axis=axis),
        f"xp.flip({x.name}, axis={axis})": lambda xp, a: xp.flip(a, axis=axis),
        f"xp.flip({x.name})": lambda xp, a: xp.flip(a),
        f"xp.moveaxis({x.name}, {axis}, {other})": lambda xp, a: xp.moveaxis(a, axis, other),
        f"{x.name}.T": lambda xp, a: a.T,
        f"xp.unstack({x.name}, axis={axis})": lambda xp, a: _views(xp, a, axis),
        f"xp.tril({x.name}, k={axis})": lambda xp, a: _copied(xp, "tril", a, k=axis),
        f"xp.triu({x.name}, k={axis})": lambda xp, a: _copied(xp, "triu", a, k=axis),
        f"xp.roll({x.name}, {other}, axis={axis})": lambda xp, a: xp.roll(a, other, axis=axis),
        f"xp.roll({x.name}, {other})": lambda xp, a: xp.roll(a, other),
        f"xp.tile({x.name}, ({ndim}, 2))": lambda xp, a: xp.tile(a, (ndim, 2)),
        f"xp.repeat({x.name}, 2, axis={axis})": lambda xp, a: xp.repeat(a, 2, axis=axis),
        f"xp.diff({x.name}, axis={axis})": lambda xp, a: xp.diff(a, axis=axis),
        f"xp.linalg.diagonal({x.name}, offset={axis})": lambda xp, a: _copied(xp, "diagonal", a, offset=axis),
        f"{x.name}.mT": lambda xp, a: a.mT,
    }  # fmt: skip
    text = draw(st.sampled_from(sorted(functions)))
    if "tril" in text or "triu" in text:
        if ndim < 2:
            return  # NumPy makes a matrix of a line, the standard does not
    m.make(text, functions[text], x)


def _views(xp: Any, x: Any, axis: int) -> Any:
    if xp is tw or not x.ndim:
        return xp.unstack(x, axis=axis)
    return [np.moveaxis(x, axis, 0)[k, ...] for k in range(x.shape[axis])]  # of one axis NumPy gives scalars


def _copied(xp: Any, name: str, x: Any, **options: Any) -> Any:
    """A copy on both sides: NumPy's diagonal is read-only."""
    function = getattr(xp.linalg if name == "diagonal" else xp, name)
    return xp.asarray(function(x, **options), copy=True)


def broadcast(m: Machine, draw: Draw) -> None:
    x, extra = pick(m, draw), draw(st.sampled_from([(), (2,), (0,), (3, 1)]))
    shape = (*extra, *(3 if e == 1 and draw(st.booleans()) else e for e in x.theirs.shape))
    m.make(f"xp.broadcast_to({x.name}, {shape})", lambda xp, a: xp.broadcast_to(a, shape), x)


def join(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    y = partner(m, draw, x)
    axis = draw(st.integers(-x.theirs.ndim - 1, x.theirs.ndim) | st.none())
    if axis is None or draw(st.booleans()):
        m.make(f"xp.concat([{x.name}, {y.name}], axis={axis})", lambda xp, a, b: xp.concat([a, b], axis=axis), x, y)
    else:
        m.make(f"xp.stack([{x.name}, {y.name}], axis={axis})", lambda xp, a, b: xp.stack([a, b], axis=axis), x, y)


# reductions, sorting, products

def _axis(draw: Draw, x: Pair) -> Any:
    ndim = x.theirs.ndim
    if not ndim:
        return None
    one = st.integers(-ndim - 1, ndim) if not draw(st.integers(0, 9)) else st.integers(-ndim, ndim - 1)
    return draw(st.none() | one | st.lists(one, max_size=3).map(tuple))


def reduction(m: Machine, draw: Draw) -> None:
    name = draw(st.sampled_from(["max", "min", "any", "all", "count_nonzero", "argmax", "argmin"]))
    x = pick(m, draw, "biuf")
    axis = _axis(draw, x)
    if name.startswith("arg") and isinstance(axis, tuple):
        return
    keep = draw(st.booleans())
    ulps = 1.0 if name in ("max", "min") else None  # which of 0 and -0 is larger is left open
    m.make(f"xp.{name}({x.name}, axis={axis}, keepdims={keep})",
           lambda xp, a: getattr(xp, name)(a, axis=axis, keepdims=keep), x, ulps=ulps)


def total(m: Machine, draw: Draw) -> None:
    name = draw(st.sampled_from(["sum", "mean", "var", "std", "prod"]))
    x = pick(m, draw)
    axis, keep = _axis(draw, x), draw(st.booleans())
    options: dict[str, Any] = {"axis": axis, "keepdims": keep}
    if name in ("var", "std"):
        options["correction"] = draw(st.sampled_from([0, 1, 0.5]))
    elif name != "mean" and not draw(st.integers(0, 3)):
        options["dtype"] = draw(st.sampled_from(DTYPES))
        if not castable(x.theirs, options["dtype"]) or options["dtype"] == "bool":
            return
    text = f"xp.{name}({x.name}, {', '.join(f'{k}={v!r}' for k, v in options.items())})"
    m.make(text, lambda xp, a: getattr(xp, name)(a, **options), x, **terms(name, x.theirs, options))


def terms(name: str, x: Data, options: dict[str, Any]) -> dict[str, Any]:
    """How exact a sum can be: the order of its terms is free, so errors count in units of the sum of magnitudes."""
    with np.errstate(all="ignore"):
        size = np.abs(x.astype("complex128" if x.dtype.kind == "c" else "float64"))
        wild = not np.isfinite(size).all() or bool((size > 1e4).any())
        if wild and x.dtype.kind in "fc" or name == "prod" and x.dtype.kind in "fc":
            return {"ulps": 1e300, "scale": None}  # the order decides what overflows: dtype and shape only
        try:
            np.sum(size, axis=options["axis"])
        except ValueError:
            return {}
        scale = np.sum(size * size if name in ("var", "std") else size, axis=options["axis"], keepdims=options["keepdims"])
    return {"ulps": 64.0, "scale": scale}


def cumulative(m: Machine, draw: Draw) -> None:
    name = draw(st.sampled_from(["cumulative_sum", "cumulative_prod"]))
    x = pick(m, draw, "biu")
    if not x.theirs.ndim:
        return
    axis = draw(st.integers(-x.theirs.ndim - 1, x.theirs.ndim) | st.none())
    if axis is None and x.theirs.ndim > 1:
        axis = 0
    initial = draw(st.booleans())
    m.make(f"xp.{name}({x.name}, axis={axis}, include_initial={initial})",
           lambda xp, a: getattr(xp, name)(a, axis=axis, include_initial=initial), x)


def order(m: Machine, draw: Draw) -> None:
    x = pick(m, draw, "biuf")
    axis = draw(st.integers(-x.theirs.ndim, x.theirs.ndim - 1)) if x.theirs.ndim else -1
    name = draw(st.sampled_from(["sort", "argsort", "unique_values", "unique_counts", "unique_inverse", "unique_all", "nonzero"]))
    if name in ("sort", "argsort", "nonzero") and not x.theirs.ndim:
        return  # NumPy sorts even what has no axis
    if name in ("sort", "argsort"):
        m.make(f"xp.{name}({x.name}, axis={axis})", lambda xp, a: getattr(xp, name)(a, axis=axis, stable=True), x, ulps=1.0)
    elif name == "unique_values":
        m.make(f"xp.{name}({x.name})", lambda xp, a: np.sort(np.unique_values(a)) if xp is np else xp.unique_values(a), x, ulps=1)
    else:
        m.make(f"xp.{name}({x.name})", lambda xp, a: tuple(getattr(xp, name)(a)), x, ulps=1.0)


def search(m: Machine, draw: Draw) -> None:
    x, y = pick(m, draw, "iuf"), pick(m, draw, "iuf")
    if x.theirs.ndim != 1 or np.isnan(x.theirs.astype("float64")).any():
        return
    side = draw(st.sampled_from(["left", "right"]))
    m.make(f"xp.searchsorted(xp.sort({x.name}), {y.name}, side='{side}')",
           lambda xp, a, b: xp.searchsorted(xp.sort(a), b, side=side), x, y)


def product(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    y = pick(m, draw)
    if draw(st.booleans()) and x.theirs.ndim:
        rest = draw(st.sampled_from([(), (2,), (1,), (0,)]))
        dtype = draw(st.sampled_from([x.theirs.dtype.name, *DTYPES]))
        y = m.put(data(draw, dtype, (*x.theirs.shape[:-2], x.theirs.shape[-1], *rest)))
    name = draw(st.sampled_from(["matmul", "tensordot", "vecdot", "outer"]))
    a, b = x.theirs, y.theirs
    if name == "tensordot" and not (a.ndim and b.ndim):
        return  # an IndexError in NumPy
    if name == "outer":
        m.make(f"xp.linalg.outer({x.name}, {y.name})", lambda xp, a, b: xp.linalg.outer(a, b), x, y, ulps=LIBM)
        return
    call = {
        "matmul": lambda xp, a, b: xp.matmul(a, b), "tensordot": lambda xp, a, b: xp.tensordot(a, b, axes=1),
        "vecdot": lambda xp, a, b: xp.vecdot(a, b),
    }[name]  # fmt: skip
    m.make(f"xp.{name}({x.name}, {y.name})", call, x, y, **dots(call, a, b))


def dots(call: Callable[..., Any], a: Data, b: Data) -> dict[str, Any]:
    if not a.ndim or not b.ndim:
        return {}
    if not (set("fc") & {a.dtype.kind, b.dtype.kind}):
        return {"ulps": 1.0}
    wide = [np.abs(d.astype("complex128" if d.dtype.kind == "c" else "float64")) for d in (a, b)]
    if not all(np.isfinite(w).all() and (w < 1e4).all() for w in wide):
        return {"ulps": 1e300}
    try:
        return {"ulps": 64.0, "scale": call(np, *wide)}
    except ValueError:
        return {"ulps": 64.0}


# creation

def create(m: Machine, draw: Draw) -> None:
    dtype = draw(st.sampled_from([None, *DTYPES]))
    shape = draw(SHAPES)
    start, stop, step = (draw(st.integers(-6, 6)) for _ in range(3))
    number = draw(st.sampled_from([0, 1, 2, 5]))
    functions: dict[str, Callable[[Any], Any]] = {
        f"xp.zeros({shape}, dtype={dtype!r})": lambda xp: xp.zeros(shape, dtype=dtype, device=_place(xp, m)),
        f"xp.ones({shape}, dtype={dtype!r})": lambda xp: xp.ones(shape, dtype=dtype, device=_place(xp, m)),
        f"xp.full({shape}, {start}, dtype={dtype!r})": lambda xp: xp.full(shape, start, dtype=dtype, device=_place(xp, m)),
        f"xp.eye({number}, {stop}, k={start})": lambda xp: xp.eye(number, abs(stop), k=start, dtype=dtype or "float64", device=_place(xp, m)),
        f"xp.arange({start}, {stop}, {step})": lambda xp: xp.arange(start, stop, step, device=_place(xp, m)),
        f"xp.arange({start}, {stop}, {step / 4})": lambda xp: xp.arange(start, stop, step / 4, device=_place(xp, m)),
        f"xp.linspace({start}, {stop}, {number})": lambda xp: xp.linspace(start, stop, number, device=_place(xp, m)),
    }  # fmt: skip
    text = draw(st.sampled_from(sorted(functions)))
    if "arange" in text and not step:
        return  # a ZeroDivisionError in NumPy
    if "full" in text and start < 0 and dtype is not None and np.dtype(dtype).kind in "u":
        return
    m.make(text, functions[text], ulps=2.0)


def _place(xp: Any, m: Machine) -> str:
    return "cpu" if xp is np else m.device


def read(m: Machine, draw: Draw) -> None:
    m.compare(pick(m, draw))


def copy(m: Machine, draw: Draw) -> None:
    """All the ways to a copy, and those that only another name."""
    x = pick(m, draw)
    dtype = draw(st.sampled_from(DTYPES))
    functions: dict[str, Callable[[Any, Any], Any]] = {
        f"copy.copy({x.name})": lambda xp, a: copies.copy(a),
        f"copy.deepcopy({x.name})": lambda xp, a: copies.deepcopy(a),
        f"pickle.loads(pickle.dumps({x.name}))": lambda xp, a: pickle.loads(pickle.dumps(a)),
        f"xp.asarray({x.name})": lambda xp, a: xp.asarray(a),
        f"xp.asarray({x.name}, copy=True)": lambda xp, a: xp.asarray(a, copy=True),
        f"xp.astype({x.name}, {x.name}.dtype, copy=False)": lambda xp, a: xp.astype(a, a.dtype, copy=False),
        f"xp.zeros_like({x.name}, dtype='{dtype}')": lambda xp, a: xp.zeros_like(a, dtype=getattr(xp, dtype)),
        f"xp.full_like({x.name}, 3)": lambda xp, a: xp.full_like(a, 3),
        f"xp.ones_like({x.name})": lambda xp, a: xp.ones_like(a),
        f"+{x.name}": lambda xp, a: +a,
        f"-{x.name}": lambda xp, a: -a,
        f"~{x.name}": lambda xp, a: ~a,
        f"abs({x.name})": lambda xp, a: abs(a),
    }  # fmt: skip
    text = draw(st.sampled_from(sorted(functions)))
    if text[:3] == "abs" and x.theirs.dtype.kind == "c":
        return
    m.make(text, functions[text], x)


def scalar(m: Machine, draw: Draw) -> None:
    """What leaves the arrays: Python values, compared at once."""
    x = pick(m, draw)
    functions: dict[str, Callable[[Any], Any]] = {
        "bool": bool, "int": int, "float": float, "complex": complex, "index": operator.index, "len": len,
        "list": lambda a: a.tolist(), "item": lambda a: a.item(), "iter": lambda a: [v.tolist() for v in a],
        "contains": lambda a: 1 in a, "shape": lambda a: (a.shape, a.ndim, a.size),
    }  # fmt: skip
    name = draw(st.sampled_from(sorted(functions)))
    if name in ("int", "float") and (x.theirs.dtype.kind == "c" or x.theirs.ndim) or name == "complex" and x.theirs.ndim:
        return  # NumPy warns and goes on
    if name == "bool" and not x.theirs.size:
        return
    function = functions[name]
    m.make(f"xp.asarray(repr({name}({x.name})))", lambda xp, a: np.frombuffer(repr(function(a)).encode(), "uint8")
           if xp is np else tw.asarray(np.frombuffer(repr(function(a)).encode(), "uint8"), device=m.device), x)


def host_value(m: Machine, draw: Draw) -> None:
    """Assigned from NumPy's arrays and nested lists, and computed with NumPy's arrays."""
    x = written(m, draw)
    values = data(draw, draw(st.sampled_from([x.theirs.dtype.name, *DTYPES])), x.theirs.shape)
    if not castable(values, x.theirs.dtype.name):
        return
    way = draw(st.sampled_from(["array", "list", "add"]))
    if way == "array":
        m.make(f"{x.name}[...] = {values!r}", lambda xp, a: operator.setitem(a, ..., values), x, strict=False)
    elif way == "list" and np.can_cast(values.dtype, x.theirs.dtype, "same_kind"):
        if x.theirs.dtype.kind in "iu" and (values.astype(x.theirs.dtype) != values).any():
            return  # NumPy has then written the numbers before the one that does not fit
        m.make(f"{x.name}[...] = {values.tolist()}", lambda xp, a: operator.setitem(a, ..., values.tolist()), x, strict=False)
    elif way == "add":
        m.make(f"{x.name} + {values!r}", lambda xp, a: a + values, x)


def solve(m: Machine, draw: Draw) -> None:
    """Decompositions of well conditioned matrices, by what they promise."""
    dtype, n = draw(st.sampled_from(["float32", "float64", "complex64", "complex128"])), draw(st.integers(0, 4))
    stack = draw(st.sampled_from([(), (2,), (0,)]))
    rng = np.random.default_rng(draw(SEEDS))
    values = rng.standard_normal((*stack, n, n)) + np.eye(n) * 8
    if dtype[0] == "c":
        values = values + 1j * rng.standard_normal(values.shape)
    x = m.put(values.astype(dtype))
    functions: dict[str, Callable[[Any, Any], Any]] = {
        f"xp.linalg.inv({x.name})": lambda xp, a: xp.linalg.inv(a),
        f"xp.linalg.det({x.name})": lambda xp, a: xp.linalg.det(a),
        f"xp.linalg.solve({x.name}, {x.name}[..., :1])": lambda xp, a: xp.linalg.solve(a, a[..., :1]),
        f"xp.linalg.svdvals({x.name})": lambda xp, a: xp.linalg.svdvals(a),
        f"xp.linalg.matrix_norm({x.name})": lambda xp, a: xp.linalg.matrix_norm(a),
        f"xp.linalg.vector_norm({x.name}, axis=-1)": lambda xp, a: xp.linalg.vector_norm(a, axis=-1),
        f"xp.linalg.vector_norm({x.name}, ord=3)": lambda xp, a: xp.linalg.vector_norm(a, ord=3),
        f"xp.linalg.trace({x.name}, offset=1)": lambda xp, a: xp.linalg.trace(a, offset=1),
        f"xp.linalg.matrix_power({x.name}, 3)": lambda xp, a: xp.linalg.matrix_power(a, 3),
        f"xp.linalg.pinv({x.name})": lambda xp, a: xp.linalg.pinv(a),
        f"xp.linalg.slogdet({x.name})": lambda xp, a: tuple(xp.linalg.slogdet(a)),
        f"xp.linalg.cross({x.name}, {x.name})": lambda xp, a: xp.linalg.cross(a, a),
        f"xp.fft.fft({x.name})": lambda xp, a: xp.fft.fft(a),
        f"xp.fft.ifftn({x.name})": lambda xp, a: xp.fft.ifftn(a),
        f"xp.fft.fftshift({x.name})": lambda xp, a: xp.fft.fftshift(a),
    }  # fmt: skip
    text = draw(st.sampled_from(sorted(functions)))
    if "norm" in text and not n or "fft" in text and not values.size:
        return
    m.make(text, functions[text], x, ulps=4096.0, scale=np.asarray(4096.0) if "det" in text or "power" in text else np.asarray(32.0))


def grid(m: Machine, draw: Draw) -> None:
    x, y = pick(m, draw), pick(m, draw)
    if x.theirs.ndim > 1 or y.theirs.ndim > 1:
        return
    way = draw(st.sampled_from(["xy", "ij"]))
    m.make(f"xp.meshgrid({x.name}, {y.name}, indexing='{way}')", lambda xp, a, b: tuple(xp.meshgrid(a, b, indexing=way)), x, y)


def types(m: Machine, draw: Draw) -> None:
    x, y = pick(m, draw), pick(m, draw)
    weak = draw(st.sampled_from([1, 1.5, True, 2j]))
    m.make(f"xp.zeros(2, dtype=xp.result_type({x.name}, {y.name}.dtype, {weak}))",
           lambda xp, a, b: xp.zeros(2, dtype=xp.result_type(_strong(xp, a), b.dtype, weak), device=_place(xp, m)), x, y)


def _strong(xp: Any, x: Any) -> Any:
    return x


STEPS = [
    new, like, unary, transcendental, binary, binary, close_binary, infix, infix, inplace, inplace, clip, where, astype,
    getitem, getitem, getitem, gather, setitem, setitem, setitem, take, take_along, reshape, reshape, rearrange,
    rearrange, broadcast, join, reduction, total, cumulative, order, search, product, create, read, copy, scalar, host_value,
    solve, grid, types,
]  # fmt: skip
