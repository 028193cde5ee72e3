"""Which candidate to measure next: Optuna's TPE over valid, unseen configs only. Nothing else imports Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from tilewright.tuner.prepare import Candidate

_STARTUP = 5  # random suggestions before the model is asked; vendor, default and what is known come on top

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Suggester:
    """Ask for an unseen candidate, tell how long it took. The study is a view, made anew from records each time.

    Numbers are searched by their position among the choices, so that the model knows which are neighbours; a suggestion
    that is invalid or seen gives way to the nearest valid one.
    """

    def __init__(self, candidates: Iterable[Candidate], seed: int) -> None:
        self._unseen = {c.name: c for c in candidates}
        self._choices: dict[str, dict[str, list[Any]]] = {}
        for candidate in self._unseen.values():
            tunables = self._choices.setdefault(candidate.kernel, {})
            for name, value in candidate.config.items():
                values = tunables.setdefault(name, [])
                if value not in values:
                    values.append(value)
        for tunables in self._choices.values():
            for values in tunables.values():
                if _numeric(values):
                    values.sort()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # multivariate and group are marked experimental
            sampler = optuna.samplers.TPESampler(multivariate=True, group=True, n_startup_trials=_STARTUP, seed=seed)
        self._study = optuna.create_study(sampler=sampler)
        self._worst = -math.inf

    def __len__(self) -> int:
        """Candidates not seen yet."""
        return len(self._unseen)

    @property
    def tunables(self) -> int:
        """The largest number of tunables of any kernel."""
        return max((len(t) for t in self._choices.values()), default=0)

    def seen(self, candidate: Candidate) -> None:
        """Never suggest it."""
        self._unseen.pop(candidate.name, None)

    def ask(self) -> Candidate:
        """The next one to measure. Raises IndexError when all have been seen."""
        if not self._unseen:
            raise IndexError("every valid candidate has been seen")
        trial = self._study.ask()
        kernel = trial.suggest_categorical("kernel", list(self._choices))
        place = []
        for name, values in self._choices[kernel].items():
            distribution = _distribution(values)
            if isinstance(distribution, IntDistribution):
                place.append(trial.suggest_int(f"{kernel}.{name}", distribution.low, distribution.high))
            else:
                place.append(values.index(trial.suggest_categorical(f"{kernel}.{name}", values)))
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)  # what is measured is told as a trial of its own
        same = [c for c in self._unseen.values() if c.kernel == kernel] or list(self._unseen.values())
        return min(same, key=lambda c: self._distance(c, kernel, place))

    def tell(self, candidate: Candidate, seconds: float | None) -> None:
        """`seconds` is None where it failed, which counts as far slower than anything seen."""
        self.seen(candidate)
        if candidate.kernel not in self._choices:
            return
        params: dict[str, Any] = {"kernel": candidate.kernel}
        distributions: dict[str, BaseDistribution] = {"kernel": CategoricalDistribution(list(self._choices))}
        for name, values in self._choices[candidate.kernel].items():
            if candidate.config.get(name) not in values:
                return
            key, distribution = f"{candidate.kernel}.{name}", _distribution(values)
            value = candidate.config[name]
            params[key] = values.index(value) if isinstance(distribution, IntDistribution) else value
            distributions[key] = distribution
        if seconds is not None:
            self._worst = max(self._worst, math.log(seconds))
        value = math.log(seconds) if seconds is not None else max(self._worst, -20.0) + 2.0
        self._study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))

    def _distance(self, candidate: Candidate, kernel: str, place: list[int]) -> float:
        if candidate.kernel != kernel:
            return 0.0
        total = 0.0
        for (name, values), wanted in zip(self._choices[kernel].items(), place, strict=True):
            at = values.index(candidate.config[name])
            total += abs(at - wanted) if _numeric(values) else float(at != wanted)
        return total


def _numeric(values: list[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _distribution(values: list[Any]) -> BaseDistribution:
    return IntDistribution(0, len(values) - 1) if _numeric(values) else CategoricalDistribution(values)
