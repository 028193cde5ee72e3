"""What the records say about a device's problems, as the report shows it: plain values, no device touched."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.backends.protocol import Fingerprint
from tilewright.tuner.prepare import VENDOR
from tilewright.tuner.records import Record
from tilewright.tuner.store import Store
from tilewright.tuner.tune_problem import problem_of
from tilewright.tuner.yardstick import bound, multiplied

ENOUGH = 12
"""Trials from which on it makes sense to ask what explains their differences."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a problem moves and computes at least; operations are 0 where nobody counted them."""

    nbytes: int
    operations: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Story:
    """One problem: `before` is the vendor's time, else the default's, from the session of `best`.

    `trials` in the order in which they were measured alone; `stopped` is how the last search ended, "" if it did not.
    """

    title: str
    best: Record | None
    before: Record | None
    trials: tuple[Record, ...]
    stopped: str
    work: Work | None

    @property
    def progress(self) -> list[float]:
        """The best time so far after each trial, from the first that worked."""
        found, least = [], math.inf
        for record in self.trials:
            least = min(least, record.seconds if record.status == "ok" else math.inf)
            if least < math.inf:
                found.append(least)
        return found


@dataclass(frozen=True, slots=True)
class Chapter:
    """A device, its roof ({} where it was not measured) and its problems, the latest records of each."""

    device: str
    fingerprint: Fingerprint
    roof: dict[str, float]
    stories: tuple[Story, ...]

    def of_roof(self, story: Story) -> float | None:
        """The best time's share of the roof; None where one of them is not known."""
        if story.best is None or story.work is None or not self.roof:
            return None
        return bound(story.work.nbytes, story.work.operations, story.work.dtype, self.roof) / story.best.seconds


def chapters(store: Store) -> list[Chapter]:
    """One per device with measured problems, in the order of their records."""
    records = store.records()
    found = []
    for fingerprint in dict.fromkeys(r.fingerprint for r in records if r.kind == "trial"):
        own = [r for r in records if r.fingerprint == fingerprint]
        stories = [_story(store, fingerprint, key, own) for key in dict.fromkeys(r.problem for r in own if r.problem)]
        roof = store.roof(fingerprint)
        shown = tuple(s for s in stories if s.trials)
        found.append(Chapter(own[-1].device, fingerprint, dict(roof.details) if roof else {}, shown))
    return found


def _story(store: Store, fingerprint: Fingerprint, key: str, own: list[Record]) -> Story:
    trials = sorted((r for r in own if r.kind == "trial" and r.problem == key), key=lambda r: r.when)
    best = store.best(key, fingerprint)
    rows = [r for r in trials if best is not None and r.status == "ok" and r.session == best.session]
    vendor = [r for r in rows if r.kernel == VENDOR]
    before = next(reversed(vendor or [r for r in rows if r.default]), None)
    search = store.search(key, fingerprint)
    details = search.details if search is not None else {}
    screened = tuple(r for r in trials if r.stage == "screen")
    title = trials[-1].title if trials else ""
    return Story(title, best, before, screened, str(details.get("stopped", "")), _work(details.get("problem")))


def _work(data: Any) -> Work | None:
    """From the problem that a search wrote down; None where it is of another version, or not there."""
    if not isinstance(data, dict):
        return None
    if data.get("kind") == "raw":
        return Work(int(data["nbytes"]), 0, "float32")
    try:
        problem = problem_of(data)
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    return Work(problem.nbytes, problem.operations, multiplied(problem))


def importance(trials: Iterable[Record]) -> dict[str, float]:
    """Per tunable, the share of the variance of log time that its values alone explain, the largest first.

    Over the kernel with the most trials; a first-order sensitivity (Sobol), from means over groups of equal value, less
    what so many groups would explain by chance.
    """
    able = [r for r in trials if r.status == "ok" and r.kernel != VENDOR]
    if len(able) < ENOUGH:
        return {}
    names = [r.kernel for r in able]
    kernel = max(dict.fromkeys(names), key=names.count)
    rows = [r for r in able if r.kernel == kernel]
    logs = np.log([r.seconds for r in rows])
    total, shares = float(((logs - logs.mean()) ** 2).sum()), {}
    for name in rows[0].config:
        values = [r.config.get(name) for r in rows]
        groups = [logs[[v == value for v in values]] for value in dict.fromkeys(values)]
        if not 1 < len(groups) < len(rows) or not total:
            continue
        between = sum(len(g) * float((g.mean() - logs.mean()) ** 2) for g in groups) / total
        chance = (len(groups) - 1) / (len(rows) - 1)
        shares[name] = max(0.0, (between - chance) / (1 - chance))
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
