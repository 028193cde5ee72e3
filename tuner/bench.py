"""Checking and timing candidates of one problem on one device; runs inside the worker process."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from tilewright.backends.protocol import Device, Launch
from tilewright.kernels.oracle import reference
from tilewright.kernels.problem import Problem
from tilewright.tuner.check import Reference, make_inputs, poison
from tilewright.tuner.prepare import Bound, Candidate, prepare

HOPELESS = 3.0
"""A candidate so many times slower than the best so far is not timed at length: no noise would make up for it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Median seconds of `rounds` runs, the standard error of that median; the checked error as a share of the bound."""

    seconds: float
    spread: float
    rounds: int
    error: float = 0.0


def summary(seconds: list[float], error: float = 0.0) -> Timing:
    """Robust statistics: the standard error is estimated from the median absolute deviation, as for normal noise."""
    values = np.asarray(seconds)
    median = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - median)))
    spread = 1.2533 * deviation / math.sqrt(len(values))
    if len(values) < 3:  # too few to see the noise: one part in fifty is usual
        spread = max(spread, 0.02 * median)
    return Timing(median, spread, len(values), error)


def run_times(device: Device, launches: tuple[Launch, ...], repeats: int) -> list[float]:
    """Seconds of each of `repeats` runs of all launches, on the device's clock."""
    rows = [device.time(launch, repeats) for launch in launches]
    return [sum(column) for column in zip(*rows, strict=True)]


class Bench:
    """One problem with its inputs, reference and poisoned outputs on `device`. Raises OutOfMemory."""

    def __init__(self, problem: Problem, device: Device, stage: Callable[[str], None]) -> None:
        self.problem, self.device, self._stage = problem, device, stage
        self._checked: dict[str, float] = {}
        self._bound: dict[str, Bound] = {}
        self._allocate()

    def _allocate(self) -> None:
        problem, device = self.problem, self.device
        self._host = make_inputs(problem)
        self._inputs = [device.allocate(x.nbytes) for x in self._host]
        for buffer, data in zip(self._inputs, self._host, strict=True):
            device.write(buffer, data.view(np.uint8))
        self._poison = [poison(o) for o in problem.outputs]
        self._outputs = [device.allocate(len(p)) for p in self._poison]
        self._reference: Reference | None = None

    def _ready(self, candidate: Candidate) -> Bound:
        """Built, loaded, bound, run once and found right, which is remembered."""
        name = candidate.name
        if name in self._checked:
            return self._bound[name]
        self._stage("build")
        bound = prepare(self.problem, candidate, self.device).bind(self._outputs, self._inputs)
        if self._reference is None:
            self._stage("prepare")  # a failure here is the problem's, not the candidate's
            self._reference = Reference(self.problem, self._host)
        self._stage("check")
        for buffer, data in zip(self._outputs, self._poison, strict=True):
            self.device.write(buffer, data)
        self._stage("run")
        for launch in bound.launches:
            launch()
        self.device.synchronize()
        self._stage("check")
        results = [self.device.read(b, len(p)) for b, p in zip(self._outputs, self._poison, strict=True)]
        self._checked[name] = max(self._reference.verify(k, data) for k, data in enumerate(results))
        self._bound[name] = bound
        return bound

    def measure(self, candidate: Candidate, seconds: float, best: float = math.inf) -> Timing:
        """Time a candidate for about `seconds`, less where it is far slower than `best`.

        Raises CompileError, LaunchError, OutOfMemory, Unsupported, WrongResult.
        """
        bound = self._ready(candidate)
        self._stage("run")
        error, start = self._checked[candidate.name], perf_counter()
        first = run_times(self.device, bound.launches, 1)
        if first[0] > seconds:  # so long that a warm-up changes nothing
            return summary(first, error)
        if first[0] > HOPELESS * best and min(again := run_times(self.device, bound.launches, 2)) > HOPELESS * best:
            return summary(again, error)
        times = run_times(self.device, bound.launches, 3)  # the first was the warm-up
        while len(times) < 1000:
            left = seconds - (perf_counter() - start)
            cost = (perf_counter() - start) / (len(times) + 1)  # wall time of a round, overhead included
            repeats = min(int(left / max(cost, 1e-7)), 100, 1000 - len(times))
            if repeats < 1:
                break
            times += run_times(self.device, bound.launches, repeats)
        return summary(times, error)

    def compare(self, candidates: list[Candidate], seconds: float) -> list[Timing]:
        """Time several for about `seconds`, in turns and in alternating order, so that drift hits all alike."""
        bounds = [self._ready(c) for c in candidates]
        self._stage("run")
        batches = []
        for bound in bounds:
            cost = run_times(self.device, bound.launches, 1)[0]
            # The first run after another candidate finds the caches full of that one: dropped where it costs little.
            batches.append(1 if cost > 0.02 else 1 + min(20, max(1, int(2e-3 / max(cost, 1e-7)))))
        rows: list[list[float]] = [[] for _ in bounds]
        start = perf_counter()
        for turn in range(200):
            spent = perf_counter() - start
            if (turn >= 5 and spent > seconds) or (turn >= 1 and spent > 3 * seconds):
                break
            order = range(len(bounds)) if turn % 2 == 0 else reversed(range(len(bounds)))
            for k in order:
                times = run_times(self.device, bounds[k].launches, batches[k])
                rows[k].append(float(np.median(times[1:] or times)))
        return [summary(row, self._checked[c.name]) for row, c in zip(rows, candidates, strict=True)]

    def numpy_seconds(self, seconds: float) -> float:
        """Median time that NumPy takes for the same ops, one after the other in the problem's own dtypes."""
        times: list[float] = []
        start = perf_counter()
        while len(times) < 2 or (len(times) < 1000 and perf_counter() - start < seconds):
            begin = perf_counter()
            reference(self.problem, self._host, wide=False)
            times.append(perf_counter() - begin)
        return float(np.median(times[1:]))
