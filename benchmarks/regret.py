"""What it costs to take the nearest size's record instead of tuning a size that was never measured.

python -m benchmarks.regret [--device D] [--only OPERATION] [--seconds S] [--json FILE]

A few sizes of each operation are tuned; at others the tuner's own rule chooses (the nearest record where it beat the
vendor by a margin, else the vendor, else the default). Those are then tuned as well, and the choice is compared with
the winner there, in turns, under the rules of any finals. Records go to a folder of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tilewright.backends.protocol import Device
from tilewright.backends.registry import get_device
from tilewright.kernels.problem import Problem
from tilewright.tuner.choose import Choice, choose
from tilewright.tuner.decide import pick
from tilewright.tuner.measure import supervisor
from tilewright.tuner.past import Past
from tilewright.tuner.prepare import Candidate
from tilewright.tuner.standard import sized
from tilewright.tuner.store import default_store
from tilewright.tuner.tune_problem import tune

Size = tuple[int, ...]

TUNED: dict[str, tuple[Size, ...]] = {
    "matmul": ((64, 64, 64), (256, 256, 256), (1024, 1024, 1024)),
    "sum rows": ((64, 1024), (1024, 1024), (4096, 1024)),
    "softmax": ((64, 512), (512, 512), (4096, 512)),
}
UNSEEN: dict[str, tuple[Size, ...]] = {
    "matmul": ((48, 48, 48), (100, 100, 100), (160, 96, 320), (384, 384, 384), (512, 256, 128), (700, 700, 700)),
    "sum rows": ((128, 2000), (300, 300), (700, 1500), (2048, 512), (2000, 2000), (3000, 700)),
    "softmax": ((100, 1000), (128, 256), (300, 700), (1024, 1024), (2048, 300), (3000, 1000)),
}


@dataclass(frozen=True)
class Regret:
    """Seconds of what the rule chose and of the winner of the size's own search, from one comparison; the default's
    too. `value` is the share by which the winner is surely faster, 0 for a tie."""

    name: str
    size: Size
    origin: str
    chosen: float
    best: float
    default: float
    value: float
    candidate: str = ""  # what the rule chose
    winner: str = ""


def sweep(device: Device, seconds: float, only: str = "") -> list[Regret]:
    """Tune the few, choose at the others, tune those, compare. Choices are made before anything is known there."""
    names = [name for name in TUNED if only in name]
    for name in names:
        for size in TUNED[name]:
            tune(sized(name, size, device.limits), device, budget=2 * seconds)
    cases = [(name, size, sized(name, size, device.limits)) for name in names for size in UNSEEN[name]]
    choices = [choose(problem, device) for _, _, problem in cases]
    return [
        _regret(name, size, problem, choice, device, seconds)
        for (name, size, problem), choice in zip(cases, choices, strict=True)
    ]


def _regret(name: str, size: Size, problem: Problem, choice: Choice, device: Device, seconds: float) -> Regret:
    winner = tune(problem, device, budget=seconds).best
    past = Past(problem, device, default_store())
    assert winner is not None and past.default is not None
    few = {c.name: c for c in (choice.candidate, Candidate(winner.kernel, winner.config), past.default)}
    taken = supervisor(device.name).compare(problem, list(few.values()), 1.0, winner.seconds)
    rows = {c.name: past.record(c, t, "final", "") for c, t in zip(few.values(), taken, strict=True)}
    chosen, own = rows[choice.candidate.name], rows[winner.name]
    best = pick([chosen, own])
    assert best is not None
    tie = best is chosen or chosen.low <= own.high
    value = 0.0 if tie else max(chosen.seconds / own.seconds - 1, 0.0)
    default = rows[past.default.name].seconds
    names = choice.candidate.name, winner.name
    return Regret(name, size, choice.origin, chosen.seconds, own.seconds, default, value, *names)


def summed(rows: list[Regret]) -> dict[str, Any]:
    """Median and worst regret of the rule; and of the default, by medians alone."""
    values = [row.value for row in rows]
    plain = [max(row.default / min(row.best, row.chosen) - 1, 0.0) for row in rows]
    return {
        "sizes": len(rows), "median": statistics.median(values), "worst": max(values),
        "default_median": statistics.median(plain), "default_worst": max(plain),
    }  # fmt: skip


def show(console: Console, rows: list[Regret]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("operation", "unseen size", "chosen by"):
        table.add_column(name)
    for name in ("chosen", "tuned there", "regret"):
        table.add_column(name, justify="right")
    for row in rows:
        times = (f"{1e6 * row.chosen:.1f} µs", f"{1e6 * row.best:.1f} µs", f"{100 * row.value:.1f} %")
        table.add_row(row.name, "x".join(map(str, row.size)), row.origin, *times)
    console.print(table)
    for name in [*dict.fromkeys(row.name for row in rows), ""]:
        said = summed([row for row in rows if name in ("", row.name)])
        console.print(
            f"{name or 'all'}: median {100 * said['median']:.1f} %, worst {100 * said['worst']:.1f} % "
            f"(defaults {100 * said['default_median']:.1f} %, {100 * said['default_worst']:.1f} %)"
        )


def save(path: Path, facts: dict[str, Any], rows: list[Regret]) -> None:
    """Write `rows` to `path`, beside what it holds of other operations on the same machine."""
    sizes = [asdict(row) for row in rows]
    if path.exists():
        before = json.loads(path.read_text())
        if before["machine"] == facts["machine"]:
            measured = {row.name for row in rows}
            sizes = [size for size in before["sizes"] if size["name"] not in measured] + sizes
    every = [Regret(**size) for size in sizes]
    names = [*dict.fromkeys(row.name for row in every), ""]
    summary = {name or "all": summed([row for row in every if name in ("", row.name)]) for name in names}
    path.write_text(json.dumps({**facts, "summary": summary, "sizes": sizes}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", metavar="WORD", help="only operations with this in their name")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each search at an unseen size")
    parser.add_argument("--json", type=Path, help="also write the results there; other operations' stay")
    parser.add_argument("--note", default="", help="kept in the file: what else the machine was doing")
    arguments = parser.parse_args()
    if not any(arguments.only in name for name in TUNED):
        parser.error(f"no operation has {arguments.only!r} in its name; there are {', '.join(TUNED)}")
    with tempfile.TemporaryDirectory(prefix="tilewright-regret-") as folder:
        os.environ["TILEWRIGHT_CACHE"] = folder  # before the store is first asked for
        device = get_device(arguments.device)
        rows = sweep(device, arguments.seconds, arguments.only)
        supervisor(device.name).close()
    show(Console(highlight=False), rows)
    if arguments.json is not None:
        facts = {
            "machine": json.loads(json.dumps(asdict(device.fingerprint))), "device": arguments.device,
            "seconds": arguments.seconds, "note": arguments.note,
        }  # fmt: skip
        save(arguments.json, facts, rows)


if __name__ == "__main__":
    main()
