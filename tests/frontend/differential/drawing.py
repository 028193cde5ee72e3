"""What the steps draw from: dtypes, shapes, data, and operands out of the machine's pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.frontend.differential.machine import Data, Machine, Pair

Draw = Callable[[Any], Any]
REAL = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
DTYPES = (*REAL, "float16", "complex64", "complex128")
SHAPES = st.lists(st.sampled_from([2, 3, 1, 4, 0, 2, 3, 1, 7]), max_size=3).map(tuple)
SEEDS = st.integers(0, 2**16)
SPECIALS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    np.inf,
    -np.inf,
    np.nan,
    0.5,
    -0.5,
    1.5,
    2.5,
    3.0,
    1e30,
    -1e30,
    1e-42,
    1e-310,
    65504.0,
)
SCALARS = st.sampled_from(
    [0, 1, -1, 2, 3, True, False, 0.5, -1.5, 2.0, 100, 300, -129, 2**40, float("inf"), 1j, 2.5 - 1j]
)
LIBM = 8
"""Units in the last place: libmvec and NumPy's SVML are each off by up to 4."""


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
        return (
            rng.integers(-9, 10, shape) / 4 + 1j * rng.integers(-9, 10, shape) / 4
            if flavour == "small"
            else rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        ).astype(half if 0 else dtype)
    if flavour == "small":
        return (rng.integers(-36, 37, shape) / 4).astype(dtype)
    if flavour == "any":
        return rng.standard_normal(shape).astype(dtype)
    with np.errstate(all="ignore"):
        return rng.choice(np.array(SPECIALS), shape).astype(dtype)


def new(m: Machine, draw: Draw) -> None:
    m.put(data(draw, draw(st.sampled_from(DTYPES)), draw(SHAPES)))


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
    found = [p for p in m.pool if p.theirs.dtype.kind in kinds and together(p.theirs.shape, x.theirs.shape)]
    if found and draw(st.booleans()):
        return found[-1 - draw(st.integers(0, min(len(found), 6) - 1))]
    names = [d for d in DTYPES if np.dtype(d).kind in kinds]
    return m.put(data(draw, draw(st.sampled_from(names)), x.theirs.shape))


def together(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


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
