"""Checking and timing candidates of one problem on one device; runs inside the worker process."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, sleep

import numpy as np

from tilewright.backends.protocol import Device
from tilewright.kernels.oracle import reference
from tilewright.kernels.problem import Problem
from tilewright.tuner.check import Reference, make_inputs, poison
from tilewright.tuner.decide import HOPELESS, LONG, TURNS, Timing, batch, levelled, lost, narrow, race, summary
from tilewright.tuner.numerics import Deviation, worst
from tilewright.tuner.policy import DEFAULT, Policy
from tilewright.tuner.prepare import VENDOR, Bound, Candidate, prepare
from tilewright.tuner.timing import Stopwatch

SETTLE_SECONDS = 8e-3
"""After a vendor's run, whose idle threads go on spinning: beside them the next candidate would have one core less."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A timing, the checked error as a share of the bound and in ulp, and bytes of memory beside the operands."""

    timing: Timing
    error: float
    ulp: float
    workspace: int


class Bench:
    """One problem with its inputs, reference and poisoned outputs on `device`, timed as `policy` says.

    Raises OutOfMemory.
    """

    def __init__(
        self, problem: Problem, device: Device, stage: Callable[[str], None], policy: Policy = DEFAULT
    ) -> None:
        self.problem, self.device, self.policy, self._stage = problem, device, policy, stage
        self._watch = Stopwatch(device, policy)
        self._checked: dict[str, Deviation] = {}
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
        self._checked[name] = worst(self._reference.verify(k, data) for k, data in enumerate(results))
        self._bound[name] = bound
        return bound

    def measure(self, candidate: Candidate, seconds: float, best: float = math.inf) -> Checked:
        """As `_measure`, and what idle threads it leaves spinning have settled."""
        try:
            return self._measure(candidate, seconds, best)
        finally:
            _settle(candidate)

    def _measure(self, candidate: Candidate, seconds: float, best: float) -> Checked:
        """Time a candidate for about `seconds`; less where it is known well, or far slower than `best`.

        One whose results are farther from the reference than the policy allows is not timed.

        Raises CompileError, LaunchError, OutOfMemory, Unsupported, WrongResult.
        """
        launches = self._ready(candidate).launches
        if self._checked[candidate.name].ulp > self.policy.most_ulp:
            return self._checked_as(candidate, [], Timing(0.0, 0.0, 0.0, 0))
        self._stage("run")
        start = perf_counter()
        first = self._watch.times(launches, 1)
        if first[0] > seconds:  # so long that a warm-up changes nothing
            return self._checked_as(candidate, first)
        if first[0] > HOPELESS * best and min(again := self._watch.times(launches, 2)) > HOPELESS * best:
            return self._checked_as(candidate, again)
        if self.policy.warmup > 1:  # the first was one
            self._watch.times(launches, self.policy.warmup - 1)
        most = self.policy.repeats
        times = ([] if self.policy.warmup else first) + self._watch.times(launches, 3)
        while len(times) < most:
            now = summary(times)
            if lost(now, best) or (len(times) >= 20 and narrow(now)):
                break
            left = seconds - (perf_counter() - start)
            cost = (perf_counter() - start) / (len(times) + 1)  # wall time of a round, overhead included
            repeats = min(int(left / max(cost, 1e-7)), max(len(times), 10), 100, most - len(times))
            if repeats < 1:
                break
            times += self._watch.times(launches, repeats)
        return self._checked_as(candidate, times)

    def compare(self, candidates: list[Candidate], seconds: float) -> list[Checked]:
        """Time several in turns for about `seconds` at most; see `decide.race`."""
        bounds = [self._ready(c) for c in candidates]
        self._stage("run")
        batches = []
        for candidate, bound in zip(candidates, bounds, strict=True):
            cost = self._watch.times(bound.launches, 1)[0]
            # The first run after another candidate finds the caches full of that one: dropped where it costs little,
            # and where a library has to wake its threads first.
            batches.append(batch(cost) + (cost <= LONG or candidate.kernel == VENDOR))
        start = perf_counter()

        def run(k: int) -> float:
            times = self._watch.times(bounds[k].launches, batches[k])
            _settle(candidates[k])
            return float(np.median(times[1:] or times))

        def more(turn: int) -> bool:
            patience = seconds if turn >= 5 else 3 * seconds if turn >= 3 else 10 * seconds if turn else math.inf
            return turn < min(TURNS, self.policy.repeats) and perf_counter() - start <= patience

        rows = race(run, len(bounds), more)
        return [
            self._checked_as(candidate, row, timing)
            for candidate, row, timing in zip(candidates, rows, levelled(rows), strict=True)
        ]

    def _checked_as(self, candidate: Candidate, times: list[float], timing: Timing | None = None) -> Checked:
        workspace = sum(buffer.nbytes for buffer in self._bound[candidate.name].temporaries)
        return Checked(timing or summary(times), *self._checked[candidate.name], workspace)

    def numpy_seconds(self, seconds: float) -> float:
        """Median time that NumPy takes for the same ops, one after the other in the problem's own dtypes."""
        times: list[float] = []
        start = perf_counter()
        while len(times) < 2 or (len(times) < 1000 and perf_counter() - start < seconds):
            begin = perf_counter()
            reference(self.problem, self._host, wide=False)
            times.append(perf_counter() - begin)
        return float(np.median(times[1:]))


def _settle(candidate: Candidate) -> None:
    if candidate.kernel == VENDOR:
        sleep(SETTLE_SECONDS)
