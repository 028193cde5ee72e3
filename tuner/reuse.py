"""What a record is worth on a device: its fingerprint is compared field by field, and the answer says which differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tilewright.backends.protocol import Fingerprint
from tilewright.tuner.policy import Policy
from tilewright.tuner.records import Record, differs

USE, REMEASURE, SEED, IGNORE = "use", "re-measure", "seed", "ignore"
GRADES = (USE, REMEASURE, SEED, IGNORE)

SOFTWARE = frozenset({"driver", "compiler", "versions"})
"""A change of these leaves the hardware as it was: the best few are measured again, no more."""

KIND = frozenset({"backend", "vendor", "architecture"})
"""Where these are the same, what was fast there is a good guess here."""


@dataclass(frozen=True, slots=True)
class Change:
    """A field of the fingerprint, "kernel" (its text) or "policy", as it was when measured and as it is now."""

    field: str
    then: Any
    now: Any

    def __str__(self) -> str:
        if self.field == "kernel":
            return "the kernel's text was rewritten"
        return f"{self.field} was {_shown(self.then)}, is {_shown(self.now)}"


@dataclass(frozen=True, slots=True)
class Reuse:
    """One of GRADES, and the changes that make it no better."""

    grade: str
    changes: tuple[Change, ...] = ()


def reuse(record: Record, fingerprint: Fingerprint, text: str, policy: Policy) -> Reuse:
    """What to do with a record on a device where its candidate's kernel text is `text` and times are taken by `policy`.

    "use" as it is; "re-measure" with the few best, in seconds, before use; "seed" the search with it; "ignore".
    """
    fields = differs(record.fingerprint, fingerprint)
    changes = [Change(f, getattr(record.fingerprint, f), getattr(fingerprint, f)) for f in fields]
    if not KIND.isdisjoint(fields):
        return Reuse(IGNORE, tuple(changes))
    if record.text != text:
        changes.append(Change("kernel", record.text or "none", text or "none"))
    if record.policy != policy and record.status != "failed":  # what crashes does so however it is timed
        changes.append(Change("policy", record.policy, policy))
    if not changes:
        return Reuse(USE)
    return Reuse(REMEASURE if SOFTWARE.issuperset(fields) else SEED, tuple(changes))


def _shown(value: Any) -> str:
    """Fields that are tuples are shown as their words."""
    if isinstance(value, tuple):
        words = [" ".join(v) if isinstance(v, tuple) else str(v) for v in value]
        return repr(", ".join(words)) if words else "none"
    return repr(value) if isinstance(value, str) else str(value)
