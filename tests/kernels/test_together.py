"""Reductions of the same rows that become one step: which do, and that every device then stores all results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.kernels.graphs import (
    LIMITS,
    broadcast,
    expected,
    fused,
    leaf,
    op,
    reduce,
    reshape,
    run_by_oracle,
    softmax,
    transpose,
    view,
)
from tests.kernels.judge import check_steps
from tilewright.backends.protocol import Device
from tilewright.kernels.node import Node

RNG = np.random.default_rng(11)


def rows(*shape: int) -> Node:
    return leaf(RNG.standard_normal(shape).astype(np.float32))


def of_rows(value: Node, like: Node) -> Node:
    return broadcast(reshape(value, (*like.shape[:-1], 1)), like.shape)


def exponentials(x: Node, largest: Node) -> Node:
    return reduce("sum", op("exp", op("sub", x, of_rows(largest, x))), 1)


def largest_and_sum() -> list[Node]:
    x = rows(37, 65)
    largest = reduce("max", x, 1)
    return [largest, exponentials(x, largest)]


def with_a_row_stored() -> list[Node]:
    x = rows(37, 65)
    return [softmax(x), reduce("sum", x, 1)]


def several_kinds() -> list[Node]:
    x, y = rows(33, 129), rows(33, 129)
    return [reduce("sum", x, 1), reduce("max", op("mul", x, y), 1), reduce("min", x, 1), reduce("spread", y, 1)]


def columns() -> list[Node]:
    x = rows(65, 37)
    return [reduce("sum", x, 0), reduce("max", x, 0)]


def long_rows() -> list[Node]:
    x = rows(2, 40_000)
    return [reduce("sum", x, 1), reduce("max", op("abs", x), 1)]


def used_again() -> list[Node]:
    """What follows both results waits for them."""
    x = rows(37, 65)
    largest = reduce("max", x, 1)
    total = exponentials(x, largest)
    return [op("add", largest, op("log", total)), op("mul", x, of_rows(largest, x)), total]


TOGETHER = {f.__name__: f for f in (largest_and_sum, with_a_row_stored, several_kinds, columns, used_again)}


@pytest.mark.parametrize("name", TOGETHER)
def test_one_step_with_several_results(name: str, device: Device) -> None:
    roots = TOGETHER[name]()
    steps = fused(*roots, limits=device.limits)
    walking = [s for s in steps if s.problem.kind in ("reduce", "row")]
    assert len(walking) == 1 and len(walking[0].outputs) > 1
    check_steps(steps, device)


def test_long_rows_are_cut_into_parts_of_both() -> None:
    roots = long_rows()
    steps = fused(*roots)
    assert [len(s.outputs) for s in steps] == [2, 2] and steps[0].problem.parts > 1
    agree(roots)


def agree(roots: list[Node]) -> None:
    results = run_by_oracle(fused(*roots), roots)
    for result, wanted in zip(results, expected(*roots), strict=True):
        np.testing.assert_allclose(result, wanted, rtol=2e-5, atol=2e-5)


def other_rows() -> list[Node]:
    return [reduce("sum", rows(37, 65), 1), reduce("max", rows(37, 65), 1)]


def other_axes() -> list[Node]:
    x = rows(37, 37)
    return [reduce("sum", x, 1), reduce("sum", x, 0)]


def columns_that_wait() -> list[Node]:
    """Walked again, a column comes from memory."""
    x = transpose(rows(129, 65))
    largest = reduce("max", x, 1)
    return [largest, exponentials(x, largest)]


def long_rows_that_wait() -> list[Node]:
    x = rows(2, 40_000)
    largest = reduce("max", x, 1)
    return [largest, reduce("sum", op("sub", x, of_rows(largest, x)), 1)]


def by_way_of_another_step() -> list[Node]:
    """What lies between them needs all rows of the first, and the second that."""
    x = rows(16, 65)
    sums = reduce("sum", x, 1)
    other = reduce("max", sums, 0)
    return [sums, reduce("sum", op("mul", x, broadcast(reshape(other, (1, 1)), x.shape)), 1)]


def backwards() -> list[Node]:
    """Read in another order than it is stored in."""
    x = rows(16, 65)
    sums = reduce("sum", x, 1)
    return [sums, reduce("max", op("add", x, of_rows(view(sums, (16,), (-1,), 15), x)), 1)]


APART = (other_rows, other_axes, columns_that_wait, long_rows_that_wait, by_way_of_another_step, backwards)


@pytest.mark.parametrize("graph", APART, ids=lambda f: f.__name__)
def test_steps_that_stay_apart(graph: object) -> None:
    roots = graph()  # type: ignore[operator]
    assert all(len(s.outputs) == 1 for s in fused(*roots))
    agree(roots)


def test_a_device_with_few_buffers_is_not_asked_for_more() -> None:
    roots = several_kinds()
    assert all(len(s.outputs) + len(s.inputs) <= 4 for s in fused(*roots, limits=replace(LIMITS, buffers=4)))
