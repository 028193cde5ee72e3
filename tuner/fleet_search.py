"""A search whose configs are shared out among workers: `tilewright tune --storage URL`."""

from __future__ import annotations

import hashlib
import json
import math
import socket
from collections.abc import Callable
from dataclasses import asdict
from time import monotonic
from typing import Protocol

from filelock import FileLock

from tilewright.backends.cache import folder
from tilewright.backends.protocol import Device
from tilewright.kernels.problem import Problem
from tilewright.tuner.fleet import LEASE_SECONDS, RECORD, Claim, Fleet
from tilewright.tuner.journal import parse
from tilewright.tuner.measure import supervisor
from tilewright.tuner.past import Past
from tilewright.tuner.policy import DEFAULT, Policy
from tilewright.tuner.pool import Pool
from tilewright.tuner.prepare import Candidate
from tilewright.tuner.records import Record
from tilewright.tuner.sampler import BaseStorage
from tilewright.tuner.store import Store
from tilewright.tuner.tune_problem import EFFORTS, OVERRUN, Measurer, Search, Status, flat


class FleetMeasurer(Measurer, Protocol):
    """What a worker of a fleet needs of `measure.Supervisor`."""

    def build(self, problem: Problem, candidate: Candidate, patience: float) -> None: ...


class FleetSearch(Search):
    """As Search, together with whoever searches the same problem on an equal device through the same storage.

    Candidates are compiled by all at once and timed by one at a time on each device of a host. Every worker's records
    reach every worker's store; the finals are run once for each store.
    """

    def __init__(
        self, problem: Problem, device: Device, effort: str, allotted: float, progress: Callable[[Status], None],
        storage: BaseStorage, store: Store | None = None, measurer: FleetMeasurer | None = None,
        clock: Callable[[], float] = monotonic, lease_seconds: float = LEASE_SECONDS, policy: Policy = DEFAULT,
    ) -> None:  # fmt: skip
        self._builder: FleetMeasurer = measurer or supervisor(device.name)
        super().__init__(problem, device, effort, allotted, progress, store, self._builder, clock, policy)
        self._storage, self._lease_seconds = storage, lease_seconds
        name = f"{socket.gethostname()}-{device.name}".replace(":", "-")
        (folder() / "locks").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._alone = FileLock(folder() / "locks" / f"{name}.lock")
        self._turn = FileLock(folder() / "locks" / f"{name}.turn.lock")
        self._taken: set[int] = set()  # trials whose records are in `past`
        self._elsewhere = False  # another worker with our store has run the finals

    def _explore(self) -> str:
        """Claim, compile and measure one candidate after the other. Returns why it stopped."""
        past = self.past
        listed = [*([past.vendor] if past.vendor else []), *past.candidates.values()]
        if not listed:
            return "settled"
        pool = Pool(flat(c) for c in listed)
        fleet = Fleet(self._storage, self._name(pool), pool, self._seed(), self._lease_seconds, self._turn)
        for record in past.known.values():
            fleet.share(flat(Candidate(record.kernel, record.config)), _seconds(record), record.to_line())
        for candidate in past.first():
            fleet.offer(flat(candidate))
        patience = math.inf if self.effort == "exhaustive" else max(12, 4 * max(len(c.config) for c in listed))

        def stop() -> str:
            self._absorb(fleet)
            return self._stop(_idle(fleet) >= patience)

        while not isinstance(claim := fleet.claim(stop), str):
            k = pool.find(claim.config)
            assert k is not None
            self._work(fleet, claim, listed[k])
        self._absorb(fleet)
        self.store.merge([t.user_attrs[RECORD].encode() for t in fleet.finished() if RECORD in t.user_attrs])
        return "settled" if claim == "exhausted" else claim

    def _work(self, fleet: Fleet, claim: Claim, candidate: Candidate) -> None:
        with fleet.holding(claim):
            patience = max(self._left(), 1.0) + OVERRUN
            self._builder.build(self.problem, candidate, patience)
            with self._alone:
                record = self._measure(candidate, patience)
        self._taken.add(claim.trial)
        fleet.finish(claim, _seconds(record), record.reason, record.to_line())

    def _absorb(self, fleet: Fleet) -> None:
        """Learn what the others have measured."""
        for trial in fleet.finished():
            line = trial.user_attrs.get(RECORD)
            if line is None or trial._trial_id in self._taken:
                continue
            self._taken.add(trial._trial_id)
            record = parse(line.encode())
            if isinstance(record, Record) and record.name not in self.past.known:
                self.past.learn(record)

    def _finals(self) -> None:
        """One worker after the other; those with the same store as one that has been here have nothing left to do."""
        self._alone.acquire()  # until `_close` has written that the search ended
        self.store.refresh()
        now = Past(self.problem, self.device, self.store, self.policy)
        self._elsewhere = now.suffices(list(EFFORTS), self.effort, self.allotted)
        if not self._elsewhere:
            super()._finals()

    def _close(self, stopped: str, reason: str) -> None:
        try:
            if not self._elsewhere:
                super()._close(stopped, reason)
        finally:
            if self._alone.is_locked:
                self._alone.release()

    def _name(self, pool: Pool) -> str:
        """The study's name: the same for workers that may share their times, and only for those."""
        firsts = {c.kernel: c for c in reversed(self.past.candidates.values())}
        texts = [self.past.text(c) for c in firsts.values()]
        alike = [self.problem.key, asdict(self.device.fingerprint), self.policy.to_json(), texts, pool.configs]
        whole = json.dumps(alike, sort_keys=True)
        return f"{self.device.name} {self.problem.title} {hashlib.sha256(whole.encode()).hexdigest()[:12]}"


def _seconds(record: Record) -> float | None:
    return record.seconds if record.status == "ok" else None


def _idle(fleet: Fleet) -> int:
    """How many trials were finished since the best, by whomever."""
    times = [t.value if t.value is not None else math.inf for t in fleet.finished()]
    return len(times) - 1 - times.index(min(times)) if times and min(times) < math.inf else len(times)
