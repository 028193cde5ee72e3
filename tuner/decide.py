"""The decisions that noise must not make: how sure a time is, who is out, who wins. Pure, so that it can be simulated.

Times are summed up by their median and its 95 % interval. Vendor and default tie with what is not faster by more than
the interval of the difference, others where that surely costs no more than TIE; ties are broken in one canonical order,
what runs untuned first, so that whoever measures again picks the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

VENDOR = "vendor"

LEVEL = 0.0025
"""Times so close are called equal however little noise there is: other processes see them the other way round."""

NARROW = 0.001
"""Half an interval, as a share of the time, below which more runs would change no decision: LEVEL is wider."""

LOST = 1.5
"""Who is surely so many times slower than the best is not timed further, and has no place in the finals."""

HOPELESS = 3.0
"""Who is so many times slower in its first run is not warmed up: no noise would make up for it."""

SURPRISE = 0.8
"""A time below this share of the best before is measured again before it is believed: clocks do lie, rarely."""

TIE = 0.01
"""Who may be slower by more is no tie: what the canonical order may cost. Only the vendor and the default have to be
beaten for sure."""

SURE = 2.0
"""So many intervals of their difference do not hide a candidate that is slower by TIE."""

DROPPING = 2.5
"""So many intervals a leader must be ahead of whoever drops out of a race: it is asked again and again, or of many."""

FINALISTS = 6
UNLUCKY = 3  # beside these, where their intervals say that they may be as fast
FEWEST = 12  # rounds before anybody is judged: of two modes, fewer may all be the same
TURNS = 500  # of a race, at most: time is what usually ends it
FINALS_SECONDS = (1.0, 5.0)
"""For each finalist, at most; the larger one where a run takes so long that the smaller is not ENOUGH turns."""
ENOUGH = 100  # turns, for noise of a few percent
LONG = 0.02  # seconds: a run that takes longer is its own batch


class Timed(Protocol):
    """What the rules ask of a measured candidate; `records.Record` is one."""

    @property
    def seconds(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


class Contender(Timed, Protocol):
    """A measured candidate with all that ties are broken by."""

    @property
    def kernel(self) -> str: ...
    @property
    def default(self) -> bool: ...
    @property
    def leads(self) -> bool: ...
    @property
    def workspace(self) -> int: ...
    @property
    def config(self) -> dict[str, Any]: ...


C = TypeVar("C", bound=Contender)
T = TypeVar("T", bound=Timed)


@dataclass(frozen=True, slots=True)
class Timing:
    """Median seconds of `rounds` runs, with its 95 % interval."""

    seconds: float
    low: float
    high: float
    rounds: int


def summary(times: Sequence[float]) -> Timing:
    """Median and its 95 % interval, from order statistics: no shape of the noise is assumed (David and Nagaraja, 7.1).

    Fewer than six runs cannot bound a median so; their whole range is taken to both sides, as a factor, and at least
    4 % of so few that noise may not have shown itself.
    """
    values = np.sort(np.asarray(times, float))
    count, median = len(values), float(np.median(values))
    if count < 6:
        spread = float(values[-1] / values[0]) if values[0] > 0 else math.inf
        spread = max(spread, 1.04) if count < 3 else spread
        return Timing(median, median / spread, median * spread, count)
    rank = max(int((count - 1.96 * math.sqrt(count)) / 2) - 1, 0)  # so many values lie outside on either side
    return Timing(median, float(values[rank]), float(values[count - 1 - rank]), count)


def narrow(timed: Timed) -> bool:
    """Whether the time is known as well as any decision needs."""
    return timed.high - timed.low <= 2 * NARROW * timed.seconds


def beats(a: Timed, b: Timed, sureness: float = 1.0) -> bool:
    """Whether `a` is faster than `b` by more than the 95 % interval of their difference, and more than LEVEL.

    The interval's lower end is made of the two intervals' ends that face each other (Zou and Donner, 2008), since
    clocks that boost now and then make them lopsided. It is taken `sureness` times as wide.
    """
    apart = math.hypot(a.high - a.seconds, b.seconds - b.low)
    return b.seconds - a.seconds > max(sureness * apart, LEVEL * b.seconds)


def lost(timed: Timed, best: float) -> bool:
    """Whether a candidate is surely LOST against a best time."""
    return timed.low > LOST * best


def surprising(seconds: float, best: float) -> bool:
    return seconds < SURPRISE * best


def levelled(rows: Sequence[Sequence[float]]) -> list[Timing]:
    """Candidates timed in turns: their times without what changed for all alike from turn to turn.

    Row k holds the times of candidate k, oldest first; who was dropped has a shorter row. Each turn is divided by how
    slow it was for all that took part. For the interval it is divided by how slow it was for the others, since a
    candidate that is noisier than they are would take its own noise for the machine's; or by nothing, where they are
    noisier than it is.
    """
    single = [summary(row) for row in rows]
    table = np.full((len(rows), max(len(row) for row in rows)), np.nan)
    for k, row in enumerate(rows):
        table[k, : len(row)] = np.asarray(row) / single[k].seconds
    taking, found = np.isfinite(table).sum(0), []
    pace = np.where(taking > 1, np.nanmedian(table, axis=0), 1.0)
    for k, row in enumerate(rows):
        times, company = np.asarray(row), taking[: len(row)] > 1
        others = np.delete(table, k, axis=0)[:, : len(row)][:, company]
        apart = times.copy()
        apart[company] /= np.nanmedian(others, axis=0)
        middle = summary((times / pace[: len(row)]).tolist()).seconds
        interval = min(single[k], summary(apart.tolist()), key=lambda t: (t.high - t.low) / t.seconds)
        low, high = (middle * end / interval.seconds for end in (interval.low, interval.high))
        found.append(Timing(middle, low, high, len(row)))
    return found


def race(run: Callable[[int], float], count: int, more: Callable[[int], bool]) -> list[list[float]]:
    """Time `count` candidates in turns and in alternating order, so that drift hits all alike; rows of their times.

    `run(k)` times candidate k, `more(turn)` says whether there is time for another turn. Whoever is surely beaten drops
    out; it ends early when one is left, or when what is left of doubt is too small to matter.
    """
    rows: list[list[float]] = [[] for _ in range(count)]
    still, turn, look = list(range(count)), 0, FEWEST
    while still and more(turn):
        for k in still if turn % 2 == 0 else reversed(still):
            rows[k].append(run(k))
        turn += 1
        if turn >= look:  # seldom: who is asked after every turn is lucky once
            still, look = _left(rows, still), 1 + 3 * look // 2
    return rows


def _left(rows: Sequence[Sequence[float]], still: Sequence[int]) -> list[int]:
    """Who of `still` goes on: those whom the leader does not beat yet; nobody once all is known."""
    found = levelled(rows)
    leader = min(still, key=lambda k: found[k].seconds)
    left = [k for k in still if k == leader or not beats(found[leader], found[k], DROPPING)]
    return [] if len(left) == 1 or all(narrow(found[k]) for k in left) else left


def batch(seconds: float) -> int:
    """How many runs of so many seconds make one time of a race, their median, so that the clock is no matter.

    An odd number: of an even one the middle two are averaged, and of times with two modes that is neither.
    """
    return 1 if seconds > LONG else min(20, max(1, int(2e-3 / max(seconds, 1e-7)))) | 1


def finals_seconds(fastest: float) -> float:
    """How long each finalist may take where the fastest takes so many seconds; less where nothing is in doubt."""
    least, most = FINALS_SECONDS
    return min(max(least, ENOUGH * fastest), most)


def finalists(alone: Iterable[T], most: int = FINALISTS, unlucky: int = UNLUCKY) -> list[T]:
    """Of candidates measured alone those that may be the fastest, the fastest first.

    Beside the fastest, those with the lowest lower ends: of a time with two modes, a few runs find now one, now the
    other, and half of the intervals reach both.
    """
    order = sorted(alone, key=lambda r: r.seconds)
    perhaps = [r for r in order[most:] if r.low < order[0].high]
    perhaps = sorted(perhaps, key=lambda r: r.low)[:unlucky]
    return [r for r in [*order[:most], *perhaps] if not lost(r, order[0].seconds)]


def canonical(contender: Contender) -> tuple[Any, ...]:
    """The order among equals: a default that leads, vendor, default, the smallest workspace, then kernel and config."""
    values = [
        (name, isinstance(v, str), str(v) if isinstance(v, str) else float(v))
        for name, v in sorted(contender.config.items())
    ]
    untuned = not contender.leads, contender.kernel != VENDOR, not contender.default
    return *untuned, contender.workspace, contender.kernel, values


def pick(contenders: Iterable[C]) -> C | None:
    """The one to use: the canonically first of those that tie with the fastest.

    It beats the vendor and the default, unless it is one of them, or tied with one that is taken instead.
    """
    able = list(contenders)
    if not able:
        return None
    top = min(able, key=lambda c: c.seconds)
    # A fastest one that is so noisy that all tie with it does not make up for what is surely slower than another.
    left = [c for c in able if not any(beats(other, c, DROPPING) for other in able)]
    ties = sorted((c for c in left if c is top or _tied(top, c)), key=canonical)
    bases = [c for c in able if _base(c) and c not in ties]
    return next(c for c in ties if c is top or all(beats(c, base) for base in bases))


def _tied(top: Contender, other: Contender) -> bool:
    """Whether `other` may be taken for `top`: a base while it is not surely slower, others if it surely costs no more
    than TIE."""
    if _base(other):
        return not beats(top, other)
    apart = SURE * math.hypot(top.seconds - top.low, other.high - other.seconds)
    return not beats(top, other) and other.seconds - top.seconds + apart <= TIE * top.seconds


def _base(contender: Contender) -> bool:
    return contender.kernel == VENDOR or contender.default
