"""What was measured: one Record per line of a JSON lines file, losers too; everything else is a view over them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tilewright.backends.protocol import Fingerprint

SCHEMA = 1
"""Grows when the meaning of a field changes. Lines of a newer schema are kept in the file and not used."""

POLICY = "median-1"
"""How times are taken; a record of another policy is not compared with ours."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the store.

    `kind` "trial": one candidate on one problem, measured (`status` "ok") or not to be tried again ("failed", with
    `reason`). `seconds` is the median of `rounds` runs, `spread` the standard error of that median, `error` the
    largest deviation from the reference as a share of what is tolerated. `stage` "screen": measured alone;
    "final": interleaved with the others of the same `session`, hence comparable with them to within the noise.
    `kind` "search": a search ended; `details` say how far it went. `kind` "roof": what the device can do, in `details`.
    """

    kind: str
    device: str  # its name when measured, for people; the fingerprint is what counts
    fingerprint: Fingerprint
    problem: str = ""  # Problem.key
    family: str = ""
    title: str = ""
    space: tuple[int, ...] = ()
    kernel: str = ""
    config: dict[str, Any] = field(default_factory=dict, hash=False)
    default: bool = False  # the kernel's own config, chosen without measuring
    text: str = ""  # hash of the kernel text that ran
    policy: str = POLICY
    status: str = "ok"
    reason: str = ""
    seconds: float = 0.0
    spread: float = 0.0
    rounds: int = 0
    error: float = 0.0
    stage: str = "screen"
    session: str = ""
    when: float = field(default_factory=time.time)  # seconds since 1970
    details: dict[str, Any] = field(default_factory=dict, hash=False)
    schema: int = SCHEMA

    @property
    def name(self) -> str:
        """The candidate in canonical form: kernel, then its tunables in order of name."""
        return candidate_name(self.kernel, self.config)

    def to_line(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False, sort_keys=True)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Record:
        """Raises ValueError where a field is missing, unknown or of the wrong type."""
        if set(data) - _TYPES.keys():
            raise ValueError(f"unknown field {sorted(set(data) - _TYPES.keys())[0]!r}")
        values: dict[str, Any] = dict(data)
        for name, value in data.items():
            if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and _TYPES[name] is not bool):
                raise ValueError(f"field {name!r} has the wrong type")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"field {name!r} is not finite")
        try:
            values["fingerprint"] = fingerprint_from_json(data["fingerprint"])
            hash(values["fingerprint"])
            values["space"] = tuple(int(extent) for extent in data.get("space", ()))
            record = Record(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a field is missing or malformed: {error}") from None
        if record.kind == "trial" and record.status == "ok" and record.seconds <= 0:
            raise ValueError("a measured trial has no time")
        return record


_TYPES: dict[str, Any] = {
    "kind": str, "device": str, "fingerprint": dict, "problem": str, "family": str, "title": str, "space": list,
    "kernel": str, "config": dict, "default": bool, "text": str, "policy": str, "status": str, "reason": str,
    "seconds": (int, float), "spread": (int, float), "rounds": int, "error": (int, float), "stage": str,
    "session": str, "when": (int, float), "details": dict, "schema": int,
}  # fmt: skip
assert _TYPES.keys() == {f.name for f in fields(Record)}


def candidate_name(kernel: str, config: dict[str, Any]) -> str:
    """A candidate in canonical form: its kernel, then its tunables in order of name."""
    return " ".join([kernel, *(f"{k}={v}" for k, v in sorted(config.items()))])


def fingerprint_from_json(data: dict[str, Any]) -> Fingerprint:
    values = dict(data)
    values["isa"] = tuple(data["isa"])
    values["versions"] = tuple((str(k), str(v)) for k, v in data.get("versions", ()))
    return Fingerprint(**values)


def clearly_faster(a: Record, b: Record) -> bool:
    """Whether `a` beats `b` by more than the noise: two standard errors of the difference, and at least one percent."""
    return b.seconds - a.seconds > max(2 * math.hypot(a.spread, b.spread), 0.01 * b.seconds)


def pick(records: Iterable[Record]) -> Record | None:
    """The one to use among measured trials: the fastest, ties to the vendor, then the default, then canonical order."""
    able = [r for r in records if r.status == "ok"]
    if not able:
        return None
    top = min(able, key=lambda r: r.seconds)
    ties = [r for r in able if not clearly_faster(top, r)]
    return min(ties, key=lambda r: (r.kernel != "vendor", not r.default, r.name))


def differs(a: Fingerprint, b: Fingerprint) -> list[str]:
    """Names of the fields in which two fingerprints differ."""
    return [f.name for f in fields(Fingerprint) if getattr(a, f.name) != getattr(b, f.name)]
