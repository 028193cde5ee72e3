"""Every generated kernel on every device against the oracle: poisoned outputs, canaries, odd sizes, random configs."""

from __future__ import annotations

import random
from math import prod
from typing import Any

import numpy as np
import pytest

from tests.kernels.graphs import (
    broadcast,
    const,
    fused,
    gelu,
    layer_norm,
    leaf,
    op,
    reduce,
    reshape,
    softmax,
    transpose,
    view,
)  # fmt: skip
from tests.kernels.judge import check_steps
from tilewright.backends.dtypes import PARTS
from tilewright.backends.protocol import Device
from tilewright.backends.registry import get_device
from tilewright.kernels import KERNELS
from tilewright.kernels.node import Node, View
from tilewright.kernels.turned import Turned

RNG = np.random.default_rng(11)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def special(*shape: int) -> np.ndarray[Any, Any]:
    """Random values with NaN, infinities, zeros of both signs and a subnormal among them."""
    data = floats(*shape).reshape(-1)
    for value in (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40):
        data[RNG.integers(0, len(data))] = value
    return data.reshape(shape)


def gather(table: Node, index: Node) -> Node:
    return Node("gather", (table, index), None, index.shape, table.dtype)


def rows_of(table: Node, index: Node) -> Node:
    """Whole rows, by places as the frontend writes them."""
    shape, width = (*index.shape, table.shape[1]), table.shape[1]
    begin = broadcast(op("mul", reshape(index, (*index.shape, 1)), const(width, "int64")), shape)
    within = broadcast(Node("iota", (), None, (width,), "int64"), shape)
    return gather(table, Node("add", (begin, within), None, shape, "int64"))


def iota(n: int) -> Node:
    return Node("iota", (), None, (n,), "float32")


def write(old: Node, value: Node, where: View) -> Node:
    return Node("write", (old, value), where, old.shape, old.dtype)


def shares(x: Node) -> Node:
    """Of a constant: one value per row, wanted for each element."""
    return op("div", x, broadcast(reduce("sum", x, 1, keepdims=True), x.shape))


GRAPHS = {
    "gelu": lambda n: [gelu(leaf(floats(n)))],
    "special max": lambda n: [op("max", leaf(special(n)), leaf(special(n)))],
    "broadcast add": lambda n: [op("add", leaf(floats(5, n)), broadcast(leaf(floats(n)), (5, n)))],
    "outer product": lambda n: [op("mul", broadcast(leaf(floats(n, 1)), (n, 7)), broadcast(leaf(floats(7)), (n, 7)))],
    "transpose": lambda n: [op("add", transpose(leaf(floats(n, 9))), const(1.0))],
    "flip": lambda n: [op("add", view(leaf(floats(n)), (n,), (-1,), n - 1), const(1.0))],
    "three axes": lambda n: [op("mul", view(leaf(floats(4, n, 6)), (3, n, 3), (6 * n, 6, 2), 6 * n), const(2.0))],
    "softmax": lambda n: [softmax(leaf(floats(5, n)))],
    "special softmax": lambda n: [softmax(leaf(special(5, n)))],
    "layer norm": lambda n: [layer_norm(leaf(floats(6, n)), leaf(floats(n)), leaf(floats(n)))],
    "shares of ones": lambda n: [shares(broadcast(const(1.0), (3, n)))],
    "sum rows": lambda n: [reduce("sum", leaf(floats(3, n)), 1)],
    "max columns": lambda n: [reduce("max", leaf(special(n, 7)), 0)],
    "min of middle": lambda n: [reduce("min", leaf(floats(3, n, 5)), 1)],
    "sum all": lambda n: [reduce("sum", reshape(leaf(floats(n, 300)), (n * 300,)), 0)],
    "mean of squares": lambda n: [op("div", reduce("sum", op("mul", x := leaf(floats(n, 40)), x), 0), const(float(n)))],
    "spread of rows": lambda n: [op("div", reduce("spread", leaf(floats(5, n) + 1e6), 1), const(float(n)))],
    "spread of columns": lambda n: [reduce("spread", leaf(floats(n, 37) + 1e6), 0)],
    "spread of all": lambda n: [reduce("spread", reshape(leaf(floats(n, 300) - 1e4), (n * 300,)), 0)],
    "gather": lambda n: [gather(leaf(floats(n)), leaf(RNG.integers(0, n, (3, 11))))],
    "gather of rows": lambda n: [rows_of(leaf(floats(n, 21)), leaf(RNG.integers(0, n, 13)))],
    "iota": lambda n: [op("mul", transpose(reshape(iota(6 * n), (n, 6))), leaf(floats(6, n)))],
    "write": lambda n: [write(leaf(floats(n, 4)), op("neg", leaf(floats(n, 2))), View((n, 2), (4, 2), 1))],
}  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 17, 64, 257])
@pytest.mark.parametrize("name", GRAPHS)
def test_default_config(name: str, n: int, device: Device) -> None:
    check_steps(fused(*GRAPHS[name](n), limits=device.limits), device)


@pytest.mark.parametrize(
    "name",
    ["gelu", "transpose", "three axes", "softmax", "layer norm", "max columns", "mean of squares", "spread of rows",
     "spread of columns"],
)  # fmt: skip
def test_random_valid_configs(name: str, device: Device) -> None:
    steps = fused(*GRAPHS[name](131), limits=device.limits)
    choices = [(s, k, c) for s in steps for k in KERNELS[s.problem.kind] for c in k.space(s.problem, device.limits)]
    for step, kernel, config in random.Random(3).sample(choices, min(5, len(choices))):
        check_steps([step], device, kernel, config)


def test_defaults_are_in_their_space(device: Device) -> None:
    for name, make in GRAPHS.items():
        for n in (1, 300):
            for step in fused(*make(n), limits=device.limits):
                for kernel in KERNELS[step.problem.kind]:
                    space = kernel.space(step.problem, device.limits)
                    if any(True for _ in space):
                        refusal = space.refusal(kernel.default(step.problem, device.limits))
                        assert refusal is None, (name, kernel.name, refusal)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8"])
def test_transposes_in_vectors(dtype: str) -> None:
    """Blocks with every kind of rest, of one operand and of two, beside one that is read in order.

    cpu alone: elsewhere the kernel does not apply.
    """
    device, kernel = get_device("cpu"), Turned()

    def made(*shape: int) -> Node:
        data = special(*shape)
        return leaf((np.nan_to_num(data, posinf=5, neginf=-5) if dtype == "int8" else data).astype(dtype))

    for rows, columns in ((8, 8), (9, 33), (257, 31)):
        two = op("max", op("max", transpose(made(rows, columns)), transpose(made(rows, columns))), made(columns, rows))
        batches = view(made(3, rows, columns), (3, columns, rows), (rows * columns, 1, columns))
        for root in (two, op("max", batches, batches)):
            (step,) = fused(root, limits=device.limits)
            for config in random.Random(rows).sample(list(kernel.space(step.problem, device.limits)), 2):
                check_steps([step], device, kernel, config)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "uint16", "int64", "bool"])
def test_dtypes_in_maps_and_reductions(dtype: str, device: Device) -> None:
    if dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {dtype}")
    from tilewright.backends.dtypes import numpy_dtype

    data = leaf((RNG.standard_normal((9, 33)) * 3).astype(numpy_dtype(dtype)), dtype)
    maximum = Node("reduce", (op("max", data, data),), ("max", 1), (9,), dtype)
    column = Node("reduce", (data,), ("min", 0), (33,), dtype)
    check_steps(fused(maximum, column, limits=device.limits), device)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers(dtype: str, device: Device) -> None:
    if dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {dtype}")
    pairs = (RNG.standard_normal((2, 40, 33)) + 1j * RNG.standard_normal((2, 40, 33))).astype(dtype)
    x, y = leaf(pairs[0]), leaf(pairs[1])
    one = Node("complex", (const(0.5, PARTS[dtype]), const(-2.0, PARTS[dtype])), None, (), dtype)
    quotient = op("div", op("mul", x, op("conj", y)), op("add", y, one))
    size = Node("abs", (op("sub", x, y),), None, x.shape, PARTS[dtype])
    widened = Node("cast", (leaf(floats(40, 33)),), None, (40, 33), dtype)
    rows, columns = reduce("sum", op("mul", x, widened), 1), reduce("sum", x, 0)
    product = reduce(
        "prod", op("div", x, Node("cast", (Node("abs", (x,), None, x.shape, PARTS[dtype]),), None, x.shape, dtype)), 1
    )
    picked = gather(reshape(x, (40 * 33,)), leaf(RNG.integers(0, 40 * 33, (3, 11))))
    replaced = write(x, op("neg", transpose(leaf(pairs[0][:2, :20]))), View((20, 2), (66, 5), 7))
    check_steps(fused(quotient, size, rows, columns, product, picked, replaced, limits=device.limits), device)


def test_long_sums_of_complex_numbers(device: Device) -> None:
    """In parts, and with the accumulators that every device has a choice of."""
    data = RNG.standard_normal((3, 300_001)) + 1j * RNG.standard_normal((3, 300_001))
    steps = fused(reduce("sum", leaf(data.astype(np.complex64)), 1), limits=device.limits)
    check_steps(steps, device)
    assert len(steps) == 2 or device.limits.compute_units == 1


def test_operands_of_large_offset(device: Device) -> None:
    """Addresses are 64 bits wide where it matters: an offset near the end of the buffer."""
    base = leaf(floats(70000))
    check_steps(fused(op("add", view(base, (10,), (-3,), 69999), const(1.0)), limits=device.limits), device)
    assert prod(base.shape) == 70000
