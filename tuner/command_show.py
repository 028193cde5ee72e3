"""What the commands print: progress, tables, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tilewright.kernels.problem import Problem
from tilewright.tuner.prepare import VENDOR
from tilewright.tuner.records import Record
from tilewright.tuner.tune_problem import FOREVER, Result, Status
from tilewright.tuner.yardstick import duration, rate, share_of_roof

ENDS = {"settled": "; no improvement expected", "roof": "; roof reached", "budget": "; budget spent"}


@dataclass(frozen=True, slots=True)
class Line:
    """A problem as the tables show it; `label` is its name for people, `roof` its device's or {} where unknown."""

    label: str
    result: Result
    roof: dict[str, float]


def make_console() -> Console:
    """The terminal, or for a pipe or file lines wide enough not to be broken."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def percent(problem: Problem, seconds: float, roof: dict[str, float]) -> str:
    return f"{100 * share_of_roof(problem, seconds, roof):.0f} %" if roof else "?"


class Display:
    """A progress bar over all problems; off a terminal, one line per problem when it is done."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[best]}"), TimeElapsedColumn(), console=console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=total, best="")
        self._done, self._label, self._roof = 0, "", {}  # type: ignore[var-annotated]

    @contextmanager
    def running(self) -> Iterator[Display]:
        if not self._console.is_terminal:
            yield self
            return
        with self._bar:
            yield self

    def begin(self, label: str, roof: dict[str, float]) -> None:
        self._label, self._roof = label, roof
        self._bar.update(self._task, description=label, completed=self._done, best="")

    def update(self, status: Status) -> None:
        """Called by a search after every trial."""
        share = min(status.elapsed / status.allotted, 0.99) if status.allotted < FOREVER else 0.0
        best = "nothing yet"
        if status.best is not None:
            of_roof = percent(status.problem, status.best.seconds, self._roof)
            best = f"best {duration(status.best.seconds)}, {of_roof} of the roof, {status.trials} trials"
        if status.allotted < FOREVER:
            best += f", {max(status.allotted - status.elapsed, 0.0):.0f} s left"
        self._bar.update(self._task, completed=self._done + share, best=best)

    def skip(self, count: int) -> None:
        self._done += count
        self._bar.update(self._task, completed=self._done)

    def end(self, line: Line) -> None:
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        if not self._console.is_terminal and line.result.stopped != "records":
            self._console.print(f"{line.result.device} {line.label}: {outcome(line)}", markup=False)


def outcome(line: Line) -> str:
    """One search in words."""
    result = line.result
    if result.best is None:
        return _why(result)
    text = f"{duration(result.best.seconds)}, {percent(result.problem, result.best.seconds, line.roof)} of the roof"
    failed = sum(r.status == "failed" for r in result.trials)
    text += f", {len(result.trials)} trials" + (f" ({failed} failed)" if failed else "")
    text += ENDS.get(result.stopped, "")
    return text + (f"; measured again since {', '.join(result.changed)} changed" if result.changed else "")


def _why(result: Result) -> str:
    return result.reason if result.stopped == "budget" else f"failed: {result.reason}"


def baseline_name(record: Record) -> str:
    return "vendor" if record.kernel == VENDOR else "default"


def print_table(console: Console, lines: list[Line]) -> None:
    """Problem, vendor or default time, tuned time, speed-up, rate, share of the roof."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("device")
    table.add_column("problem")
    for name in ("vendor or default", "tuned", "speed-up", "rate", "of roof"):
        table.add_column(name, justify="right")
    table.add_column("winner")
    for line in lines:
        result = line.result
        if result.best is None:
            table.add_row(result.device, line.label, "", "", "", "", "", _why(result)[:70])
            continue
        best, base = result.best, result.baseline
        table.add_row(
            result.device, line.label, f"{duration(base.seconds)} {baseline_name(base)}" if base else "failed",
            duration(best.seconds), f"{base.seconds / best.seconds:.2f}x" if base else "",
            rate(result.problem, best.seconds), percent(result.problem, best.seconds, line.roof), _winner(best),
        )  # fmt: skip
    console.print(table)
    shares = [share_of_roof(x.result.problem, x.result.best.seconds, x.roof) for x in lines if x.result.best and x.roof]
    if any(share > 1 for share in shares):
        console.print("Above 100 % of the roof: the data stays in the caches, while the roof is that of main memory.")


def _winner(best: Record) -> str:
    return "vendor" if best.kernel == VENDOR else f"{best.kernel}, default" if best.default else best.kernel


def line_json(line: Line) -> dict[str, Any]:
    result = line.result
    return {
        "device": result.device, "label": line.label, "problem": result.problem.key, "title": result.problem.title,
        "stopped": result.stopped, "reason": result.reason, "trials": len(result.trials),
        "best": _record_json(result.best, result.problem, line.roof),
        "baseline": _record_json(result.baseline, result.problem, line.roof),
        "speedup": result.baseline.seconds / result.best.seconds if result.best and result.baseline else None,
    }  # fmt: skip


def _record_json(record: Record | None, problem: Problem, roof: dict[str, float]) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        "kernel": record.kernel, "config": record.config, "seconds": record.seconds,
        "interval": [record.low, record.high], "rounds": record.rounds, "numerics": record.numerics,
        "gflops": problem.operations / record.seconds / 1e9, "gbytes_per_second": problem.nbytes / record.seconds / 1e9,
        "share_of_roof": share_of_roof(problem, record.seconds, roof) if roof else None,
    }  # fmt: skip


def write_json(target: Path | None, data: dict[str, Any], echo: Callable[[str], None]) -> None:
    """Raises OSError."""
    if target is not None:
        target.write_text(json.dumps(data, indent=1) + "\n")
        echo(f"written to {target}")
