"""Certifying a device: every check of every room, made in a process of its own, and what came of it.

    from tilewright.certify import certify
    report = certify("cpu", tiers=("runtime",))

As pytest classes: RuntimeTests, TimingTests, KernelTests, TunerTests, TensorTests and InteropTests, from here.
"""

from __future__ import annotations

import itertools
import os
import platform
import queue
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tilewright import __version__
from tilewright.backends.kit import FAIL, STATUSES, Check, Verdict
from tilewright.backends.kit_memory import memory
from tilewright.backends.kit_programs import programs
from tilewright.backends.kit_runtime import RuntimeTests, TimingTests
from tilewright.backends.kit_timing import timing
from tilewright.backends.kit_together import together
from tilewright.backends.protocol import PROTOCOL_VERSION
from tilewright.backends.registry import get_device
from tilewright.kernels.kit import KernelTests, kernels
from tilewright.kernels.kit_ops import ops
from tilewright.kit_interop import InteropTests, interop
from tilewright.kit_tensor import TensorTests, tensor
from tilewright.tuner.kit import TunerTests, tuning
from tilewright.tuner.process import Child, Died, Hung

__all__ = [
    "CHECKS", "TIERS", "InteropTests", "KernelTests", "Report", "RuntimeTests", "TensorTests", "TimingTests",
    "TunerTests", "certify", "select",
]  # fmt: skip

SCHEMA = 1
"""Of the JSON report; grows when the meaning of a field changes."""

CHECKS: tuple[Check, ...] = (*memory, *programs, *together, *timing, *ops, *kernels, *tuning, *tensor, *interop)
TIERS = {tier.name: tier.title for tier in (memory, timing, kernels, tuning, tensor, interop)}
SIDE_BY_SIDE = ("kernels", "tensor", "interop")
"""Tiers that measure neither time nor free memory."""
JOBS = 4
LIMIT_SECONDS = 300.0
"""A check that takes longer has failed. The longest takes ten seconds on a CPU."""


@dataclass(frozen=True)
class Report:
    """What `certify` found, so far or in the end: `asked` is how many checks were to be made.

    `when` is the UTC time of the last verdict, `seconds` the time taken until then.
    """

    device: str
    verdicts: tuple[Verdict, ...]
    asked: int
    when: str
    seconds: float

    @property
    def ended(self) -> bool:
        """Whether every check that was asked for has been made."""
        return len(self.verdicts) == self.asked

    @property
    def certified(self) -> bool:
        """Whether everything that the device claims, and that was to be checked, holds."""
        return bool(self.verdicts) and self.ended and all(v.status != FAIL for v in self.verdicts)

    @property
    def counts(self) -> dict[str, int]:
        """How many checks ended in each status."""
        found = Counter(v.status for v in self.verdicts)
        return {status: found[status] for status in STATUSES}

    @property
    def complete(self) -> bool:
        """Whether all tiers were checked, rather than some that were asked for."""
        return len(self.verdicts) == len(CHECKS)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `--json` writes it."""
        device = get_device(self.device)
        limits = {k: sorted(v) if isinstance(v, frozenset) else v for k, v in asdict(device.limits).items()}
        limits["language"] = device.limits.language.name
        versions = {"tilewright": __version__, "protocol": PROTOCOL_VERSION, "python": platform.python_version()}
        return {
            "schema": SCHEMA, "certified": self.certified, "complete": self.complete, "asked": self.asked,
            "counts": self.counts,
            "device": {"name": self.device, "fingerprint": asdict(device.fingerprint), "limits": limits},
            "versions": {**versions, "numpy": np.__version__, "system": platform.platform()},
            "when": self.when, "seconds": self.seconds, "verdicts": [asdict(v) for v in self.verdicts],
        }  # fmt: skip


def select(tiers: Sequence[str] = (), words: Sequence[str] = ()) -> list[int]:
    """Numbers of the checks of these tiers (by default all) with one of `words` in their names. Raises ValueError."""
    unknown = [tier for tier in tiers if tier not in TIERS]
    if unknown:
        raise ValueError(f"there is no tier {unknown[0]!r}; there are {', '.join(TIERS)}")
    chosen = [
        k
        for k, check in enumerate(CHECKS)
        if (not tiers or check.tier in tiers) and (not words or any(word in check.name for word in words))
    ]
    if not chosen:
        raise ValueError(
            f"no check of {', '.join(tiers) or 'any tier'} has {' or '.join(map(repr, words))} in its name"
        )
    return chosen


def certify(
    device: str, tiers: Sequence[str] = (), words: Sequence[str] = (),
    progress: Callable[[Report], None] = lambda report: None, limit_seconds: float = LIMIT_SECONDS, jobs: int = 0,
) -> Report:  # fmt: skip
    """Make the checks that `select` gives on the device of that name; `progress` gets the report after each of them.

    Everything is compiled anew, and runs in a process of its own: a device that crashes or hangs fails that check, and
    the next is made in another process. Checks of the tiers in SIDE_BY_SIDE are made by `jobs` processes (0: one a
    processor, JOBS at most), since most of their time is the compiler's. Raises ValueError or Unsupported where there
    is no such device.
    """
    name, chosen, start = get_device(device).name, select(tiers, words), time.monotonic()
    report = Report(name, (), len(chosen), "", 0.0)
    with tempfile.TemporaryDirectory(prefix="tilewright-certify-", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "TILEWRIGHT_CACHE": folder}
        count = jobs or min(os.cpu_count() or 1, JOBS)
        with _Runners([_Runner(name, environment, limit_seconds) for _ in range(count)]) as runners:
            for verdict in runners.run(chosen):
                when = datetime.now(UTC).isoformat(timespec="seconds")
                verdicts = (*report.verdicts, verdict)
                report = replace(report, verdicts=verdicts, when=when, seconds=time.monotonic() - start)
                progress(report)
    return report


class _Runners:
    """Several runners, of which only one works where others would disturb: where time or memory is measured."""

    def __init__(self, runners: list[_Runner]) -> None:
        self._all = runners
        self._free: queue.SimpleQueue[_Runner] = queue.SimpleQueue()
        for runner in runners:
            self._free.put(runner)
        self._pool = ThreadPoolExecutor(len(runners))

    def run(self, numbers: Sequence[int]) -> Iterator[Verdict]:
        """The verdicts in the order of the numbers."""
        for side_by_side, group in itertools.groupby(numbers, lambda k: CHECKS[k].tier in SIDE_BY_SIDE):
            yield from (self._pool.map if side_by_side else map)(self._one, group)

    def _one(self, number: int) -> Verdict:
        runner = self._free.get()
        try:
            return runner.run(number)
        finally:
            self._free.put(runner)

    def __enter__(self) -> _Runners:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for runner in self._all:
            runner.close()


class _Runner:
    """One process that makes checks when it is told their numbers, started anew when it died."""

    def __init__(self, device: str, environment: dict[str, str], limit_seconds: float) -> None:
        self._device, self._environment, self._limit = device, environment, limit_seconds
        self._child: Child | None = None

    def run(self, number: int) -> Verdict:
        check, start = CHECKS[number], time.monotonic()
        if self._child is None:
            self._child = Child("tilewright.certify_worker", self._device, self._environment)
        self._child.send(number)
        try:
            return Verdict(**self._child.receive(self._limit))
        except Hung:
            reason = f"hang: not done within {self._limit:.0f} s"
        except Died as death:
            reason = str(death)
        self._child = None
        seconds = time.monotonic() - start
        return Verdict(check.tier, check.name, check.promise, FAIL, reason, check.bound, seconds)

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None
