"""Which config of a pool to measure next: Bayesian optimisation over the valid configs not seen yet. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewright.tuner.pool import Pool
from tilewright.tuner.surrogate import GaussianProcess
from tilewright.tuner.transfer import Advice, flattened

Array = np.ndarray[Any, Any]

DESIGN = (0, 1, 2, 3)
"""Trials far from all others: a model of fewer knows nothing but its prior."""

CHECKS = (1, 2)
"""The same when there is advice: what is advised lies close together, and cannot show that the advice is wrong."""

CANDIDATES = 800
"""So many of a larger pool are looked at in each round: half at random, half the last round's best."""

AROUND = 3
"""Best configs so far whose neighbours are looked at as well."""

MODELLED = 200
"""Trials that the model sees; of more, the best half and others at random, so that a proposal stays cheap."""


class Proposer:
    """Proposes positions in `pool`, deterministic under `seed`; `advice` is what was measured elsewhere."""

    def __init__(self, pool: Pool, seed: int, advice: Advice | None = None) -> None:
        self.pool, self.seed, self.advice = pool, seed, advice if advice else None
        features = pool.places.shape[1]
        self._times, self._validity = GaussianProcess(features), GaussianProcess(features)
        self._last = np.zeros(0, np.intp)

    def propose(self, tried: Sequence[int], seconds: Sequence[float], busy: Sequence[int] = ()) -> int:
        """The next one, where `tried` took `seconds` (NaN: failed) and `busy` are being measured by others.

        Raises IndexError when all have been tried; those that are busy come again last.
        """
        free = np.ones(len(self.pool), bool)
        free[list(tried)] = False
        idle = free.copy()
        idle[list(busy)] = False
        unseen = np.flatnonzero(idle if idle.any() else free)
        if not len(unseen):
            raise IndexError("every valid config has been tried")
        if len(unseen) == 1:
            return int(unseen[0])
        at, times, made = np.asarray(tried, np.intp), np.asarray(seconds, float), len(tried) + len(busy)
        rng = np.random.default_rng([self.seed, made])
        few = np.isfinite(times).sum() < 2
        if self.advice and not made:
            return self.advice.first()
        if few or made in (CHECKS if self.advice else DESIGN):
            return self._far(unseen, [*tried, *busy], rng)
        return self._promising(unseen, at, times, rng)

    def _far(self, unseen: Array, taken: list[int], rng: np.random.Generator) -> int:
        """Of some at random the one farthest from all that were taken."""
        some = rng.permutation(unseen)[:200]
        if not taken:
            return int(some[0])
        places = self.pool.places
        apart = ((places[some][:, None] - places[taken][None]) ** 2).sum(2).min(1)
        return int(some[np.argmax(apart)])

    def _promising(self, unseen: Array, tried: Array, times: Array, rng: np.random.Generator) -> int:
        """The one with the largest expected improvement, if it works at all."""
        expected = self.advice.expected(tried, times) if self.advice else np.zeros(len(self.pool))
        looked = self._candidates(unseen, tried, times, expected, rng)
        tried, times = _modelled(tried, times, rng)
        able = np.isfinite(times)
        values = flattened(np.log(times[able]))
        rest = values - expected[tried[able]]
        middle = rest.mean()
        # Few trials that happen to agree say little about how far advice is off: a third of its spread is usual.
        prior = (self.advice.spread / 3) ** 2 if self.advice else 0.0
        scale = math.sqrt(rest.var() + prior / len(rest)) or 1.0
        places = self.pool.places
        steps = 6 if len(tried) < 30 else 2
        self._times.fit(places[tried[able]], (rest - middle) / scale, steps)
        mean, deviation = self._times.predict(places[looked])
        worth = _log_improvement(expected[looked] + middle + scale * mean, scale * deviation, values.min())
        if not able.all():
            share = (able.sum() + 1) / (len(able) + 2)
            spread = math.sqrt(share * (1 - share))
            self._validity.fit(places[tried], (able - share) / spread, 2)
            works, doubt = self._validity.predict(places[looked])
            surplus = (works + (share - 0.5) / spread) / doubt  # how surely it is nearer to 1, works, than to 0, fails
            worth = worth + np.log(_below(np.maximum(surplus, -5.0)))
        order = np.argsort(-worth, kind="stable")
        self._last = looked[order[1 : CANDIDATES // 2]]
        return int(looked[order[0]])

    def _candidates(
        self, unseen: Array, tried: Array, times: Array, expected: Array, rng: np.random.Generator
    ) -> Array:
        """What is looked at: everything, or of a large pool what may be good and a random part of the rest."""
        if len(unseen) <= CANDIDATES:
            return unseen
        best = tried[np.argsort(np.where(np.isfinite(times), times, np.inf), kind="stable")[:AROUND]]
        advised = unseen[np.argpartition(expected[unseen], 200)[:200]] if self.advice else self._last[:0]
        near = [self.pool.neighbours(int(k)) for k in best]
        looked = np.concatenate([rng.choice(unseen, CANDIDATES // 2, replace=False), self._last, advised, *near])
        both = np.zeros(len(self.pool), np.int8)
        both[looked] = 1
        both[unseen] += 1
        return np.flatnonzero(both == 2)


def _modelled(tried: Array, times: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    if len(tried) <= MODELLED:
        return tried, times
    order = np.argsort(np.where(np.isfinite(times), times, np.inf), kind="stable")
    best, rest = order[: MODELLED // 2], order[MODELLED // 2 :]
    kept = np.sort(np.concatenate([best, rng.choice(rest, MODELLED - len(best), replace=False)]))
    return tried[kept], times[kept]


def _log_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Logarithm of the expected improvement on `best`, which does not vanish where there is hardly any hope.

    Jones, Schonlau and Welch, 1998; far below, by the tail of the normal distribution.
    """
    z = (best - mean) / deviation
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    near = np.log(np.maximum(z * _below(z) + density, 1e-30))
    far = -0.5 * z * z - np.log(np.maximum(z * z, 1.0)) - 0.92
    return np.log(deviation) + np.where(z > -3, near, far)


def _below(z: Array) -> Array:
    """The normal distribution, to three digits: it only ranks."""
    return 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
