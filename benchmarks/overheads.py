"""What is paid besides the kernels: a jit replay, a launch, recording an operation, the import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import tilewright as tw
from benchmarks.measure import OURS, Contestant, Outcome, ceiling, race
from benchmarks.peers import Peer
from benchmarks.races import kernel_contestant
from tilewright.backends.registry import get_device

MOST_REPLAY_SECONDS = 5e-6  # in all on the CPU, for each launch elsewhere
MOST_RECORD_SECONDS = 3e-6
MOST_EAGER_SECONDS = {"cpu": 25e-6, "opencl": 60e-6}
MOST_IMPORT_SECONDS = 0.15
REPLAYS, RECORDS = 1000, 2000  # in one sample
_IMPORT = "from time import perf_counter as t; a = t(); import {module}; print(t() - a)"


def ten_kernels(x: Any) -> Any:
    """Of a 4x4 array: sums along one axis and then the other, which no single pass over the rows can do."""
    for _ in range(5):
        x = x - 0.1 * tw.sum(x, axis=0, keepdims=True)
        x = x - 0.1 * tw.sum(x, axis=1, keepdims=True)
    return x


def replay(device_name: str, rounds: int, judged: bool) -> Outcome:
    """Wall time of a replay of small kernels less the time of the kernels. On a device that works by itself many
    replays are given to it before it is waited for, as a program would."""
    device = get_device(device_name)
    x = tw.asarray(np.ones((4, 4), np.float32), device=device_name)
    lazy = ten_kernels(x)
    kernels = len(tw.explain(lazy))
    run = tw.jit(ten_kernels)

    def burst() -> None:
        for _ in range(REPLAYS):
            run(x)
        device.synchronize()

    ours = f"{OURS} {device_name}"
    outcome = Outcome(f"replay of {kernels} kernels, {device_name}", {})
    seconds = race([Contestant(ours, burst), kernel_contestant(f"{ours}, kernel", device_name, lazy)], rounds)
    outcome.samples = {ours: [s / REPLAYS for s in seconds[ours]], f"{ours}, kernel": seconds[f"{ours}, kernel"]}
    overhead = outcome.median(ours) - outcome.median(f"{ours}, kernel")
    outcome.notes.append(
        f"{ours}: {overhead * 1e6:.2f} µs of overhead a replay, {overhead / kernels * 1e6:.2f} µs a launch"
    )
    if judged:
        each = 1 if device_name == "cpu" else kernels
        outcome.verdicts.append(
            ceiling(
                f"{ours}: overhead {'of the replay' if each == 1 else 'a launch'}",
                overhead / each, MOST_REPLAY_SECONDS, 1e6, "µs",
            )
        )  # fmt: skip
    return outcome


def recording(device_name: str, rounds: int, judged: bool) -> Outcome:
    """One lazy operation whose result nobody asks for."""
    x, y = (tw.asarray(np.ones((4, 4), np.float32), device=device_name) for _ in range(2))
    operations = {
        "x + y": lambda: x + y,
        "x * 2.0": lambda: x * 2.0,
        "exp(x)": lambda: tw.exp(x),
        "x.T": lambda: x.T,
    }

    def many(operation: Any) -> None:
        for _ in range(RECORDS):
            operation()

    outcome = Outcome(f"recording, {device_name}", {})
    names = {name: f"{OURS} {device_name}, {name}" for name in operations}
    seconds = race([Contestant(names[name], partial(many, f)) for name, f in operations.items()], rounds)
    outcome.samples = {name: [s / RECORDS for s in samples] for name, samples in seconds.items()}
    if judged:
        found = {name: outcome.median(full) for name, full in names.items()}
        slowest = max(found, key=lambda name: found[name])
        outcome.verdicts.append(
            ceiling(f"{OURS} {device_name}: {slowest}", found[slowest], MOST_RECORD_SECONDS, 1e6, "µs")
        )
    return outcome


def eager(device_name: str, peers: Sequence[Peer], rounds: int, judged: bool) -> Outcome:
    """An addition of 16 floats, recorded, launched and read by the host: what a client pays who asks step by step."""
    ones = np.ones(16, np.float32)
    contestants = []
    for peer in peers:
        if peer.name in ("numpy", "torch", "jax", f"{OURS} {device_name}"):
            x, y = peer.put(ones), peer.put(ones)
            contestants.append(Contestant(peer.name, partial(_read_sum, x, y)))
    outcome = Outcome(f"eager add of 16 floats, {device_name}", race(contestants, rounds))
    most = MOST_EAGER_SECONDS.get(device_name.partition(":")[0])
    if judged and most:
        ours = f"{OURS} {device_name}"
        outcome.verdicts.append(ceiling(f"{ours}: add and read", outcome.median(ours), most, 1e6, "µs"))
    return outcome


def _read_sum(x: Any, y: Any) -> Any:
    return np.asarray(x + y)


def imports(rounds: int, judged: bool) -> Outcome:
    """Importing in fresh interpreters, as the interpreter's own clock has it."""
    clocks = {name: partial(_import_seconds, name) for name in ("numpy", OURS)}
    outcome = Outcome("import", race([Contestant(name, clock, clock) for name, clock in clocks.items()], rounds))
    if judged:
        more = outcome.median(OURS) - outcome.median("numpy")
        outcome.verdicts.append(ceiling(f"{OURS}: more than numpy by", more, MOST_IMPORT_SECONDS, 1e3, "ms"))
    return outcome


def _import_seconds(module: str) -> float:
    command = [sys.executable, "-c", _IMPORT.format(module=module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
