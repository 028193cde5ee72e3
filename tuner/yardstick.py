"""How good a time is: against the device's measured roof, and in the units people use."""

from __future__ import annotations

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Device
from tilewright.kernels.matmul_narrow import parts_of
from tilewright.kernels.problem import Problem
from tilewright.kernels.products import PRODUCTS
from tilewright.tuner.measure import supervisor
from tilewright.tuner.records import Record
from tilewright.tuner.store import Store

ROOF_SECONDS = 1.0

ROOF_MARGIN = 0.05
"""What runs within this of the roof, its whole interval, is as fast as the device gets: a roof is known no better."""

ROOF_LAUNCHES = 20
"""Work that the roof does in less than so many launch latencies says nothing about the roof."""


def roof(device: Device, store: Store) -> dict[str, float]:
    """The device's roof (see `roof.measure_roof`): from its record, else measured now. Raises Unmeasurable."""
    record = store.roof(device.fingerprint)
    return record.details if record is not None else raised(device, store, {})


def raised(device: Device, store: Store, before: dict[str, float]) -> dict[str, float]:
    """The roof measured again, keeping of each value the better one. Raises Unmeasurable."""
    now = supervisor(device.name).roof(ROOF_SECONDS)
    for name, value in before.items():
        now[name] = min(now[name], value) if name == "launch_seconds" else max(now[name], value)
    store.append(Record("roof", device.name, device.fingerprint, title="roof", details=dict(now)))
    return now


def beaten(problem: Problem, seconds: float, roof: dict[str, float], device: Device) -> bool:
    """Whether a time is better than the roof allows, so that something must have disturbed the roof's measurement.

    Bandwidth counts only where the data does not fit the caches.
    """
    return seconds * (1 + ROOF_MARGIN) < least_seconds(problem, _bounds(problem, roof, device))


def at_roof(problem: Problem, best: Record, roof: dict[str, float], device: Device) -> bool:
    """Whether searching on is in vain: `best` is within ROOF_MARGIN of `roof` ({} where it is not known).

    Never where launching is a good part of the work, nor for times below the roof, which was then measured too low.
    Bandwidth counts only where the data does not fit the caches.
    """
    if not roof or beaten(problem, best.seconds, roof, device):
        return False
    least = least_seconds(problem, _bounds(problem, roof, device))
    return least >= ROOF_LAUNCHES * roof["launch_seconds"] and best.high <= least * (1 + ROOF_MARGIN)


def _bounds(problem: Problem, roof: dict[str, float], device: Device) -> dict[str, float]:
    """The part of the roof that holds for the problem: the triad's bandwidth does not for data in the caches."""
    large = problem.nbytes > 2 * max(device.limits.cache_nbytes, default=0)
    return roof if large else {**roof, "triad_bytes_per_second": float("inf")}


def least_seconds(problem: Problem, roof: dict[str, float]) -> float:
    """The problem at the roof."""
    return bound(problem.nbytes, problem.operations, multiplied(problem), roof)


def multiplied(problem: Problem) -> str:
    """The dtype of the multiply-adds that bound it: of what shares lanes where the device does so, or of the result."""
    parts = parts_of(problem) if problem.kind == "matmul" else None
    return parts.dtype if parts else DTYPES[problem.outputs[0].dtype].compute


def bound(nbytes: int, operations: int, dtype: str, roof: dict[str, float]) -> float:
    """Seconds for so many bytes at triad bandwidth, or for the operations at the multiply-add rate if longer."""
    moving = nbytes / roof["triad_bytes_per_second"]
    known = f"{dtype}_madds_per_second" in roof
    madds = roof.get(f"{dtype if known else 'float32'}_madds_per_second", 0.0)
    return max(moving, operations / (2 * madds)) if madds else moving


def share_of_roof(problem: Problem, seconds: float, roof: dict[str, float]) -> float:
    """Above 1 where the data stays in the caches, which the triad's does not."""
    return least_seconds(problem, roof) / seconds


def rate(problem: Problem, seconds: float) -> str:
    """GFLOP/s of a multiplication, GB/s of anything else."""
    if problem.kind in PRODUCTS:
        return f"{problem.operations / seconds / 1e9:.1f} GFLOP/s"
    return f"{problem.nbytes / seconds / 1e9:.1f} GB/s"


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
