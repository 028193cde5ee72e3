"""Rows shorter than a vector, one to a lane; and what is left of a row when its last vector is not full."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tilewright as tw
from tests.kernels.graphs import const, fused, leaf, op, reduce, softmax, view
from tests.kernels.judge import check_steps
from tests.kernels.test_columns import by_spread, log_sum, normalized
from tilewright.backends.dtypes import numpy_dtype
from tilewright.backends.protocol import Device
from tilewright.kernels.node import Node
from tilewright.kernels.places import FIRST
from tilewright.kernels.reduce import Rows
from tilewright.tuner.prepare import default_candidate

RNG = np.random.default_rng(41)


def floats(*shape: int) -> Node:
    """With NaN, infinities, zeros of both signs and a subnormal in the first rows."""
    x = RNG.standard_normal(shape).astype(np.float32)
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-41, -np.nan]
    for row, value in enumerate(special):
        x[row, row % shape[1]] = value
    x[len(special)] = np.nan
    x[len(special) + 1] = -np.inf
    return leaf(x)


def tame(*shape: int) -> Node:
    return leaf(RNG.standard_normal(shape).astype(np.float32))


def first_place(x: Node, extreme: str = "max") -> Node:
    """As argmax and argmin have it."""
    extent = x.shape[1]
    line = Node("iota", (), None, (extent,), "int32")
    found = op("eq", x, view(reduce(extreme, x, 1), x.shape, (1, 0)))
    found = op("or", found, op("ne", x, x)) if x.dtype == "float32" else found
    picked = Node("where", (found, view(line, x.shape, (0, 1)), const(extent, "int32")), FIRST, x.shape, "int32")
    return reduce("min", picked, 1)


GRAPHS: dict[str, Callable[[int], Node]] = {
    "sum": lambda n: reduce("sum", floats(131, n), 1),
    "max": lambda n: reduce("max", floats(131, n), 1),
    "place of the max": lambda n: first_place(floats(131, n)),
    "place of the least": lambda n: first_place(leaf(RNG.integers(-3, 3, (131, n))), "min"),
    "softmax": lambda n: softmax(tame(131, n)),
    "logarithm of a sum": lambda n: log_sum(tame(131, n), 1),
    "layer norm": lambda n: normalized(tame(131, n), tame(n), 1),
    "every other": lambda n: reduce("min", view(tame(131, 2 * n), (131, n), (2 * n, 2)), 1),
    "in a batch": lambda n: reduce("sum", view(tame(4, 131 * n + 5), (4, 131, n), (131 * n + 5, n, 1)), 2),
}


def default_kernel(root: Node, device: Device) -> str:
    (step,) = fused(root, limits=device.limits)
    candidate = default_candidate(step.problem, device.limits)
    assert candidate is not None
    return candidate.kernel


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", GRAPHS)
def test_short_rows(name: str, device: Device) -> None:
    for n in (1, 3, 7, 15):
        check_steps(fused(GRAPHS[name](n), limits=device.limits), device)


@pytest.mark.parametrize("n", [3, 15])
def test_spread_of_short_rows(n: int, device: Device) -> None:
    check_steps(fused(by_spread(tame(131, n), 1), limits=device.limits), device)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", GRAPHS)
def test_vectors_that_are_not_full(name: str, cpu: Device) -> None:
    for n in (1, 15, 16, 17, 31, 33, 100, 300):
        (step,) = fused(GRAPHS[name](n), limits=cpu.limits)
        for lanes in (16, 32):
            if list(Rows().space(step.problem, cpu.limits)):
                config = Rows().default(step.problem, cpu.limits) | {"LANES": lanes}
                check_steps([step], cpu, Rows(), config)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int8", "uint64", "bool"])
def test_dtypes(dtype: str, device: Device) -> None:
    if dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {dtype}")
    for n in (3, 15, 33):
        data = RNG.integers(0, 2, (131, n)).astype(numpy_dtype(dtype))
        check_steps(fused(reduce("max", leaf(data, dtype), 1), limits=device.limits), device)


def test_which_kernel_is_the_default(cpu: Device) -> None:
    most = cpu.limits.vector_nbytes // 4
    assert default_kernel(reduce("max", tame(131, most - 1), 1), cpu) == "columns"
    assert default_kernel(reduce("max", tame(131, most), 1), cpu) == "rows"
    assert default_kernel(reduce("max", tame(20, most - 1), 1), cpu) == "rows"  # too few of them to fill vectors


@pytest.mark.parametrize("limit", [-1, 0, 5, 300])
def test_what_others_choose_among_places_is_theirs(limit: int, cpu: Device) -> None:
    """As argmax has it but for the number where there is none, of rows for which places are kept in lanes."""
    x = RNG.integers(0, 50, (70, 300)).astype(np.int32)
    x[3] = 7
    a, line = tw.asarray(x), tw.arange(300, dtype="int32")
    got = tw.min(tw.where(a == tw.max(a, axis=1, keepdims=True), line, limit), axis=1)
    wanted = np.where(x == x.max(axis=1, keepdims=True), np.arange(300), limit).min(axis=1)
    np.testing.assert_array_equal(np.asarray(got), wanted)
    np.testing.assert_array_equal(np.asarray(tw.argmax(a, axis=1)), x.argmax(axis=1))
