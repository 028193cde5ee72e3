"""Scans on every device against the oracle: every reduction, layouts, parts, dtypes, edges of blocks and tiles."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.kernels.graphs import LIMITS, const, expected, fused, leaf, op, run_by_oracle, transpose
from tests.kernels.judge import check_steps
from tilewright.backends.dtypes import numpy_dtype
from tilewright.backends.protocol import Device
from tilewright.kernels import KERNELS
from tilewright.kernels.node import Node, View
from tilewright.kernels.scan import BLOCK

RNG = np.random.default_rng(29)


def scan(name: str, node: Node, axis: int) -> Node:
    return Node("scan", (node,), (name, axis), node.shape, node.dtype)


def numbers(shape: tuple[int, ...], dtype: str = "float32") -> Node:
    """Near 1 in magnitude, so that products stay in range."""
    values = np.exp(RNG.standard_normal(shape) / 50) * RNG.choice([-1.0, 1.0], shape)
    if dtype.startswith("complex"):
        values = values * np.exp(1j * RNG.standard_normal(shape))
    return leaf(np.round(values * 3 - 1).astype(dtype) if "int" in dtype else values.astype(numpy_dtype(dtype)), dtype)


def integers(*shape: int) -> Node:
    """Floats whose sums are exact, however they are added up."""
    return leaf(RNG.integers(-4, 5, shape).astype(np.float32))


def planted(*shape: int) -> Node:
    data = RNG.standard_normal(shape).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf, -0.0, 1e-40):
        data.reshape(-1)[RNG.integers(0, data.size)] = value
    return leaf(data)


def doubled(n: int) -> Node:
    return op("mul", transpose(integers(n, 2)), const(2.0))


def behind(shape: tuple[int, ...], value: Node, where: View) -> Node:
    old = Node("view", (const(7.0),), View(shape, (0,) * len(shape)), shape, "float32")
    return Node("write", (old, value), where, shape, "float32")


GRAPHS: dict[str, Any] = {
    "rows": lambda n: scan("sum", integers(3, n), 1),
    "columns": lambda n: scan("prod", numbers((n, 5)), 0),
    "middle": lambda n: scan("max", planted(2, n, 3), 1),
    "short rows": lambda n: scan("min", planted(n, 3), 1),
    "into another": lambda n: behind((2, n + 1), scan("sum", doubled(n), 1), View((2, n), (n + 1, 1), 1)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_default_config(name: str, device: Device) -> None:
    for n in (1025,) if device.name.startswith("opencl") else (1, 2, 127, 1025, BLOCK + 1):
        check_steps(fused(GRAPHS[name](n), limits=device.limits), device)


@pytest.mark.parametrize("shape", [(100_003, 2), (2, 100_003)])
def test_few_long_rows_are_scanned_in_parts(shape: tuple[int, ...], device: Device) -> None:
    limits = replace(device.limits, compute_units=8)
    steps = fused(scan("sum", integers(*shape), shape.index(100_003)), limits=limits)
    assert [s.problem.kind for s in steps] == ["reduce", "scan"]
    check_steps(steps, device)


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float64", "int8", "uint16", "int64", "bool", "complex64", "complex128"]
)
def test_dtypes(dtype: str, device: Device) -> None:
    slow = device.name.startswith("opencl") and dtype not in ("bfloat16", "complex64")
    if slow or dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {dtype}, or is slow to compile for it")
    name = "max" if dtype == "bool" else "sum"
    check_steps(fused(scan(name, numbers((3, 70), dtype), 1), limits=device.limits), device)
    if dtype == "complex64":
        check_steps(fused(scan("prod", numbers((70, 33), dtype), 0), limits=device.limits), device)


@pytest.mark.parametrize("name", ["rows", "columns"])
def test_random_valid_configs(name: str, device: Device) -> None:
    steps = fused(GRAPHS[name](1031), limits=device.limits)
    choices = [(s, k, c) for s in steps for k in KERNELS[s.problem.kind] for c in k.space(s.problem, device.limits)]
    count = 2 if device.name.startswith("opencl") else 5
    for step, kernel, config in random.Random(7).sample(choices, min(count, len(choices))):
        check_steps([step], device, kernel, config)


def test_parts_add_up() -> None:
    """The two steps together, by the oracle, are the scan: an error in both kernel and oracle would show here."""
    for name in ("sum", "max"):
        root = scan(name, integers(100_003), 0)
        steps = fused(root, limits=replace(LIMITS, compute_units=8))
        assert [s.problem.kind for s in steps] == ["reduce", "scan"]
        np.testing.assert_allclose(run_by_oracle(steps, [root])[0], expected(root)[0], rtol=1e-3, atol=1e-3)


def test_error_of_a_long_sum(device: Device) -> None:
    """At most (BLOCK + n / BLOCK) eps times the sum of magnitudes, which adding one by one would not keep to."""
    import tilewright as tw

    if device.name.startswith("emulated"):
        pytest.skip("through the frontend, which knows no emulated device")
    data = np.full(1 << 21, 0.1, np.float32)
    exact = np.cumsum(data.astype(np.float64))
    got = np.asarray(tw.cumulative_sum(tw.asarray(data, device=device.name)).to_device("cpu")).astype(np.float64)
    assert (np.abs(got - exact) <= (BLOCK + len(data) / BLOCK) * 2.0**-24 * exact).all()
