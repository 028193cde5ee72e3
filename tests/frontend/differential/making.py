"""Steps that create, copy and read, and that cross the border to Python and NumPy."""

from __future__ import annotations

import copy as copies
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tilewright as tw
from tests.frontend.differential.drawing import DTYPES, SHAPES, Draw, castable, data, pick, written
from tests.frontend.differential.machine import Machine


def create(m: Machine, draw: Draw) -> None:
    dtype = draw(st.sampled_from([None, *DTYPES]))
    shape = draw(SHAPES)
    start, stop, step = (draw(st.integers(-6, 6)) for _ in range(3))
    number = draw(st.sampled_from([0, 1, 2, 5]))
    there = {np: "cpu", tw: m.device}
    functions: dict[str, Callable[[Any], Any]] = {
        f"xp.zeros({shape}, dtype={dtype!r})": lambda xp: xp.zeros(shape, dtype=dtype, device=there[xp]),
        f"xp.ones({shape}, dtype={dtype!r})": lambda xp: xp.ones(shape, dtype=dtype, device=there[xp]),
        f"xp.full({shape}, {start}, dtype={dtype!r})": lambda xp: xp.full(shape, start, dtype=dtype, device=there[xp]),
        f"xp.eye({number}, {stop}, k={start})": lambda xp: xp.eye(number, abs(stop), k=start, device=there[xp]),
        f"xp.arange({start}, {stop}, {step})": lambda xp: xp.arange(start, stop, step, device=there[xp]),
        f"xp.arange({start}, {stop}, {step / 4})": lambda xp: xp.arange(start, stop, step / 4, device=there[xp]),
        f"xp.linspace({start}, {stop}, {number})": lambda xp: xp.linspace(start, stop, number, device=there[xp]),
    }  # fmt: skip
    text = draw(st.sampled_from(sorted(functions)))
    if "arange" in text and not step:
        return  # a ZeroDivisionError in NumPy
    if "full" in text and start < 0 and dtype is not None and np.dtype(dtype).kind in "u":
        return
    m.make(text, functions[text], ulps=2.0)


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
    if (name in ("int", "float") and (x.theirs.dtype.kind == "c" or x.theirs.ndim)) or (
        name == "complex" and x.theirs.ndim
    ):
        return  # NumPy warns and goes on
    if name == "bool" and not x.theirs.size:
        return
    function = functions[name]
    m.make(
        f"xp.asarray(repr({name}({x.name})))",
        lambda xp, a: (
            np.frombuffer(repr(function(a)).encode(), "uint8")
            if xp is np
            else tw.asarray(np.frombuffer(repr(function(a)).encode(), "uint8"), device=m.device)
        ),
        x,
    )


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
        m.make(
            f"{x.name}[...] = {values.tolist()}",
            lambda xp, a: operator.setitem(a, ..., values.tolist()),
            x,
            strict=False,
        )
    elif way == "add":
        m.make(f"{x.name} + {values!r}", lambda xp, a: a + values, x)


def types(m: Machine, draw: Draw) -> None:
    x, y = pick(m, draw), pick(m, draw)
    weak = draw(st.sampled_from([1, 1.5, True, 2j]))
    m.make(
        f"xp.zeros(2, dtype=xp.result_type({x.name}, {y.name}.dtype, {weak}))",
        lambda xp, a, b: xp.zeros(2, dtype=xp.result_type(a, b.dtype, weak), device="cpu" if xp is np else m.device),
        x,
        y,
    )


def read(m: Machine, draw: Draw) -> None:
    m.compare(pick(m, draw))
