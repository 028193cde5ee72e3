"""`tilewright certify`: whether a device keeps every promise it makes, shown check by check as they are made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

import click
from rich.console import Console
from rich.status import Status
from rich.table import Table

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.kit import FAIL, NOT_CLAIMED, NOT_RUN, PASS, STATUSES, Check, Verdict
from tilewright.tuner.command_show import make_console, write_json

MARKS = {PASS: "[green]✓[/]", FAIL: "[bold red]✗[/]", NOT_CLAIMED: "[dim]·[/]", NOT_RUN: "[yellow]?[/]"}
_STYLES = {PASS: "green", FAIL: "bold red", NOT_CLAIMED: "dim", NOT_RUN: "yellow"}
WRITE_SECONDS = 5.0
"""The reports on disk are so much older than what is known, at most, while checks are made."""


@click.command()
@click.argument("device")
@click.option(
    "--tier", "tiers", multiple=True, help="Only this tier: runtime, timing, kernels, tuner, tensor, interop."
)
@click.option("--check", "words", multiple=True, help="Only checks with this in their name.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=None,
    help="Processes that check kernels and arrays at the same time; by default one a processor, 4 at most.",
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report as one page.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write a report as data.")
def certify(
    device: str, tiers: tuple[str, ...], words: tuple[str, ...], jobs: int | None, html: Path | None,
    target: Path | None,
) -> None:  # fmt: skip
    """Find out whether DEVICE keeps every promise it makes.

    Memory, programs, clock, every kernel in every dtype it claims, faults, the array API, other libraries. What a
    device does not claim is listed as not claimed. The reports are kept up to date while checks are made, and Ctrl-C
    ends with what is known by then. Exit status 0 only if all that is claimed holds.
    """
    above: Any = import_module("tilewright.certify")  # late and by name: it knows all rooms, and lies above this one
    console = make_console()
    checks = [above.CHECKS[number] for number in above.select(tiers, words)]
    files = _Files(html, target, above.TIERS)
    with console.status("starting") as status:
        rows = _Rows(console, status, checks, above.TIERS)

        def progress(report: Any) -> None:
            rows.add(report.verdicts[-1], len(report.verdicts))
            files.update(report)

        try:
            report = above.certify(device, tiers, words, progress, jobs=jobs or 0)
        except KeyboardInterrupt:
            report = files.latest
            if report is None:
                raise
    summary(console, report, above.TIERS)
    files.write()
    for path in files.paths:
        console.print(f"written to {path}", markup=False)
    sys.exit(0 if report.certified else 1 if report.ended else 130)


class _Files:
    """The reports that were asked for, written every few seconds, so that one can look while checks are made."""

    def __init__(self, html: Path | None, target: Path | None, titles: dict[str, str]) -> None:
        self.paths = [path for path in (html, target) if path is not None]
        self._html, self._target, self._titles, self._written = html, target, titles, 0.0
        self.latest: Any = None

    def update(self, report: Any) -> None:
        self.latest = report
        if monotonic() - self._written > WRITE_SECONDS:
            self.write()
            self._written = monotonic()

    def write(self) -> None:
        data = self.latest.to_json() if self.paths else {}
        if self._html is not None:
            self._html.write_text(import_module("tilewright.certify_page").page(data, self._titles), encoding="utf-8")
        write_json(self._target, data, lambda text: None)


class _Rows:
    """Prints a tier's title, then a row as soon as it is whole: one check, or one that there is for several dtypes."""

    def __init__(self, console: Console, status: Status, checks: Sequence[Check], titles: dict[str, str]) -> None:
        self._console, self._status, self._checks, self._titles = console, status, checks, titles
        self._tier, self._columns, self._width = "", list[str](), 0
        self._statuses, self._seconds = dict[str, str](), 0.0

    def add(self, verdict: Verdict, done: int) -> None:
        if verdict.tier != self._tier:
            self._begin(verdict.tier)
        what, dtype = split(verdict.name)
        self._statuses[dtype] = verdict.status
        self._seconds += verdict.seconds
        if verdict.status == FAIL:
            self._console.print(f"[bold red]FAIL[/] {verdict.tier}: ", end="")
            self._console.print(f"{verdict.name}: {_brief(verdict.detail)}", markup=False)
        following = self._checks[done] if done < len(self._checks) else None
        if following is None or (following.tier, split(following.name)[0]) != (self._tier, what):
            self._print(what)
        if following is not None:
            self._status.update(f"{done} of {len(self._checks)} done: {following.tier}: {following.name}")

    def _begin(self, tier: str) -> None:
        self._tier = tier
        named = [split(check.name) for check in self._checks if check.tier == tier]
        self._columns = [d for d in DTYPES if any(d == dtype for _, dtype in named)]
        self._width = max(len(what) for what, _ in named)
        self._console.print(f"\n[bold]{tier}[/] {self._titles[tier]}")
        if self._columns:
            heads = " ".join(DTYPES[d].c for d in self._columns)
            self._console.print(" " * (self._width + 6) + heads, style="dim")

    def _print(self, what: str) -> None:
        """The worst mark of the row, what it is about, the marks of its dtypes, and its seconds where they are many."""
        found = set(self._statuses.values())
        worst = next(status for status in (FAIL, NOT_RUN, PASS, NOT_CLAIMED) if status in found)
        each = [(DTYPES[d].c, self._statuses.get(d)) for d in self._columns] if "" not in self._statuses else []
        cells = "".join((MARKS[status] if status else " ") + " " * len(name) for name, status in each)
        seconds = f"  [dim]{self._seconds:.1f} s[/]" if self._seconds >= 1 else ""
        self._console.print(f"  {MARKS[worst]} {what:<{self._width}}  {cells}".rstrip() + seconds, soft_wrap=True)
        self._statuses, self._seconds = {}, 0.0


def split(name: str) -> tuple[str, str]:
    """What a check is about, and the dtype that its name ends with or ""."""
    what, _, dtype = name.rpartition(" ")
    return (what, dtype) if dtype in DTYPES else (name, "")


def _brief(text: str) -> str:
    """Without most of a compiler's log, which the reports hold whole."""
    lines = text.splitlines()
    return "\n".join(lines[:4]) + ("\n..." if len(lines) > 4 else "")


def summary(console: Console, report: Any, titles: dict[str, str]) -> None:
    """The counts of each tier, what was not checked and why, and the verdict in one line."""
    console.print("\n✓ holds   ✗ FAILS   · not claimed   ? not run\n", style="dim")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tier")
    table.add_column("")
    for status in STATUSES:
        table.add_column(status, justify="right")
    table.add_column("seconds", justify="right")
    for tier, title in titles.items():
        own = [v for v in report.verdicts if v.tier == tier]
        if own:
            _row(table, tier, title, own)
    _row(table, "all", "", report.verdicts)
    console.print(table)
    for verdict in report.verdicts:
        if verdict.status == NOT_RUN:
            console.print(f"not run: {verdict.tier}: {verdict.name}: {verdict.detail}", markup=False)
    claims = _unclaimed(report.verdicts)
    if claims:
        console.print(f"not claimed: {'; '.join(claims)}", markup=False)
    console.print(_verdict(report))


def _unclaimed(verdicts: Sequence[Verdict]) -> list[str]:
    """What the device does not claim; where there is much of one sort it is one sentence."""
    details = {v.detail.removeprefix("the device does not claim ") for v in verdicts if v.status == NOT_CLAIMED}
    found = sorted({claim for detail in details for claim in detail.split(", ")})
    sorts: dict[tuple[str, str], list[str]] = {}
    for claim in found:
        before, _, rest = claim.partition("limits for which ")
        name = rest.removesuffix(" is made")
        sorts.setdefault(("limits for which ", " is made") if rest and not before else (claim, ""), []).append(name)
    return [f"{before}{', '.join(names)}{after}" for (before, after), names in sorts.items()]


def _row(table: Table, tier: str, title: str, verdicts: Sequence[Verdict]) -> None:
    counts = [sum(v.status == status for v in verdicts) for status in STATUSES]
    cells = (f"[{_STYLES[s]}]{n}[/]" if n else "[dim]0[/]" for n, s in zip(counts, STATUSES, strict=True))
    table.add_row(tier, title, *cells, f"{sum(v.seconds for v in verdicts):.0f}")


def _verdict(report: Any) -> str:
    failed, open_, held = (report.counts[status] for status in (FAIL, NOT_RUN, PASS))
    name = report.device
    if failed:
        return f"[bold red]{name} is NOT certified[/]: {failed} of {len(report.verdicts)} checks failed."
    if not report.ended:
        return f"[bold yellow]{name}[/]: stopped after {len(report.verdicts)} of {report.asked} checks; none failed."
    part = "" if report.complete else " of the checks asked for"
    text = f"all that it claims holds{part}" if held else "nothing that was checked is claimed"
    left = f"; {open_} more could not be made here" if open_ else ""
    return f"[bold green]{name}[/]: {text}: {held} checks in {report.seconds:.0f} s{left}."
