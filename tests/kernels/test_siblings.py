"""Several outputs from one pass: which steps are joined, and that each output is right on every device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.kernels.graphs import (
    LIMITS,
    broadcast,
    const,
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
)  # fmt: skip
from tests.kernels.judge import check_steps
from tilewright.backends.protocol import Device
from tilewright.kernels.fuse import MAX_READS
from tilewright.kernels.node import Node, View

RNG = np.random.default_rng(3)


def floats(*shape: int) -> Node:
    return leaf(RNG.standard_normal(shape).astype(np.float32))


def mean_and_variance(x: Node, axis: int) -> list[Node]:
    n = const(x.shape[axis])
    return [op("div", reduce("sum", x, axis), n), op("div", reduce("spread", x, axis), n)]


def chained(x: Node) -> list[Node]:
    """The second needs the first; the third may go with the first."""
    first = op("add", x, const(1.0))
    return [first, op("mul", op("sqrt", op("mul", first, first)), x), op("sub", x, const(2.0))]


def of_rows(value: Node, like: Node) -> Node:
    return broadcast(reshape(value, (*like.shape[:-1], 1)), like.shape)


def maximum_and_exponentials(x: Node) -> list[Node]:
    """The second reads what the first stores for each row, and so does what follows both."""
    largest = reduce("max", x, 1)
    total = reduce("sum", op("exp", op("sub", x, of_rows(largest, x))), 1)
    return [op("add", largest, op("log", total)), largest, total]


def by_way_of_another(x: Node) -> list[Node]:
    """What the second reads needs all rows of the first."""
    sums = reduce("sum", x, 1)
    other = broadcast(reshape(reduce("max", sums, 0), (1, 1)), x.shape)
    return [sums, reduce("sum", op("mul", x, other), 1)]


def backwards(x: Node) -> list[Node]:
    """Rows' sums, in another order than they are stored in."""
    sums = reduce("sum", x, 1)
    return [sums, reduce("max", op("add", x, of_rows(view(sums, x.shape[:1], (-1,), x.shape[0] - 1), x)), 1)]


def written_beside() -> list[Node]:
    """A write, which is a copy and a map, beside a map of the same value."""
    old, x = floats(40, 50), floats(33, 21)
    return [Node("write", (old, x), View((33, 21), (50, 1), 2), (40, 50), "float32"), op("add", x, const(1.0))]


def gathered() -> list[Node]:
    x, table = floats(60, 7), floats(90)
    places = leaf(RNG.integers(0, 90, (60, 7)))
    taken = Node("gather", (table, places), None, (60, 7), "float32")
    return [op("add", x, taken), op("mul", x, const(3.0)), op("mul", x, const(3.0))]


GRAPHS: dict[str, tuple[int, Callable[[], list[Node]]]] = {
    "maps": (1, lambda: [op("add", x := floats(33, 70), const(1.5)), op("mul", x, x), op("exp", x)]),
    "maps of several inputs": (1, lambda: [op("add", x := floats(70), floats(70)), op("mul", floats(70), x)]),
    "scalars of one value": (1, lambda: [op("add", x := floats(9, 7), c := const(2.0)), op("mul", x, c)]),
    "no common input": (2, lambda: [op("add", floats(70), const(1.0)), op("add", floats(70), const(1.0))]),
    "only a broadcast in common": (2, lambda: [
        op("add", floats(33, 70), broadcast(b := floats(70), (33, 70))),
        op("mul", floats(33, 70), broadcast(b, (33, 70))),
    ]),
    "one needs the other": (2, lambda: chained(floats(33, 70))),
    "across memory": (2, lambda: [transpose(x := floats(90, 80)), op("add", x, const(1.0))]),
    "rows": (1, lambda: [reduce("sum", x := floats(50, 300), 1), reduce("max", x, 1), reduce("min", x, 1)]),
    "mean and variance": (1, lambda: mean_and_variance(floats(50, 3000), 1)),
    "mean and variance of columns": (1, lambda: mean_and_variance(floats(60, 300), 0)),
    "columns": (1, lambda: [reduce("sum", x := floats(60, 300), 0), reduce("max", x, 0)]),
    "columns in parts": (3, lambda: [reduce("sum", x := floats(4000, 20), 0), reduce("max", x, 0)]),
    "a row and a sum": (1, lambda: [
        op("sub", x := floats(50, 70), broadcast(reduce("max", x, 1, True), (50, 70))), reduce("sum", x, 1)
    ]),
    "what the row holds meanwhile": (2, lambda: [softmax(x := floats(50, 70)), reduce("sum", x, 1)]),
    "both axes": (2, lambda: [reduce("sum", x := floats(60, 80), 0), reduce("sum", x, 1)]),
    "strided rows": (1, lambda: [
        reduce("sum", x := view(floats(40, 60), (20, 30), (120, 2)), 1), reduce("max", x, 1)
    ]),
    "a maximum, and exponentials below it": (2, lambda: maximum_and_exponentials(floats(50, 300))),
    "the same of columns": (5, lambda: maximum_and_exponentials(transpose(floats(300, 50)))),
    "the same of few long rows": (5, lambda: maximum_and_exponentials(floats(2, 40_000))),
    "by way of another": (3, lambda: by_way_of_another(floats(50, 70))),
    "rows in another order": (2, lambda: backwards(floats(50, 70))),
    "a write": (3, written_beside),
    "gathers": (1, gathered),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_joined(name: str) -> None:
    wanted, make = GRAPHS[name]
    roots = make()
    steps = fused(*roots)
    assert len(steps) == wanted
    for found, exact in zip(run_by_oracle(steps, roots), expected(*roots), strict=True):
        np.testing.assert_allclose(
            found, exact, rtol=1e-4, atol=1e-4
        )  # parts of about 100, each rounded to 2^-24 of it


@pytest.mark.parametrize("name", GRAPHS)
def test_on_every_device(name: str, device: Device) -> None:
    check_steps(fused(*GRAPHS[name][1](), limits=device.limits), device)


def test_functions_that_a_core_computes_slower_than_it_reads_stay_apart() -> None:
    roots = [op("exp", x := floats(33, 70)), op("sin", x)]
    assert len(fused(*roots)) == 2
    assert len(fused(*roots, limits=replace(LIMITS, threads_per_group=1024, subgroup=32))) == 1


def test_no_more_buffers_than_a_kernel_takes() -> None:
    x = floats(70)
    roots = [op("add", x, const(float(k))) for k in range(30)]
    steps = fused(*roots)
    assert [len(step.outputs) for step in steps] == [MAX_READS - 1] * 2 + [30 - 2 * (MAX_READS - 1)]
    few = fused(*roots, limits=replace(LIMITS, buffers=4))
    assert all(len(step.outputs) <= 3 for step in few) and len(few) == 10


def test_ops_on_arrays_stay_apart() -> None:
    x = floats(70)
    assert len(fused(op("add", x, x), op("mul", x, x), limits=replace(LIMITS, compiles=False))) == 2
