"""Scatter against NumPy: every config, repeated places, rows cut by ranges, and what must not be written."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.kernels.graphs import LIMITS, broadcast, const, leaf, op, reshape
from tilewright.backends.protocol import Device
from tilewright.kernels import KERNELS
from tilewright.kernels.fuse import fuse
from tilewright.kernels.kit_run import Worst, run_graph
from tilewright.kernels.node import Node
from tilewright.kernels.oracle import evaluate
from tilewright.kernels.scatter import last_of_each
from tilewright.kernels.space import serial

RNG = np.random.default_rng(11)


def scatter(old: Node, places: Node, value: Node, distinct: bool = False) -> Node:
    return Node("scatter", (old, places, value), distinct, old.shape, old.dtype)


def floats(*shape: int, dtype: str = "float32") -> Node:
    return leaf(RNG.uniform(0.5, 2, shape).astype(dtype))


def rows_at(starts: Node, width: int) -> Node:
    shape = (*starts.shape, width)
    begin = broadcast(reshape(starts, (*starts.shape, 1)), shape)
    within = broadcast(Node("iota", (), None, (width,), "int64"), shape)
    return Node("add", (begin, within), None, shape, "int64")


def graph(name: str, n: int) -> list[Node]:
    many = 3 * n + 7
    if name == "elements":
        return [scatter(floats(n), leaf(RNG.integers(-2, n + 2, many)), op("neg", floats(many)))]
    if name == "overlapping rows":  # one place is at another index of each row
        return [scatter(floats(n + 5), rows_at(leaf(RNG.integers(-3, n + 3, many)), 5), floats(many, 5))]
    if name == "columns":
        along, down = leaf(RNG.integers(0, n, n)), leaf(RNG.integers(0, 9, (4, 1)))
        return [scatter(floats(n + 9), op("add", broadcast(along, (4, n)), broadcast(down, (4, n))), floats(4, n))]
    if name == "one value":
        return [scatter(floats(n), leaf(RNG.integers(0, n, many)), broadcast(const(3.0), (many,)))]
    places = RNG.permutation(n)
    places[::4] = -1
    if name == "distinct":
        return [scatter(floats(n), leaf(places), op("neg", floats(n)), True)]
    starts = leaf(places * 9)
    return [scatter(floats(n, 9), rows_at(starts, 9), floats(n, 9), True)]


IN_ORDER = ("elements", "overlapping rows", "columns", "one value")


@pytest.mark.parametrize("n", [1, 2, 63, 257, 4099])
@pytest.mark.parametrize("name", [*IN_ORDER, "distinct", "distinct rows"])
def test_every_kernel(name: str, n: int, device: Device) -> None:
    if name in IN_ORDER and not serial(device.limits):
        with pytest.raises(Exception, match="no kernel applies"):  # its threads have no order
            run_graph(graph(name, n), device, 0.0, Worst())
        return
    roots, worst = graph(name, n), Worst()
    run_graph(roots, device, 0.0, worst)
    problem = fuse(roots, device.limits)[-1].problem
    found = [(k, c) for k in KERNELS["scatter"] for c in k.space(problem, device.limits)]
    for chosen in random.Random(n).sample(found, min(4, len(found))):
        run_graph(roots, device, 0.0, worst, chosen)
    assert worst.problems >= 3


@pytest.mark.parametrize("n", [1, 2, 1000, 5000])
def test_the_last_of_each_place_is_kept(n: int, device: Device) -> None:
    given = RNG.integers(0, max(n // 3, 1), n)
    places, order = last_of_each(leaf(given), -7)
    value = Node("gather", (floats(n), order), None, (n,), "float32")
    run_graph([scatter(floats(n), places, value, True)], device, 0.0, Worst())
    data: dict[int, int] = {int(p): k for k, p in enumerate(given)}
    kept, at = evaluate([places, order], lambda node: node.arg)
    assert {int(p): int(k) for p, k in zip(kept, at, strict=True) if p >= 0} == data


def test_what_nobody_else_reads_is_taken_over() -> None:
    old = op("exp", floats(100))
    steps = fuse([scatter(old, leaf(RNG.integers(0, 100, 7)), floats(7))], LIMITS)
    assert [s.problem.kind for s in steps] == ["map", "map", "scatter"] and steps[1].takeover
    assert not fuse([scatter(old, leaf(RNG.integers(0, 100, 7)), floats(7)), op("neg", old)], LIMITS)[1].takeover


def test_bytes_are_those_of_the_values_and_places() -> None:
    problem = fuse([scatter(floats(10**4), leaf(RNG.integers(0, 100, 50)), floats(50))], LIMITS)[-1].problem
    assert problem.nbytes == 50 * (4 + 8 + 4)
    assert problem.title == "scatter 50 float32"
    assert replace(problem) == type(problem).from_json(problem.to_json())
