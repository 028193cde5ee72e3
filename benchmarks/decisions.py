"""How often independent noisy runs pick the same winner, and what the worst pick costs.

python -m benchmarks.decisions [--data DIR]

Every candidate's real repeated times are drawn from again and again; the tuner's own rules (tuner/decide.py) decide on
them, and beside them what tuners usually do: the least median of twenty runs.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tilewright.tuner.decide import LONG, TURNS, batch, finalists, finals_seconds, levelled, pick, race, summary

Array = np.ndarray[Any, Any]

HERE = Path(__file__).parent / "results" / "2026-11-27-spread.json"
CANDIDATES = 24  # the best of a case take part; no other has a chance
ALONE = 20  # runs of each candidate before the finals, and of each for the plain rule
COLLECTED = ("sum rows 2048x2048", "softmax 2048x1024", "layer norm 2048x1024", "transpose 2048x2048", "matmul 128",
             "matmul 512")  # fmt: skip
SUBSETS = (1.0, 0.1, 0.02)  # of a space's configs: the fewer, the farther the best two are apart
SOURCE = "--data DIR: spaces with repeated times, .npz with X, time (ms) and times (ms, configs x repeats)"


@dataclass(frozen=True)
class Case:
    """Repeated seconds of candidates, in canonical order; the median of what was seen is taken for the truth."""

    name: str
    times: list[Array]

    @property
    def truth(self) -> Array:
        return np.array([np.median(row) for row in self.times])

    @property
    def gap(self) -> float:
        """How much slower the second is than the best."""
        best, second = np.sort(self.truth)[:2]
        return float(second / best - 1)

    @property
    def noise(self) -> float:
        """Relative standard deviation of one run, the larger of the best two's, from the median absolute deviation."""
        first = np.argsort(self.truth)[:2]
        return float(max(1.4826 * np.median(np.abs(self.times[k] / self.truth[k] - 1)) for k in first))


@dataclass(frozen=True)
class Alone:
    """A candidate as the rules see it: a time, and a place in the canonical order."""

    seconds: float
    low: float
    high: float
    config: dict[str, Any]
    kernel: str = "k"
    default: bool = False
    leads: bool = False
    workspace: int = 0


def ours(case: Case, rng: np.random.Generator) -> int:
    """The pick of the tuner's rules: all alone, a few in turns while there is time, ties in order."""
    timings = [summary(rng.choice(row, ALONE).tolist()) for row in case.times]
    alone = [Alone(t.seconds, t.low, t.high, {"K": k}) for k, t in enumerate(timings)]
    few = [c.config["K"] for c in finalists(alone)]
    spent, draws = 0.0, [_Draws(case.times[k], rng) for k in few]
    seconds = finals_seconds(min(c.seconds for c in alone)) * len(few)

    def run(k: int) -> float:
        nonlocal spent
        spent += draws[k].cost
        return draws[k].next()

    rows = race(run, len(few), lambda turn: turn < TURNS and (turn < 5 or spent < seconds))
    final = [Alone(t.seconds, t.low, t.high, {"K": k}) for k, t in zip(few, levelled(rows), strict=True)]
    chosen = pick(final)
    assert chosen is not None
    return int(chosen.config["K"])


class _Draws:
    """Times of one finalist, drawn as `bench.compare` takes them: medians of batches. `cost`: seconds of each."""

    def __init__(self, times: Array, rng: np.random.Generator) -> None:
        usual = float(np.median(times))
        self._times, self._rng, self._size = times, rng, batch(usual)
        self.cost = usual * (self._size + (usual <= LONG))
        self._left: list[float] = []

    def next(self) -> float:
        if not self._left:
            self._left = np.median(self._rng.choice(self._times, (50, self._size)), axis=1).tolist()
        return self._left.pop()


def plain(case: Case, rng: np.random.Generator) -> int:
    """The least median."""
    return int(np.argmin([np.median(rng.choice(row, ALONE)) for row in case.times]))


def judge(case: Case, runs: int, seed: int = 0) -> dict[str, Any]:
    """Over so many independent runs: how often the commonest winner wins, and regret over the best, for both rules."""
    found: dict[str, Any] = {"name": case.name, "gap": case.gap, "noise": case.noise}
    for name, rule in (("ours", ours), ("argmin", plain)):
        rng = np.random.default_rng(seed)
        picks = [rule(case, rng) for _ in range(runs)]
        regret = case.truth[picks] / case.truth.min() - 1
        same = Counter(picks).most_common(1)[0][1] / runs
        found[name] = {"same": same, "mean_regret": float(regret.mean()), "worst_regret": float(regret.max())}
    return found


def clear(row: dict[str, Any]) -> bool:
    """Whether the best two differ by more than twice the noise."""
    return bool(row["gap"] > 2 * row["noise"])


def stored(file: Path) -> list[Case]:
    """The repeated times that were taken here."""
    data = json.loads(file.read_text())
    return [Case(c["name"], [np.array(row) for row in c["seconds"]]) for c in data["cases"]]


def spaces(folder: Path) -> list[Case]:
    """Three cases a space: all its configs, and parts of them drawn at random."""
    found = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as data:
            times = 1e-3 * data["times"].astype(float)
        times = times[np.isfinite(times).sum(1) >= 8]
        rng = np.random.default_rng(0)
        for share in SUBSETS:
            some = np.sort(rng.permutation(len(times))[: max(CANDIDATES, int(share * len(times)))])
            best = np.sort(some[np.argsort(np.nanmedian(times[some], 1), kind="stable")[:CANDIDATES]])
            rows = [times[k][np.isfinite(times[k])] for k in best]
            found.append(Case(f"{file.stem} {100 * share:.0f} %", rows))
    return found


def collect(file: Path, rounds: int = 40, labels: Sequence[str] = COLLECTED) -> None:
    """Take repeated times on this machine's CPU: some standard problems, some configs each, in turns."""
    from itertools import islice

    from tilewright.backends.registry import get_device
    from tilewright.tuner.bench import Bench
    from tilewright.tuner.prepare import Candidate, kernels
    from tilewright.tuner.standard import standard

    device, cases = get_device("cpu"), []
    for label, problem in standard(device.limits):
        if label not in labels:
            continue
        bench = Bench(problem, device, lambda stage: None)
        spaces_of = {name: kernel.space(problem, device.limits) for name, kernel in kernels(problem, device).items()}
        all_of = [Candidate(name, config) for name, space in spaces_of.items() for config in space]
        step = max(1, len(all_of) // 8)
        bounds = [bench._ready(c) for c in islice(all_of, 0, None, step)][:8]
        turns = [[float(np.median(bench._watch.times(b.launches, 3)[1:])) for b in bounds] for _ in range(rounds)]
        rows = np.array(turns).T.tolist()
        cases.append({"name": label, "seconds": [[float(f"{t:.4g}") for t in row] for row in rows]})
    data = {"device": device.fingerprint.model, "rounds": rounds, "cases": cases}
    file.write_text(json.dumps(data, separators=(",", ":")) + "\n")


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("case", "gap", "noise", "same", "mean", "worst", "argmin: same", "mean", "worst"):
        table.add_column(name, justify="left" if name == "case" else "right")
    for row in rows:
        cells = [c for rule in ("ours", "argmin") for c in _cells(row[rule])]
        table.add_row(f"{row['name']}{' *' * clear(row)}", f"{row['gap']:.2%}", f"{row['noise']:.2%}", *cells)
    console.print(table)
    for what, some in (("* clear: the best two differ by more than twice the noise", [r for r in rows if clear(r)]),
                       ("all", list(rows))):  # fmt: skip
        for rule in ("ours", "argmin") if some else ():
            same, least = np.mean([r[rule]["same"] for r in some]), min(r[rule]["same"] for r in some)
            mean, worst = np.mean([r[rule]["mean_regret"] for r in some]), max(r[rule]["worst_regret"] for r in some)
            said = f"same winner {same:.2%} (least {least:.2%}), regret {mean:.3%} in the mean, {worst:.2%} at worst"
            console.print(f"{what}, {len(some)} cases, {rule}: {said}")


def _cells(found: dict[str, float]) -> list[str]:
    return [f"{found['same']:.1%}", f"{found['mean_regret']:.2%}", f"{found['worst_regret']:.2%}"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="independent runs of each case (default: %(default)s)")
    parser.add_argument("--data", type=Path, metavar="DIR", help=SOURCE)
    parser.add_argument("--collect", type=Path, metavar="FILE", help="take repeated times here, and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    given = parser.parse_args(arguments)
    if given.collect:
        collect(given.collect)
        return
    cases = stored(HERE) + (spaces(given.data) if given.data else [])
    rows = [judge(case, given.runs) for case in cases]
    show(rows, Console(highlight=False, width=140))
    if given.json:
        given.json.write_text(json.dumps({"runs": given.runs, "cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
