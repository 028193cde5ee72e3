"""Steps that reduce, sort, search and multiply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.frontend.differential.drawing import DTYPES, LIBM, SEEDS, Draw, castable, data, pick
from tests.frontend.differential.machine import Data, Machine, Pair


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
    m.make(
        f"xp.{name}({x.name}, axis={axis}, keepdims={keep})",
        lambda xp, a: getattr(xp, name)(a, axis=axis, keepdims=keep),
        x,
        ulps=ulps,
    )


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
        if (wild and x.dtype.kind in "fc") or (name == "prod" and x.dtype.kind in "fc"):
            return {"ulps": 1e300, "scale": None}  # the order decides what overflows: dtype and shape only
        try:
            np.sum(size, axis=options["axis"])
        except ValueError:
            return {}
        scale = np.sum(
            size * size if name in ("var", "std") else size, axis=options["axis"], keepdims=options["keepdims"]
        )
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
    m.make(
        f"xp.{name}({x.name}, axis={axis}, include_initial={initial})",
        lambda xp, a: getattr(xp, name)(a, axis=axis, include_initial=initial),
        x,
    )


def order(m: Machine, draw: Draw) -> None:
    x = pick(m, draw, "biuf")
    axis = draw(st.integers(-x.theirs.ndim, x.theirs.ndim - 1)) if x.theirs.ndim else -1
    name = draw(
        st.sampled_from(
            ["sort", "argsort", "unique_values", "unique_counts", "unique_inverse", "unique_all", "nonzero"]
        )
    )
    if name in ("sort", "argsort", "nonzero") and not x.theirs.ndim:
        return  # NumPy sorts even what has no axis
    if name in ("sort", "argsort"):
        m.make(
            f"xp.{name}({x.name}, axis={axis})", lambda xp, a: getattr(xp, name)(a, axis=axis, stable=True), x, ulps=1.0
        )
    elif name == "unique_values":
        m.make(
            f"xp.{name}({x.name})",
            lambda xp, a: np.sort(np.unique_values(a)) if xp is np else xp.unique_values(a),
            x,
            ulps=1,
        )
    else:
        m.make(f"xp.{name}({x.name})", lambda xp, a: tuple(getattr(xp, name)(a)), x, ulps=1.0)


def search(m: Machine, draw: Draw) -> None:
    x, y = pick(m, draw, "iuf"), pick(m, draw, "iuf")
    if x.theirs.ndim != 1 or np.isnan(x.theirs.astype("float64")).any():
        return
    side = draw(st.sampled_from(["left", "right"]))
    m.make(
        f"xp.searchsorted(xp.sort({x.name}), {y.name}, side='{side}')",
        lambda xp, a, b: xp.searchsorted(xp.sort(a), b, side=side),
        x,
        y,
    )


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
    if ("norm" in text and not n) or ("fft" in text and not values.size):
        return
    m.make(
        text,
        functions[text],
        x,
        ulps=4096.0,
        scale=np.asarray(4096.0) if "det" in text or "power" in text else np.asarray(32.0),
    )
