"""Random programs, with views and writes through them, do the same to our arrays as to NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import tilewright as tw

SLICES = st.builds(
    slice, st.none() | st.integers(-5, 5), st.none() | st.integers(-5, 5), st.sampled_from([None, 1, 2, -1, -2])
)
KEYS = st.tuples(SLICES, SLICES) | SLICES | st.integers(-2, 1) | st.tuples(st.none(), SLICES)
STEPS = st.one_of(
    st.tuples(st.just("view"), KEYS),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("flat"), st.none()),
    st.tuples(st.sampled_from(["iadd", "imul", "set", "copyto", "sub", "max", "sum", "where"]), st.integers(-3, 3)),
    st.tuples(st.just("assign"), KEYS),
    st.tuples(st.just("take"), st.lists(st.integers(-2, 1), min_size=1, max_size=4)),
    st.tuples(st.just("read"), st.none()),
)
PROGRAMS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), STEPS), min_size=3, max_size=14)


def run(program: list[Any], xp: Any, first: Any) -> list[Any]:
    """All arrays the program makes, the input and its views among them; steps that do not fit are left out."""
    pool = [first]
    for p, q, (step, argument) in program:
        x, y = pool[p % len(pool)], pool[q % len(pool)]
        if step == "view" and _legal(x, argument):
            pool.append(x[argument])
        elif step == "turn":
            pool.append(x.T)
        elif step == "flat":
            pool.append(xp.reshape(x, (-1,)))
        elif step == "iadd":
            x += argument
        elif step == "imul" and x.shape == y.shape:
            x *= y
        elif step == "set":
            x[...] = argument
        elif step == "copyto" and x.shape == y.shape:
            x[...] = y
        elif step == "assign" and _legal(x, argument) and x[argument].shape == y.shape:
            x[argument] = y
        elif step == "sub" and x.shape == y.shape:
            pool.append(x - y)
        elif step == "max" and x.size:
            pool.append(x - xp.max(x, axis=-1, keepdims=True) if x.ndim else x + 1)
        elif step == "sum":
            pool.append(xp.sum(x, axis=0) if x.ndim else x * 2)
        elif step == "where" and x.shape == y.shape:
            pool.append(xp.where(x > y, x, xp.asarray(argument, dtype="int64", device="cpu")))
        elif step == "take" and x.ndim and x.shape[0] >= 2:
            pool.append(x[argument])
        elif step == "read":
            np.asarray(x).sum()
    return pool


def _legal(x: Any, key: Any) -> bool:
    keys = key if isinstance(key, tuple) else (key,)
    named = [k for k in keys if k is not None]
    return len(named) <= x.ndim and all(
        not isinstance(k, int) or -n <= k < n for k, n in zip(named, x.shape, strict=False)
    )


def compare(program: list[Any]) -> None:
    data = np.arange(12).reshape(3, 4) - 5
    for ours, theirs in zip(
        run(program, tw, tw.asarray(data.copy(), device="cpu")), run(program, np, data), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(ours), theirs)


def test_random_programs_are_recorded_right(device, by_oracle):
    settings(max_examples=150, deadline=None, derandomize=True)(given(PROGRAMS)(compare))()


def test_random_programs_run_right(device):
    settings(max_examples=8, deadline=None, derandomize=True)(given(PROGRAMS)(compare))()
