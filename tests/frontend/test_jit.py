"""jit and explain: what a recorded function returns, writes and refuses, and what an evaluation would launch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample
from tilewright import tuner
from tilewright.leaf import TracedValueError


@pytest.fixture
def counted():
    """A jit function and the list of shapes at which it was traced."""
    traces = []

    @tw.jit
    def function(x, y, scale=1.0):
        traces.append(x.shape)
        return (x + y) * scale

    return function, traces


def test_results_and_signatures(device, counted):
    function, traces = counted
    for k, shape in enumerate([(3, 4), (3, 4), (2, 4), (3, 4)]):
        a, b = sample(shape, seed=k), sample(shape, seed=9)
        agree(function(tw.asarray(a, device=device.name), tw.asarray(b, device=device.name)), a + b, device)
    x = tw.asarray(sample((3, 4)), device=device.name)
    agree(function(x, x), sample((3, 4)) * 2, device)  # the same array twice is a signature of its own
    agree(function(x, x, scale=3.0), sample((3, 4)) * 6, device)
    agree(function(x.T, x.T), sample((3, 4)).T * 2, device)
    assert traces == [(3, 4), (2, 4), (3, 4), (3, 4), (4, 3)]


def test_results_never_alias_the_next_replay(device, counted):
    function, _ = counted
    x = tw.zeros((5,), dtype="float32", device=device.name)
    results = [function(x + k, x) for k in range(4)]
    shared = np.asarray(results[0])
    results[1] += 10
    assert [float(r[0]) for r in results] == [0, 11, 2, 3] and shared[0] == 0


def test_calls_that_differ_from_the_last_one(device, counted):
    """Each of them follows two calls that were alike, the second of which is made without looking for the recording."""
    function, traces = counted
    a, b = sample((3, 4)), sample((3, 4), seed=1)
    x, y, wide = (tw.asarray(value, device=device.name) for value in (a, b, a.astype(np.float64)))
    square = tw.asarray(sample((4, 4)), device=device.name)

    def alike():
        for _ in range(3):
            agree(function(x, y), a + b, device)

    alike()
    agree(function(y, y), b + b, device)  # one cell
    alike()
    agree(function(wide, y), a.astype(np.float64) + b, device)
    alike()
    agree(function(square, square.T), sample((4, 4)) + sample((4, 4)).T, device)
    alike()
    agree(function(x[::-1], y), a[::-1] + b, device)
    alike()
    agree(function(x * 2, y - 1), a * 2 + b - 1, device)  # not yet evaluated
    alike()
    np.asarray(x)[...]  # from now on others see its memory
    alike()
    with pytest.raises(TypeError):
        function(x)
    alike()
    agree(function(x, y, 0.5), (a + b) * np.float32(0.5), device)
    alike()
    y += 1
    agree(function(x, y), a + b + 1, device)
    assert traces.count((3, 4)) == 5


def test_several_results_one_of_them_given(device):
    @tw.jit
    def function(x, y):
        return x, [y - x, x * y]

    a, b = sample((5,)), sample((5,), seed=1)
    x, y = (tw.asarray(value, device=device.name) for value in (a, b))
    for _ in range(4):
        same, (difference, product) = function(x, y)
        for got, expected in ((same, a), (difference, b - a), (product, a * b)):
            agree(got, expected, device)


def test_a_new_generation_and_an_observer_are_seen_at_once(device):
    function = tw.jit(lambda x, y: x @ y)
    x, y = (tw.asarray(sample((8, 8), seed=k), device=device.name) for k in range(2))
    for _ in range(3):
        function(x, y)
    before = tuner.generation
    tuner.generation += 1
    agree(function(x, y), sample((8, 8)) @ sample((8, 8), seed=1), device)
    seen = []
    observer = tuner.observing = SimpleNamespace(launched=lambda problem, device, seconds: seen.append(problem.kind))
    try:
        for _ in range(3):
            agree(function(x, y), sample((8, 8)) @ sample((8, 8), seed=1), device)
    finally:
        tuner.observing, tuner.generation = None, before
    assert observer and seen == ["matmul"] * 3
    for _ in range(3):
        agree(function(x, y), sample((8, 8)) @ sample((8, 8), seed=1), device)


def test_writes_reach_the_callers_arrays(device):
    @tw.jit
    def step(x, rate):
        x[1:] += rate
        x *= 2
        return x[0], x

    a = sample((4,))
    x = tw.asarray(a, device=device.name)
    alias = x[2:]
    rate = tw.asarray(0.5, dtype="float32", device=device.name)
    for _ in range(3):
        first, _ = step(x, rate)
        a[1:] += 0.5
        a *= 2
        agree(x, a, device)
        agree(alias, a[2:], device)
        agree(first, a[0], device)


def test_nests_of_arguments_and_results(device):
    @tw.jit
    def function(pair, *, table):
        return {"sum": pair[0] + table["b"], "same": pair[1], "list": [pair[0] * 2, 7]}

    x, y = (tw.asarray(sample((3,), seed=k), device=device.name) for k in range(2))
    for _ in range(2):
        result = function((x, y), table={"b": y})
        agree(result["sum"], sample((3,)) + sample((3,), seed=1), device)
        agree(result["same"], sample((3,), seed=1), device)
        agree(result["list"][0], sample((3,)) * 2, device)
        assert result["list"][1] == 7


def test_gathers_inside_are_native(device):
    pick = tw.jit(lambda x, at: tw.take(x * 2, at, axis=0))
    a, at = sample((5, 2)), np.array([4, -5, 1])
    tw.fallbacks(reset=True)
    for _ in range(2):
        result = pick(tw.asarray(a, device=device.name), tw.asarray(at, device=device.name))
        agree(result, (a * 2)[at], device)
    assert tw.fallbacks() == {}


@pytest.mark.parametrize(
    "function",
    [lambda x: x if tw.any(x > 0) else -x, lambda x: x[x > 0], tw.nonzero, lambda x: float(x[0]), np.asarray, repr],
    ids=["if", "mask", "nonzero", "float", "asarray", "repr"],
)
def test_what_needs_a_value_is_refused(device, function):
    x = tw.asarray(sample((4,)), device=device.name)
    with pytest.raises(TracedValueError, match=r"test_jit.py:\d+: jit needs this array's value"):
        tw.jit(lambda x: function(x * 2 if function is not np.asarray else x))(x)
    agree(x, sample((4,)), device)


def test_explain(device):
    x = tw.asarray(sample((4, 5)), device=device.name)
    y = tw.exp(x - tw.max(x, axis=1, keepdims=True))
    groups = tw.explain(y / tw.sum(y, axis=1, keepdims=True))
    assert [g.way for g in groups] == ["native"] and "row" in groups[0].title
    *lines, total = str(groups).splitlines()
    assert "native" in lines[0] and total.startswith("1 group: ") and groups.nbytes == groups[0].nbytes == 160
    products = tw.explain(x @ x.T)
    assert len(products) >= 1 and {g.way for g in products} <= {"native", "vendor"}
    assert [g.way for g in tw.explain(tw.unique_values(x))] == ["fallback"]
    tw.eval(y)
    assert "values are there" in str(tw.explain(y))
