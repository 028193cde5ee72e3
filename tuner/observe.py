"""Which problems a program launches, how often and for how long; and tuning just those, the heaviest first."""

from __future__ import annotations

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
from tilewright.tuner.search import Result, Status, allotment, plain, tune

LEAST_SECONDS = 0.3
"""A smaller share of a budget finds out nothing."""


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
    """A part of the budget for each row, by its time; None (skip) where that is too little to find out anything."""
    total = sum(row.seconds for row in rows)
    if budget is None or total <= 0:
        return [budget] * len(rows)
    parts = [budget * row.seconds / total for row in rows]
    return [part if part >= LEAST_SECONDS else None for part in parts]


def tune_observed(
    observations: Observations, *, budget: float | None = 30.0, effort: str = "full",
    progress: Callable[[Status], None] | None = None,
) -> list[Result]:  # fmt: skip
    """Tune what was observed, heaviest first, within `budget` seconds in all; too light problems are left alone.

    Raises ValueError for a bad effort or budget.
    """
    allotment(effort, budget)
    results, end = [], monotonic() + (budget or float("inf"))
    rows = observations.heaviest()
    for row, share in zip(rows, shares(rows, budget), strict=True):
        if budget is not None and (share is None or monotonic() > end):
            continue
        results.append(tune(row.problem, get_device(row.device), effort=effort, budget=share, progress=progress))
    return results
