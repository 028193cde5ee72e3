"""Checks of a device under the tuner: what goes wrong in a worker process is told, and harms nothing after."""

from __future__ import annotations

import atexit
import base64
from functools import cache, partial
from typing import Any

import numpy as np

from tilewright.backends.kit import TEXT, Capability, Conformance, Facts, Tier, broken, expect_equal
from tilewright.backends.kit_sources import download, groups, scale, upload
from tilewright.backends.protocol import Device
from tilewright.kernels.node import Node
from tilewright.kernels.problem import Operand, Problem
from tilewright.tuner.measure import Supervisor
from tilewright.tuner.prepare import Candidate
from tilewright.tuner.records import fingerprint_from_json
from tilewright.tuner.tune_problem import tune

tuning = Tier("tuner", "kernels that go wrong, in a process of their own")

HANG_SECONDS = 3.0
COUNT = 10_007

EXPECTED = {
    "hang": "hang:",
    "crash": "",
    "memory": "",
    "compile": "does not compile:",
    "nan": "wrong result:",
    "past": "wrong result: output 0: wrote past the end",
    "lost": "wrong result:",
}
"""How the reason of each fault begins; "" where it depends on the device what happens."""

ENDLESS = Capability("loops that go on for ever", lambda device: not device.limits.iterations)
WORDS = {
    "hang": "does not end",
    "crash": "writes far outside its buffers",
    "memory": "asks for more shared memory than there is",
    "compile": "does not compile",
    "nan": "stores a NaN",
    "past": "writes behind its output",
    "lost": "gets one element wrong",
}


class KitSupervisor(Supervisor):
    """Supervises `kit_worker`."""

    module = "tilewright.tuner.kit_worker"

    def fingerprint(self) -> dict[str, Any]:
        return self._ask({"op": "fingerprint"}, HANG_SECONDS)

    def binary(self) -> dict[str, Any]:
        return self._ask({"op": "binary"}, HANG_SECONDS)


@cache
def supervised(device: str) -> KitSupervisor:
    """The one of that device; its worker ends with the process."""
    made = KitSupervisor(device, HANG_SECONDS)
    atexit.register(made.close)
    return made


def doubled(n: int = COUNT) -> Problem:
    """x + x over n float32."""
    operand = Operand("float32", (1,), 0, n)
    x = Node("load", (), 0, (n,), "float32")
    return Problem("map", (n,), (operand,), (operand,), (Node("add", (x, x), None, (n,), "float32"),))


def _candidate(fault: str) -> Candidate:
    return Candidate("misbehaving", {"FAULT": fault})


def check_fault(fault: str, device: Device) -> Facts:
    supervisor = supervised(device.name)
    first = supervisor.measure(doubled(), _candidate("none"), 0.02)
    if first.status != "ok":
        broken(f"a kernel that is right fails in a worker process: {first.reason}")
    failed = supervisor.measure(doubled(), _candidate(fault), 0.02, first.seconds)
    if failed.status == "ok" and EXPECTED[fault]:
        broken(f"a kernel that {WORDS[fault]} passed as right")
    if failed.status != "ok" and not failed.reason.startswith(EXPECTED[fault]):
        broken(f"a kernel that {WORDS[fault]} was told to have failed so: {failed.reason}")
    after = supervisor.measure(doubled(), _candidate("none"), 0.02)
    if after.status != "ok":
        broken(f"after a kernel that {WORDS[fault]}, one that is right fails: {after.reason}")
    return {"told": failed.reason or "it did no harm"}


for _fault in EXPECTED:
    tuning.check(
        f"A kernel that {WORDS[_fault]} is told as failed; the next one runs.",
        TEXT, *([ENDLESS] if _fault == "hang" else []), name=f"survives {_fault}",
    )(partial(check_fault, _fault))  # fmt: skip


@tuning.check("Another process sees the same fingerprint, so that what is measured there is valid here.")
def fingerprint_everywhere(device: Device) -> None:
    answer = supervised(device.name).fingerprint()
    if not answer["ok"]:
        broken(answer["reason"])
    there = fingerprint_from_json(answer["fingerprint"])
    if there != device.fingerprint:
        broken(f"the fingerprint here is {device.fingerprint}, in another process {there}")


@tuning.check("A kernel that another process built loads and runs here.", TEXT)
def built_elsewhere(device: Device) -> None:
    answer = supervised(device.name).binary()
    if not answer["ok"]:
        broken(answer["reason"])
    x = np.arange(300, dtype=np.float32)
    y, program = device.allocate(x.nbytes), device.load(base64.b64decode(answer["binary"]), scale(device))
    program.bind(groups(300), y, upload(device, x), 2.0, 300)()
    expect_equal(download(device, y, np.float32), 2 * x, "2 x by a kernel that another process built")


@tuning.check("A search ends within its budget, keeps a record of every trial, and is not made again.")
def search(device: Device) -> Facts:
    first = tune(doubled(1 << 16), device, budget=3.0)
    if first.best is None:
        broken(f"nothing could be measured: {first.reason}")
    if first.best.seconds <= 0 or first.best.seconds > 1.0:
        broken(f"65536 additions are said to take {first.best.seconds} seconds")
    again = tune(doubled(1 << 16), device, budget=3.0)
    if again.stopped != "records" and first.stopped == "settled":
        broken(f"a settled problem was searched again ({again.stopped})")
    wrong = [r for r in first.trials if r.status == "failed"]
    if wrong:
        broken(f"{len(wrong)} of {len(first.trials)} trials failed; {wrong[0].name}: {wrong[0].reason}")
    return {"trials": len(first.trials), "seconds": first.best.seconds, "ended": first.stopped}


class TunerTests(Conformance):
    """What goes wrong in a worker process, and what must be the same in every process. Needs a registered device."""

    checks = tuple(tuning)
