"""Our proposals as an Optuna sampler: any study, storage, pruner or dashboard of Optuna's works with it.

The one place that imports Optuna, and it is imported only when a search starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from time import sleep
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.logging import ERROR, get_verbosity, set_verbosity
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, create_study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from tilewright.kernels.space import Config
from tilewright.tuner.pool import Pool
from tilewright.tuner.propose import Proposer
from tilewright.tuner.transfer import Advice, Known

__all__ = [
    "VOID", "BaseStorage", "FrozenTrial", "PoolSampler", "Study", "Trial", "TrialState", "UpdateFinishedTrialError",
    "create_trial", "open_storage", "open_study", "quiet_study", "tell",
]  # fmt: skip

VOID = "tilewright:void"
"""A trial with this attribute was never measured: it came second to an equal one, or its worker died."""


class PoolSampler(BaseSampler):
    """Samples valid configs of `pool` that no trial of the study has had, in whatever process or host it ran.

    An objective asks for each tunable by `trial.suggest_categorical(name, sampler.choices[name])`, or for all at once
    by `sampler.config(trial)`. A trial that ended as FAIL was a config that does not work; a pruned one counts with
    its last intermediate value. Trials that still run are left to whoever runs them, until nothing else is left.
    Raises IndexError, from `study.ask`, when all have been tried. One sampler serves one thread.
    """

    def __init__(self, pool: Pool, seed: int = 0, known: Iterable[Known] = ()) -> None:
        self.pool, self.choices = pool, pool.choices
        advice = Advice(pool, known)
        self._finished: dict[tuple[str, int], tuple[int, float]] = {}  # by study and number: these do not change
        self._proposer = Proposer(pool, seed, advice if len(advice) else None)
        self._space: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(_keys(values)) for name, values in self.choices.items()
        }

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial | None) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.params(self.propose(*self.past(study)))

    def propose(self, tried: list[int], seconds: list[float], busy: list[int]) -> int:
        """The next position in the pool, after what `past` told."""
        return self._proposer.propose(tried, seconds, busy)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        raise ValueError(f"{param_name!r} is not a tunable of this search, or has other choices: {param_distribution}")

    def config(self, trial: Trial) -> Config:
        """The config that `trial` is to measure."""
        params = {name: trial.suggest_categorical(name, d.choices) for name, d in self._distributions()}
        return self.pool.configs[self.position(params)]

    def params(self, k: int) -> dict[str, Any]:
        """A config as Optuna's parameters."""
        codes = zip(self._distributions(), self.pool.codes[k].tolist(), strict=True)
        return {name: distribution.choices[code] for (name, distribution), code in codes}

    def past(self, study: Study) -> tuple[list[int], list[float], list[int]]:
        """What the study's trials tried, how long it took (NaN: failed), and what is being tried."""
        tried: dict[int, float] = {}
        busy = []
        for trial in study.get_trials(deepcopy=False):
            known = self._finished.get((study.study_name, trial.number))
            if known is not None:
                tried[known[0]] = known[1]
            elif len(trial.params) == len(self._space) and VOID not in trial.user_attrs:
                k = self.position(trial.params)
                if trial.state.is_finished():
                    tried[k] = _seconds(trial)
                    self._finished[study.study_name, trial.number] = k, tried[k]
                elif trial.state in (TrialState.RUNNING, TrialState.WAITING):
                    busy.append(k)
        return list(tried), list(tried.values()), [k for k in busy if k not in tried]

    def exhausted(self, study: Study) -> bool:
        """Whether every config has been tried."""
        return len(self.past(study)[0]) >= len(self.pool)

    def left(self, study: Study) -> int:
        """How many configs nobody has tried or is trying."""
        tried, _, busy = self.past(study)
        return len(self.pool) - len({*tried, *busy})

    def add(self, study: Study, config: Config, seconds: float | None) -> None:
        """Tell the study what is known of a config: seconds, or None where it failed."""
        k = self.pool.find(config)
        if k is not None:
            state = TrialState.FAIL if seconds is None else TrialState.COMPLETE
            study.add_trial(
                create_trial(state=state, value=seconds, params=self.params(k), distributions=dict(self._space))
            )

    def _distributions(self) -> list[tuple[str, CategoricalDistribution]]:
        return [(name, d) for name, d in self._space.items() if isinstance(d, CategoricalDistribution)]

    def position(self, params: Mapping[str, Any]) -> int:
        """The pool's config with these parameters. Raises ValueError."""
        try:
            k = self.pool.at([d.choices.index(params[name]) for name, d in self._distributions()])
        except (KeyError, ValueError):
            k = None
        if k is None:
            raise ValueError(f"the study has a trial with a config that is not one of this search's: {dict(params)}")
        return k


def _keys(values: list[Any]) -> list[Any]:
    """Optuna's choices: the values, written out where Python takes two of them for equal (1, 1.0 and True)."""
    return values if len(set(values)) == len(values) else [repr(v) for v in values]


def _seconds(trial: FrozenTrial) -> float:
    seconds = math.nan
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        seconds = trial.value
    elif trial.state == TrialState.PRUNED and trial.intermediate_values:
        seconds = trial.intermediate_values[max(trial.intermediate_values)]
    return seconds if seconds > 0 else math.nan


def tell(study: Study, trial: Trial, seconds: float | None, reason: str = "") -> None:
    """How a trial ended: in seconds, or None where it failed, for `reason`."""
    if seconds is None:
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, seconds)


def quiet_study(sampler: BaseSampler) -> Study:
    """A study in memory; Optuna does not announce it."""
    return _quietly(lambda: create_study(sampler=sampler))


def open_study(storage: BaseStorage, name: str, sampler: BaseSampler) -> Study:
    """The study of that name in a storage, made if it is not there."""
    return _quietly(lambda: create_study(storage=storage, sampler=sampler, study_name=name, load_if_exists=True))


def open_storage(url: str) -> BaseStorage:
    """journal:PATH (a file), grpc://HOST:PORT (Optuna's proxy), or a database's URL as SQLAlchemy has it.

    Raises ValueError where it cannot be opened.
    """
    scheme, _, rest = url.partition(":")
    try:
        if scheme == "journal" and rest.removeprefix("//"):
            return JournalStorage(JournalFileBackend(rest.removeprefix("//")))
        if scheme == "grpc":
            host, _, port = rest.removeprefix("//").rstrip("/").rpartition(":")
            proxy = GrpcStorageProxy(host=host, port=int(port))
            proxy.wait_server_ready(timeout=10)
            return proxy
        if "://" in url:
            return _quietly(lambda: _database(url))
    except Exception as error:  # drivers raise what they like: a missing module, a refused connection, a bad URL
        lines = str(error).strip().splitlines()
        why = f"{type(error).__name__}: {lines[0] if lines else 'no answer'}"
        raise ValueError(f"the storage {url!r} cannot be opened: {why}") from None
    raise ValueError(f"{url!r} names no storage; write journal:FILE, grpc://HOST:PORT, or a database such as "
                     "postgresql://USER@HOST/NAME or sqlite:///FILE")  # fmt: skip


def _database(url: str) -> RDBStorage:
    """Workers that find an empty database make its tables at once: those that come second find them a moment later."""
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError  # late: for databases only

    for seconds in (0.2, 0.5, 1.0):
        try:
            return RDBStorage(url)
        except (IntegrityError, ProgrammingError, OperationalError):
            sleep(seconds)
    return RDBStorage(url)


def _quietly(make: Callable[[], Any]) -> Any:
    before = get_verbosity()
    set_verbosity(ERROR)
    try:
        return make()
    finally:
        set_verbosity(before)
