"""Large results between two steps: which are made in strips, and that every device gives what the graph says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tilewright as tw
from tests.kernels.graphs import (
    broadcast,
    const,
    expected,
    fused,
    leaf,
    matmul,
    op,
    reduce,
    reshape,
    run_by_oracle,
    softmax,
    transpose,
    view,
)  # fmt: skip
from tests.kernels.judge import check_steps
from tests.kernels.test_products import attention, images
from tilewright.backends.protocol import Device
from tilewright.kernels import strips
from tilewright.kernels.node import Node, View

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Strips of 2 KiB and at least a row for each compute unit."""
    monkeypatch.setattr(strips, "STRIP_NBYTES", 1 << 11)
    monkeypatch.setattr(strips, "ROWS_PER_UNIT", 1)


def floats(*shape: int) -> Node:
    return leaf(RNG.standard_normal(shape).astype(np.float32))


def product(m: int, n: int, *batch: int) -> Node:
    return matmul(floats(*batch, m, 3), floats(*batch, 3, n))


def masked(axis: int) -> Node:
    """A product whose elements at the first 40 places along an axis count."""
    x = product(90, 70)
    places = Node("iota", (), None, (x.shape[axis],), "float32")
    lined = view(places, x.shape, tuple(int(a == axis) for a in (0, 1)))
    return reduce("sum", op("where", op("lt", lined, const(40.0)), x, const(0.0)), 1)


def heads(causal: bool, batch: int) -> Node:
    q, k, v = (floats(batch, 24, 4) for _ in range(3))
    return reduce("sum", attention(q, k, v, causal=causal), 2)


def written(x: Node) -> Node:
    old = floats(100, 60)
    return Node("write", (old, x), View((91, 41), (60, 1), 62), old.shape, "float32")


def images_summed() -> Node:
    x = images("NCHW", (24, 1, 2, 6, 6), (1, 3, 2, 3, 3))
    return reduce("sum", reshape(x, (24, 3 * 16)), 1)


CUT: dict[str, tuple[int, Callable[[], Node]]] = {  # how many steps are cut
    "product, reduction": (2, lambda: reduce("max", product(97, 37), 1)),
    "product, row": (2, lambda: softmax(product(96, 41))),
    "product, row, product": (3, lambda: matmul(softmax(product(97, 40)), floats(40, 5))),
    "product, row, product of it transposed": (3, lambda: matmul(floats(5, 40), transpose(softmax(product(97, 40))))),
    "a batch": (2, lambda: reduce("sum", op("exp", softmax(product(6, 20, 50))), 2)),
    "one product after the other": (2, lambda: matmul(product(200, 33), floats(33, 2))),
    "a mask that follows columns": (2, lambda: masked(1)),
    "images": (2, images_summed),
    "heads": (2, lambda: heads(True, 30)),
    "written to a part": (2, lambda: written(softmax(product(91, 41)))),
    "scan": (2, lambda: Node("scan", (product(90, 40),), ("sum", 1), (90, 40), "float32")),
    "sort": (2, lambda: Node("sort", (product(90, 40),), (1, False, 40), (90, 40), "float32")),
    "greatest": (2, lambda: Node("sort", (product(90, 64),), (1, True, 3), (90, 3), "float32")),
}  # fmt: skip
WHOLE: dict[str, Callable[[], list[Node]]] = {
    "asked for": lambda: [x := product(97, 37), reduce("max", x, 1)],
    "read by two": lambda: [softmax(x := product(97, 37)), transpose(op("exp", x))],
    "columns": lambda: [reduce("max", product(97, 37), 0)],
    "small": lambda: [reduce("max", product(20, 37), 1)],
    "a mask that follows rows": lambda: [masked(0)],
    "queries of one head": lambda: [heads(True, 1)],
    "a part of it": lambda: [reduce("max", view(product(97, 37), (90, 37), (37, 1), 37), 1)],
    "backwards": lambda: [reduce("max", view(product(97, 37), (97, 37), (-37, 1), 96 * 37), 1)],
    "written to": lambda: [
        reduce(
            "max",
            Node("write", (floats(100, 60), floats(91, 41)), View((91, 41), (60, 1), 62), (100, 60), "float32"),
            1,
        )
    ],
    "a table": lambda: [
        op("add", Node("gather", (product(97, 37), leaf(np.arange(900) * 3)), None, (900,), "float32"), const(1.0))
    ],
}


@pytest.mark.parametrize("name", CUT)
def test_what_is_cut(name):
    count, make = CUT[name]
    root = make()
    steps = fused(root)
    assert len({id(s.whole) for s in steps if s.whole}) == count
    (got,) = run_by_oracle(steps, [root])
    np.testing.assert_allclose(got, expected(root)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_not_cut(name):
    roots = WHOLE[name]()
    steps = fused(*roots)
    assert not any(s.whole for s in steps)
    for got, wanted in zip(run_by_oracle(steps, roots), expected(*roots), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_strips_share_a_buffer_and_cover_everything_once():
    steps = fused(softmax(product(97, 41)))
    makers, readers = steps[::2], steps[1::2]
    assert len({id(s.outputs[0]) for s in makers} | {id(s.inputs[0]) for s in readers}) == 1
    assert sum(s.problem.space[1] for s in makers) == sum(s.problem.space[0] for s in readers) == 97
    assert all(s.problem.outputs[0].count * 4 <= 2 * strips.STRIP_NBYTES for s in makers)


def test_strips_are_equal_where_a_number_divides_the_rows():
    assert len({s.problem.key for s in fused(softmax(product(96, 41))) if s.problem.kind == "matmul"}) == 2  # offset 0


def test_what_others_need_first_comes_before_the_strips():
    x = product(97, 41)
    weights = op("exp", reduce("sum", floats(41, 50), 1))
    steps = fused(reduce("sum", op("mul", x, broadcast(weights, x.shape)), 1))
    assert [s.whole is None for s in steps] == [True] + [False] * (len(steps) - 1)


@pytest.mark.parametrize("name", ["product, row, product of it transposed", "a batch", "written to a part"])
def test_every_device(name, device: Device):
    root = CUT[name][1]()
    check_steps(fused(root, limits=device.limits), device)


def test_calls_jitted_calls_and_what_explain_says(cpu):
    x, y = (RNG.standard_normal(shape).astype(np.float32) for shape in ((97, 5), (5, 60)))
    wanted = np.argmin(x.astype(np.float64) @ y, axis=1)

    def nearest(x, y):
        return tw.argmin(x @ y, axis=1)

    a, b = tw.asarray(x), tw.asarray(y)
    said = str(tw.explain(nearest(a, b)))
    assert "matmul 1x97x60x5 float32 in 11 strips" in said and said.count("\n") == 2
    np.testing.assert_array_equal(np.asarray(nearest(a, b)), wanted)
    recorded = tw.jit(nearest)
    for rows in (a, a[::-1]):
        np.testing.assert_array_equal(np.asarray(recorded(rows, b)), np.argmin(np.asarray(rows) @ y, axis=1))


def test_a_result_that_is_held_is_there_when_asked_for(cpu):
    x, y = (RNG.standard_normal(shape).astype(np.float32) for shape in ((97, 5), (5, 60)))
    scores = tw.asarray(x) @ tw.asarray(y)
    largest = tw.max(scores, axis=1)
    np.testing.assert_allclose(np.asarray(largest), (x @ y).max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(scores), x @ y, rtol=1e-5, atol=1e-5)


def test_what_is_scattered_into_is_read_when_all_is_there(cpu):
    x, rows = RNG.standard_normal((200, 60)).astype(np.float32), RNG.integers(0, 200, 50)
    y = tw.asarray(x)
    y[tw.asarray(rows)] = tw.asarray(np.full((50, 60), 9.0, np.float32))
    wanted = x.copy()
    wanted[rows] = 9.0
    np.testing.assert_array_equal(np.asarray(y * 2.0), wanted * 2)
