"""Philox, bounded integers and normal deviates: published vectors, the oracle, and the same bits on every device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernels.graphs import fused, leaf
from tests.kernels.judge import check_steps, run_problem
from tilewright.backends.protocol import Device
from tilewright.backends.registry import get_device
from tilewright.kernels import philox
from tilewright.kernels.node import Node

PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
KNOWN = {  # counter and key -> words, from the authors' test vectors
    (0,) * 6: (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    (0xFFFFFFFF,) * 6: (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    PI: (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
}
EDGES = [0, 1, 2, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF]


def words(*values: Any) -> list[Node]:
    return [leaf(np.array(column, np.uint32)) for column in values]


def random_words(count: int, columns: int) -> list[Node]:
    return words(*np.random.default_rng(4).integers(0, 1 << 32, (columns, count), dtype=np.uint32))


def node(op: str, *src: Node, dtype: str = "uint32") -> Node:
    return Node(op, src, None, src[0].shape, dtype)


def test_known_vectors(device: Device) -> None:
    columns = list(zip(*KNOWN, strict=True))
    for k, wanted in enumerate(zip(*KNOWN.values(), strict=True)):
        assert philox.word(k, *map(np.uint32, columns)).tolist() == list(wanted)
    inputs = words(*columns)
    check_steps(fused(*(node(f"philox{k}", *inputs) for k in range(4)), limits=device.limits), device)


def test_numbers_below_a_bound(device: Device) -> None:
    bounds = [1, 2, 3, 10, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, (1 << 63) + 5, (1 << 64) - 1, 0]
    random = random_words(len(bounds) * len(EDGES), 4)
    for k, source in enumerate(random):  # the ends of the range, and all ones, among them
        source.arg[: len(EDGES)] = EDGES if k else 0xFFFFFFFF
    listed = [b for b in bounds for _ in EDGES]
    low, high = words([b & 0xFFFFFFFF for b in listed], [b >> 32 for b in listed])
    found = [philox.below64(k, *(n.arg for n in (*random, low, high))).astype(object) for k in range(2)]
    assert all(lo | hi << 32 < (b or 1 << 64) for lo, hi, b in zip(*found, listed, strict=True))
    results = [node(f"below64_{k}", *random, low, high) for k in range(2)] + [node("below32", *random[:2], low)]
    assert all(
        int(v) < (int(n) or 1 << 32)
        for v, n in zip(philox.below32(*(s.arg for s in results[2].src)), low.arg, strict=True)
    )
    check_steps(fused(*results, limits=device.limits), device)


@pytest.mark.parametrize("op, columns, dtype", [("normal32", 1, "float32"), ("normal64", 2, "float64")])
def test_normals_are_exact_enough_and_the_same_everywhere(op: str, columns: int, dtype: str, device: Device) -> None:
    if dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {dtype}")
    random = random_words(5000, columns)
    for source in random:
        source.arg[: len(EDGES)] = EDGES
        source.arg[100:2000] >>= np.random.default_rng(5).integers(0, 32, 1900, dtype=np.uint32)  # the tails
    (step,) = fused(node(op, *random, dtype=dtype), limits=device.limits)
    data = [n.arg for n in step.inputs]
    (here,) = run_problem(step.problem, data, [None], device)
    (cpu,) = run_problem(step.problem, data, [None], get_device("cpu"))
    np.testing.assert_array_equal(here.view(np.uint8), cpu.view(np.uint8))
    wanted = {"normal32": philox.normal32, "normal64": philox.normal64}[op](*data)
    np.testing.assert_allclose(here, wanted, rtol=8 * np.finfo(dtype).eps, atol=0)
