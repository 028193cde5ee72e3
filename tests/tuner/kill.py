"""kill -9 of the tuner at random moments: the next run resumes, nothing that was finished is measured again.

python -m tests.tuner.kill --times 200            one tuner, killed so often, on a device that only pretends to compute
python -m tests.tuner.kill --together 8           as many tuners at once on one store, left alone
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.tuner.problems import double
from tilewright.tuner.journal import parse
from tilewright.tuner.measure import Supervisor
from tilewright.tuner.records import Record
from tilewright.tuner.store import Store
from tilewright.tuner.tune_problem import Search

PLUGIN = Path(__file__).parent / "plugin"


def child(folder: Path, first: int, count: int) -> None:
    """Tune `count` problems, of which nothing is known at first."""
    sys.path.insert(0, str(PLUGIN))
    import faulty

    store, supervisor = Store(folder / "records.jsonl"), Supervisor("faulty")
    done = 0
    for n in range(first, first + count):
        search = Search(double(n), faulty.Faulty(), "exhaustive", 300.0, lambda status: None, store, supervisor)
        done += len(search.run().trials)
    supervisor.close()
    print(done)


def start(folder: Path, first: int, count: int) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])])
    faults = json.dumps({"2048": "wrong"})  # one candidate that fails, and is not to be tried again either
    return subprocess.Popen(
        [sys.executable, "-m", "tests.tuner.kill", "--child", str(folder), str(first), str(count)],
        env={**os.environ, "PYTHONPATH": path, "FAULTS": faults, "TILEWRIGHT_CACHE": str(folder)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def killed(folder: Path, times: int, seed: int = 0, longest: float = 2.0) -> int:
    """Kill a tuner `times` times, then let it finish. Returns how many were killed at work, and not too late."""
    rng, hits, first = random.Random(seed), 0, 1000
    for _ in range(times):
        process = start(folder, first, 1000)
        time.sleep(rng.uniform(0.3, longest))
        process.kill()
        process.communicate()
        hits += process.returncode < 0
    process = start(folder, first, settled(folder) + 2)
    process.communicate(timeout=600)
    assert process.returncode == 0, "the run after the last kill failed"
    return hits


def settled(folder: Path) -> int:
    """How many problems are done."""
    return len({r.problem for r in records(folder) if r.kind == "search"})


def records(folder: Path) -> list[Record]:
    file = folder / "records.jsonl"
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [r for r in map(parse, lines) if isinstance(r, Record)]


def repeated(folder: Path) -> list[str]:
    """Candidates that were measured alone more than once, though no surprise called for it."""
    counts = Counter((r.title, r.name) for r in records(folder) if r.kind == "trial" and r.stage == "screen")
    return [f"{title}: {name}, {count} times" for (title, name), count in counts.items() if count > 1]


def damaged(folder: Path) -> int:
    """Lines that are no records; a last one without its end is being cut off by the next append."""
    data = (folder / "records.jsonl").read_bytes()
    return sum(parse(line) is None for line in data.splitlines()) + (not data.endswith(b"\n"))


def orphans(folder: Path, patience: float = 10.0) -> list[int]:
    """Worker processes that outlived their tuner by more than `patience` seconds."""
    mark, end = f"TILEWRIGHT_CACHE={folder}".encode(), time.monotonic() + patience
    while True:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                    found.append(int(entry.name))
            except OSError:  # it ended, or is somebody else's
                continue
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.2)


def together(folder: Path, count: int) -> int:
    """So many tuners at once on one store. Returns how many trials they say they made."""
    processes = [start(folder, 1000 + k // 2, 3) for k in range(count)]
    said = [int(p.communicate(timeout=600)[0]) for p in processes]
    assert [p.returncode for p in processes] == [0] * count
    return sum(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=0)
    parser.add_argument("--longest", type=float, default=2.0, help="seconds until a kill; more on a loaded machine")
    parser.add_argument("--together", type=int, default=0)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(Path(given.child[0]), int(given.child[1]), int(given.child[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.times:
            hits = killed(folder, given.times, longest=given.longest)
            print(f"killed {hits} of {given.times} times at work")
        if given.together:
            said = together(folder, given.together)
            kept = sum(r.kind == "trial" for r in records(folder))
            print(f"{given.together} processes made {said} trials, {kept} are in the store")
        trials = sum(r.kind == "trial" for r in records(folder))
        problems, orphaned = settled(folder), len(orphans(folder))
        print(f"{trials} trials of {problems} problems; {damaged(folder)} damaged lines, {orphaned} orphans")
        if given.times:
            print(f"measured more than once: {repeated(folder) or 'nothing'}")


if __name__ == "__main__":
    main()
