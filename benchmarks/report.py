"""Outcomes as a table for the terminal, as JSON with every sample, and as a bar chart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import BASELINE, OURS, Outcome


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


def save_chart(path: Path, facts: dict[str, Any], outcomes: Sequence[Outcome]) -> bool:
    """How many times as fast as NumPy each contestant is, one group of bars per race. Needs matplotlib.

    False where there is no race to draw."""
    import matplotlib  # late: an extra

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    races = [x for x in outcomes if BASELINE in x.samples and len(x.samples) > 1 and (x.nbytes or x.operations)]
    if not races:
        return False
    names = list(dict.fromkeys(name for outcome in races for name in outcome.samples if name != BASELINE))
    colours = dict(zip(names, [*matplotlib.color_sequences["tab10"]] * 2, strict=False))
    figure, axes = pyplot.subplots(figsize=(max(8, 1.3 * len(races)), 5.5), layout="constrained")
    for k, outcome in enumerate(races):
        present = [name for name in names if name in outcome.samples]
        width = 0.86 / len(present)
        for j, name in enumerate(present):
            ratio = outcome.median(BASELINE) / outcome.median(name)
            at = k + (j - (len(present) - 1) / 2) * width
            hatch = "//" if name.startswith(OURS) else None
            axes.bar(at, ratio - 1, width, bottom=1, color=colours[name], hatch=hatch, edgecolor="white", linewidth=0.3)
            above = (0, 2 if ratio >= 1 else -8)
            axes.annotate(f"{ratio:.2g}", (at, ratio), above, textcoords="offset points", ha="center", fontsize=6)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.set_xticks(range(len(races)), ["\n".join(x.name.rsplit(" ", 1)) for x in races], fontsize=8)
    axes.set_ylabel(f"speed against {BASELINE}")
    axes.set_title(f"{facts['machine']['processor']}, {facts['threads']} threads, {facts['date'][:10]}", fontsize=10)
    handles = [
        Patch(facecolor=colours[n], hatch="//" if n.startswith(OURS) else None, edgecolor="white") for n in names
    ]
    figure.legend(handles, names, loc="outside lower center", fontsize=8, ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return True
