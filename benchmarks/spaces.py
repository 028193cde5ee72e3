"""Measured tuning spaces, replayed: what a search would have found in how many trials, and its score."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
TRIALS = 200


@dataclass(frozen=True)
class Measured:
    """A space of which every config was timed: `rows` of values, one a config, and `seconds`, NaN where it failed."""

    kernel: str
    device: str
    names: list[str]
    choices: list[list[Any]]
    rows: list[tuple[Any, ...]]
    seconds: Array

    @property
    def name(self) -> str:
        return f"{self.kernel} {self.device}"

    @property
    def configs(self) -> list[dict[str, Any]]:
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]

    @property
    def worst_for_failed(self) -> Array:
        """Seconds, failures as slow as the slowest."""
        return np.where(np.isnan(self.seconds), np.nanmax(self.seconds), self.seconds)

    @property
    def horizon(self) -> int:
        """How many trials random search needs to meet a config 95 % of the way from the median to the best."""
        best, middle = np.nanmin(self.seconds), np.nanmedian(self.seconds)
        good = int((self.seconds <= best + 0.05 * (middle - best)).sum())
        count = int(np.isfinite(self.seconds).sum())
        return min(TRIALS, max(2, math.ceil((count - good) / (1 + good))))

    def curve(self, order: Sequence[int]) -> Array:
        """Best seconds after 1, 2, ... TRIALS trials."""
        best = np.minimum.accumulate(self.worst_for_failed[list(order)[:TRIALS]])
        return np.concatenate([best, np.full(TRIALS - len(best), best[-1])])

    def random_curve(self) -> Array:
        """The expected best of n draws without replacement, for n = 1 ... TRIALS."""
        times = np.sort(self.worst_for_failed)
        logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, len(times) + 1)))])  # of factorials
        expected = []
        for n in range(1, min(TRIALS, len(times)) + 1):
            rest = len(times) - 1 - np.arange(len(times) - n + 1)  # how many are slower than each
            chances = logs[rest] - logs[n - 1] - logs[rest - n + 1] - (logs[-1] - logs[n] - logs[len(times) - n])
            expected.append(float((np.exp(chances) * times[: len(rest)]).sum()))
        return np.array(expected + [float(times[0])] * (TRIALS - len(expected)))

    def score(self, curves: Array) -> float:
        """0 as random search, 1 as knowing the answer (after Willemsen et al., FGCS 2024). `curves`: seeds x TRIALS."""
        horizon, best = self.horizon, np.nanmin(self.seconds)
        random, mean = self.random_curve()[:horizon], curves.mean(0)[:horizon]
        return float(((random - mean) / (random - best)).mean())

    def fraction(self, curves: Array, trials: int) -> float:
        """Best possible time by the time found after so many trials, averaged over the seeds."""
        return float((np.nanmin(self.seconds) / curves[:, trials - 1]).mean())


def load(folder: Path) -> list[Measured]:
    """Every space in `folder`. Raises FileNotFoundError when there is none."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no .npz file of a measured space")
    return [_load(path) for path in paths]


def _load(path: Path) -> Measured:
    data = np.load(path, allow_pickle=False)
    choices = json.loads(str(data["values"]))
    rows = [tuple(values[k] for values, k in zip(choices, row, strict=True)) for row in data["X"].tolist()]
    kernel, _, device = path.stem.partition("_")
    return Measured(kernel, device, json.loads(str(data["names"])), choices, rows, data["time"] * 1e-3)
