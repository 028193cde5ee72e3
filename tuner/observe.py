"""Which problems a program launches, how often and for how long; and tuning just those, the heaviest first."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import tilewright.tuner as tuner
from tilewright.backends.protocol import Device
from tilewright.backends.registry import get_device
from tilewright.kernels.problem import Problem
from tilewright.tuner.records import plain
from tilewright.tuner.tune_problem import Result, Status, allotment, tune

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
            data = row["problem"]
            data["scalars"] = [[d, float(v) if isinstance(v, str) else v] for d, v in data["scalars"]]  # undo `plain`
            made.add(Observed(Problem.from_json(data), row["device"], row["count"], row["seconds"]))
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
    budget: float | None = 30.0, effort: str = "full", progress: Callable[[Status], None] | None = None
) -> Iterator[Observations]:
    """Observe what runs inside, then tune it within `budget` seconds; what is learnt holds from then on.

    Raises ValueError at once for a bad effort or budget. If the block raises, nothing is tuned.
    """
    allotment(effort, budget)
    with observe() as observations:
        yield observations
    tune_observed(observations, budget=budget, effort=effort, progress=progress)


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
    progress: Callable[[Status], None] | None = None,
) -> list[Result]:  # fmt: skip
    """Tune what was observed, heaviest first, within `budget` seconds in all; too light problems are left alone.

    Raises ValueError for a bad effort or budget.
    """
    allotment(effort, budget)
    results, purse, rows = [], Purse(budget), observations.heaviest()
    for row, share in zip(rows, shares(rows, budget), strict=True):
        if share is not None and purse.left > 0:
            seconds = None if budget is None else min(share, purse.left)
            results.append(tune(row.problem, get_device(row.device), effort=effort, budget=seconds, progress=progress))
    return results


class Purse:
    """What is left of a budget in seconds, counted from now; infinite without one."""

    def __init__(self, budget: float | None) -> None:
        self._end = math.inf if budget is None else monotonic() + budget

    @property
    def left(self) -> float:
        return self._end - monotonic()
