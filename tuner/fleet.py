"""Several workers, processes or hosts, that search one problem together, through a study in one of Optuna's storages.

A config is offered as a waiting trial, made with its parameters in one step, and claimed by setting it running, which
a storage grants to one worker only. Two workers may offer the same config at once: the trial with the lower number owns
it, and who claims the other one leaves it void, which costs a row in the storage and no measurement; workers of one
host offer by turns, so that this is left to workers of different hosts. Whoever holds a trial counts up its lease; a
lease that stands still for LEASE_SECONDS by another worker's own clock is that of a dead one, and the config is free
again. Optuna's heartbeat does not do for this: it serves study.optimize only, and compares clocks of different hosts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from tilewright.kernels.space import Config
from tilewright.tuner.pool import Pool
from tilewright.tuner.sampler import (
    VOID,
    BaseStorage,
    FrozenTrial,
    PoolSampler,
    TrialState,
    UpdateFinishedTrialError,
    create_trial,
    open_study,
)

LEASE_SECONDS = 20.0
WAIT_SECONDS = 0.2  # until a worker that has nothing to claim looks again
LEASE = "tilewright:lease"
RECORD = "tilewright:record"


@dataclass(frozen=True, slots=True)
class Claim:
    """A config that is this worker's to measure, under the id of its trial."""

    config: Config
    trial: int


class Fleet:
    """One worker's view of the study `name`: configs of `pool` to claim, and what everybody has finished.

    `turn` is held while a config is chosen and offered: a lock shared with whoever would choose the same.
    """

    def __init__(
        self, storage: BaseStorage, name: str, pool: Pool, seed: int, lease_seconds: float = LEASE_SECONDS,
        turn: AbstractContextManager[Any] | None = None,
    ) -> None:  # fmt: skip
        self.pool, self._storage, self._lease_seconds = pool, storage, lease_seconds
        self._turn = turn or nullcontext()
        self._sampler = PoolSampler(pool, seed)
        self._study = open_study(storage, name, self._sampler)
        self._seen: dict[int, tuple[Any, float]] = {}  # leases as they were when they last changed, by our clock

    def trials(self) -> list[FrozenTrial]:
        """All but the void ones, in the order in which they were offered."""
        found = self._study.get_trials(deepcopy=False)
        return [t for t in found if VOID not in t.user_attrs and len(t.params) == len(self.pool.choices)]

    def finished(self) -> list[FrozenTrial]:
        return [t for t in self.trials() if t.state.is_finished()]

    def offer(self, config: Config) -> None:
        """A waiting trial for `config`, unless it has one."""
        k = self.pool.find(config)
        assert k is not None
        with self._turn:
            self._offer(k)

    def _offer(self, k: int) -> None:
        if all(t.params != self._sampler.params(k) for t in self.trials()):
            self._study.add_trial(create_trial(state=TrialState.WAITING, **self._at(k)))

    def _offer_next(self) -> bool:
        """Choose what promises most and offer it; False where the others hold all that is left."""
        with self._turn:
            tried, seconds, busy = self._sampler.past(self._study)
            if len({*tried, *busy}) >= len(self.pool):
                return False
            self._offer(self._sampler.propose(tried, seconds, busy))
            return True

    def share(self, config: Config, seconds: float | None, record: str) -> None:
        """Tell all what was measured before, in seconds or None where it failed, unless it has a trial."""
        k = self.pool.find(config)
        if k is None:
            return
        state = TrialState.FAIL if seconds is None else TrialState.COMPLETE
        with self._turn:
            if all(t.params != self._sampler.params(k) for t in self.trials()):
                told = create_trial(state=state, value=seconds, user_attrs={RECORD: record}, **self._at(k))
                self._study.add_trial(told)

    def _at(self, k: int) -> dict[str, Any]:
        space = self._sampler.infer_relative_search_space(self._study, None)
        return {"params": self._sampler.params(k), "distributions": space}

    def claim(self, stop: Callable[[], str]) -> Claim | str:
        """The next config for this worker, or why there is none: "exhausted", or what `stop` says."""
        while not (reason := "exhausted" if self._sampler.exhausted(self._study) else stop()):
            self._bury()
            for trial in [t for t in self.trials() if t.state == TrialState.WAITING]:
                if self._set(trial._trial_id, TrialState.RUNNING):
                    if self._owns(trial):
                        return Claim(self._sampler.pool.configs[self._position(trial)], trial._trial_id)
                    self._void(trial._trial_id, "an equal trial came first")
            if not self._offer_next():
                sleep(WAIT_SECONDS)
        return reason

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Count up the claim's lease from another thread while it is measured."""
        done = threading.Event()

        def beat() -> None:
            count = 0
            while not done.wait(self._lease_seconds / 5):
                count += 1
                try:
                    self._storage.set_trial_user_attr(claim.trial, LEASE, count)
                except UpdateFinishedTrialError:
                    return

        self._storage.set_trial_user_attr(claim.trial, LEASE, 0)
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:  # Ctrl-C: the others need not wait for the lease
            self._void(claim.trial, "its worker gave up")
            raise
        finally:
            done.set()
            thread.join()

    def finish(self, claim: Claim, seconds: float | None, reason: str, record: str) -> None:
        """Tell all how it ended: in seconds, or None where it failed. Too late if we were taken for dead."""
        try:
            self._storage.set_trial_user_attr(claim.trial, RECORD, record)
            if seconds is None:
                self._storage.set_trial_user_attr(claim.trial, "reason", reason)
                self._storage.set_trial_state_values(claim.trial, TrialState.FAIL)
            else:
                self._storage.set_trial_state_values(claim.trial, TrialState.COMPLETE, [seconds])
        except UpdateFinishedTrialError:
            return

    def _position(self, trial: FrozenTrial) -> int:
        return self._sampler.position(trial.params)

    def _owns(self, trial: FrozenTrial) -> bool:
        return all(t.number >= trial.number or t.params != trial.params for t in self.trials())

    def _bury(self) -> None:
        """Free the configs of workers whose leases stand still."""
        for trial in self.trials():
            if trial.state != TrialState.RUNNING:
                continue
            lease, now = trial.user_attrs.get(LEASE), monotonic()
            before = self._seen.get(trial.number)
            if before is None or before[0] != lease:
                self._seen[trial.number] = lease, now
            elif now - before[1] > self._lease_seconds:
                self._void(trial._trial_id, "its worker died")

    def _void(self, trial: int, why: str) -> None:
        try:
            self._storage.set_trial_user_attr(trial, VOID, why)
        except UpdateFinishedTrialError:  # another worker buried it first, or it was finished after all
            return
        self._set(trial, TrialState.FAIL)

    def _set(self, trial: int, state: TrialState) -> bool:
        """Whether it was us who brought `trial` into `state`."""
        try:
            return self._storage.set_trial_state_values(trial, state)
        except UpdateFinishedTrialError:
            return False
