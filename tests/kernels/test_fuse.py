"""Fusion: the groups it makes, and that running them problem by problem gives what the graph means."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.graphs import (
    LIMITS,
    broadcast,
    const,
    expected,
    fused,
    gelu,
    layer_norm,
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
from tilewright.kernels.node import Node, View
from tilewright.kernels.problem import Problem

RNG = np.random.default_rng(7)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def kinds(*roots: Node) -> list[str]:
    return [step.problem.kind for step in fused(*roots)]


def agree(*roots: Node) -> None:
    results = run_by_oracle(fused(*roots), list(roots))
    for result, wanted in zip(results, expected(*roots), strict=True):
        np.testing.assert_allclose(result, wanted, rtol=2e-5, atol=2e-5)


def cases() -> dict[str, list[Node]]:
    x, y, v = leaf(floats(6, 8)), leaf(floats(6, 8)), leaf(floats(8))
    w, big = leaf(floats(8, 5)), leaf(floats(50000))
    batch = leaf(floats(2, 3, 6, 8))
    shared = op("exp", x)
    iota = Node("iota", (), None, (48,), "float32")
    index = leaf(RNG.integers(0, 48, (4, 5)))
    return {
        "map": [gelu(x)],
        "broadcast": [op("add", x, broadcast(v, (6, 8)))],
        "transpose": [op("add", transpose(x), const(1.0))],
        "reshape of transpose": [reshape(transpose(op("add", x, y)), (4, 12))],
        "slice of sum": [view(op("add", x, y), (3, 4), (16, -2), 7)],
        "shifted": [op("add", view(op("exp", v), (7,), (1,), 1), view(op("exp", v), (7,), (1,), 0))],
        "softmax": [softmax(x)],
        "layer norm": [layer_norm(x, v, leaf(floats(8)))],
        "sum": [reduce("sum", x, 1)],
        "sum axis 0": [reduce("sum", op("mul", x, y), 0)],
        "sum all": [reduce("sum", reshape(x, (48,)), 0)],
        "mean then root": [op("sqrt", op("abs", op("div", reduce("sum", x, 0), const(6.0))))],
        "variance axis 0": [reduce("sum", op("mul", op("sub", x, broadcast(reduce("sum", x, 0, True), (6, 8))), x), 0)],
        "long sum": [op("mul", reduce("sum", op("mul", big, big), 0), const(0.5))],
        "shared": [op("add", shared, y), reduce("max", shared, 1)],
        "root used": [shared, op("add", shared, shared)],
        "matmul": [matmul(x, w)],
        "matmul epilogue": [gelu(op("add", matmul(x, w), broadcast(leaf(floats(5)), (6, 5))))],
        "matmul transposed": [matmul(transpose(w), transpose(x))],
        "matmul prologue": [matmul(op("mul", x, y), w)],
        "matmul batch": [op("mul", matmul(batch, broadcast(w, (2, 3, 8, 5))), const(2.0))],
        "matmul batch bias": [
            op("add", matmul(batch, broadcast(w, (2, 3, 8, 5))), broadcast(leaf(floats(3, 1, 5)), (2, 3, 6, 5)))
        ],
        "attention": [matmul(softmax(matmul(x, transpose(y))), leaf(floats(6, 3)))],
        "iota": [op("mul", reshape(iota, (6, 8)), x), transpose(reshape(iota, (6, 8)))],
        "gather": [op("add", Node("gather", (op("add", x, y), index), None, (4, 5), "float32"), const(1.0))],
        "write": [Node("write", (x, op("exp", view(y, (3, 2), (8, 1)))), View((3, 2), (16, 3), 1), (6, 8), "float32")],
        "overlapping write": [Node("write", (v, view(v, (7,), (1,))), View((7,), (1,), 1), (8,), "float32")],
        "empty": [op("add", leaf(floats(0, 3)), const(1.0))],
        "empty sum": [op("add", reduce("sum", leaf(floats(3, 0)), 1), const(1.0))],
        "scalar": [op("add", const(1.0), const(2.0))],
        "extent one": [op("add", leaf(floats(1, 1, 5)), broadcast(leaf(floats(1, 1, 1)), (1, 1, 5)))],
    }


@pytest.mark.parametrize("name", cases())
def test_groups_mean_what_the_graph_means(name: str) -> None:
    agree(*cases()[name])


def test_groups_are_few() -> None:
    c = cases()
    assert kinds(*c["map"]) == ["map"]
    assert kinds(*c["softmax"]) == ["row"]
    assert kinds(*c["layer norm"]) == ["row"]
    assert kinds(*c["mean then root"]) == ["reduce"]
    assert kinds(*c["matmul epilogue"]) == ["matmul"]
    assert kinds(*c["matmul prologue"]) == ["matmul"]
    assert kinds(*c["long sum"]) == ["reduce", "reduce"]
    assert kinds(*c["attention"]) == ["matmul", "row", "matmul"]
    assert len(kinds(*c["shared"])) == 3  # exp is costly: stored once


def test_costly_values_are_not_repeated_across_a_broadcast() -> None:
    v = leaf(floats(8))
    root = op("add", broadcast(op("exp", v), (6, 8)), leaf(floats(6, 8)))
    assert kinds(root) == ["map", "map"]
    assert kinds(op("add", broadcast(op("neg", v), (6, 8)), leaf(floats(6, 8)))) == ["map"]


def test_a_constant_changes_neither_family_nor_key() -> None:
    x = leaf(floats(6, 8))
    one, two = (fused(op("add", x, const(c)))[0].problem for c in (1.0, 2.0))
    assert one.key == two.key and one.scalars != two.scalars


def test_a_size_changes_the_key_and_not_the_family() -> None:
    small, large = (fused(softmax(leaf(floats(6, n))))[0].problem for n in (8, 16))
    assert small.family == large.family and small.key != large.key


@pytest.mark.parametrize("name", ["softmax", "matmul batch bias", "long sum", "gather", "iota"])
def test_problems_survive_json(name: str) -> None:
    for step in fused(*cases()[name]):
        again = Problem.from_json(step.problem.to_json())
        assert again == step.problem and again.family == step.problem.family


def test_a_deep_chain_is_cut() -> None:
    x = leaf(floats(16))
    node = x
    for _ in range(300):
        node = op("add", node, x)
    assert 2 <= len(fused(node)) <= 4
    agree(node)


def test_a_product_reads_a_stored_operand_through_its_transpose():
    x, y = leaf(floats(8, 6)), leaf(floats(8, 5))
    made = op("exp", x)
    steps = fused(matmul(transpose(made), y))
    assert [step.problem.kind for step in steps] == ["map", "matmul"]
    assert steps[0].outputs == (made,) and steps[1].problem.inputs[0].strides[-3:] == (1, 0, 6)
    agree(matmul(transpose(op("exp", x)), y))


def test_rows_across_a_large_matrix_are_not_fused():
    """The variance over axis 0 of a large matrix reads it twice, many columns at a time; of a small one, once."""
    for rows, at_once in ((4, True), (70000, False)):
        x = leaf(floats(rows, 3))
        apart = op("sub", x, broadcast(op("mul", reduce("sum", x, 0), const(1 / rows)), (rows, 3)))
        assert (len(fused(reduce("sum", op("mul", apart, apart), 0))) == 1) is at_once


def test_a_deep_product_with_few_results_is_cut_into_parts() -> None:
    a, b, bias = leaf(floats(12, 20000)), leaf(floats(20000, 10) / np.float32(141)), leaf(floats(10))
    cut = op("max", op("add", matmul(a, b), broadcast(bias, (12, 10))), const(0.0))
    assert kinds(cut) == ["matmul", "reduce"]
    first, second = fused(cut)
    assert first.problem.space == (LIMITS.compute_units * 4, 12, 10, 20000 // LIMITS.compute_units // 4)
    assert second.problem.space == (1, 12, 10, LIMITS.compute_units * 4)
    agree(cut)
    thin = leaf(floats(30000, 9) / np.float32(1000))  # sums of about 1, for which the tolerance is
    agree(matmul(transpose(thin), op("exp", leaf(floats(30000, 11)))))


def test_products_that_are_not_cut() -> None:
    def kind(m: int, n: int, k: int, dtype: str = "float32") -> list[str]:
        return kinds(matmul(leaf(floats(m, k).astype(dtype)), leaf(floats(k, n).astype(dtype))))

    assert kind(1000, 100, 3000) == ["matmul"]  # enough results
    assert kind(12, 10, 10007) == ["matmul"]  # a prime depth
    assert kind(4, 4, 20000) == ["matmul"]  # too little to do
    batch = matmul(leaf(floats(3, 12, 20000)), leaf(floats(3, 20000, 10)))
    assert kinds(batch) == ["matmul"]
