"""Softmax and the like down the columns of a matrix: one kernel that walks down again through what is near."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.kernels.graphs import broadcast, const, expected, fused, leaf, matmul, op, reduce, run_by_oracle, view
from tests.kernels.judge import check_steps
from tilewright.backends.protocol import Device
from tilewright.kernels.columns import Columns
from tilewright.kernels.node import Node
from tilewright.tuner.prepare import default_candidate

RNG = np.random.default_rng(19)


def floats(*shape: int) -> Node:
    return leaf(RNG.standard_normal(shape).astype(np.float32))


def down(name: str, x: Node, axis: int) -> Node:
    """A reduction, seen at every element again."""
    return broadcast(reduce(name, x, axis, True), x.shape)


def softmax(x: Node, axis: int) -> Node:
    e = op("exp", op("sub", x, down("max", x, axis)))
    return op("div", e, down("sum", e, axis))


def normalized(x: Node, gain: Node, axis: int) -> Node:
    n = const(float(x.shape[axis]))
    apart = op("sub", x, op("div", down("sum", x, axis), n))
    spread = op("div", down("sum", op("mul", apart, apart), axis), n)
    return op("mul", op("div", apart, op("sqrt", op("add", spread, const(1e-5)))), broadcast(gain, x.shape))


def log_sum(x: Node, axis: int) -> Node:
    return op("log", reduce("sum", op("exp", op("sub", x, down("max", x, axis))), axis))


def by_spread(x: Node, axis: int) -> Node:
    return op("div", op("sub", x, down("min", x, axis)), op("sqrt", down("spread", x, axis)))


GRAPHS: dict[str, Callable[[], Node]] = {
    "softmax": lambda: softmax(floats(37, 601), 0),
    "of two rows": lambda: softmax(floats(2, 512), 0),
    "of the middle axis": lambda: softmax(floats(3, 19, 515), 1),
    "layer norm, a gain for each column": lambda: normalized(floats(65, 530), floats(530), 0),
    "logarithm of a sum": lambda: log_sum(floats(129, 520), 0),
    "one of them the spread": lambda: by_spread(floats(40, 520), 0),
}


def weighted(rows: int, columns: int) -> Node:
    """Each row counts as much as a number of its own says, which lies side by side with those of other rows."""
    x = floats(rows, columns)
    return reduce("sum", op("mul", x, view(floats(rows), x.shape, (1, 0))), 0)


@pytest.mark.parametrize("shape", [(37, 601), (5000, 20)])
def test_weights_of_rows_do_not_turn_the_walk(shape: tuple[int, int], device: Device) -> None:
    steps = fused(weighted(*shape), limits=device.limits)
    candidate = default_candidate(steps[0].problem, device.limits)
    assert candidate is not None and candidate.kernel == "columns"
    check_steps(steps, device)


@pytest.mark.parametrize("name", GRAPHS)
def test_one_kernel_for_a_walk_and_those_that_wait_for_it(name: str, device: Device) -> None:
    root = GRAPHS[name]()
    (step,) = fused(root, limits=device.limits)
    kernel = Columns()
    assert step.problem.kind in ("row", "reduce") and list(kernel.space(step.problem, device.limits))
    check_steps([step], device)
    space = list(kernel.space(step.problem, device.limits))
    check_steps([step], device, kernel, space[0])
    check_steps([step], device, kernel, space[-1])


@pytest.mark.filterwarnings("ignore:invalid value")
def test_special_values_stay_in_their_column(device: Device) -> None:
    x = RNG.standard_normal((33, 512)).astype(np.float32)
    x[3, 5], x[0, 7], x[:, 9], x[4, 10] = np.nan, np.inf, -np.inf, 1e-41
    check_steps(fused(softmax(leaf(x), 0), limits=device.limits), device)


def matrix_below() -> Node:
    """The product is used twice, and stored."""
    return softmax(matmul(floats(33, 20), floats(20, 512)), 0)


def of_both_axes() -> Node:
    x = floats(130, 512)
    return op("add", op("sub", x, down("max", x, 0)), op("sub", x, down("max", x, 1)))


def few_columns() -> Node:
    return softmax(floats(5000, 20), 0)


def high_columns() -> Node:
    """More elements than any cache holds."""
    return softmax(floats(20_000, 512), 0)


@pytest.mark.parametrize("make", [matrix_below, of_both_axes, few_columns, high_columns], ids=lambda f: f.__name__)
def test_what_is_not_walked_so_is_right(make: Callable[[], Node]) -> None:
    root = make()
    steps = fused(root)
    assert len(steps) > 1
    (found,) = run_by_oracle(steps, [root])
    np.testing.assert_allclose(found, expected(root)[0], rtol=1e-5, atol=1e-6)


def test_a_map_that_waits_for_stored_reductions_walks_in_order() -> None:
    """Both the sums and what is made of them are wanted."""
    x = floats(130, 512)
    sums = reduce("sum", x, 0)
    roots = [op("mul", x, broadcast(sums, x.shape)), sums]
    steps = fused(*roots)
    last = next(s.problem for s in steps if s.outputs == (roots[0],))
    assert last.kind == "map" and last.outputs[0].strides[-1] == 1
    for found, wanted in zip(run_by_oracle(steps, roots), expected(*roots), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
