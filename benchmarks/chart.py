"""The page as a picture, and cost as work grows. Needs matplotlib, imported when drawing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import BASELINE, OURS, Outcome
from benchmarks.page import LEAST, mean, races
from benchmarks.workloads import SIZES

MARKS = {
    BASELINE: "s", "torch": "o", "torch.compile": "D", "jax": "^", "numexpr": "v", "numba": "P", "tinygrad": "X",
    "pyopencl.array": "<", "clblast": ">",
}  # fmt: skip
COLOURS = {
    BASELINE: "#4c78a8", "torch": "#ee6c4d", "torch.compile": "#a33b20", "jax": "#3a9d5d", "numexpr": "#9467bd",
    "numba": "#c9a227", "tinygrad": "#8c6d4f", "pyopencl.array": "#17a2a2", "clblast": "#e377c2",
}  # fmt: skip
OUR_COLOURS = ("#111111", "#d62790", "#1f9ed1", "#7f7f7f")
FLOOR = 1 / 64  # what is slower is drawn at the edge


def beside(path: Path) -> Path:
    """Where the picture of cost by size goes."""
    return path.with_stem(f"{path.stem}-growth")


def _pyplot() -> Any:
    import matplotlib  # late: an extra

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(pyplot: Any, figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _title(facts: dict[str, Any]) -> str:
    return f"{facts['machine']['processor']}, {facts['threads']} threads, {facts['date'][:10]}"


def _style(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Ours are filled circles, larger and on top."""
    styles: dict[str, dict[str, Any]] = {}
    ours = [name for name in names if name.startswith(OURS)]
    for name in names:
        if name in ours:
            styles[name] = {"marker": "o", "color": OUR_COLOURS[ours.index(name) % 4], "s": 62, "zorder": 4}
        else:
            styles[name] = {"marker": MARKS[name], "color": COLOURS[name], "s": 26, "zorder": 3, "alpha": 0.85}
    return styles


def draw(path: Path, facts: dict[str, Any], outcomes: Sequence[Outcome]) -> bool:
    """How many times as fast as the best of the others everyone is: a row for each kind of work, a column a size.
    Where a field has several workloads it shows their geometric mean. False where there is no race to draw."""
    found = races(outcomes)
    if not found:
        return False
    pyplot = _pyplot()
    families = list(dict.fromkeys(outcome.family for outcome in found))
    sizes = [size for size in SIZES if any(outcome.size == size for outcome in found)]
    names = list(dict.fromkeys(name for outcome in found for name in outcome.samples if "," not in name))
    styles = _style(names)
    figure, panels = pyplot.subplots(
        1, len(sizes), sharex=True, sharey=True, squeeze=False, layout="constrained",
        figsize=(2.6 + 4.2 * len(sizes), 2.2 + 0.31 * len(families)),
    )  # fmt: skip
    for axes, size in zip(panels[0], sizes, strict=True):
        for k, family in enumerate(families):
            field = [outcome for outcome in found if (outcome.family, outcome.size) == (family, size)]
            for name in names:
                ratios = [x.median(x.rival()) / x.median(name) for x in field if name in x.samples]
                if len(ratios) == len(field) > 0:
                    axes.scatter(max(FLOOR, mean(ratios)), k, **styles[name])
        axes.set(xscale="log", title=size)
        axes.axvline(1, color="black", linewidth=0.9, zorder=2)
        axes.axvspan(FLOOR / 1.2, LEAST, color="#f3e3e3", alpha=0.5, zorder=0, linewidth=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.grid(axis="both", color="#dddddd", linewidth=0.6, zorder=1)
    panels[0][0].set_xlim(left=FLOOR / 1.2)
    panels[0][0].set_yticks(range(len(families)), families)
    panels[0][0].set_ylim(len(families) - 0.4, -0.6)
    figure.supxlabel(
        "speed against the fastest of the other libraries (right of 1x: ours leads; shaded: below the aim)", fontsize=9
    )
    handles = [pyplot.Line2D([], [], linestyle="", marker=styles[n]["marker"], color=styles[n]["color"]) for n in names]
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False, fontsize=9, title=_title(facts))
    _save(pyplot, figure, path)
    return True


def draw_growth(path: Path, facts: dict[str, Any], outcomes: Sequence[Outcome]) -> bool:
    """Time against the number of elements, both on log axes, a panel for each kind. False where there is nothing."""
    found = [outcome for outcome in outcomes if outcome.name.startswith("growth")]
    if not found:
        return False
    pyplot = _pyplot()
    kinds = list(dict.fromkeys(outcome.name.split()[1] for outcome in found))
    names = list(dict.fromkeys(name for outcome in found for name in outcome.samples))
    styles = _style(names)
    figure, panels = pyplot.subplots(
        1, len(kinds), squeeze=False, figsize=(4.4 * len(kinds), 4.4), layout="constrained"
    )
    for axes, kind in zip(panels[0], kinds, strict=True):
        here = [outcome for outcome in found if outcome.name.split()[1] == kind]
        for name in names:
            points = [(int(x.name.split()[2]), x.median(name)) for x in here if name in x.samples]
            if points:
                style = {key: styles[name][key] for key in ("marker", "color", "zorder")}
                axes.plot(*zip(*points, strict=True), **style, linewidth=1.4, markersize=4, label=name)
        axes.set_xscale("log", base=2)
        axes.set(yscale="log", title=kind, xlabel="elements of the result")
        axes.grid(color="#dddddd", linewidth=0.6)
    panels[0][0].set_ylabel("seconds")
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.suptitle(_title(facts), fontsize=10)
    _save(pyplot, figure, path)
    return True
