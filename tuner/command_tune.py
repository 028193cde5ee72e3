"""`tilewright tune`: the standard problems on every device, or what a script of the user launches."""

from __future__ import annotations

import math
import re
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from tilewright.backends.protocol import Device, TilewrightError
from tilewright.backends.registry import discover, get_device
from tilewright.kernels.problem import Problem
from tilewright.tuner.command_script import tune_script
from tilewright.tuner.command_show import Display, Line, line_json, make_console, print_table, write_json
from tilewright.tuner.command_sizes import MOST_VARIANTS, Sizes, parse_sizes, tune_sizes
from tilewright.tuner.measure import Unmeasurable
from tilewright.tuner.policy import CACHES, DEFAULT, LAUNCHES, Policy
from tilewright.tuner.standard import standard
from tilewright.tuner.store import default_store
from tilewright.tuner.tune_problem import EFFORTS, Result, allotment, verdict
from tilewright.tuner.tune_problem import tune as tune_problem
from tilewright.tuner.yardstick import beaten, raised, roof

if TYPE_CHECKING:
    from tilewright.tuner.sampler import BaseStorage

DEFAULT_BUDGET = 60.0  # seconds, for all devices and problems together


class Seconds(click.ParamType):
    """A time such as 30s, 1.5m, 500ms or 20."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*(ms|s|m|min|h|)", str(value).strip().lower())
        try:
            seconds = (
                float(match[1]) * {"ms": 1e-3, "s": 1, "": 1, "m": 60, "min": 60, "h": 3600}[match[2]] if match else 0.0
            )
        except ValueError:
            seconds = 0.0
        if not (seconds > 0 and math.isfinite(seconds)):
            self.fail(f"a budget is a positive time such as 30s or 2m, not {value!r}", param, ctx)
        return seconds


def _numerics(context: click.Context, option: click.Parameter, text: str) -> str:
    try:
        return Policy(numerics=text).numerics
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--device",
    "-d",
    "names",
    multiple=True,
    metavar="D",
    help="Only this device (repeatable); see `tilewright devices`.",
)
@click.option(
    "--budget",
    type=Seconds(),
    help="For everything together: 30s, 2m (default: 60s unless --effort is given). A roof comes on top, once.",
)
@click.option(
    "--effort",
    type=click.Choice(list(EFFORTS)),
    help="How far to search a problem: 1 s, 10 s, until settled, everything.",
)
@click.option(
    "--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Also write the results to this file."
)
@click.option(
    "--storage",
    metavar="URL",
    help="Share the work with all who use this storage of Optuna: journal:FILE, grpc://HOST:PORT, a database's URL.",
)
@click.option(
    "--cache",
    type=click.Choice(CACHES),
    default=DEFAULT.cache,
    help="Time with data that the caches may hold (warm, the default), or with caches flushed before each run.",
)
@click.option(
    "--launch",
    type=click.Choice(LAUNCHES),
    default=DEFAULT.launch,
    help="Time each launch by itself (eager, the default), or captured and replayed as jit does.",
)
@click.option(
    "--numerics",
    default=DEFAULT.numerics,
    callback=_numerics,
    metavar="CLASS",
    help="What may win: results that are bitwise equal to the reference (bitwise), within so many units in the last "
    "place of it ('4 ulp'), or within a tolerance (tolerance, the default).",
)
@click.option(
    "--sizes",
    metavar="OP=SIZE:COUNT,...",
    callback=parse_sizes,
    help="Tune an operation at these sizes as a whole, such as matmul=64x64x64:100,512x512x64 or softmax=128x1000.",
)
@click.option(
    "--variants",
    type=click.IntRange(1, MOST_VARIANTS),
    help="Keep at most so many variants of a kernel for all its sizes, those of the least worst loss: of --sizes "
    "(default: 4), or of SCRIPT for each of its operations that has several.",
)
@click.argument("script", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT ARGS...]")
def tune(
    names: tuple[str, ...], budget: float | None, effort: str | None, target: Path | None, storage: str | None,
    cache: str, launch: str, numerics: str, sizes: Sizes | None, variants: int | None, script: tuple[str, ...],
) -> int:  # fmt: skip
    """Measure which kernels are fastest, and remember it.

    Without SCRIPT a standard list of problems is tuned on every device. With one, it is run, what it launches is tuned,
    the heaviest first, and it is run again to see what was won. What follows SCRIPT is passed on to it.

    A search ends when the budget is spent, when no improvement is expected, or when the best is within 5 % of the
    device's measured roof. What was tuned last is used, whichever way its times were taken (--cache, --launch).
    """
    if budget is None and effort is None:
        budget = DEFAULT_BUDGET
    if target is not None and not target.resolve().parent.is_dir():
        raise click.ClickException(f"--json: there is no folder {target.resolve().parent}")
    console, policy = make_console(), Policy(cache=cache, launch=launch, numerics=numerics)
    if policy != DEFAULT:
        console.print(f"Times are taken with {policy}")
    if script and storage:
        raise click.ClickException("--storage shares out the standard problems; leave it or the script out")
    if sizes is not None and (script or storage):
        raise click.ClickException("--sizes is tuned by itself; leave out the script and --storage")
    if variants is not None and not (script or sizes):
        raise click.ClickException("--variants is about sizes: give --sizes, or a script that shows them")
    if sizes is not None:
        return tune_sizes(console, sizes, _devices(names), variants or 4, budget, effort or "full", target, policy)
    if script:
        devices = [get_device(name).name for name in names]
        return tune_script(console, list(script), devices, budget, effort or "full", target, policy, variants)
    return _tune_standard(console, _devices(names), budget, effort or "full", target, storage, policy)


def _devices(names: tuple[str, ...]) -> list[Device]:
    """Those named, or all that are usable. Raises ClickException where one is not."""
    if names:
        try:
            return list({d.name: d for d in map(get_device, names)}.values())
        except (ValueError, TilewrightError) as error:
            raise click.ClickException(str(error)) from None
    found = [f.device for f in discover() if f.device is not None]
    if not found:
        raise click.ClickException("there is no usable device; `tilewright devices` says why")
    return found


class Purse:
    """A budget handed out in equal shares: what one problem overruns is taken from the others, so that it holds."""

    def __init__(self, budget: float | None, count: int) -> None:
        self._budget, self._count, self._left, self._start = budget, count, count, monotonic()

    def share(self) -> float | None:
        """Seconds for the next problem; None without a budget.

        What was left unused is not handed on: a share that depended on it would differ from time to time, and make
        a search that was done look too short.
        """
        if self._budget is None:
            return None
        rest = self._budget - (monotonic() - self._start)
        share = min(self._budget / self._count, rest / self._left)
        self._left -= 1
        return share


class _Job:
    """The standard problems of one device, tuned one after the other."""

    def __init__(
        self, device: Device, display: Display, effort: str, budget: float | None, storage: BaseStorage | None,
        policy: Policy,
    ) -> None:  # fmt: skip
        self.device, self._display, self._effort, self._budget = device, display, effort, budget
        self._storage, self._policy = storage, policy
        self.problems = standard(device.limits)
        self.lines: list[Line] = []
        self.roof: dict[str, float] = {}

    def run(self) -> None:
        self._display.begin(f"{self.device.name} measuring the roof", {})
        try:
            self.roof = roof(self.device, default_store())
        except Unmeasurable as error:
            self._display.skip(len(self.problems))
            click.echo(f"tilewright: {self.device.name} is left out, since nothing runs there: {error}", err=True)
            return
        purse = Purse(self._budget, len(self.problems))  # the roof comes on top, once per device and for good
        for label, problem in self.problems:
            self._display.begin(f"{self.device.name} {label}", self.roof)
            self.lines.append(Line(label, self._tuned(problem, purse.share()), self.roof))
            self._display.end(self.lines[-1])
        self._check_roof()

    def _tuned(self, problem: Problem, share: float | None) -> Result:
        if share is not None and share <= 0:
            best, baseline = verdict(default_store(), problem, self.device)
            reason = "not reached: the budget was spent before its turn"
            return Result(problem, self.device.name, best, baseline, (), "budget", reason)
        if self._storage is None:
            told = self._display.update
            return tune_problem(
                problem, self.device, effort=self._effort, budget=share, progress=told, policy=self._policy
            )
        from tilewright.tuner.fleet_search import FleetSearch  # late: imports Optuna

        allotted = allotment(self._effort, share)
        return FleetSearch(
            problem, self.device, self._effort, allotted, self._display.update, self._storage, policy=self._policy
        ).run()

    def _check_roof(self) -> None:
        best = [(x.result.problem, x.result.best.seconds) for x in self.lines if x.result.best and x.result.trials]
        if any(beaten(problem, seconds, self.roof, self.device) for problem, seconds in best):
            self._display.begin(f"{self.device.name} measuring the roof again", {})
            self.roof = raised(self.device, default_store(), self.roof)
            self.lines = [Line(x.label, x.result, self.roof) for x in self.lines]


def _tune_standard(
    console: Console, devices: list[Device], budget: float | None, effort: str, target: Path | None, url: str | None,
    policy: Policy,
) -> int:  # fmt: skip
    start, interrupted = monotonic(), False
    count = sum(len(standard(d.limits)) for d in devices)
    display = Display(console, count)
    each = budget / len(devices) if budget is not None else None
    storage = None
    if url is not None:
        from tilewright.tuner.sampler import open_storage  # late: imports Optuna

        storage = open_storage(url)
    jobs = [_Job(device, display, effort, each, storage, policy) for device in devices]
    try:
        with display.running():
            for job in jobs:
                job.run()
    except KeyboardInterrupt:
        interrupted = True
    lines = [line for job in jobs for line in job.lines]
    if not lines and not interrupted:
        raise click.ClickException("nothing could be measured; `tilewright devices` says what each device lacks")
    if lines:
        print_table(console, lines)
    print_summary(console, lines, monotonic() - start, interrupted)
    roofs = {job.device.name: job.roof for job in jobs}
    data = {
        "roofs": roofs,
        "seconds": monotonic() - start,
        "interrupted": interrupted,
        "problems": [line_json(x) for x in lines],
    }
    write_json(target, data, console.print)
    if interrupted:
        return 130
    return 0 if any(line.result.best for line in lines) else 1


def print_summary(console: Console, lines: list[Line], seconds: float, interrupted: bool) -> None:
    """Where the times come from, in a sentence."""
    store = default_store()
    if interrupted:
        console.print(f"Interrupted after {seconds:.1f} s; {store.whereabouts}", soft_wrap=True)
        return
    known = sum(line.result.stopped == "records" for line in lines)
    if known == len(lines):
        text = f"Everything came from the records in {store.path}: nothing had to be measured ({seconds:.1f} s)."
        console.print(text, soft_wrap=True)
        return
    trials = sum(len(line.result.trials) for line in lines)
    failed = sum(r.status == "failed" for line in lines for r in line.result.trials)
    text = f"{trials} trials in {seconds:.1f} s" + (f", {failed} of them failed" if failed else "")
    text += f"; {known} of {len(lines)} problems came from the records" if known else ""
    console.print(f"{text}; {store.whereabouts}", soft_wrap=True)
