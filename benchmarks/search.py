"""How few trials a search needs, on spaces that others measured: `python -m benchmarks.search --data DIR`."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import optuna
from rich.console import Console
from rich.table import Table

from benchmarks import searchers
from benchmarks.spaces import TRIALS, Array, Measured, load
from tilewright.backends import host

SOURCE = (
    "--data is a folder of measured spaces (.npz with names, values, X and time in ms), repacked from "
    "https://github.com/AutoTuningAssociation/benchmark_hub (MIT licence)"
)
AT = (1, 10, 50, TRIALS)  # trials after which the fraction of the optimum is told
TRANSFER = ("as they are", "shuffled", "backwards")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the measured spaces")
    parser.add_argument("--seeds", type=int, default=20, help="of ours, and of random search (default: %(default)s)")
    parser.add_argument("--peer-seeds", type=int, default=5, help="of the others (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="WORD", help="only searchers with this in their name")
    parser.add_argument("--skip", default="optuna GP", metavar="NAME", help="no such searcher (default: %(default)s)")
    parser.add_argument("--no-transfer", action="store_true", help="not with times of the other devices")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("search.json"), metavar="FILE",
                        help="default: %(default)s; what it holds of other searchers here stays")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error(SOURCE)
    if min(options.seeds, options.peer_seeds, options.jobs) < 1:
        parser.error("at least 1 seed and 1 job are needed")
    return options


def judge(spaces: Sequence[Measured], searcher: searchers.Searcher, seeds: int, jobs: int) -> dict[str, Any]:
    """Scores and fractions of one searcher over all spaces; milliseconds of processor time for each trial.

    `jobs` processes share the searches.
    """
    asked = [(searcher, space, seed) for space in spaces for seed in range(seeds)]
    if jobs == 1:
        found = list(map(timed, *zip(*asked, strict=True)))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            found = list(pool.map(timed, *zip(*asked, strict=True)))
    scores, fractions = {}, {}
    for k, space in enumerate(spaces):
        curves: Array = np.array([space.curve(order) for order, _ in found[k * seeds : (k + 1) * seeds]])
        scores[space.name] = space.score(curves)
        fractions[space.name] = {str(n): space.fraction(curves, n) for n in AT}
    return {
        "seeds": seeds, "score": float(np.mean(list(scores.values()))), "scores": scores,
        "fractions": {str(n): float(np.mean([f[str(n)] for f in fractions.values()])) for n in AT},
        "fractions_by_space": fractions,
        "ms_per_trial": 1e3 * sum(seconds for _, seconds in found) / sum(len(order) for order, _ in found),
    }  # fmt: skip


def timed(searcher: searchers.Searcher, space: Measured, seed: int) -> tuple[list[int], float]:
    """One search, and its seconds of processor time."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    start = process_time()
    return searcher(space, seed), process_time() - start


def with_others(how: str, spaces: Sequence[Measured], space: Measured, seed: int) -> list[int]:
    """Our search, told what all other devices took for the same kernel."""
    others = [o for o in spaces if o.kernel == space.kernel and o.device != space.device]
    return searchers.ours(space, seed, searchers.known_of(others, how, seed))


def print_results(console: Console, spaces: Sequence[Measured], results: dict[str, dict[str, Any]]) -> None:
    table = Table("searcher", "seeds", "score", *(f"after {n}" for n in AT), "ms a trial", title="all spaces")
    each = Table("searcher", *(space.name for space in spaces), title="scores")
    for name, found in results.items():
        fractions = (f"{100 * found['fractions'][str(n)]:.1f} %" for n in AT)
        table.add_row(name, str(found["seeds"]), f"{found['score']:.3f}", *fractions, f"{found['ms_per_trial']:.1f}")
        each.add_row(name, *(f"{found['scores'][space.name]:.2f}" for space in spaces))
    console.print(table)
    console.print(each)


def earlier(path: Path, facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Results of former runs in `path`, where they are of the same spaces, processor and versions."""
    if not path.exists():
        return {}
    before = json.loads(path.read_text())
    same = all(before.get(name) == facts[name] for name in ("processor", "versions", "spaces"))
    return before["results"] if same else {}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    spaces, console = load(options.data), Console()
    found, versions = searchers.find()
    jobs = {n: (f, options.seeds if f in (searchers.ours, searchers.by_chance) else options.peer_seeds)
            for n, f in found.items()}  # fmt: skip
    if not options.no_transfer:
        jobs |= {f"tilewright, others {how}": (partial(with_others, how, spaces), options.seeds) for how in TRANSFER}
    jobs = {n: job for n, job in jobs.items() if options.only in n and n != options.skip}
    if not jobs:
        console.print(f"no searcher has {options.only!r} in its name; there are {', '.join(found)}")
        return 2
    facts = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "processor": host.cpu_model(),
        "versions": {"python": platform.python_version(), **versions}, "spaces": [space.name for space in spaces],
    }  # fmt: skip
    results = earlier(options.json, facts)
    for name, (searcher, seeds) in jobs.items():
        with console.status(name):
            results[name] = judge(spaces, searcher, seeds, options.jobs)
        console.print(f"{name}: {results[name]['score']:.3f}")
        options.json.write_text(json.dumps({**facts, "results": results}, indent=1) + "\n")  # a long run may be cut
    print_results(console, spaces, results)
    console.print(f"saved {options.json}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
