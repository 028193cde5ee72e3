"""Search for the fastest config of anything that can be timed: no device, no records, only a space and a measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from time import monotonic
from typing import TYPE_CHECKING, Any

from tilewright.kernels.space import Config, Space
from tilewright.tuner.pool import Pool, valid_configs
from tilewright.tuner.transfer import Known

if TYPE_CHECKING:
    from tilewright.tuner.sampler import Study
    from tilewright.tuner.sampler import Trial as OptunaTrial


class Failed(Exception):
    """A config that cannot be measured; the message says why. The search goes on and learns from it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One config that was measured; `seconds` is None where it failed, for `reason`."""

    config: Config
    seconds: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """How a search ended.

    `best` is None where every trial failed. `trials` are this search's, in order. `stopped` is "trials" or "seconds"
    (the budget), "exhausted" (every config was tried) or "settled" (no budget was given, and no improvement is
    expected).
    """

    best: Trial | None
    trials: tuple[Trial, ...]
    stopped: str


def search(
    configs: Space | Iterable[Config], measure: Callable[[Config], float], *,
    trials: int | None = None, seconds: float | None = None, seed: int = 0,
    known: Iterable[Known | tuple[Config, float, str]] = (), study: Study | None = None,
) -> Result:  # fmt: skip
    """Find the config for which `measure(config)`, in seconds, is least.

    `configs` is a Space, or all valid configs in a list. `measure` raises Failed where a config does not work; so does
    a time that is no positive number. The search ends after `trials` or `seconds`, whichever comes first, when every
    config has been tried, or, without a budget, when no improvement is expected. `known` are times from elsewhere
    (other devices, other sizes: the origin), NaN where a config failed there; those that mislead are found out.
    `study` is one of Optuna's, to be continued and written to: what it has finished is not measured again, and counts
    for `best`. The same seed and times give the same search.

    Raises ValueError for a space without a valid config (says which rule leaves none), a rule that raises, a config
    that is no dict of int, float, str and bool, a budget that is no positive number, and a study that maximizes.
    Whatever else `measure` raises ends the search; a study keeps what was measured, and the interrupted trial as
    running: its config comes again when nothing else is left.
    """
    limit = _checked(trials, seconds)
    pool = Pool(valid_configs(configs, seed) if isinstance(configs, Space) else configs)
    rows = [row if isinstance(row, Known) else Known(*row) for row in known]
    end = math.inf if seconds is None else monotonic() + seconds
    patience = settling(len(pool.choices)) if trials is None and seconds is None else math.inf
    done: list[Trial] = []

    def stop() -> str:
        if len(done) >= limit:
            return "trials"
        if monotonic() >= end:
            return "seconds"
        return "settled" if idle(done) >= patience else ""

    def measured(config: Config) -> float:
        try:
            taken = measure(dict(config))
            if not isinstance(taken, Real) or not 0 < float(taken) < math.inf:
                raise Failed(f"measured {taken!r}, which is no positive number of seconds")
        except Failed as error:
            done.append(Trial(config, None, str(error)))
            raise
        done.append(Trial(config, float(taken)))
        return float(taken)

    before, stopped = explore(pool, measured, stop, seed=seed, known=rows, study=study)
    return Result(best([*before, *done]), tuple(done), stopped)


def explore(
    pool: Pool, measure: Callable[[Config], float], stop: Callable[[], str], *, seed: int,
    done: Iterable[tuple[Config, float | None]] = (), known: Iterable[Known] = (), study: Study | None = None,
    together: int = 1, ahead: Callable[[list[Config]], None] = lambda configs: None,
) -> tuple[list[Trial], str]:  # fmt: skip
    """Measure one config after the other until `stop` gives a reason, or "exhausted".

    With `together` so many are chosen at once, and `ahead` is told of them before the first is measured. `done` was
    measured before (None: failed), as what `study` has finished. Returns that, and the reason.
    """
    from tilewright.tuner.sampler import PoolSampler, quiet_study, tell  # imports Optuna, a third of a second

    sampler = PoolSampler(pool, seed, known)
    if study is None:
        study = quiet_study(sampler)
    elif [direction.name for direction in study.directions] != ["MINIMIZE"]:
        raise ValueError("the study is to be minimized, with one value: create it with direction='minimize'")
    study.sampler = sampler
    for config, taken in done:
        sampler.add(study, config, taken)
    tried, times, _ = sampler.past(study)
    before = [Trial(pool.configs[k], s if math.isfinite(s) else None) for k, s in zip(tried, times, strict=True)]
    waiting: list[OptunaTrial] = []
    while not (reason := "exhausted" if sampler.exhausted(study) else stop()):
        if not waiting:
            waiting = [study.ask() for _ in range(max(1, min(together, sampler.left(study))))]
            ahead([sampler.config(trial) for trial in waiting])
        trial = waiting.pop(0)
        try:
            seconds = measure(sampler.config(trial))
        except Failed as error:
            tell(study, trial, None, str(error))
        else:
            tell(study, trial, seconds)
    return before, reason


def settling(tunables: int) -> int:
    """After how many trials without an improvement none is expected."""
    return max(30, 8 * tunables)


def best(trials: Iterable[Trial]) -> Trial | None:
    """The fastest, the earliest of equals."""
    return min((t for t in trials if t.seconds is not None), key=lambda t: t.seconds or 0.0, default=None)


def idle(trials: list[Trial]) -> int:
    """How many trials there were since the best."""
    top = best(trials)
    return len(trials) if top is None else len(trials) - 1 - trials.index(top)


def _checked(trials: Any, seconds: Any) -> float:
    """The number of trials that are allowed."""
    if trials is not None and (not isinstance(trials, int) or isinstance(trials, bool) or trials < 1):
        raise ValueError(f"trials is a whole number of at least 1, not {trials!r}")
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < math.inf):
        raise ValueError(f"seconds is a positive number, not {seconds!r}")
    return math.inf if trials is None else trials
