"""Which problems a program launches, how often and for how long; and tuning just those, the heaviest first."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import tilewright.tuner as tuner
from tilewright.backends.protocol import Device
from tilewright.backends.registry import get_device
from tilewright.kernels.problem import Problem
from tilewright.tuner.measure import Unmeasurable
from tilewright.tuner.policy import DEFAULT, Policy
from tilewright.tuner.records import plain
from tilewright.tuner.sizes import MOST, SEARCHING, Size, fit_sizes
from tilewright.tuner.tune_problem import Result, Status, allotment, problem_of, tune

LEAST_SECONDS = 1.5
"""A smaller share of a budget finds out little: a handful of kernels cannot be compiled and measured in less."""

LIGHT = 0.005
"""A problem that takes a smaller part of the time than this is left alone: nobody would notice what it wins."""


@dataclass(slots=True)
class Observed:
    """A problem as one program used it: launches, and seconds spent in them."""

    problem: Problem
    device: str
    count: int
    seconds: float


class Observations:
    """Filled through `launched` by whoever runs problems, from any thread."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Observed] = {}
        self._mutex = threading.Lock()

    def launched(self, problem: Problem, device: Device, seconds: float) -> None:
        """One launch. A problem's first counts as its second where that is shorter: drivers finish compiling in it."""
        with self._mutex:
            known = self._rows.get((device.name, problem.key))
            if known is not None and known.count == 1:
                known.seconds = min(known.seconds, seconds)
        self.add(Observed(problem, device.name, 1, seconds))

    def add(self, row: Observed) -> None:
        with self._mutex:
            known = self._rows.get((row.device, row.problem.key))
            if known is None:
                self._rows[row.device, row.problem.key] = row
            else:
                known.count += row.count
                known.seconds += row.seconds

    def heaviest(self) -> list[Observed]:
        """Most time first."""
        with self._mutex:
            return sorted(self._rows.values(), key=lambda row: (-row.seconds, row.device, row.problem.key))

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {"problem": plain(r.problem.to_json()), "device": r.device, "count": r.count, "seconds": r.seconds}
            for r in self.heaviest()
        ]

    @staticmethod
    def from_json(rows: list[dict[str, Any]]) -> Observations:
        made = Observations()
        for row in rows:
            made.add(Observed(problem_of(row["problem"]), row["device"], row["count"], row["seconds"]))
        return made


@contextmanager
def observe() -> Iterator[Observations]:
    """Everything launched inside is counted."""
    before, observations = tuner.observing, Observations()
    tuner.observing = observations
    try:
        yield observations
    finally:
        tuner.observing = before


@contextmanager
def tuning(
    budget: float | None = 30.0, effort: str = "full", progress: Callable[[Status], None] | None = None, *,
    policy: Policy = DEFAULT, variants: int | None = None, numerics: str | None = None,
) -> Iterator[Observations]:  # fmt: skip
    """Observe what runs inside, then tune it as `tune_observed` does; what is learnt holds from then on.

    `numerics` ("bitwise", "4 ulp", "tolerance") restricts what may win, as `policy.numerics` does. Raises ValueError at
    once for a bad effort, budget, numerics or number of variants. If the block raises, nothing is tuned.
    """
    _check(effort, budget, variants)
    policy = policy if numerics is None else replace(policy, numerics=numerics)
    with observe() as observations:
        yield observations
    tune_observed(observations, budget=budget, effort=effort, progress=progress, policy=policy, variants=variants)


def shares(rows: list[Observed], budget: float | None) -> list[float | None]:
    """A part of the budget for each row, by its time, but no less than makes sense; None for what is too light.

    Their sum may exceed the budget: whoever comes last, the lightest, may find it spent.
    """
    total = sum(row.seconds for row in rows)
    parts: list[float | None] = []
    for row in rows:
        fraction = row.seconds / total if total > 0 else 1 / len(rows)
        if fraction < LIGHT:
            parts.append(None)
        else:
            parts.append(math.inf if budget is None else min(budget, max(LEAST_SECONDS, budget * fraction)))
    return parts


def tune_observed(
    observations: Observations, *, budget: float | None = 30.0, effort: str = "full",
    progress: Callable[[Status], None] | None = None, policy: Policy = DEFAULT, variants: int | None = None,
) -> list[Result]:  # fmt: skip
    """Tune what was observed, heaviest first, within `budget` seconds in all; too light problems are left alone.

    `policy` is how times are taken. With `variants`, an operation that was launched at several sizes keeps no more
    kernels than that for all of them, those of the least worst loss (see `sizes`). Raises ValueError for a bad effort,
    budget or number of variants.
    """
    _check(effort, budget, variants)
    searching = budget if variants is None or budget is None else SEARCHING * budget
    results, purse, rows = [], Purse(searching), observations.heaviest()
    for row, share in zip(rows, shares(rows, searching), strict=True):
        if share is not None and purse.left > 0:
            seconds = None if budget is None else min(share, purse.left)
            device = get_device(row.device)
            results.append(
                tune(row.problem, device, effort=effort, budget=seconds, progress=progress, policy=policy)
            )  # fmt: skip
    if variants is not None:
        left = math.inf if budget is None or searching is None else budget - searching
        for name, sizes, seconds in families(rows, left):
            with suppress(Unmeasurable, ValueError):  # none of its sizes could be measured: they stay as they are
                fit_sizes(sizes, get_device(name), variants, seconds=seconds, policy=policy)
    return results


def _check(effort: str, budget: float | None, variants: int | None) -> None:
    allotment(effort, budget)
    if variants is not None and not 1 <= variants <= MOST:
        raise ValueError(f"the number of variants is from 1 to {MOST}, not {variants!r}")


def families(rows: list[Observed], seconds: float) -> list[tuple[str, list[Size], float]]:
    """Each operation that came at several sizes on one device: the device, its sizes, its share of `seconds`."""
    found: dict[tuple[str, str], list[Observed]] = {}
    for row in rows:
        found.setdefault((row.device, row.problem.family), []).append(row)
    several = {name: some for name, some in found.items() if len(some) > 1}
    total = sum(row.seconds for some in several.values() for row in some) or 1.0
    return [
        (device, [Size(row.problem, row.count) for row in some], seconds * sum(row.seconds for row in some) / total)
        for (device, _), some in several.items()
    ]


class Purse:
    """What is left of a budget in seconds, counted from now; infinite without one."""

    def __init__(self, budget: float | None) -> None:
        self._end = math.inf if budget is None else monotonic() + budget

    @property
    def left(self) -> float:
        return self._end - monotonic()
