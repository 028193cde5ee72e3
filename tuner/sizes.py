"""Few variants for many sizes: of the winners at each, those few that cost least wherever they are used.

Each size then has records of these alone as its latest finals, so that what is chosen there, and at unseen sizes
by the nearest record, is one of them. The vendor library is nobody's variant: it counts as free.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from time import monotonic

from tilewright.backends.protocol import Device
from tilewright.kernels.problem import Problem
from tilewright.tuner.choose import forget, usable
from tilewright.tuner.decide import LEVEL, VENDOR, finals_seconds, pick
from tilewright.tuner.measure import supervisor
from tilewright.tuner.past import Past
from tilewright.tuner.policy import DEFAULT, Policy
from tilewright.tuner.prepare import Candidate
from tilewright.tuner.records import Record, new_session
from tilewright.tuner.store import Store, default_store
from tilewright.tuner.tune_problem import OVERRUN, Measurer

MOST = 8
"""Variants that may be asked for."""

SEARCHING = 0.7
"""The part of a budget that goes into the search at each size; the rest is for comparing the winners."""

WINNERS = 12
"""So many sizes' winners take part at most, those of the sizes that are used most: each is measured at each size."""

NEVER = 1e9
"""The regret of a variant that is not valid at a size, or fails there."""


@dataclass(frozen=True, slots=True)
class Size:
    """A problem, and how often it is used beside the others of its family."""

    problem: Problem
    count: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """What a size got: `chosen` of the variants, `regret` the share by which its own best, `best`, is faster."""

    size: Size
    chosen: Record
    best: Record

    @property
    def regret(self) -> float:
        return max(self.chosen.seconds / self.best.seconds - 1, 0.0)


@dataclass(frozen=True, slots=True)
class Fit:
    """`variants` by name, without the vendor. `missing` sizes could not be compared, and stay as they were."""

    device: str
    variants: tuple[str, ...]
    rows: tuple[Row, ...]
    missing: tuple[Size, ...] = ()

    @property
    def worst(self) -> float:
        return max((row.regret for row in self.rows), default=0.0)


def cover(regrets: Sequence[Sequence[float]], counts: Sequence[int], most: int) -> tuple[int, ...]:
    """Columns, at most `most`, such that the worst row's best is least; `regrets[row][column]` may be NEVER.

    Where several come to the same, within LEVEL: the fewest, then the least mean weighted by `counts`, then the first.
    """
    columns = range(len(regrets[0]))
    found = []
    for number in range(1, min(most, len(columns)) + 1):
        for option in combinations(columns, number):
            least = [min(row[c] for c in option) for row in regrets]
            mean = sum(r * n for r, n in zip(least, counts, strict=True)) / sum(counts)
            found.append((max(least), number, mean, option))
    reach = min(worst for worst, *_ in found) + LEVEL
    return min(rest for worst, *rest in found if worst <= reach)[-1]  # type: ignore[return-value]


def fit_sizes(
    sizes: Sequence[Size], device: Device, most: int, *, seconds: float = math.inf, policy: Policy = DEFAULT,
    store: Store | None = None, measurer: Measurer | None = None, told: Callable[[Problem], None] = lambda p: None,
) -> Fit:  # fmt: skip
    """Measure the winners of `sizes`, tuned before, at all of them in turns for about `seconds`, and keep `most`.

    Raises ValueError where there are no sizes, several families, or no winner; Unmeasurable.
    """
    if not 1 <= most <= MOST:
        raise ValueError(f"the number of variants is from 1 to {MOST}, not {most!r}")
    if len({size.problem.family for size in sizes}) != 1:
        raise ValueError("sizes are of one and the same operation, dtypes and layout, and at least one is needed")
    return _Fitting(sizes, device, most, seconds, policy, store or default_store(), measurer).run(told)


class _Fitting:
    def __init__(
        self, sizes: Sequence[Size], device: Device, most: int, seconds: float, policy: Policy, store: Store,
        measurer: Measurer | None,
    ) -> None:  # fmt: skip
        self._device, self._most, self._policy, self._store = device, most, policy, store
        self._sizes, self._end = sizes, monotonic() + seconds
        self._measurer: Measurer = measurer or supervisor(device.name)
        store.refresh()
        self._pasts = {size.problem.key: Past(size.problem, device, store, policy) for size in sizes}
        self._own = {key: self._fastest(past) for key, past in self._pasts.items()}

    def run(self, told: Callable[[Problem], None]) -> Fit:
        winners = self._winners()
        times: list[tuple[Size, dict[str, Record]]] = []
        missing = []
        for left, size in zip(range(len(self._sizes), 0, -1), self._sizes, strict=True):
            told(size.problem)
            found = self._compared(size, winners, (self._end - monotonic()) / left)
            if found:
                times.append((size, found))
            else:
                missing.append(size)
        names = [r.name for r in winners if r.kernel != VENDOR]
        few = self._few(names, times) if names and times else ()
        rows = tuple(self._keep(size, found, few) for size, found in times)
        forget()
        return Fit(self._device.name, few, rows, tuple(missing))

    def _fastest(self, past: Past) -> Record | None:
        """The winner of the size's own search, which an earlier fit may have put aside."""
        able = [r for r in past.known.values() if r.status == "ok"]
        return min(able, key=lambda r: r.seconds, default=None)

    def _winners(self) -> list[Record]:
        """Those of the sizes, one of each name, the most used first; for each size the best chosen too."""
        votes: Counter[str] = Counter()
        records: dict[str, Record] = {}
        for size in self._sizes:
            key = size.problem.key
            for record in (self._store.best(key, self._device.fingerprint), self._own[key]):
                if record is not None:
                    votes[record.name] += size.count
                    records.setdefault(record.name, record)
        if not records:
            raise ValueError("none of the sizes has been tuned on this device, so there is nothing to choose from")
        order = sorted(records, key=lambda name: (-votes[name], name))
        return [records[name] for name in order[:WINNERS]]

    def _compared(self, size: Size, winners: list[Record], seconds: float) -> dict[str, Record]:
        """The winners that work at this size, its own and the vendor among them, as measured in turns."""
        problem, past = size.problem, self._pasts[size.problem.key]
        own = self._own[problem.key]
        asked = {r.name: usable(r, problem, self._device, past.vendor) for r in [*winners, *([own] if own else [])]}
        asked |= {VENDOR: past.vendor}
        able = [c for c in asked.values() if c is not None and self._works(past, c)]
        if not able:
            return {}
        fastest = min(past.known[c.name].seconds for c in able)
        seconds = min(max(seconds, 0.05), finals_seconds(fastest) * len(able))
        taken = self._measurer.compare(problem, able, seconds, fastest, seconds + OVERRUN, self._policy)
        return {c.name: past.record(c, t, "screen", "") for c, t in zip(able, taken, strict=False) if t.status == "ok"}

    def _works(self, past: Past, candidate: Candidate) -> bool:
        """Measured alone where it has not been: what fails in a comparison takes the others with it."""
        if candidate.name not in past.known:
            taken = self._measurer.measure(past.problem, candidate, 0.05, math.inf, OVERRUN, self._policy)
            record = past.record(candidate, taken, "screen", "")
            self._store.append(record)
            past.learn(record)
        return past.known[candidate.name].status == "ok"

    def _few(self, names: list[str], times: list[tuple[Size, dict[str, Record]]]) -> tuple[str, ...]:
        regrets = []
        for _, found in times:
            least = _own_best(found).seconds
            lost = {n: max(r.seconds / least - 1, 0.0) for n, r in found.items()}
            regrets.append([min(lost.get(n, NEVER), lost.get(VENDOR, NEVER)) for n in names])
        return tuple(names[k] for k in cover(regrets, [size.count for size, _ in times], self._most))

    def _keep(self, size: Size, found: dict[str, Record], few: tuple[str, ...]) -> Row:
        """Write what was measured: the few as this size's finals, so that one of them is chosen."""
        session = new_session()
        best = _own_best(found)
        finals = {n for n in found if n in few or n == VENDOR} or {best.name}
        for name, record in found.items():
            self._store.append(replace(record, stage="final", session=session) if name in finals else record)
        chosen = self._store.best(size.problem.key, self._device.fingerprint)
        assert chosen is not None
        return Row(size, chosen, best)


def _own_best(found: dict[str, Record]) -> Record:
    """By the rules of any finals: what noise alone may have made faster is no better."""
    best = pick(found.values())
    assert best is not None
    return best
