"""Cost as work grows: the same function from 2^10 to 2^26 elements, to see that nothing falls off a cliff."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isqrt
from typing import Any

from benchmarks.products import into, matmul
from benchmarks.workloads import Workload, gelu, softmax

PEERS = ("numpy", "torch", "jax")  # what has all three, without a compiler's wait for each of 27 sizes
COLUMNS = 1024


def _torch_gelu(torch: Any) -> Callable[..., Any]:
    return lambda x: torch.nn.functional.gelu(x, approximate="tanh")


def _torch_softmax(torch: Any) -> Callable[..., Any]:
    return lambda x: torch.softmax(x, 1)


def growth(quick: bool) -> list[Workload]:
    """In steps of four. `quick` stops at 2^16. The largest product takes ten seconds and more, each time."""
    found = []
    for power in range(10, 18 if quick else 28, 2):
        n = 1 << power
        side = isqrt(n)
        columns = min(COLUMNS, side)
        shape = (n // columns, columns)
        found += [
            Workload(f"growth map {n}", ((n,),), gelu, special={"torch": _torch_gelu}),
            Workload(f"growth softmax {n}", (shape,), softmax, special={"torch": _torch_softmax}),
            Workload(f"growth matmul {n}", ((side, side),) * 2, matmul, special={"numpy": into}),
        ]
    return [replace(workload, aims=()) for workload in found]
