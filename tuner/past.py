"""What the records already say about a problem on a device, and which of it still holds."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from itertools import islice

from tilewright.backends.protocol import Device
from tilewright.kernels.problem import Problem
from tilewright.tuner.prepare import Candidate, default_candidate, kernels, natives, text_hash, vendor_candidate
from tilewright.tuner.records import POLICY, Record, differs
from tilewright.tuner.store import Store

MOST = 4000  # configs of one kernel that are considered; larger spaces are cut in canonical order
FEW = 3  # former winners that are looked at again
_RELATED = {"driver", "compiler", "versions"}  # a change of these asks for a new look at the best few, no more


class Past:
    """`known`: trials by candidate name that hold as they are. `changed`: what made others not hold: fields of the
    fingerprint, or "kernel" where its text was rewritten."""

    def __init__(self, problem: Problem, device: Device, store: Store) -> None:
        self.problem, self.device, self._store = problem, device, store
        self.vendor = vendor_candidate(problem, device)
        self.default = default_candidate(problem, device.limits)
        self.known: dict[str, Record] = {}
        self.changed: list[str] = []
        self._texts: dict[str, str] = {}
        self._stale: list[Record] = []
        for record in store.trials(problem.key, device.fingerprint):
            if record.policy == POLICY and record.text == self.text(Candidate(record.kernel, record.config)):
                self.learn(record)
            else:
                self._stale.append(record)
        if self._stale:
            self.changed.append("kernel")
        for record in store.records():
            fields = differs(record.fingerprint, device.fingerprint)
            if record.kind == "trial" and record.problem == problem.key and fields and _RELATED.issuperset(fields):
                self._stale.append(record)
                self.changed += [f for f in fields if f not in self.changed]

    def learn(self, record: Record) -> None:
        """The last word on a candidate; a failure is final."""
        before = self.known.get(record.name)
        if before is None or before.status == "ok":
            self.known[record.name] = record

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
        """Whether a search went about as far, over the same candidates, and its winner still holds.

        About: half the time is enough, since shares of a budget depend on how heavy a problem was this time.
        """
        last = self._store.search(self.problem.key, self.device.fingerprint)
        best = self._store.best(self.problem.key, self.device.fingerprint)
        if last is None or best is None or best.name not in self.known or last.details["space"] != self.space_hash():
            return False
        before = last.details
        if before["stopped"] == "settled":
            return effort != "exhaustive" or before["effort"] == "exhaustive"
        far_enough = efforts.index(before["effort"]) >= efforts.index(effort)
        return before["stopped"] == "budget" and far_enough and before["allotted"] >= 0.5 * allotted

    def first(self) -> list[Candidate]:
        """What to measure before any search: vendor, default, native ops, winners that hold no longer, neighbours'."""
        first = [c for c in (self.vendor, self.default) if c is not None]
        first += [Candidate(native.name) for native in natives(self.problem, self.device)]
        again = sorted((r for r in self._stale if r.status == "ok"), key=lambda r: r.seconds)[:FEW]
        again += self._store.nearest(self.problem, self.device.fingerprint)[:2]
        first += [self.candidates[r.name] for r in again if r.name in self.candidates]
        return list({c.name: c for c in first if c.name not in self.known}.values())
