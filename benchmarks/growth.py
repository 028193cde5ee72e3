"""Cost as work grows: the same function from 2^10 to 2^26 elements, to see that nothing falls off a cliff."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

from benchmarks.networks import into, matmul
from benchmarks.workloads import Workload, gelu, softmax

PEERS = ("numpy", "torch", "jax")  # what has all three, without a compiler's wait for each of 27 sizes
COLUMNS = 1024


def growth(quick: bool) -> list[Workload]:
    """In steps of four. `quick` stops at 2^16. The largest product takes ten seconds and more, each time."""
    found = []
    for power in range(10, 18 if quick else 28, 2):
        n = 1 << power
        side = isqrt(n)
        columns = min(COLUMNS, side)
        shape = (n // columns, columns)
        found += [
            Workload(f"growth map {n}", ((n,),), gelu, special={
                "torch": lambda torch: lambda x: torch.nn.functional.gelu(x, approximate="tanh")}),
            Workload(f"growth softmax {n}", (shape,), softmax, special={"torch": lambda torch: lambda x: torch.softmax(x, 1)}),
            Workload(f"growth matmul {n}", ((side, side),) * 2, matmul, special={"numpy": into}),
        ]  # fmt: skip
    return [replace(workload, aims=()) for workload in found]
