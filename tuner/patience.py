"""Whether a fused kernel is worth its compiler yet: a small problem runs in pieces until it has run often enough.

Compiling takes some hundred milliseconds, a launch of a piece a few microseconds. Who rents until the rent adds up to
the price never pays more than twice of what would have been best; the runs counted here stand for that rent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod

from tilewright.backends.protocol import Device
from tilewright.kernels.apart import apart
from tilewright.kernels.problem import Problem
from tilewright.tuner.prepare import Candidate, Prepared, built, prepare, prepare_apart

RUNS = 1000  # in pieces, about 10 us more each, before a kernel that takes some 100 ms to compile is bought
SMALL = 1 << 14  # elements; from here on passes over memory cost more than launches

Name = tuple[str, str]
"""A device and a family of problems on it: what one fused kernel serves."""

_runs: Counter[Name] = Counter()


def name_of(problem: Problem, device: Device) -> Name:
    return device.name, problem.family


def prepare_soon(problem: Problem, candidate: Candidate, device: Device) -> tuple[Prepared, bool]:
    """`problem` prepared by `candidate`, or in pieces (then True) where that needs a compiler and has not paid yet."""
    if prod(problem.space) <= SMALL and _runs[name_of(problem, device)] < RUNS:
        pieces = None if built(problem, candidate, device) else apart(problem)
        if pieces is not None:
            return prepare_apart(problem, pieces, device), True
    return prepare(problem, candidate, device), False


def ran(names: Iterable[Name]) -> bool:
    """Note that each of these ran in pieces; whether one has done so often enough to be compiled."""
    enough = False
    for name in names:
        _runs[name] += 1
        enough = enough or _runs[name] >= RUNS
    return enough
