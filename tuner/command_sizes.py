"""`tilewright tune --sizes` and `--variants`: an operation at many sizes, tuned as a whole."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tilewright.backends.protocol import Device
from tilewright.backends.registry import get_device
from tilewright.tuner.command_show import Display, Line, line_json, write_json
from tilewright.tuner.measure import Unmeasurable
from tilewright.tuner.observe import Observed, families
from tilewright.tuner.policy import Policy
from tilewright.tuner.sizes import MOST as MOST_VARIANTS
from tilewright.tuner.sizes import SEARCHING, Fit, Size, fit_sizes
from tilewright.tuner.standard import SIZED, sized
from tilewright.tuner.store import default_store
from tilewright.tuner.tune_problem import tune
from tilewright.tuner.yardstick import duration, roof

__all__ = ["MOST_VARIANTS", "Sizes", "fit_families", "parse_sizes", "tune_sizes"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """An operation of `standard.SIZED`, and how often each of its sizes is used."""

    name: str
    counts: dict[tuple[int, ...], int]


def parse_sizes(context: click.Context, option: click.Parameter, text: str | None) -> Sizes | None:
    """`matmul=64:10,128x256x64`: one extent alone stands for all axes, a missing count for 1."""
    if text is None:
        return None
    name, _, rest = text.partition("=")
    if name not in SIZED:
        raise click.BadParameter(f"there is no operation {name!r}; there are {', '.join(SIZED)}")
    counts: dict[tuple[int, ...], int] = {}
    for part in rest.split(","):
        match = re.fullmatch(r"\s*(\d{1,9}(?:x\d{1,9})*)(?::(\d{1,9}))?\s*", part)
        size = tuple(map(int, match[1].split("x"))) if match else ()
        size = size * SIZED[name] if len(size) == 1 else size
        count = int(match[2] or 1) if match else 0
        if len(size) != SIZED[name] or 0 in size or count < 1:
            like = "x".join(["64"] * SIZED[name])
            raise click.BadParameter(f"{part!r} is no size of {name} such as {like} or, with its count, {like}:10")
        counts[size] = counts.get(size, 0) + count
    return Sizes(name, counts)


def tune_sizes(
    console: Console, sizes: Sizes, devices: list[Device], variants: int, budget: float | None, effort: str,
    target: Path | None, policy: Policy,
) -> int:  # fmt: skip
    """Search at each size, then keep the few variants that serve all; returns the exit status."""
    data = []
    share = None if budget is None else budget / len(devices)
    for device in devices:
        try:
            data.append(_tune_device(console, sizes, device, variants, share, effort, policy))
        except (Unmeasurable, ValueError) as error:
            click.echo(f"tilewright: {device.name} is left out: {error}", err=True)
    write_json(target, {"sizes": data}, console.print)
    return 0 if data else 1


def _tune_device(
    console: Console, sizes: Sizes, device: Device, variants: int, budget: float | None, effort: str, policy: Policy
) -> dict[str, Any]:
    found = [Size(sized(sizes.name, size, device.limits), count) for size, count in sizes.counts.items()]
    display, lines = Display(console, 2 * len(found)), []
    with display.running():
        display.begin(f"{device.name} measuring the roof", {})
        top, start = roof(device, default_store()), monotonic()
        for size in found:
            display.begin(f"{device.name} {size.problem.title}", top)
            share = None if budget is None else SEARCHING * budget / len(found)
            told = display.update
            result = tune(size.problem, device, effort=effort, budget=share, progress=told, policy=policy)
            lines.append(Line(size.problem.title, result, top))
            display.end(lines[-1])
        rest = math.inf if budget is None else max(budget - (monotonic() - start), (1 - SEARCHING) * budget)
        fit = fit_sizes(found, device, variants, seconds=rest, policy=policy, told=lambda p: display.skip(1))
    print_fit(console, fit)
    return {"fit": fit_json(fit), "tuned": [line_json(line) for line in lines]}


def fit_families(console: Console, rows: list[Observed], variants: int, seconds: float, policy: Policy) -> None:
    """For what a script launched, tuned before: each operation that it showed at several sizes on one device."""
    found = families(rows, seconds)
    if not found:
        console.print("No operation came at several sizes, so there is nothing to fit as a whole")
    for name, sizes, share in found:
        try:
            print_fit(console, fit_sizes(sizes, get_device(name), variants, seconds=share, policy=policy))
        except (Unmeasurable, ValueError) as error:
            click.echo(f"tilewright: {sizes[0].problem.title} and its other sizes stay as they are: {error}", err=True)


def print_fit(console: Console, fit: Fit) -> None:
    """Each size with its share of all uses, its own best, the variant that it got, and what that costs."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("device")
    table.add_column("size")
    for name in ("count", "own best", "with the few", "regret"):
        table.add_column(name, justify="right")
    table.add_column("variant")
    for row in fit.rows:
        table.add_row(
            fit.device, row.size.problem.title, str(row.size.count), duration(row.best.seconds),
            duration(row.chosen.seconds), f"{100 * row.regret:.1f} %", row.chosen.name,
        )  # fmt: skip
    console.print(table)
    for size in fit.missing:
        console.print(f"{fit.device} {size.problem.title}: could not be compared, stays as it was", markup=False)
    kept = f"{len(fit.variants)} variant{'s' * (len(fit.variants) != 1)} for {len(fit.rows)} sizes"
    console.print(f"{kept}, at worst {100 * fit.worst:.1f} % slower than a size's own best", soft_wrap=True)


def fit_json(fit: Fit) -> dict[str, Any]:
    """Plain data of it all."""
    rows = [
        {
            "problem": row.size.problem.key, "title": row.size.problem.title, "count": row.size.count,
            "regret": row.regret, "chosen": row.chosen.name, "seconds": row.chosen.seconds,
            "best": row.best.name, "best_seconds": row.best.seconds,
        }
        for row in fit.rows
    ]  # fmt: skip
    missing = [size.problem.title for size in fit.missing]
    return {"device": fit.device, "variants": list(fit.variants), "worst": fit.worst, "rows": rows, "missing": missing}
