"""`tilewright tune SCRIPT ARGS...`: run it, tune what it launched, run it again, and say what was won."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tilewright.backends.protocol import TilewrightError
from tilewright.backends.registry import get_device
from tilewright.tuner.choose import choose
from tilewright.tuner.command_show import Display, Line, line_json, write_json
from tilewright.tuner.command_sizes import fit_families
from tilewright.tuner.measure import Unmeasurable, supervisor
from tilewright.tuner.observe import LIGHT, Observations, Observed, Purse, shares
from tilewright.tuner.policy import DEFAULT, Policy
from tilewright.tuner.sizes import SEARCHING
from tilewright.tuner.store import default_store
from tilewright.tuner.tune_problem import tune
from tilewright.tuner.yardstick import duration, roof

SHOWN = 12  # problems in the table; the rest is one line
RACE_SECONDS = 0.4  # for each problem against NumPy

Races = dict[tuple[str, str], tuple[float, float]]
"""By device and problem, seconds of the chosen kernel and of NumPy, one launch each."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the script: wall seconds, exit status, what went wrong, and what it launched."""

    seconds: float
    status: int
    error: str
    rows: list[Observed]


def tune_script(
    console: Console, script: list[str], devices: list[str], budget: float | None, effort: str, target: Path | None,
    policy: Policy = DEFAULT, variants: int | None = None,
) -> int:  # fmt: skip
    """`script` is its path and arguments; `devices` restricts what is tuned. Returns the exit status.

    With `variants`, operations that it launched at several sizes get no more kernels than that for all of them.
    """
    if not Path(script[0]).is_file():
        raise click.ClickException(f"there is no script {script[0]!r}; options go before the script")
    console.print(f"Running {script[0]} to see what it launches")
    before = run_script(script)
    rows = [row for row in before.rows if not devices or row.device in devices]
    if before.error:
        return _script_failed(console, script[0], before, rows, target)
    if not rows:
        where = f" on {', '.join(devices)}" if devices else ""
        raise click.ClickException(
            f"{script[0]} launched nothing{where} through tilewright, so there is nothing to tune"
        )
    part = budget if variants is None or budget is None else SEARCHING * budget  # the rest is for fit_families
    lines, interrupted = _tune_rows(console, rows, part, effort, policy)
    if variants is not None and not interrupted:
        rest = math.inf if budget is None or part is None else budget - part
        fit_families(console, rows, variants, rest, policy)
    after = None
    if not interrupted:
        console.print(f"Running {script[0]} again")
        for name in {row.device for row in before.rows}:
            supervisor(name).close()  # the program has the machine to itself, as it had the first time
        after = run_script(script)
    races = {} if interrupted else _races(rows[:SHOWN])
    _report(console, rows, before, after, races)
    if interrupted:
        console.print(f"Interrupted; {default_store().whereabouts}", soft_wrap=True)
    write_json(target, _json(rows, before, after, races, lines), console.print)
    if after is not None and after.error:
        raise click.ClickException(f"{script[0]} failed in its second run: {after.error}")
    return 130 if interrupted else 0


def run_script(script: list[str]) -> Run:
    """Run it in a process of its own, its output going where ours goes."""
    with tempfile.TemporaryDirectory(prefix="tilewright-") as folder:
        file = Path(folder) / "observations.json"
        command = [sys.executable, "-P", "-m", "tilewright.tuner.script", str(file), *script]
        start = monotonic()
        child = subprocess.Popen(command)
        try:
            status = child.wait()
        except KeyboardInterrupt:  # the terminal sent it to the script as well: let it write down what it saw
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            raise
        if not file.exists():
            how = f"it ended with status {status} without leaving Python in order, so what it launched is not known"
            if status < 0:
                status, how = 128 - status, f"it was ended by {signal.Signals(-status).name}"
            return Run(monotonic() - start, status or 1, how, [])
        data = json.loads(file.read_text())
        return Run(data["seconds"], data["status"], data["error"], Observations.from_json(data["rows"]).heaviest())


def _script_failed(console: Console, script: str, run: Run, rows: list[Observed], target: Path | None) -> int:
    if rows:
        console.print("What it launched before it failed:")
        _report(console, rows, run, None, {})
    write_json(target, _json(rows, run, None, {}, []), console.print)
    click.echo(f"tilewright: {script} failed: {run.error}; nothing was tuned", err=True)
    return run.status or 1


def _tune_rows(
    console: Console, rows: list[Observed], budget: float | None, effort: str, policy: Policy
) -> tuple[list[Line], bool]:
    """Heaviest first, each with its share of the budget; also whether the user interrupted it."""
    lines: list[Line] = []
    purse = Purse(budget)
    jobs = [(row, share) for row, share in zip(rows, shares(rows, budget), strict=True) if share is not None]
    display = Display(console, len(jobs))
    roofs: dict[str, dict[str, float]] = {}
    try:
        with display.running():
            for row, share in jobs:
                if row.device not in roofs:
                    display.begin(f"{row.device} measuring the roof", {})
                    roofs[row.device] = _roof_or_nothing(row.device)
                if purse.left <= 0:
                    break
                display.begin(f"{row.device} {row.problem.title}", roofs[row.device])
                seconds = None if budget is None else min(share, purse.left)
                result = tune(
                    row.problem, get_device(row.device), effort=effort, budget=seconds, progress=display.update,
                    policy=policy,
                )  # fmt: skip
                lines.append(Line(row.problem.title, result, roofs[row.device]))
                display.end(lines[-1])
    except KeyboardInterrupt:
        return lines, True
    console.print(_tally(lines, len(jobs) - len(lines), len(rows) - len(jobs)))
    return lines, False


def _tally(lines: list[Line], unreached: int, light: int) -> str:
    known = sum(line.result.stopped == "records" for line in lines)
    trials = sum(len(line.result.trials) for line in lines)
    origin = "all from the records" if known == len(lines) else f"{trials} trials, {known} problems from the records"
    text = f"{len(lines)} problems tuned ({origin})"
    text += f"; {unreached} not reached, a larger --budget would" if unreached else ""
    return text + (f"; {light} left alone, each is below {100 * LIGHT:.1g} % of the time" if light else "")


def _roof_or_nothing(device: str) -> dict[str, float]:
    try:
        return roof(get_device(device), default_store())
    except Unmeasurable as error:
        click.echo(f"tilewright: warning: the roof is unknown: {error}", err=True)
        return {}


def _races(rows: list[Observed]) -> Races:
    """The kernel that is now chosen for each problem against NumPy, where both can run it."""
    found: Races = {}
    for row in rows:
        candidate = choose(row.problem, get_device(row.device)).candidate
        try:
            race = supervisor(row.device).race(row.problem, candidate, RACE_SECONDS)
        except TilewrightError:  # too large to be measured: the table shows no number
            race = None
        if race is not None:
            found[row.device, row.problem.key] = race
    return found


def _report(console: Console, rows: list[Observed], before: Run, after: Run | None, races: Races) -> None:
    """Per problem and for the whole program: time before and after; and the kernel against NumPy, both alone."""
    again = {(r.device, r.problem.key): r for r in after.rows} if after else {}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("device")
    table.add_column("problem")
    for name in ("launches", "before", "after", "speed-up", "kernel", "NumPy", "over NumPy"):
        table.add_column(name, justify="right")
    for row in rows[:SHOWN]:
        key = (row.device, row.problem.key)
        now, race = again.get(key), races.get(key)
        table.add_row(
            row.device, row.problem.title, str(row.count), duration(row.seconds),
            *_against(row.seconds, now.seconds if now else None),
            *((duration(race[0]), duration(race[1]), _ratio(race[1], race[0])) if race else ("", "", "")),
        )  # fmt: skip
    if len(rows) > SHOWN:
        rest = rows[SHOWN:]
        now_rest = sum(again[r.device, r.problem.key].seconds for r in rest if (r.device, r.problem.key) in again)
        table.add_row("", f"{len(rest)} more", str(sum(r.count for r in rest)), duration(sum(r.seconds for r in rest)),
                      *_against(sum(r.seconds for r in rest), now_rest if after else None), "", "", "")  # fmt: skip
    console.print(table)
    if after is not None:
        _report_whole(console, rows, before, after, again, races)


def _report_whole(
    console: Console, rows: list[Observed], before: Run, after: Run, again: dict[tuple[str, str], Observed],
    races: Races,
) -> None:  # fmt: skip
    first, second = sum(r.seconds for r in rows), sum(r.seconds for r in again.values())
    console.print(f"all kernels    {duration(first)} before, {duration(second)} after: {_ratio(first, second)}")
    shared = [(r.count, races[r.device, r.problem.key]) for r in rows if (r.device, r.problem.key) in races]
    if shared:
        own, host = (sum(count * race[k] for count, race in shared) for k in (0, 1))
        text = f"against NumPy  {duration(host)} for the ops of the problems above, {duration(own)} for our kernels"
        console.print(f"{text}: {_ratio(host, own)} (each measured alone, times its launches)")
    console.print(
        f"whole program  {duration(before.seconds)} before, {duration(after.seconds)} after: "
        f"{_ratio(before.seconds, after.seconds)} (wall time, with imports and the first run's compilation)"
    )


def _against(before: float, after: float | None) -> tuple[str, str]:
    return (duration(after), _ratio(before, after)) if after is not None else ("", "")


def _ratio(slow: float | None, fast: float) -> str:
    return f"{slow / fast:.2f}x" if slow is not None and fast > 0 else ""


def _json(rows: list[Observed], before: Run, after: Run | None, races: Races, lines: list[Line]) -> dict[str, Any]:
    again = {(r.device, r.problem.key): r.seconds for r in after.rows} if after else {}
    problems = [
        {
            "device": r.device, "problem": r.problem.key, "title": r.problem.title, "launches": r.count,
            "before": r.seconds, "after": again.get((r.device, r.problem.key)),
            "kernel_and_numpy_seconds": races.get((r.device, r.problem.key)),
        }
        for r in rows
    ]  # fmt: skip
    runs = {"before": before.seconds, "after": after.seconds if after else None}
    return {"error": before.error, "seconds": runs, "problems": problems, "tuned": [line_json(line) for line in lines]}
