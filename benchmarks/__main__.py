"""Races against NumPy and whatever else is installed, side by side in one process: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import datetime
import platform
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

import tilewright as tw
from benchmarks import chart, estimators, overheads, page, peers, report
from benchmarks.growth import PEERS, growth
from benchmarks.measure import OURS, Outcome
from benchmarks.networks import networks
from benchmarks.races import run_race
from benchmarks.workloads import SIZES, workloads
from tilewright.backends import host
from tilewright.backends.protocol import TilewrightError
from tilewright.backends.registry import get_device
from tilewright.tuner.roof import measure_roof

ROOF_SECONDS = 2.0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--device", action="append", metavar="D", help="of tilewright; repeatable (default: all)")
    parser.add_argument("--peers", nargs="*", choices=peers.NAMES, default=peers.NAMES, help="default: all installed")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="WORD", help="has one of these in its name; growth: cost by size"
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES, help="of the workloads (default: all)")
    parser.add_argument("--rounds", type=int, help="samples of each contestant (default: 9, with --quick 3)")
    parser.add_argument("--tune", type=float, default=0, metavar="SECONDS", help="tune before each race, for so long")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs; aims are not judged")
    parser.add_argument("--clblast", nargs="+", type=Path, default=(), metavar="FILE", help="saved by CLBlast's tuners")
    parser.add_argument(
        "--merge", nargs="+", type=Path, metavar="FILE", help="measure nothing: one page of what earlier parts saved"
    )
    parser.add_argument("--against", type=Path, metavar="FILE", help="earlier JSON (default: of benchmarks/results)")
    for kind in ("json", "md", "png"):
        default = Path(f"benchmarks.{kind}")
        parser.add_argument(f"--{kind}", type=Path, default=default, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args(arguments)
    options.growth = options.only[0].startswith("growth")
    options.rounds = (3 if options.quick else 9) if options.rounds is None else options.rounds
    if options.rounds < 1:
        parser.error(f"--rounds: at least 1 is needed, not {options.rounds}")
    if not 0 <= options.tune < float("inf"):
        parser.error(f"--tune: a number of seconds from 0 on is needed, not {options.tune}")
    try:
        options.parts = report.merge([report.load_json(path) for path in options.merge]) if options.merge else None
    except ValueError as error:
        parser.error(f"--merge: {error}")
    if options.parts:
        options.device = list(options.parts[0]["devices"])
    try:
        options.device = list(dict.fromkeys(get_device(name).name for name in options.device or tw.devices()))
    except (ValueError, TilewrightError) as error:
        parser.error(f"--device: {error}")
    options.against = options.against or page.newest(models(options))
    try:
        options.before = page.earlier(options.against) if options.against else {}
    except ValueError as error:
        parser.error(f"--against: {error}")
    return options


def models(options: argparse.Namespace) -> dict[str, str]:
    return {name: get_device(name).fingerprint.model for name in options.device}


def facts(options: argparse.Namespace, racers: Sequence[peers.Peer], threads: int) -> dict[str, Any]:
    """What a reader of the numbers must know."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": host.cpu_model(),
            "system": platform.platform(),
            "memory_nbytes": host.memory_nbytes(),
        },
        "threads": threads,
        "versions": {"python": platform.python_version(), **{racer.name: racer.version for racer in racers}},
        "devices": models(options),
        "rounds": options.rounds,
        "tuned_seconds": options.tune,
        "quick": options.quick,
        "roofs": {name: measure_roof(get_device(name), ROOF_SECONDS) for name in options.device},
    }


def jobs(options: argparse.Namespace, racers: Sequence[peers.Peer]) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Name and function of everything that can be measured, in the order of the report."""
    rounds, judged = options.rounds, not options.quick
    if options.growth:
        few = [racer for racer in racers if racer.name in PEERS or racer.library == OURS]
        for workload in growth(options.quick):
            yield workload.name, partial(run_race, workload, few, rounds, judged, options.tune)
        return
    for workload in (*workloads(options.quick), *networks(options.quick)):
        if workload.size not in options.sizes:
            continue
        yield workload.name, partial(run_race, workload, racers, rounds, judged, options.tune)
    for name in options.device:
        yield f"replay, {name}", partial(overheads.replay, name, rounds, judged)
        yield f"recording, {name}", partial(overheads.recording, name, rounds, judged)
        yield f"eager, {name}", partial(overheads.eager, name, racers, rounds, judged)
    if estimators.available():
        for name in estimators.ESTIMATORS:
            yield f"fit {name}", partial(estimators.run_estimator, name, racers, rounds, judged)
    yield "import", partial(overheads.imports, rounds, judged)


def measure(options: argparse.Namespace, console: Console) -> tuple[dict[str, Any], list[Outcome]]:
    """Everything that was asked for; each outcome is told when it is there."""
    threads = host.threads()
    others, missing = peers.find(options.peers, threads, options.device, options.clblast)
    racers = [*others, *map(peers.tilewright_peer, options.device)]
    known = facts(options, racers, threads)
    console.print(f"{known['machine']['processor']}, {threads} threads; median of {options.rounds} interleaved rounds")
    for sentence in missing:
        console.print(sentence, style="yellow", markup=False)
    known["missing"] = missing
    outcomes = []
    for name, job in jobs(options, racers):
        if any(word in name for word in options.only):
            with console.status(name):
                outcomes.append(job())
            report.print_outcome(console, outcomes[-1])
            report.save_json(options.json, known, outcomes)  # what is interrupted can be merged as far as it came
    return known, outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 if something of tilewright's failed or was wrong; an aim that is missed is no failure."""
    options = parse(arguments)
    console = Console()
    known, outcomes = options.parts or measure(options, console)
    known = {**known, "against": options.against and options.against.name}
    verdicts = [verdict for outcome in outcomes for verdict in outcome.verdicts]
    if known["quick"]:
        console.print("sizes are small (--quick): no aim is judged")
    elif verdicts:
        console.print(f"{sum(v.met is True for v in verdicts)} of {len(verdicts)} aims met", style="bold")
    report.save_json(options.json, known, outcomes)
    options.md.parent.mkdir(parents=True, exist_ok=True)
    options.md.write_text(page.markdown(known, outcomes, options.before))
    console.print(f"saved {options.json} and {options.md}")
    if not find_spec("matplotlib"):
        console.print("no chart: matplotlib is not installed: pip install matplotlib")
    for draw, path in ((chart.draw, options.png), (chart.draw_growth, chart.beside(options.png))):
        if find_spec("matplotlib") and draw(path, known, outcomes):
            console.print(f"saved {path}")
    return int(any(outcome.broken for outcome in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
