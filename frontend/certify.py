"""Certifying a device: every check of every room, made in a process of its own, and what came of it.

    from tilewright.certify import certify
    report = certify("cpu", tiers=("runtime",))

As pytest classes: RuntimeTests, TimingTests, KernelTests, TunerTests, TensorTests and InteropTests, from here.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tilewright import __version__
from tilewright.backends.kit import FAIL, STATUSES, Check, Verdict
from tilewright.backends.kit_memory import memory
from tilewright.backends.kit_programs import programs
from tilewright.backends.kit_runtime import RuntimeTests, TimingTests
from tilewright.backends.kit_timing import timing
from tilewright.backends.protocol import PROTOCOL_VERSION
from tilewright.backends.registry import get_device
from tilewright.kernels.kit import KernelTests, kernels
from tilewright.kernels.kit_ops import ops
from tilewright.kit_interop import InteropTests, interop
from tilewright.kit_tensor import TensorTests, tensor
from tilewright.tuner.kit import TunerTests, tuning

__all__ = [
    "CHECKS", "TIERS", "InteropTests", "KernelTests", "Report", "RuntimeTests", "TensorTests", "TimingTests",
    "TunerTests", "certify", "select",
]  # fmt: skip

SCHEMA = 1
"""Of the JSON report; grows when the meaning of a field changes."""

CHECKS: tuple[Check, ...] = (*memory, *programs, *timing, *ops, *kernels, *tuning, *tensor, *interop)
TIERS = {tier.name: tier.title for tier in (memory, timing, kernels, tuning, tensor, interop)}
LIMIT_SECONDS = 300.0
"""A check that takes longer has failed. The longest takes ten seconds on a CPU."""


@dataclass(frozen=True)
class Report:
    """What `certify` found. `when` is the UTC time of the end, `seconds` the time taken."""

    device: str
    verdicts: tuple[Verdict, ...]
    when: str
    seconds: float

    @property
    def certified(self) -> bool:
        """Whether everything that the device claims, and that was checked, holds."""
        return bool(self.verdicts) and all(v.status != FAIL for v in self.verdicts)

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
            "schema": SCHEMA, "certified": self.certified, "complete": self.complete, "counts": self.counts,
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
    progress: Callable[[Verdict], None] = lambda verdict: None, limit_seconds: float = LIMIT_SECONDS,
) -> Report:  # fmt: skip
    """Make the checks that `select` gives on the device of that name.

    Everything is compiled anew, and runs in a process of its own: a device that crashes or hangs fails that check, and
    the next is made in another process. Raises ValueError or Unsupported where there is no such device.
    """
    name, chosen, start = get_device(device).name, select(tiers, words), time.monotonic()
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="tilewright-certify-", ignore_cleanup_errors=True) as folder:
        runner = _Runner(name, {**os.environ, "TILEWRIGHT_CACHE": folder}, limit_seconds)
        try:
            for number in chosen:
                verdicts.append(runner.run(number))
                progress(verdicts[-1])
        finally:
            runner.close()
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(name, tuple(verdicts), when, time.monotonic() - start)


class _Runner:
    """One process that makes checks when it is told their numbers, started anew when it died."""

    def __init__(self, device: str, environment: dict[str, str], limit_seconds: float) -> None:
        self._device, self._environment, self._limit = device, environment, limit_seconds
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def run(self, number: int) -> Verdict:
        check, start = CHECKS[number], time.monotonic()
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        reason = ""
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=self._limit)
            if line is not None:
                return Verdict(**json.loads(line))
        except BrokenPipeError:
            pass
        except queue.Empty:
            reason = f"hang: not done within {self._limit:.0f} s"
            self._process.kill()
        code = self._process.wait()
        self.close()
        how = f"crash: {signal.Signals(-code).name}" if code < 0 else f"crash: the process ended with status {code}"
        return Verdict(
            check.tier, check.name, check.promise, FAIL, reason or how, check.bound, time.monotonic() - start
        )  # fmt: skip

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None

    def _start(self) -> None:
        command = [sys.executable, "-P", "-m", "tilewright.certify_worker", self._device]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            encoding="utf-8", env=self._environment,
        )  # fmt: skip
        answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._answers, pipe = answers, self._process.stdout
        assert pipe is not None

        def read() -> None:
            with pipe:
                for line in pipe:
                    answers.put(line)
            answers.put(None)

        threading.Thread(target=read, daemon=True).start()
