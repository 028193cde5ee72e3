"""What the records already say about a problem on a device, and which of it still holds."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cached_property
from itertools import islice
from typing import Any

from tilewright.backends.protocol import Device
from tilewright.kernels.problem import Problem
from tilewright.tuner.measure import Measurement
from tilewright.tuner.policy import DEFAULT, Policy
from tilewright.tuner.prepare import (
    Candidate,
    default_candidate,
    default_leads,
    kernels,
    natives,
    text_hash,
    vendor_candidate,
)
from tilewright.tuner.records import Record, differs
from tilewright.tuner.reuse import KIND, REMEASURE, SEED, SOFTWARE, USE, reuse
from tilewright.tuner.store import Store

MOST = 4000  # configs of one kernel that are considered; larger spaces are cut in canonical order
FEW = 3  # former winners that are looked at again


class Past:
    """`known`: trials by candidate name that hold as they are. `seeds`: trials of like devices, to guess from.

    `changed`: what made others not hold: fields of the fingerprint, "kernel" where its text was rewritten, "policy".
    """

    def __init__(self, problem: Problem, device: Device, store: Store, policy: Policy = DEFAULT) -> None:
        self.problem, self.device, self.policy, self._store = problem, device, policy, store
        self.vendor = vendor_candidate(problem, device)
        self.default = default_candidate(problem, device.limits)
        self._leads = default_leads(self.default, problem, device)
        self.known: dict[str, Record] = {}
        self.seeds: list[Record] = []
        self.changed: list[str] = []
        self._texts: dict[str, str] = {}
        self._stale: list[Record] = []
        self._searches: list[Record] = []  # on this device, or on it with other software
        for record in store.records():
            if record.problem == problem.key and record.kind in ("trial", "search"):
                self._sort(record)

    def _sort(self, record: Record) -> None:
        fields = differs(record.fingerprint, self.device.fingerprint)
        if record.kind == "search":
            if SOFTWARE.issuperset(fields):
                self._searches.append(record)
            return
        if not KIND.isdisjoint(fields):
            return
        text = self.text(Candidate(record.kernel, record.config))
        found = reuse(record, self.device.fingerprint, text, self.policy)
        if found.grade == USE:
            self.learn(record)
        elif found.grade == SEED:
            self.seeds.append(record)
        elif found.grade == REMEASURE:
            self._stale.append(record)
            self.changed += [c.field for c in found.changes if c.field not in self.changed]

    def learn(self, record: Record) -> None:
        """The last word on a candidate; a failure is final."""
        before = self.known.get(record.name)
        if before is None or before.status == "ok":
            self.known[record.name] = record

    def blank(self, kind: str, **fields: Any) -> Record:
        """A record of this problem on this device under this policy."""
        problem, device = self.problem, self.device
        return Record(
            kind, device.name, device.fingerprint, problem.key, problem.family, problem.title, problem.space,
            policy=self.policy, **fields,
        )  # fmt: skip

    def record(self, candidate: Candidate, taken: Measurement, stage: str, session: str) -> Record:
        """A trial, as it was measured."""
        return self.blank(
            "trial", kernel=candidate.kernel, config=candidate.config, default=candidate == self.default,
            text=self.text(candidate), status=taken.status, reason=taken.reason, seconds=taken.seconds,
            low=taken.low, high=taken.high, rounds=taken.rounds, error=taken.error, ulp=taken.ulp,
            workspace=taken.workspace, stage=stage, session=session,
            details={"leads": True} if self._leads and candidate == self.default else {},
        )  # fmt: skip

    def text(self, candidate: Candidate) -> str:
        """Hash of the candidate's kernel text as it is today; "?" where it cannot be rendered."""
        name = candidate.name
        if name not in self._texts:
            try:
                self._texts[name] = text_hash(self.problem, candidate, self.device)
            except Exception:  # whatever an old record asks of a kernel that has changed since; the worker says what
                self._texts[name] = "?"
        return self._texts[name]

    @cached_property
    def candidates(self) -> dict[str, Candidate]:
        """Every valid config of every kernel of the problem's kind, by canonical name."""
        most = None if self.problem.kind == "raw" else MOST  # a raw problem's space is a sample already
        found = (
            Candidate(name, config)
            for name, kernel in kernels(self.problem, self.device).items()
            for config in islice(kernel.space(self.problem, self.device.limits), most)
        )
        return {c.name: c for c in found}

    def space_hash(self) -> str:
        """Changes when a kernel comes, goes, or gets other tunables."""
        found = kernels(self.problem, self.device)
        spaces = {name: kernel.space(self.problem, self.device.limits).choices for name, kernel in found.items()}
        data = [[name, [[k, list(v)] for k, v in choices.items()]] for name, choices in spaces.items()]
        return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:12]

    def suffices(self, efforts: list[str], effort: str, allotted: float) -> bool:
        """Whether a search went about as far, over the same candidates, and its winner still holds."""
        last = self._store.search(self.problem.key, self.device.fingerprint)
        best = self._store.best(self.problem.key, self.device.fingerprint)
        if last is None or best is None or best.name not in self.known:
            return False
        return self._far_enough(last, efforts, effort, allotted)

    def former(self, efforts: list[str], effort: str, allotted: float) -> Record | None:
        """The last search that went about as far before the software or a kernel's text changed, if that is all."""
        last = max(self._searches, key=lambda r: r.when, default=None)
        if last is None or not any(r.status == "ok" for r in self._stale):
            return None
        return last if self._far_enough(last, efforts, effort, allotted) else None

    def _far_enough(self, search: Record, efforts: list[str], effort: str, allotted: float) -> bool:
        """About: half the time is enough, since shares of a budget depend on how heavy a problem was this time."""
        before = search.details
        if before["space"] != self.space_hash() or search.policy != self.policy:
            return False
        if before["stopped"] in ("settled", "roof"):
            return effort != "exhaustive" or before["effort"] == "exhaustive"
        far_enough = efforts.index(before["effort"]) >= efforts.index(effort)
        return before["stopped"] == "budget" and far_enough and before["allotted"] >= 0.5 * allotted

    def first(self) -> list[Candidate]:
        """What to measure before any search: vendor, default, native ops, winners that hold no longer, others'."""
        nearest = self._store.nearest(self.problem, self.device.fingerprint)[:2]
        guesses = sorted((r for r in self.seeds if r.status == "ok"), key=lambda r: (r.stage != "final", r.seconds))
        own = [Candidate(native.name) for native in natives(self.problem, self.device)]
        guessed = [*self._named(guesses)[:1], *self._named(nearest)]
        return self._unknown([*self._bases(), *own, *self.stale_best(), *guessed])

    def again(self) -> list[Candidate]:
        """What a new look at the best few takes, the best of them first."""
        best = self.stale_best()
        return self._unknown([*best[:1], *self._bases(), *best[1:]])

    def stale_best(self) -> list[Candidate]:
        """The fastest few of what no longer holds as it is: finals before what was measured alone."""
        able = [r for r in self._stale if r.status == "ok" and r.name not in self._failed()]
        order = sorted(able, key=lambda r: (r.stage != "final", r.policy != self.policy, r.seconds))
        return list(dict.fromkeys(self._named(order)))[:FEW]

    def _bases(self) -> list[Candidate]:
        return [c for c in (self.vendor, self.default) if c is not None]

    def _failed(self) -> set[str]:
        return {name for name, record in self.known.items() if record.status == "failed"}

    def _named(self, records: list[Record]) -> list[Candidate]:
        return [self.candidates[r.name] for r in records if r.name in self.candidates]

    def _unknown(self, candidates: list[Candidate]) -> list[Candidate]:
        return list({c.name: c for c in candidates if c.name not in self.known}.values())

    def advice(self) -> list[tuple[Candidate, float, str]]:
        """Candidates with the seconds that they took on like devices, NaN where they failed, and which device."""
        return [
            (Candidate(r.kernel, r.config), r.seconds if r.status == "ok" else math.nan, str(r.fingerprint))
            for r in self.seeds
            if r.name in self.candidates
        ]
