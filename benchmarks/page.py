"""The page: every workload against the best of the others, the device's roof, and an earlier run; as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

from benchmarks.measure import BASELINE, OURS, Outcome
from benchmarks.report import duration
from benchmarks.tried import TRIED
from tilewright.backends import host

LEAST, MEAN, MEAN_BASELINE = 0.95, 1.3, 5.0  # aims: of each workload, and of geometric means against best and NumPy
ROOF, ROOF_PEAK = 0.85, 0.9  # aims: of the triad where bytes bound a time, of the multiply-adds for our own products
EXPLAINED = 0.3  # of the time: where the roof says less than that, something else bounds it
DISTURBED = 1.3  # times as long in the race as alone: the others, or another program, took a part of it
Medians = dict[str, dict[str, float]]
RESULTS = Path(__file__).parent / "results"
HEADINGS = ("workload", "size", "ours", "spread", "best of the others", "x best", "x NumPy", "of roof", "x best before")


@dataclass(frozen=True, slots=True)
class Row:
    """One of our contestants in one race. Ratios are how many times as fast as the other we are; None: not known."""

    outcome: Outcome
    name: str
    rival: str
    ratio: float
    to_numpy: float | None
    parts: dict[str, float]  # seconds at the roof by what takes them: bytes, arithmetic, launches
    before: float | None
    beyond: bool  # its bytes are more than the caches hold

    @property
    def seconds(self) -> float:
        return self.outcome.median(self.name)

    @property
    def share(self) -> float | None:
        """The time at the roof, of bytes or arithmetic, as a share of the measured. Above 1: the caches hold it."""
        least = max((s for part, s in self.parts.items() if part != "launches"), default=0.0)
        return least / self.seconds if least else None

    @property
    def low(self) -> bool:
        """Whether bytes from main memory bound it at the roof, and it stays below the aim for such."""
        first = max(self.parts, key=lambda name: self.parts[name], default="")
        return first == "bytes" and self.beyond and (self.share or 1.0) < ROOF

    @property
    def behind(self) -> str:
        """Below which aims it is."""
        told = [f"{self.ratio:.2f}x {self.rival}"] if self.ratio < LEAST else []
        return ", ".join(told + ([f"{100 * (self.share or 0):.0f} % of the triad"] if self.low else []))

    @property
    def disturbed(self) -> str:
        """Who took much longer in the race than alone, of us and the best of the others."""
        times = {name: self.outcome.median(name) / self.outcome.solo.get(name, 1e9) for name in (self.name, self.rival)}
        return ", ".join(f"{name} {times[name]:.1f}x" for name in times if times[name] > DISTURBED)

    @property
    def bound(self) -> str:
        """What the roof says about the time, and the first run apart, which compiles."""
        if not self.parts:
            return "the roof is not known"
        part = max(self.parts, key=lambda name: self.parts[name])
        told = ", ".join(f"{name} {100 * s / self.seconds:.0f} %" for name, s in self.parts.items())
        word = part if self.parts[part] >= EXPLAINED * self.seconds else "none of these: the kernels themselves"
        return f"{word} ({told} of the time; first run {duration(self.outcome.first.get(self.name, 0.0))})"


def races(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes that are workloads raced against others."""
    return [outcome for outcome in outcomes if outcome.family and outcome.rival()]


def at_roof(outcome: Outcome, name: str, roof: dict[str, float]) -> dict[str, float]:
    """Seconds the device needs at least for the bytes, the operations (two to a multiply-add) and the launches."""
    if not roof:
        return {}
    parts = {}
    if outcome.nbytes:
        parts["bytes"] = outcome.nbytes / roof["triad_bytes_per_second"]
    rate = roof.get(f"{outcome.dtype}_madds_per_second")
    if outcome.operations and rate:
        parts["arithmetic"] = outcome.operations / (2 * rate)
    return {**parts, "launches": outcome.launches.get(name, 1) * roof["launch_seconds"]}


def rows(
    outcomes: Iterable[Outcome], roofs: dict[str, dict[str, float]], before: dict[str, dict[str, float]]
) -> list[Row]:
    """One for each race and contestant of ours, parts such as the kernel alone left out."""
    found = []
    for outcome in races(outcomes):
        rival = outcome.rival()
        for name in (n for n in outcome.ours() if "," not in n):
            numpy = outcome.median(BASELINE) / outcome.median(name) if BASELINE in outcome.samples else None
            parts = at_roof(outcome, name, roofs.get(name.removeprefix(f"{OURS} "), {}))
            ratio = outcome.median(rival) / outcome.median(name)
            past = _ratio(before.get(outcome.name, {}), name)
            beyond = outcome.nbytes > max(host.cache_nbytes(), default=0)
            found.append(Row(outcome, name, rival, ratio, numpy, parts, past, beyond))
    return found


def _ratio(medians: dict[str, float], name: str) -> float | None:
    others = [seconds for other, seconds in medians.items() if not other.startswith(OURS)]
    return min(others) / medians[name] if others and name in medians else None


def newest(devices: dict[str, str], folder: Path = RESULTS) -> Path | None:
    """The latest earlier run, not a quick one, on devices of the same names and models."""
    found = []
    for path in folder.glob("*.json"):
        known = json.loads(path.read_text())
        if isinstance(known, dict) and known.get("devices") == devices and "outcomes" in known and not known["quick"]:
            if not any(outcome["nbytes"] or outcome["operations"] for outcome in known["outcomes"]):
                continue  # no races in it
            found.append((known["date"], path))
    return max(found)[1] if found else None


def earlier(path: Path) -> Medians:
    """Medians of every contestant by workload. Raises ValueError for a file that is no result of this command."""
    try:
        return {outcome["name"]: outcome["medians"] for outcome in json.loads(path.read_text())["outcomes"]}
    except (KeyError, TypeError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON file that this command saved: {error!r}") from error


def mean(values: Iterable[float]) -> float:
    """Geometric. NaN of nothing."""
    logs = [log(value) for value in values]
    return exp(sum(logs) / len(logs)) if logs else float("nan")


def markdown(facts: dict[str, Any], outcomes: Sequence[Outcome], before: Medians) -> str:
    """The whole page."""
    found = rows(outcomes, facts["roofs"], before)
    lines = [*_head(facts), ""]
    for name in dict.fromkeys(row.name for row in found):
        lines += [f"## {name}", "", *_device([row for row in found if row.name == name], facts["quick"]), ""]
    lines += [*_others(outcomes), ""]
    return "\n".join(lines)


def _head(facts: dict[str, Any]) -> list[str]:
    machine = facts["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    seconds, parts = facts["tuned_seconds"], facts.get("parts")
    lines = [
        f"# {machine['processor']}, {facts['threads']} threads, {facts['date'][:10]}", "",
        f"Medians of {facts['rounds']} interleaved rounds in one process, ± half the distance between the quartiles. "
        f"{f'Tuned before each race for up to {seconds} s. ' if seconds else 'Untuned. '}"
        f"{'Small sizes only: no aim is judged. ' if facts['quick'] else ''}"
        f"{f'Measured in {parts} parts. ' if parts else ''}"
        f"Compared with {facts['against'] or 'no earlier run'}.",
        "", f"{machine['system']}; {versions}.", "",
        "| roof | triad | float32 | float64 | launch |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, roof in facts["roofs"].items():
        rates = [roof.get(f"{dtype}_madds_per_second") for dtype in ("float32", "float64")]
        cells = [f"{2 * rate / 1e9:.0f} GFLOP/s" if rate else "none" for rate in rates]
        triad = f"{roof['triad_bytes_per_second'] / 1e9:.1f} GB/s"
        lines.append(f"| {name} | {triad} | {' | '.join(cells)} | {duration(roof['launch_seconds'])} |")
    return lines


def _device(found: list[Row], quick: bool) -> list[str]:
    ratios = [row.ratio for row in found]
    to_numpy = [row.to_numpy for row in found if row.to_numpy is not None]
    below, low = ([row for row in found if row.ratio < LEAST], [row for row in found if row.low])
    lines = [
        f"{len(found)} workloads: {mean(ratios):.2f}x the best of the others (geometric mean; aim {MEAN:g}x), "
        f"{mean(to_numpy):.2f}x NumPy (aim {MEAN_BASELINE:g}x); {len(below)} below {LEAST:g}x the best, "
        f"{len(low)} that memory bounds below {100 * ROOF:.0f} % of the triad.",
        "", *_peers(found), "", f"| {' | '.join(HEADINGS)} |", "|---|---|" + "---:|" * 2 + "---|" + "---:|" * 4,
    ]  # fmt: skip
    for row in found:
        mark = "**" if row.ratio < LEAST else ""
        known = [f"{mark}{row.ratio:.2f}{mark}", *(f"{v:.2f}" if v else "" for v in (row.to_numpy,))]
        share = f"{100 * row.share:.0f} %" if row.share else ""
        cells = [
            row.outcome.name, row.outcome.size, duration(row.seconds), f"±{100 * row.outcome.spread(row.name):.0f} %",
            f"{row.rival}, {duration(row.outcome.median(row.rival))}", *known, share,
            f"{row.before:.2f}" if row.before else "",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Above 100 % of the roof: the data stays in the caches, while the roof is that of main memory."]
    missed = [row for row in found if row.behind]
    if missed:
        head = "Behind at these sizes" if quick else "Below an aim"
        lines += ["", f"{head}, what bounds them, and what was tried:", ""]
    for row in missed:
        tried = TRIED.get(row.outcome.name, TRIED.get(row.outcome.family, ""))
        lines.append(f"- {row.outcome.name}: {row.behind}; bound by {row.bound}. {tried}".strip())
    return [*lines, *_own(found), *_cross_check(found)]


def _peers(found: list[Row]) -> list[str]:
    """How we stand against each of the others."""
    lines = ["| against | workloads | x (geometric mean) | ahead in |", "|---|---:|---:|---:|"]
    others = dict.fromkeys(n for row in found for n in row.outcome.samples if not n.startswith(OURS))
    for name in others:
        ratios = [r.outcome.median(name) / r.seconds for r in found if name in r.outcome.samples]
        lines.append(f"| {name} | {len(ratios)} | {mean(ratios):.2f} | {sum(ratio >= 1 for ratio in ratios)} |")
    return lines


def _own(found: list[Row]) -> list[str]:
    """Products by our own template and by the vendor's library, each alone."""
    lines = []
    for row in found:
        outcome, name, rate = row.outcome, f"{row.name}, own kernel", row.parts.get("arithmetic")
        if name in outcome.samples and rate:
            vendor = outcome.median(f"{row.name}, vendor kernel")
            shares = [f"{100 * rate / seconds:.0f} %" for seconds in (outcome.median(name), vendor)]
            lines.append(f"| {outcome.name} | {duration(outcome.median(name))} | {shares[0]} | {shares[1]} |")
    if not lines:
        return []
    head = (
        "Our own template by its default config and the vendor's routine, of the multiply-adds at the roof "
        f"(aim {100 * ROOF_PEAK:.0f} %):"
    )
    columns = ["| product | our template | of roof | the vendor's, of roof |", "|---|---:|---:|---:|"]
    return ["", head, "", *columns, *lines]


def _cross_check(found: list[Row]) -> list[str]:
    """Alone against in the race."""
    known = [row for row in found if row.outcome.solo]
    told = [f"- {row.outcome.name}: {row.disturbed}" for row in known if row.disturbed]
    if not known:
        return []
    lines = [
        f"Cross-check: in {len(known) - len(told)} of {len(known)} workloads both we and the best of the others took "
        f"in the race at most {DISTURBED:g} times as long as in runs by themselves{':' if told else '.'}"
    ]
    return ["", *lines, "", *told]


def _others(outcomes: Sequence[Outcome]) -> list[str]:
    lines: list[str] = []
    missing: dict[str, dict[str, None]] = {}  # families by peer, in order
    for outcome in outcomes:
        for name in outcome.left_out:
            missing.setdefault(name, {})[outcome.family or outcome.name] = None
    if missing:
        lines += ["## Left out", "", "Peers that have no way of their own for a workload, failed, or were wrong:", ""]
        lines += [f"- {name}: {', '.join(names)}" for name, names in missing.items()]
    failures = [n for outcome in outcomes for n in outcome.notes if " failed: " in n or " is wrong by " in n]
    lines += [f"- {note}" for note in failures]
    rest = [outcome for outcome in outcomes if not outcome.family and outcome.samples]
    if rest:
        lines += ["", "## Besides", "", "| what | who | median | spread |", "|---|---|---:|---:|"]
    for outcome in rest:
        for name in outcome.samples:
            spread = f"±{100 * outcome.spread(name):.0f} %"
            lines.append(f"| {outcome.name} | {name} | {duration(outcome.median(name))} | {spread} |")
    return lines
