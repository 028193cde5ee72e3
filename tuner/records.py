"""What was measured: one Record per line of a JSON lines file, losers too; everything else is a view over them."""

from __future__ import annotations

import json
import math
import time
import uuid
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tilewright.backends.protocol import Fingerprint
from tilewright.tuner.numerics import UNKNOWN, named
from tilewright.tuner.policy import DEFAULT, Policy

SCHEMA = 3
"""Grows when the meaning of a field changes. Lines of a newer schema are kept in the file and not used.

1 had the standard error of the median (`spread`) instead of its interval, and one policy. 2 had no `ulp`.
"""

LARGEST = 1 << 62
"""Sizes above are no sizes: nothing could have been measured there."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the store.

    `kind` "trial": one candidate on one problem, measured (`status` "ok"), not to be tried again ("failed", with
    `reason`), or right but farther from the reference than the policy's numerics ("outside"). `seconds` is the median
    of `rounds` runs, taken as `policy` says, from `low` to `high` its 95 % interval, `workspace` the bytes it needs
    beside its operands, `error` the largest deviation from the reference as a share of what is tolerated, `ulp` the
    same in units in the last place, of which `numerics` is the class. `stage` "screen": measured alone; "final":
    interleaved with the others of the same `session`, hence comparable with them to within the noise, which `low` and
    `high` then are the bounds of.
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
    policy: Policy = DEFAULT
    status: str = "ok"
    reason: str = ""
    seconds: float = 0.0
    low: float = 0.0
    high: float = 0.0
    rounds: int = 0
    workspace: int = 0
    error: float = 0.0
    ulp: float = UNKNOWN
    stage: str = "screen"
    session: str = ""
    when: float = field(default_factory=time.time)  # seconds since 1970
    details: dict[str, Any] = field(default_factory=dict, hash=False)
    schema: int = SCHEMA

    @property
    def name(self) -> str:
        """The candidate in canonical form: kernel, then its tunables in order of name."""
        return candidate_name(self.kernel, self.config)

    @property
    def leads(self) -> bool:
        """Whether this default runs before the vendor until the device is tuned."""
        return bool(self.details.get("leads"))

    @property
    def numerics(self) -> str:
        """The class of its results: "bitwise" equal to the reference, "2 ulp" from it, or within the "tolerance"."""
        return named(self.ulp)

    def to_line(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False, sort_keys=True)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Record:
        """Raises ValueError where a field is missing, unknown, of the wrong type or absurd."""
        data = _upgraded(data) if data.get("schema") == 1 else data
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
            values["policy"] = Policy(**data["policy"]) if "policy" in data else DEFAULT
            record = Record(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a field is missing or malformed: {error}") from None
        _check(record)
        return record


_TYPES: dict[str, Any] = {
    "kind": str, "device": str, "fingerprint": dict, "problem": str, "family": str, "title": str, "space": list,
    "kernel": str, "config": dict, "default": bool, "text": str, "policy": dict, "status": str, "reason": str,
    "seconds": (int, float), "low": (int, float), "high": (int, float), "rounds": int, "workspace": int,
    "error": (int, float), "ulp": (int, float), "stage": str, "session": str, "when": (int, float), "details": dict,
    "schema": int,
}  # fmt: skip
assert _TYPES.keys() == {f.name for f in fields(Record)}


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """A line of schema 1 in the words of today; what is wrong with it stays wrong."""
    kept = {k: v for k, v in data.items() if k not in ("spread", "policy")}
    half = 1.96 * float(data.get("spread", 0.0))
    seconds = data.get("seconds", 0.0)
    if data.get("policy") != "median-1" or not isinstance(seconds, int | float):
        raise ValueError("a record of schema 1 has policy 'median-1' and a time")
    return {**kept, "schema": 2, "low": seconds - half, "high": seconds + half}


def _check(record: Record) -> None:
    """Raises ValueError for what no measurement can have said."""
    if record.kind == "trial" and record.status == "ok" and record.seconds <= 0:
        raise ValueError("a measured trial has no time")
    numbers = (*record.space, record.rounds, record.workspace, record.seconds)
    if any(not 0 <= number < LARGEST for number in numbers):
        raise ValueError(f"a size, a count or a time is not within 0 and {LARGEST}")
    for name, value in record.config.items():
        if not isinstance(value, int | float | str | bool) or value != value or abs(_number(value)) > LARGEST:
            raise ValueError(f"tunable {name!r} is no int, float, str or bool of a usual size")


def _number(value: Any) -> float:
    return 0 if isinstance(value, str) else value


def candidate_name(kernel: str, config: dict[str, Any]) -> str:
    """A candidate in canonical form: its kernel, then its tunables in order of name."""
    return " ".join([kernel, *(f"{k}={v}" for k, v in sorted(config.items()))])


def fingerprint_from_json(data: dict[str, Any]) -> Fingerprint:
    values = dict(data)
    values["isa"] = tuple(data["isa"])
    values["versions"] = tuple((str(k), str(v)) for k, v in data.get("versions", ()))
    return Fingerprint(**values)


def differs(a: Fingerprint, b: Fingerprint) -> list[str]:
    """Names of the fields in which two fingerprints differ."""
    return [f.name for f in fields(Fingerprint) if getattr(a, f.name) != getattr(b, f.name)]


def new_session() -> str:
    """A name of its own for what is measured in turns."""
    return uuid.uuid4().hex[:12]


def plain(data: Any) -> Any:
    """JSON has no infinity and no NaN: they become strings."""
    if isinstance(data, dict):
        return {k: plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [plain(v) for v in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data
