"""A worker of a fleet whose measurements take a while and are written down.

python -m tests.tuner.fleet_worker URL LOG COUNT
Begins when COUNT workers are there; prints how its search ended and its winner.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.tuner.problems import FakeDevice, FakeMeasurer, double
from tilewright.tuner.fleet_search import FleetSearch
from tilewright.tuner.sampler import open_storage


class Slow(FakeMeasurer):
    """Logs when a measurement begins and when it has ended, in one write each."""

    def __init__(self, log: str) -> None:
        super().__init__(lambda candidate: 1e-3 * (2 + candidate.config.get("TILE", 0) % 7))
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, what: str, name: str) -> None:
        os.write(self._log, f"{what} {os.getpid()} {name}\n".encode())

    def build(self, problem, candidate, patience):
        time.sleep(0.02)

    def measure(self, problem, candidate, *rest, **more):
        self.write("begin", candidate.name)
        time.sleep(0.05)
        found = super().measure(problem, candidate, *rest, **more)
        self.write("end", candidate.name)
        return found


if __name__ == "__main__":
    url, log, count = sys.argv[1:]
    storage, device, measurer = open_storage(url), FakeDevice(), Slow(log)
    measurer.write("ready", "")
    while Path(log).read_text().count("ready") < int(count):
        time.sleep(0.01)
    result = FleetSearch(
        double(1 << 20), device, "exhaustive", 60.0, lambda status: None, storage, measurer=measurer,
        lease_seconds=1.0,
    ).run()  # fmt: skip
    print(result.stopped, result.best and result.best.name)
