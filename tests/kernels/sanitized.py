"""Products on the cpu at odd sizes, for a compiler that checks addresses: see test_sanitized.py."""

from __future__ import annotations

import random

import numpy as np

from tests.kernels.graphs import fused, leaf, matmul, transpose
from tests.kernels.judge import check_steps
from tests.kernels.test_products import CONV, heads
from tilewright.backends.registry import get_device
from tilewright.kernels.matmul_cpu import MatmulCpu
from tilewright.kernels.node import Node

RNG = np.random.default_rng(31)
SIZES = ((1, 1, 1), (7, 9, 15), (9, 33, 65), (41, 70, 530), (50, 10, 60))


def _matrix(rows: int, columns: int, turned: bool, dtype: str) -> Node:
    node = leaf(RNG.standard_normal((columns, rows) if turned else (rows, columns)).astype(dtype))
    return transpose(node) if turned else node


def main() -> None:
    """Raises on a wrong result; the sanitizer ends the process at a wrong address."""
    device, rng = get_device("cpu"), random.Random(3)
    for k, (m, n, depth) in enumerate(SIZES):
        dtype = ("float32", "float64")[k % 2]
        root = matmul(_matrix(m, depth, k % 3 == 1, dtype), _matrix(depth, n, k % 2 > 0, dtype))
        (step,) = fused(root, limits=device.limits)
        check_steps([step], device)
        check_steps([step], device, MatmulCpu(), rng.choice(list(MatmulCpu().space(step.problem, device.limits))))
    for k, name in enumerate(CONV):
        check_steps(fused(CONV[name](("NCHW", "NHWC")[k % 2]), limits=device.limits), device)
    check_steps(fused(heads(37, 67, 33, 17, causal=True), limits=device.limits), device)
    print("clean")


if __name__ == "__main__":
    main()
