"""Outcomes as a table for the terminal and as JSON with every sample."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import BASELINE, OURS, Outcome, Verdict


def print_outcome(console: Console, outcome: Outcome) -> None:
    """One table, then what there is to say about its contestants, then the verdicts."""
    table = Table(title=outcome.name, title_justify="left", title_style="bold")
    rate = "GB/s" if outcome.nbytes else "GFLOP/s" if outcome.operations else ""
    compared = BASELINE in outcome.samples
    headings = ["median", "spread", *([f"x {BASELINE}"] if compared else []), *([rate] if rate else [])]
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    for name in outcome.samples:
        seconds = outcome.median(name)
        cells = [name, duration(seconds), f"±{100 * outcome.spread(name):.0f} %"]
        if compared:
            cells.append(f"{outcome.median(BASELINE) / seconds:.2f}")
        if rate:
            cells.append(f"{(outcome.nbytes or outcome.operations) / seconds / 1e9:.1f}")
        table.add_row(*cells, style="bold" if name.startswith(OURS) else None)
    console.print(table)
    for note in outcome.notes:
        console.print(f"  {note}", style="dim", markup=False, highlight=False, soft_wrap=True)
    for verdict in outcome.verdicts:
        word, style = {True: ("met", "green"), False: ("missed", "red"), None: ("not judged", "yellow")}[verdict.met]
        console.print(f"  {verdict.text}: {word}", style=style, markup=False, highlight=False, soft_wrap=True)
    console.print()


def duration(seconds: float) -> str:
    """Three digits and the unit that suits."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1:
            value = seconds * scale
            return f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def save_json(path: Path, facts: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    """`facts` are about the run: date, machine, versions, threads. Every time is in seconds."""
    results = [
        {**asdict(outcome), "medians": {name: outcome.median(name) for name in outcome.samples}} for outcome in outcomes
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**facts, "outcomes": results}, indent=1, ensure_ascii=False) + "\n")


def load_json(path: Path) -> tuple[dict[str, Any], list[Outcome]]:
    """What `save_json` saved. Raises ValueError for a file that is none of its."""
    try:
        facts = json.loads(path.read_text())
        found = facts.pop("outcomes")
        known = {field.name for field in fields(Outcome)}
        outcomes = [Outcome(**{name: value for name, value in one.items() if name in known}) for one in found]
        for outcome in outcomes:
            outcome.verdicts = [Verdict(**verdict) for verdict in outcome.verdicts]  # type: ignore[arg-type]
        facts["machine"], facts["versions"], facts["devices"], facts["roofs"]
    except (AttributeError, KeyError, TypeError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON file that this command saved: {error!r}") from error
    return facts, outcomes


def merge(parts: Sequence[tuple[dict[str, Any], list[Outcome]]]) -> tuple[dict[str, Any], list[Outcome]]:
    """Runs of one machine as one, in the order of the workloads' first mention; of a workload that is in several, the
    last. A roof is the highest that was measured. Workloads may have been tuned for different times, but all or none.
    Raises ValueError where the runs were of different things."""
    facts = {**parts[-1][0], "versions": {}, "devices": {}, "roofs": {}, "parts": len(parts)}
    outcomes: dict[str, Outcome] = {}
    rounds = sorted({known["rounds"] for known, _ in parts}, key=str)
    facts["rounds"] = " or ".join(map(str, rounds))
    tuned = sorted({known["tuned_seconds"] for known, found in parts if any(outcome.family for outcome in found)})
    if tuned[:1] == [0] and len(tuned) > 1:
        raise ValueError("some parts are tuned and others not: they are not of one run")
    facts["tuned_seconds"] = " or ".join(f"{seconds:g}" for seconds in tuned if seconds)
    for known, found in parts:
        for name in ("machine", "threads", "quick"):
            if known[name] != facts[name]:
                raise ValueError(f"{name} differs: {known[name]} and {facts[name]} are not of one run")
        for name in ("versions", "devices"):
            for key, value in known[name].items():
                if facts[name].setdefault(key, value) != value:
                    raise ValueError(f"{name} differ: {key} is {value} and {facts[name][key]}")
        for device, roof in known["roofs"].items():
            best = facts["roofs"].setdefault(device, dict(roof))
            for name, value in roof.items():
                best[name] = (min if name == "launch_seconds" else max)(value, best.get(name, value))
        outcomes.update({outcome.name: outcome for outcome in found})
    return facts, list(outcomes.values())
