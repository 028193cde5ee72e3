"""`tilewright certify`: whether a device keeps every promise it makes, shown as a matrix."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.kit import FAIL, NOT_CLAIMED, NOT_RUN, PASS, STATUSES, Verdict
from tilewright.tuner.command_show import make_console, write_json

MARKS = {PASS: "[green]✓[/]", FAIL: "[bold red]✗[/]", NOT_CLAIMED: "[dim]·[/]", NOT_RUN: "[yellow]?[/]"}
_STYLES = {PASS: "green", FAIL: "bold red", NOT_CLAIMED: "dim", NOT_RUN: "yellow"}


@click.command()
@click.argument("device")
@click.option(
    "--tier", "tiers", multiple=True, help="Only this tier: runtime, timing, kernels, tuner, tensor, interop."
)
@click.option("--check", "words", multiple=True, help="Only checks with this in their name.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report as one page.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write a report as data.")
def certify(
    device: str, tiers: tuple[str, ...], words: tuple[str, ...], html: Path | None, target: Path | None
) -> None:
    """Find out whether DEVICE keeps every promise it makes.

    Memory, programs, clock, every kernel in every dtype it claims, faults, the array API, other libraries. What a
    device does not claim is listed as not claimed. Exit status 0 only if all that is claimed holds.
    """
    above: Any = import_module("tilewright.certify")  # late and by name: it knows all rooms, and lies above this one
    console = make_console()
    total = len(above.select(tiers, words))
    report = _run(above, console, device, tiers, words, total)
    show(console, report, above.TIERS)
    if html is not None:
        html.write_text(import_module("tilewright.certify_page").page(report.to_json(), above.TIERS), encoding="utf-8")
        console.print(f"written to {html}", markup=False)
    write_json(target, report.to_json(), lambda text: console.print(text, markup=False))
    sys.exit(0 if report.certified else 1)


def _run(above: Any, console: Console, device: str, tiers: Any, words: Any, total: int) -> Any:
    with console.status("starting") as status:
        done = 0

        def progress(verdict: Verdict) -> None:
            nonlocal done
            done += 1
            status.update(f"{done} of {total}: {verdict.tier}: {verdict.name}")
            if verdict.status == FAIL:
                console.print(f"[bold red]FAIL[/] {verdict.tier}: ", end="")
                console.print(f"{verdict.name}: {_brief(verdict.detail)}", markup=False)

        return above.certify(device, tiers, words, progress)


def _brief(text: str) -> str:
    """Without most of a compiler's log, which the reports hold whole."""
    lines = text.splitlines()
    return "\n".join(lines[:4]) + ("\n..." if len(lines) > 4 else "")


def show(console: Console, report: Any, titles: dict[str, str]) -> None:
    """The matrix of dtypes, the counts of each tier, what was not checked and why, and the verdict in one line."""
    grid(console, report.verdicts)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tier")
    table.add_column("")
    for status in STATUSES:
        table.add_column(status, justify="right")
    for tier, title in titles.items():
        own = [v.status for v in report.verdicts if v.tier == tier]
        if own:
            table.add_row(tier, title, *(_count(own.count(status), status) for status in STATUSES))
    table.add_row("all", "", *(_count(report.counts[status], status) for status in STATUSES))
    console.print(table)
    for verdict in report.verdicts:
        if verdict.status == NOT_RUN:
            console.print(f"not run: {verdict.tier}: {verdict.name}: {verdict.detail}", markup=False)
    claims = sorted(
        {v.detail.removeprefix("the device does not claim ") for v in report.verdicts if v.status == NOT_CLAIMED}
    )
    if claims:
        console.print(f"not claimed: {'; '.join(claims)}", markup=False)
    failed = report.counts[FAIL]
    part = "" if report.complete else " of the checks asked for"
    if failed:
        console.print(
            f"[bold red]{report.device} is NOT certified[/]: {failed} of {len(report.verdicts)} checks failed."
        )
    else:
        held = f"all that it claims holds{part}" if report.counts[PASS] else "nothing that was checked is claimed"
        console.print(
            f"[bold green]{report.device}[/]: {held}: {report.counts[PASS]} checks in {report.seconds:.0f} s."
        )


def _count(number: int, status: str) -> str:
    return f"[{_STYLES[status]}]{number}[/]" if number else "[dim]0[/]"


def grid(console: Console, verdicts: tuple[Verdict, ...]) -> None:
    """The checks whose names end with a dtype: one row per check, one column per dtype."""
    rows: dict[str, dict[str, str]] = {}
    for verdict in verdicts:
        what, _, dtype = verdict.name.rpartition(" ")
        if dtype in DTYPES:
            rows.setdefault(what, {})[dtype] = verdict.status
    columns = [d for d in DTYPES if any(d in row for row in rows.values())]
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for dtype in columns:
        table.add_column(DTYPES[dtype].c, justify="center")
    for what, row in rows.items():
        table.add_row(what, *(MARKS[row[d]] if d in row else "" for d in columns))
    console.print(table)
    console.print("✓ holds   ✗ FAILS   · not claimed   ? not run\n", style="dim")
