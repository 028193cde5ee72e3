"""Views over records: which trial is best, what failed, what other sizes say. One Index per source of records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from tilewright.backends.protocol import Fingerprint
from tilewright.kernels.problem import Problem
from tilewright.tuner.decide import VENDOR, pick
from tilewright.tuner.records import Record

Names = set[tuple[str, str]]
"""Candidates by canonical name and kernel text."""


class Index:
    """Records by problem and device."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._trials: dict[tuple[str, Fingerprint], list[Record]] = {}
        self.others: list[Record] = []  # searches and roofs
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        if record.kind == "trial":
            self._trials.setdefault((record.problem, record.fingerprint), []).append(record)
        else:
            self.others.append(record)

    def records(self) -> list[Record]:
        return [*(r for rows in self._trials.values() for r in rows), *self.others]

    def trials(self, problem: str, fingerprint: Fingerprint) -> list[Record]:
        """Every trial of the problem with that key on exactly that device, oldest first."""
        return list(self._trials.get((problem, fingerprint), ()))

    def best(self, problem: str, fingerprint: Fingerprint, failed: Names) -> Record | None:
        """The trial to use, none of `failed`: from the latest finals where there are any, else of what was measured
        alone under the latest trial's policy."""
        rows = self._trials.get((problem, fingerprint), ())
        able = [r for r in rows if r.status == "ok" and (r.name, r.text) not in failed]
        if not able:
            return None
        finals = [r for r in able if r.stage == "final"]
        if finals:
            latest = max(finals, key=lambda r: r.when).session
            return pick(r for r in finals if r.session == latest)
        policy = max(able, key=lambda r: r.when).policy
        last = {r.name: r for r in sorted(able, key=lambda r: r.when) if r.policy == policy}
        return pick(last.values())

    def failures(self, problem: str, fingerprint: Fingerprint) -> dict[tuple[str, str], Record]:
        """By canonical name and kernel text, the candidates that must not be tried again."""
        rows = self._trials.get((problem, fingerprint), ())
        return {(r.name, r.text): r for r in rows if r.status == "failed"}

    def advantage(self, best: Record, vendor: bool) -> float:
        """How many times slower than `best` the vendor, or the default, surely was, measured alike; 0 if not known.

        From the ends of the two intervals that face each other: noise must not speak for a size never measured.
        """
        rows = self._trials.get((best.problem, best.fingerprint), ())
        alike = [r for r in rows if r.status == "ok" and (r.session, r.policy) == (best.session, best.policy)]
        times = [r.low for r in alike if (r.kernel == VENDOR if vendor else r.default)]
        return times[-1] / best.high if times else 0.0

    def near(self, problem: Problem, fingerprint: Fingerprint, reach: float) -> list[tuple[float, str]]:
        """Distance and key of each problem of the same family at other sizes."""
        family, found = f"{problem.family}:", []
        for (key, theirs), rows in self._trials.items():
            if theirs != fingerprint or not key.startswith(family) or key == problem.key:
                continue
            if len(rows[0].space) != len(problem.space):
                continue
            steps = [_octaves(a, b) for a, b in zip(rows[0].space, problem.space, strict=True)]
            if max(steps, default=0.0) <= reach:
                found.append((sum(steps), key))
        return found

    def last(self, condition: Callable[[Record], bool]) -> Record | None:
        """The latest search or roof that meets the condition."""
        return max(filter(condition, self.others), key=lambda r: r.when, default=None)


def _octaves(a: int, b: int) -> float:
    return abs(math.log2(a / b)) if a > 0 and b > 0 else 0.0 if a == b else math.inf
