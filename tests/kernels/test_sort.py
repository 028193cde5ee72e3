"""Sorts on every device against the oracle, step by step: ties, NaN, odd lengths, selection, descending order."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from tests.kernels.graphs import LIMITS, const, expected, fused, leaf, op, run_by_oracle, transpose
from tests.kernels.judge import check_steps, run_problem
from tilewright.backends.dtypes import numpy_dtype
from tilewright.backends.protocol import Device
from tilewright.kernels import KERNELS
from tilewright.kernels.node import Node
from tilewright.tuner.check import Reference, make_inputs

RNG = np.random.default_rng(31)


def sort(node: Node, axis: int = -1, descending: bool = False, keep: int | None = None, places: bool = False) -> Node:
    axis %= len(node.shape)
    keep = node.shape[axis] if keep is None else keep
    shape = (*node.shape[:axis], keep, *node.shape[axis + 1 :])
    op, dtype = ("argsort", "int64") if places else ("sort", node.dtype)
    return Node(op, (node,), (axis, descending, keep), shape, dtype)


def ties(*shape: int, dtype: str = "float32") -> Node:
    """Few values, so that many are equal; of floats some are NaN, infinite or zeros of both signs."""
    data = RNG.integers(0, 9, shape).astype(numpy_dtype(dtype))
    if "float" in dtype:
        for value in (np.nan, np.inf, -np.inf, -0.0):
            data.reshape(-1)[RNG.integers(0, data.size, max(1, data.size // 20))] = value
    return leaf(data, dtype)


GRAPHS: dict[str, Any] = {
    "values": lambda n: sort(leaf(RNG.standard_normal((2, n)).astype(np.float32))),
    "places": lambda n: sort(ties(n, 3), 0, places=True),
    "descending places": lambda n: sort(op("mul", transpose(ties(n, 2)), const(2.0)), descending=True, places=True),
    "largest": lambda n: sort(ties(n), descending=True, keep=min(n, 11), places=True),
    "smallest of columns": lambda n: sort(op("neg", ties(n, 40)), 0, keep=1),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_default_config(name: str, device: Device) -> None:
    for n in (1, 33, 9001) if not device.name.startswith("opencl") else (3001,):
        check_steps(fused(GRAPHS[name](n), limits=device.limits), device)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "uint64", "bool"])
def test_dtypes(dtype: str, device: Device) -> None:
    if dtype not in device.limits.dtypes or device.name.startswith("opencl"):
        pytest.skip(f"{device.name} has no {dtype}, or is slow to compile for it")
    check_steps(fused(sort(ties(3000, dtype=dtype), places=True), limits=device.limits), device)


def test_random_valid_configs(device: Device) -> None:
    steps = fused(GRAPHS["descending places"](2050), limits=device.limits)[:2]
    choices = [(s, k, c) for s in steps for k in KERNELS[s.problem.kind] for c in k.space(s.problem, device.limits)]
    for step, kernel, config in random.Random(7).sample(choices, 2 if device.name.startswith("opencl") else 5):
        problem = step.problem
        run_problem(problem, make_inputs(problem), [None] * len(problem.outputs), device, kernel, config)


@pytest.mark.parametrize("name", GRAPHS)
def test_steps_add_up(name: str) -> None:
    """All steps together, by the oracle, are what the graph says: an error in both kernel and oracle shows here."""
    for n in (31, 32, 33, 1000, 4097):
        root = GRAPHS[name](n)
        np.testing.assert_array_equal(run_by_oracle(fused(root), [root])[0], expected(root)[0])


def test_the_tuner_is_given_runs_in_order() -> None:
    merge = fused(sort(ties(500), places=True))[2].problem
    keys, _ = inputs = make_inputs(merge)
    assert merge.kind == "merge" and (np.diff(keys[:64]) >= 0).all() and (np.diff(keys) < 0).any()
    assert LIMITS.threads_per_group == 1 and Reference(merge, inputs)
