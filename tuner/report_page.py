"""The page of `tilewright report`: figures drawn here as SVG, nothing from elsewhere."""

from __future__ import annotations

import math
from html import escape

from tilewright.tuner.prepare import VENDOR
from tilewright.tuner.report import Chapter, Story, importance
from tilewright.tuner.yardstick import duration

_STYLE = """
:root { --ink: #1c2024; --dim: #667; --line: #d8dce2; --paper: #fff; --panel: #f5f6f8; --new: #0b6e4f; --old: #b9c0ca;
  --roof: #b3151d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --dim: #99a; --line: #343a42; --paper: #14171b;
  --panel: #1c2026; --new: #6fd495; --old: #4a525d; --roof: #ff8a8a; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 64rem;
  margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.3rem; margin: 3rem 0 .25rem; }
h3 { font-size: 1.05rem; margin: 2rem 0 .25rem; } p { max-width: 52rem; margin: .25rem 0 .75rem; }
.dim { color: var(--dim); } svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg .dim { fill: var(--dim); }
svg .end { text-anchor: end; } svg .mid { text-anchor: middle; }
.old { fill: var(--old); } .new { fill: var(--new); } .panel { fill: var(--panel); }
.grid { stroke: var(--line); fill: none; } .curve { stroke: var(--new); stroke-width: 2; fill: none; }
.roof { stroke: var(--roof); stroke-width: 2; fill: none; } svg .roofname { fill: var(--roof); }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: .75rem 1.25rem; }
.keys { columns: 20rem; font-size: .86rem; margin: .5rem 0; padding-left: 2rem; } .keys .none { list-style: disc; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .86rem; width: 100%; }
th, td { text-align: left; padding: .28rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead th { background: var(--panel); } code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
"""
_STOPS = {
    "settled": "no improvement was expected", "roof": "the roof was reached", "budget": "the budget was spent",
    "records": "nothing had to be measured",
    "interrupted": "it was interrupted", "failed": "nothing worked", "measured again": "only the best were looked at",
}  # fmt: skip


def page(found: list[Chapter], where: str) -> str:
    """The whole document; `where` names the records."""
    trials = sum(len(s.trials) for c in found for s in c.stories)
    problems = sum(len(c.stories) for c in found)
    head = (
        f"<h1>What tuning found</h1><p class=dim>{trials} trials of {problems} problems on {len(found)} "
        f"device{'s' * (len(found) != 1)}, from the records in <code>{escape(where)}</code></p>"
    )
    body = head + "".join(map(_chapter, found))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>tilewright report</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def _chapter(chapter: Chapter) -> str:
    f = chapter.fingerprint
    software = ", ".join(x for x in (f.driver, f.compiler) if x)
    text = f"<h2>{escape(chapter.device)}: {escape(f.model)}</h2><p class=dim>{escape(software)}</p>"
    pairs = [(s.before.seconds / s.best.seconds) for s in chapter.stories if s.before and s.best]
    if pairs:
        mean = math.exp(sum(map(math.log, pairs)) / len(pairs))
        text += f"<p>What won is {mean:.2f} times as fast as what ran before (geometric mean of {len(pairs)}).</p>"
    return text + _bars(chapter) + _roofline(chapter) + _curves(chapter) + _tunables(chapter) + _table(chapter)


def _bars(chapter: Chapter) -> str:
    rows = [s for s in chapter.stories if s.best and s.before]
    if not rows:
        return ""
    step, left, width = 34, 300, 430
    text = ""
    rows.sort(key=lambda s: -(s.before.seconds / s.best.seconds if s.before and s.best else 0.0))
    for k, story in enumerate(rows):
        assert story.best is not None and story.before is not None
        y, share = k * step + 4, min(story.best.seconds / story.before.seconds, 1.0)
        name = "vendor" if story.before.kernel == VENDOR else "default"
        ratio = story.before.seconds / story.best.seconds
        text += (
            f'<text class=end x="{left - 10}" y="{y + 17}">{escape(_short(story.title, 44))}</text>'
            f'<rect class=old x="{left}" y="{y}" width="{width}" height="10"/>'
            f'<rect class=new x="{left}" y="{y + 12}" width="{max(share * width, 1):.1f}" height="10"/>'
            f'<text x="{left + width + 10}" y="{y + 10}" class=dim>{duration(story.before.seconds)} {name}</text>'
            f'<text x="{left + width + 10}" y="{y + 23}">{duration(story.best.seconds)}, {ratio:.2f}x</text>'
        )
    return (
        "<h3>Before and after</h3><p class=dim>Grey: the device's own library, or without one the config chosen "
        "without measuring. Green: the winner, as a share of that time; where they are equal the former was kept.</p>"
        + _svg(940, len(rows) * step, text, "time before and after tuning")
    )


def _roofline(chapter: Chapter) -> str:
    """Williams, Waterman and Patterson, 2009: operations per second over operations per byte, both logarithmic."""
    rows = [s for s in chapter.stories if s.best and s.work and s.work.operations and s.work.nbytes]
    bandwidth = chapter.roof.get("triad_bytes_per_second")
    peaks = {d: 2 * v for d in ("float32", "float64") if (v := chapter.roof.get(f"{d}_madds_per_second"))}
    if not rows or not bandwidth or not peaks:
        return ""
    done = [(s.work.operations, s.work.nbytes, s.best.seconds) for s in rows if s.work and s.best]
    points = [(operations / nbytes, operations / seconds) for operations, nbytes, seconds in done]
    xs = [x for x, _ in points] + [max(peaks.values()) / bandwidth]
    x0, x1 = math.log10(min(xs)) - 0.3, math.log10(max(xs)) + 0.5
    y1 = math.log10(max(*peaks.values(), *(y for _, y in points))) + 0.2
    y0 = min(math.log10(min(y for _, y in points)) - 0.3, y1 - 1)
    left, top, width, height = 80, 10, 840, 360

    def at(x: float, y: float) -> tuple[float, float]:
        return left + width * (math.log10(x) - x0) / (x1 - x0), top + height * (y1 - math.log10(y)) / (y1 - y0)

    text = f'<rect class=panel x="{left}" y="{top}" width="{width}" height="{height}"/>'
    for power in range(math.ceil(x0), math.floor(x1) + 1):
        x, _ = at(10.0**power, 10.0**y0)
        text += f'<path class=grid d="M{x:.1f} {top}V{top + height}"/>'
        text += f'<text class="dim mid" x="{x:.1f}" y="{top + height + 16}">{10.0**power:g}</text>'
    for power in range(math.ceil(y0), math.floor(y1) + 1):
        _, y = at(10.0**x0, 10.0**power)
        text += f'<path class=grid d="M{left} {y:.1f}H{left + width}"/>'
        text += f'<text class="dim end" x="{left - 6}" y="{y + 4:.1f}">{10.0 ** (power - 9):g}</text>'
    for dtype, peak in peaks.items():
        low = max(10.0**x0, 10.0**y0 / bandwidth)
        a, b, c = at(low, low * bandwidth), at(peak / bandwidth, peak), at(10.0**x1, peak)
        text += f'<path class=roof d="M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}H{c[0]:.1f}"/>'
        name = f"{dtype} {peak / 1e9:.3g} GFLOP/s"
        text += f'<text class="roofname end" x="{c[0] - 6:.1f}" y="{c[1] - 5:.1f}">{name}</text>'
    for k, (x, y) in enumerate(points, start=1):
        px, py = at(x, y)
        text += f'<circle class=new cx="{px:.1f}" cy="{py:.1f}" r="4"/>'
        text += f'<text x="{px + 6:.1f}" y="{py - 4:.1f}">{k}</text>'
    legend = "".join(f"<li>{escape(s.title)}{_of_roof(chapter, s, ', ')}" for s in rows)
    others = [s for s in chapter.stories if s.best and s not in rows]
    legend += "".join(f"<li class=none>{escape(s.title)}{_of_roof(chapter, s, ', ')}" for s in others)
    text += f'<text class="dim mid" x="{left + width / 2}" y="{top + height + 36}">operations per byte</text>'
    text += f'<text class="dim mid" transform="translate(22 {top + height / 2}) rotate(-90)">GFLOP/s</text>'
    rest = " Problems without a number do no arithmetic, or nobody counted it." if others else ""
    return (
        f"<h3>Roofline</h3><p class=dim>Red: what this device was measured to do at most; the slope is memory, "
        f"{bandwidth / 1e9:.3g} GB/s. A problem above the slope finds its data in the caches.{rest}</p>"
        + _svg(940, height + 60, text, "roofline with every problem")
        + f"<ol class=keys>{legend}</ol>"
    )


def _of_roof(chapter: Chapter, story: Story, before: str = "") -> str:
    share = chapter.of_roof(story)
    return f"{before}{100 * share:.0f} % of the roof" if share is not None else ""


def _curves(chapter: Chapter) -> str:
    rows = [s for s in chapter.stories if len(s.progress) > 1]
    if not rows:
        return ""
    return (
        "<h3>Convergence</h3><p class=dim>The best time so far after each trial, as a multiple of the last.</p>"
        f"<div class=small>{''.join(map(_curve, rows))}</div>"
    )


def _curve(story: Story) -> str:
    times = story.progress
    last, most = times[-1], max(max(times) / times[-1], 1.2)
    left, width, top, height = 40, 240, 22, 80

    def y(value: float) -> float:
        return top + height * (1 - math.log(value / last) / math.log(most))

    path = f"M{left} {y(times[0]):.1f}"
    for k, value in enumerate(times[1:], start=1):
        path += f"H{left + width * k / (len(times) - 1):.1f}V{y(value):.1f}"
    why = _STOPS.get(story.stopped, "not ended")
    text = (
        f'<text x="0" y="13">{escape(_short(story.title, 42))}</text>'
        f'<rect class=panel x="{left}" y="{top}" width="{width}" height="{height}"/><path class=curve d="{path}"/>'
        f'<text class="dim end" x="{left - 5}" y="{top + 10}">{most:.3g}x</text>'
        f'<text class="dim end" x="{left - 5}" y="{top + height}">1x</text>'
        f'<text class="dim" x="{left}" y="{top + height + 15}">{len(times)} trials; {escape(why)}</text>'
    )
    return _svg(290, top + height + 22, text, "best time so far over trials")


def _tunables(chapter: Chapter) -> str:
    rows = [(s, importance(s.trials)) for s in chapter.stories]
    rows = [(s, found) for s, found in rows if any(found.values())]
    if not rows:
        return ""
    text = ""
    for story, found in rows:
        shown = list(found.items())[:6]
        lines = f'<text x="0" y="13">{escape(_short(story.title, 42))}</text>'
        for k, (name, share) in enumerate(shown):
            y = 22 + 17 * k
            lines += (
                f'<text class="dim end" x="110" y="{y + 11}">{escape(_short(name, 16))}</text>'
                f'<rect class=panel x="116" y="{y}" width="130" height="13"/>'
                f'<rect class=new x="116" y="{y}" width="{130 * share:.1f}" height="13"/>'
                f'<text x="252" y="{y + 11}">{100 * share:.0f} %</text>'
            )
        text += _svg(290, 26 + 17 * len(shown), lines, "importance of each tunable")
    return (
        "<h3>What each tunable decides</h3><p class=dim>The share of the differences in time between trials that a "
        "tunable's value alone explains; the rest is their interplay, and chance.</p>"
        f"<div class=small>{text}</div>"
    )


def _table(chapter: Chapter) -> str:
    rows = ""
    for s in chapter.stories:
        failed = sum(r.status == "failed" for r in s.trials)
        counts = f"{len(s.trials)}" + (f" ({failed} failed)" if failed else "")
        time = duration(s.best.seconds) if s.best else "nothing works"
        winner = s.best.name if s.best else s.trials[-1].reason
        rows += (
            f"<tr><td>{escape(s.title)}<td class=n>{time}<td class=n>"
            f"{_of_roof(chapter, s).removesuffix(' of the roof')}<td class=n>{counts}<td>"
            f"{escape(_STOPS.get(s.stopped, 'not ended'))}<td><code>{escape(winner)}</code>"
            f"<td>{s.best.numerics if s.best else ''}</tr>"
        )
    heads = "<th>problem<th class=n>time<th class=n>of roof<th class=n>trials<th>why the search stopped<th>winner"
    table = f"<table><thead><tr>{heads}<th>results</tr></thead>{rows}</table>"
    told = "Results: bitwise equal to the reference, so many units in the last place from it, or within a tolerance."
    return f"<h3>Winners</h3><p class=dim>{told}</p><div class=wide>{table}</div>"


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _svg(width: int, height: int, text: str, label: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{text}</svg>'
