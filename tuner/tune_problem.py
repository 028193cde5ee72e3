"""Finding the fastest candidate for a problem on a device, within a budget, and writing down all that was learnt."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from tilewright.backends.protocol import Device
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import Config
from tilewright.tuner.choose import forget
from tilewright.tuner.decide import beats, finalists, finals_seconds, surprising
from tilewright.tuner.measure import Measurement, Unmeasurable, supervisor
from tilewright.tuner.past import Past
from tilewright.tuner.policy import DEFAULT, Policy
from tilewright.tuner.pool import Pool
from tilewright.tuner.prepare import VENDOR, Candidate
from tilewright.tuner.records import Record, new_session, plain
from tilewright.tuner.search_space import Failed, explore
from tilewright.tuner.store import Store, default_store
from tilewright.tuner.transfer import Known
from tilewright.tuner.yardstick import at_roof, share_of_roof

EFFORTS = {"instant": 1.0, "quick": 10.0, "full": math.inf, "exhaustive": math.inf}
"""Seconds that a search takes at most when no budget says otherwise, from the least effort to the most."""

FOREVER = 1e9  # seconds; a record cannot say infinity
AHEAD = 2  # so many candidates are chosen and compiled at once; more would be chosen knowing less
OVERRUN = 5.0  # seconds by which a build may exceed the budget; one that takes longer has failed
AGAIN_SECONDS = 2.0  # for a new look at the best few, once their device's software has changed


class Measurer(Protocol):
    """What a search needs of `measure.Supervisor`."""

    def measure(
        self, problem: Problem, candidate: Candidate, seconds: float, best: float, patience: float, policy: Policy
    ) -> Measurement: ...

    def ahead(self, problem: Problem, candidates: list[Candidate], patience: float) -> bool: ...

    def compare(
        self, problem: Problem, candidates: list[Candidate], seconds: float, best: float, patience: float,
        policy: Policy,
    ) -> list[Measurement]: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class Status:
    """How a search stands: for progress bars."""

    problem: Problem
    device: str
    trials: int
    candidate: str  # now being measured
    best: Record | None
    elapsed: float  # seconds
    allotted: float  # seconds


@dataclass(frozen=True, slots=True)
class Result:
    """How a search ended.

    `stopped` is "settled" (no improvement is expected), "roof" (the device can do no better: see yardstick.at_roof),
    "budget", "records" (nothing had to be measured), "measured again" (the best few, since no more than `changed`
    changed) or "failed" (`reason` says why).
    `baseline` is the time of what runs untuned (see `verdict`), from the same comparison as `best`. `changed` names
    the fields of the fingerprint, or "kernel" or "policy", whose change made old records void.
    """

    problem: Problem
    device: str
    best: Record | None
    baseline: Record | None
    trials: tuple[Record, ...]
    stopped: str
    reason: str = ""
    changed: tuple[str, ...] = ()


def allotment(effort: str, budget: float | None) -> float:
    """Seconds for a search. Raises ValueError for an unknown effort or a budget that is no positive number."""
    if effort not in EFFORTS:
        raise ValueError(f"there is no effort {effort!r}; there are {', '.join(EFFORTS)}")
    if budget is None:
        return EFFORTS[effort]
    if not isinstance(budget, int | float) or not (math.isfinite(budget) and budget > 0):
        raise ValueError(f"a budget is a positive number of seconds, not {budget!r}")
    return min(float(budget), EFFORTS[effort])


def tune(
    problem: Problem, device: Device, *, effort: str = "quick", budget: float | None = None,
    progress: Callable[[Status], None] | None = None, policy: Policy = DEFAULT,
) -> Result:  # fmt: skip
    """Search the candidates for `problem` on `device`, unless the records say that this was done already.

    `budget` in seconds caps the effort; times are taken as `policy` says, and what was tuned last is what `choose`
    goes by. Everything measured is kept, also when interrupted. Raises ValueError for a bad effort or budget, and where
    the records are pinned; what a candidate does wrong is in the records, never raised.
    """
    allotted = allotment(effort, budget)
    return Search(problem, device, effort, allotted, progress or (lambda status: None), policy=policy).run()


class Search:
    """One search. `store`, `measurer` and `clock` are the process's own unless a test brings others."""

    def __init__(
        self, problem: Problem, device: Device, effort: str, allotted: float, progress: Callable[[Status], None],
        store: Store | None = None, measurer: Measurer | None = None, clock: Callable[[], float] = monotonic,
        policy: Policy = DEFAULT,
    ) -> None:  # fmt: skip
        self.problem, self.device, self.effort, self.allotted = problem, device, effort, min(allotted, FOREVER)
        self.store, self.policy = store or default_store(), policy
        self.measurer: Measurer = measurer or supervisor(device.name)
        self._progress, self._clock, self._start = progress, clock, clock()
        self.store.refresh()
        self.past = Past(problem, device, self.store, policy)
        self._roof = roof.details if (roof := self.store.roof(device.fingerprint)) is not None else {}
        self._carried: dict[str, Any] = {}  # what a former search's end says beyond this one's
        self._trials: list[Record] = []
        self._compiling = 0.0  # seconds for each of those that were last compiled ahead
        self._worthwhile = True  # compiling ahead: not where nothing can be kept
        self._costs: list[float] = []  # seconds that measuring a candidate took, compilation included

    def run(self) -> Result:
        if self.past.suffices(list(EFFORTS), self.effort, self.allotted):
            return self._result("records")
        former = self.past.former(list(EFFORTS), self.effort, self.allotted)
        stopped, reason = "interrupted", ""
        try:
            stopped = "measured again" if former is not None and self._again(former) else self._explore()
            self._finals()
        except Unmeasurable as error:
            stopped, reason = "failed", str(error)
        finally:
            self._close(stopped, reason)
        return self._result(stopped, reason)

    def _again(self, former: Record) -> bool:
        """Measure the best few of a former search anew; False if none of them works any more."""
        few = self.past.stale_best()
        end = self._clock() + 0.6 * AGAIN_SECONDS  # the rest is for the finals
        for count, candidate in enumerate(self.past.again()):
            if count > 1 and self._clock() > end:
                break
            self._measure(candidate, max(end - self._clock(), 1.0) + OVERRUN)
        if not any(self.past.known[c.name].status == "ok" for c in few if c.name in self.past.known):
            return False
        self._carried = {k: former.details[k] for k in ("stopped", "effort", "allotted")}
        self.allotted = min(self.allotted, self._clock() - self._start + 0.4 * AGAIN_SECONDS)
        return True

    def _explore(self) -> str:
        """Measure one candidate after the other. Returns why it stopped: "settled", "roof" or "budget"."""
        first = self.past.first()
        self._ahead(first)
        for candidate in first:
            self._measure(candidate, math.inf)
        if not self.past.candidates:
            return "settled"
        candidates = list(self.past.candidates.values())
        pool, idle = Pool(flat(c) for c in candidates), 0
        patience = math.inf if self.effort == "exhaustive" else max(12, 4 * max(len(c.config) for c in candidates))

        def measure(config: Config) -> float:
            nonlocal idle
            before = self._best()
            taken = self._measure(candidates[pool.index(config)], max(self._left(), 1.0) + OVERRUN)
            better = taken.status == "ok" and (before is None or beats(taken, before))
            idle = 0 if better else idle + 1
            if taken.status != "ok":
                raise Failed(taken.reason)
            return taken.seconds

        rows = [r for r in self.past.known.values() if r.name in self.past.candidates]
        done = [(flat(Candidate(r.kernel, r.config)), r.seconds if r.status == "ok" else None) for r in rows]
        known = [Known(flat(c), seconds, origin) for c, seconds, origin in self.past.advice()]
        past: dict[str, Any] = {"seed": self._seed(), "done": done, "known": known, "together": AHEAD}
        past["ahead"] = lambda configs: self._ahead([candidates[pool.index(c)] for c in configs])
        stopped = explore(pool, measure, lambda: self._stop(idle >= patience), **past)[1]
        return "settled" if stopped == "exhausted" else stopped

    def _ahead(self, candidates: list[Candidate]) -> None:
        """Compile several at once, while nothing is timed."""
        if len(candidates) > 1 and self._worthwhile:
            patience, begin = max(self._left(), 1.0) + OVERRUN, self._clock()
            self._worthwhile = self.measurer.ahead(self.problem, candidates, patience)
            self._compiling = (self._clock() - begin) / len(candidates)

    def _stop(self, settled: bool) -> str:
        """Why to measure nothing more; "" to go on. An exhaustive search does not take the roof's word."""
        if settled:
            return "settled"
        best = self._best()
        if self.effort != "exhaustive" and best and at_roof(self.problem, best, self._roof, self.device):
            return "roof"
        costs = self._costs[1:]  # the first also started the worker, and made inputs and reference
        return "budget" if self._left() <= self._reserve() + min(costs, default=0.0) else ""

    def _seed(self) -> int:
        return int.from_bytes(hashlib.sha256(self.problem.key.encode()).digest()[:4], "little")

    def _measure(self, candidate: Candidate, patience: float) -> Record:
        """Measure and write down."""
        best = self._best()
        self._tell(candidate.name)
        seconds = min(max(self.allotted / 20, 0.02), 0.2)
        fastest = best.seconds if best else math.inf
        begin = self._clock()
        taken = self.measurer.measure(self.problem, candidate, seconds, fastest, patience, self.policy)
        self._costs.append(self._clock() - begin + self._compiling)
        record = self._record(candidate, taken, "screen", "")
        if best is None or taken.status != "ok" or not surprising(taken.seconds, fastest):
            return record
        taken = self.measurer.measure(self.problem, candidate, seconds, fastest, patience, self.policy)
        return self._record(candidate, taken, "screen", "")  # the last word

    def _finals(self) -> None:
        """Measure the best few, the vendor and the default in turns, so that the winner wins by more than noise."""
        able = [r for r in self.past.known.values() if r.status == "ok"]
        if not able:
            return
        few = [Candidate(r.kernel, r.config) for r in finalists(able)]
        names = {r.name for r in able}
        few += [c for c in (self.past.vendor, self.past.default) if c is not None and c.name in names and c not in few]
        if len(few) == 1:
            return
        fastest = min(r.seconds for r in able)
        self._tell("finals")
        left = max(self._left(), 0.05)
        seconds = min(left / 2, finals_seconds(fastest) * len(few))
        patience = max(left, 1.0) + OVERRUN
        taken = self.measurer.compare(self.problem, few, seconds, fastest, patience, self.policy)
        session = new_session()
        for candidate, measurement in zip(few, taken, strict=False):
            self._record(candidate, measurement, "final", session)

    def _record(self, candidate: Candidate, taken: Measurement, stage: str, session: str) -> Record:
        record = self.past.record(candidate, taken, stage, session)
        self.store.append(record)
        self._trials.append(record)
        if stage == "screen":
            self.past.learn(record)
            self._tell(candidate.name)
        return record

    def _close(self, stopped: str, reason: str) -> None:
        best = self._best()
        of_roof = share_of_roof(self.problem, best.seconds, self._roof) if best and self._roof else None
        details = {
            "stopped": stopped, "reason": reason, "effort": self.effort, "allotted": self.allotted,
            "trials": len(self._trials), "space": self.past.space_hash(), "of_roof": of_roof,
            "problem": plain(self.problem.to_json()),
            **(self._carried if stopped == "measured again" else {}),
        }  # fmt: skip
        self.store.append(self.past.blank("search", details=details))
        forget()

    def _result(self, stopped: str, reason: str = "") -> Result:
        best, baseline = verdict(self.store, self.problem, self.device)
        if best is None and not reason:
            failed = next((r for r in self.past.known.values() if r.status != "ok"), None)
            stopped, reason = "failed", failed.reason if failed else "no kernel applies to this problem on this device"
        told = tuple(self._trials), stopped, reason, tuple(self.past.changed)
        return Result(self.problem, self.device.name, best, baseline, *told)

    def _best(self) -> Record | None:
        return min((r for r in self.past.known.values() if r.status == "ok"), key=lambda r: r.seconds, default=None)

    def _left(self) -> float:
        return self.allotted - (self._clock() - self._start)

    def _reserve(self) -> float:
        """Seconds kept for the finals."""
        return min(0.5, 0.15 * self.allotted)

    def _tell(self, candidate: str) -> None:
        elapsed = self._clock() - self._start
        trials, best = len(self._trials), self._best()
        self._progress(Status(self.problem, self.device.name, trials, candidate, best, elapsed, self.allotted))


def flat(candidate: Candidate) -> Config:
    """A candidate as one config: its kernel, and that kernel's tunables under names of their own."""
    return {"kernel": candidate.kernel, **{f"{candidate.kernel}.{k}": v for k, v in candidate.config.items()}}


def verdict(store: Store, problem: Problem, device: Device) -> tuple[Record | None, Record | None]:
    """The record to use, and what would run without it, from the same session: a default that leads, the vendor, or
    else the default."""
    best = store.best(problem.key, device.fingerprint)
    if best is None:
        return None, None
    rows = [r for r in store.trials(problem.key, device.fingerprint) if r.status == "ok" and r.session == best.session]
    vendor, own = [r for r in rows if r.kernel == VENDOR], [r for r in rows if r.default]
    return best, next(reversed([r for r in own if r.leads] or vendor or own), None)


def problem_of(data: Any) -> Problem:
    """The problem that a record or a study wrote down through `plain`.

    Raises KeyError, TypeError, ValueError or IndexError for what is none, or of another version.
    """
    scalars = [[dtype, float(v) if isinstance(v, str) else v] for dtype, v in data["scalars"]]
    return Problem.from_json({**data, "scalars": scalars})
