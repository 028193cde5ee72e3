"""What times measured elsewhere (other devices, other sizes) lead to expect of a pool, and how far to believe them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.kernels.space import Config
from tilewright.tuner.pool import Pool

Array = np.ndarray[Any, Any]

PRIOR_TRIALS = 2.0
"""An origin is believed as if so many trials had agreed with it before the first."""

STEEPNESS = 0.1
"""Logarithms of times above the median count so much: how bad the bad ones are says little about the best."""

NEIGHBOURS = 0.5
"""What the mean of its neighbours' logarithms counts against a config's own, in the first trial."""

STRUCTURE = 0.3
"""The least rank correlation between a config's time and its neighbours', in times that are those of a kernel. Measured
spaces have 0.8 and more, times that belong to other configs none."""


@dataclass(frozen=True, slots=True)
class Known:
    """A time in seconds, NaN where the config failed there, and where it comes from: a device, a size."""

    config: Config
    seconds: float
    origin: str = ""


def flattened(logarithms: Array) -> Array:
    """Logarithms of times with those above their median drawn together."""
    middle = np.median(logarithms)
    return np.where(logarithms > middle, middle + STEEPNESS * (logarithms - middle), logarithms)


class Advice:
    """One expected logarithm of time per origin and config of the pool, each origin around 0."""

    def __init__(self, pool: Pool, known: Iterable[Known]) -> None:
        self._pool = pool
        found: dict[str, dict[int, float]] = {}
        for row in known:
            k = pool.find(row.config)
            if k is not None:
                found.setdefault(row.origin, {})[k] = row.seconds
        able = [times for _, times in sorted(found.items()) if any(map(_measured, times.values()))]
        tables = [_table(pool, times) for times in able if not _scrambled(pool, times)]
        self._logarithms = np.array(tables).reshape(len(tables), len(pool))
        self._tables = np.array([flattened(t) - np.median(t) for t in tables]).reshape(len(tables), len(pool))
        self.spread = float(self._tables.std(1).mean()) if tables else 0.0

    def __len__(self) -> int:
        """How many origins have something to say."""
        return len(self._tables)

    def first(self) -> int:
        """The config to begin with: fast on average over the origins, and so are its neighbours.

        A best config whose neighbours are slow or fail was fast by some device's quirk, or by noise.
        """
        consensus = self._logarithms.mean(0)
        top = np.argsort(consensus, kind="stable")[:64].tolist()
        return min(top, key=lambda k: consensus[k] + NEIGHBOURS * consensus[self._pool.neighbours(k)].mean())

    def expected(self, tried: Array, seconds: Array) -> Array:
        """Logarithms of times for the whole pool, but for a constant; 0 where nothing is to be believed.

        Origins are weighted by the squares of their rank correlations with the trials so far (NaN: failed), shrunk
        towards agreement while those are few; so is the slope between what they say and what is measured.
        """
        ranks = _ranks(np.where(np.isfinite(seconds), seconds, np.inf))
        n = len(tried)
        trust = np.array([n * _correlation(_ranks(t[tried]), ranks) + PRIOR_TRIALS for t in self._tables])
        trust = np.maximum(trust / (n + PRIOR_TRIALS), 0.0)
        if not trust.any():
            return np.zeros(self._tables.shape[1])
        consensus = trust**2 @ self._tables / (trust**2).sum()
        able = np.isfinite(seconds)
        slope = 1.0
        if able.sum() > 1:
            x, y = consensus[tried[able]], flattened(np.log(seconds[able]))
            x, y = x - x.mean(), y - y.mean()
            prior = PRIOR_TRIALS * consensus.var() + 1e-12
            slope = max(0.0, (x @ y + prior) / (x @ x + prior))
        return slope * trust.max() * consensus


def _measured(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds > 0


def _scrambled(pool: Pool, times: dict[int, float]) -> bool:
    """Whether an origin's times surely are not those of its configs, as in a file whose rows were mixed up.

    Configs that differ little take similar times on any device, so that a config's rank follows from those of the eight
    nearest. Surely: the upper end of the correlation's 95 % interval (Fisher's z) is below STRUCTURE. Fewer than a
    hundred configs lie too far apart to tell, and where all take the same time there is nothing to tell.
    """
    at = np.array(sorted(times))
    if len(at) < 100:
        return False
    ranks = _ranks(np.array([times[k] if _measured(times[k]) else math.inf for k in at.tolist()]))
    some = np.unique(np.linspace(0, len(at) - 1, 300).astype(int))
    apart = _distances(pool.places[at[some]], pool.places[at])
    apart[np.arange(len(some)), some] = np.inf
    near = ranks[np.argpartition(apart, 8, axis=1)[:, :8]].mean(1)
    if not near.std() or not ranks[some].std():
        return False
    found = min(_correlation(ranks[some], near), 0.999)
    return math.tanh(math.atanh(found) + 1.64 / math.sqrt(len(some) - 3)) < STRUCTURE


def _distances(some: Array, others: Array) -> Array:
    """Squares of Euclidean distances between rows, but for a constant in each row of the result."""
    return (others**2).sum(1)[None] - 2 * some @ others.T


def _table(pool: Pool, times: dict[int, float]) -> Array:
    """An origin's logarithms for every config: failures as the worst, gaps as the nearest config that was measured."""
    at = np.array(sorted(times))
    seconds = np.array([times[k] if _measured(times[k]) else np.nan for k in at.tolist()])
    logarithms = np.log(np.where(np.isnan(seconds), np.nanmax(seconds), seconds))
    table = np.full(len(pool), np.nan)
    table[at] = logarithms
    missing = np.flatnonzero(np.isnan(table))
    places = pool.places
    for start in range(0, len(missing), 256):
        some = missing[start : start + 256]
        table[some] = table[at[_distances(places[some], places[at]).argmin(1)]]
    return table


def _ranks(values: Array) -> Array:
    """From 0 up; equal values share the mean of their ranks."""
    _, back, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[back]


def _correlation(a: Array, b: Array) -> float:
    """Pearson's; 0 where one of them is constant."""
    if len(a) < 2 or not a.std() or not b.std():
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
