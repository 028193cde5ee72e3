"""The report of `tilewright certify --html`: one page that needs nothing else."""

from __future__ import annotations

from html import escape
from typing import Any

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.kit import FAIL, NOT_CLAIMED, NOT_RUN, PASS, STATUSES

_CLASSES = {PASS: "pass", FAIL: "fail", NOT_CLAIMED: "none", NOT_RUN: "open"}
_STYLE = """
:root { --ink: #1c2024; --dim: #667; --line: #d8dce2; --paper: #fff; --panel: #f5f6f8;
  --pass: #12743b; --passbg: #e3f4e9; --fail: #b3151d; --failbg: #fde4e4; --open: #8a5a00; --openbg: #fdf1d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --dim: #99a; --line: #343a42; --paper: #14171b;
  --panel: #1c2026; --pass: #6fd495; --passbg: #17301f; --fail: #ff8a8a; --failbg: #3d1a1c; --open: #f0c060;
  --openbg: #3a2d10; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 76rem;
  margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { max-width: 60rem; } .dim { color: var(--dim); }
.badge { display: inline-block; padding: .3rem .8rem; border-radius: .4rem; font-weight: 600; }
.badge.pass { color: var(--pass); background: var(--passbg); }
.badge.fail { color: var(--fail); background: var(--failbg); }
.badge.open { color: var(--open); background: var(--openbg); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; }
th, td { text-align: left; padding: .28rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } thead th { background: var(--panel); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td.zero { color: var(--dim); }
td:first-child { white-space: nowrap; }
.cell { text-align: center; min-width: 2.5rem; padding: .28rem .3rem; font-variant-numeric: tabular-nums; }
th.cell { font-size: .78rem; }
.cell.pass { color: var(--pass); background: var(--passbg); }
.cell.fail { color: var(--fail); background: var(--failbg); font-weight: 700; }
.cell.none { color: var(--dim); } .cell.open { color: var(--open); background: var(--openbg); }
.s { white-space: nowrap; font-weight: 600; } .s.pass { color: var(--pass); } .s.fail { color: var(--fail); }
.s.none { color: var(--dim); font-weight: 400; } .s.open { color: var(--open); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .9rem; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
details { margin: .4rem 0; } summary { cursor: pointer; font-weight: 600; padding: .3rem 0; }
code { font-family: ui-monospace, monospace; font-size: .85em; overflow-wrap: anywhere; }
"""


def page(data: dict[str, Any], titles: dict[str, str]) -> str:
    """The page for `Report.to_json()`. While checks are still being made it asks the browser to read it again."""
    name = escape(data["device"]["name"])
    again = '<meta http-equiv="refresh" content="5">' if running(data) else ""
    verdicts = data["verdicts"]
    sections = [
        _head(data), _failures(verdicts), _counts(verdicts, titles), _matrix(verdicts), _functions(verdicts),
        _device(data), _everything(verdicts, titles),
    ]  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>tilewright certify {name}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{again}<style>{_STYLE}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )


def running(data: dict[str, Any]) -> bool:
    """Whether more checks were asked for than have been made."""
    return len(data["verdicts"]) < data["asked"]


def _head(data: dict[str, Any]) -> str:
    counts, total = data["counts"], len(data["verdicts"])
    made = [
        f"{counts[PASS]} checks hold", f"{counts[FAIL]} fail" if counts[FAIL] else "none fails",
        *([f"{counts[NOT_CLAIMED]} are about something that this device does not claim"] * bool(counts[NOT_CLAIMED])),
        *([f"{counts[NOT_RUN]} could not be made here"] * bool(counts[NOT_RUN])),
    ]  # fmt: skip
    part = "" if data["complete"] or running(data) else " Only some of the checks were asked for."
    if running(data):
        badge = f'<span class="badge open">{total} of {data["asked"]} checks are made</span>'
    elif data["certified"]:
        badge = '<span class="badge pass">All that it claims holds</span>'
    else:
        badge = f'<span class="badge fail">Not certified: {counts[FAIL]} of {total} checks failed</span>'
    when = f"{data['when'][:16].replace('T', ' ')} UTC, in {data['seconds']:.0f} seconds"
    name, model = escape(data["device"]["name"]), escape(data["device"]["fingerprint"]["model"])
    return (
        f"<h1>Device <code>{name}</code></h1><p class=dim>{model}</p><p>{badge}</p>"
        f"<p>{', '.join(made)}.{part} Made by tilewright {escape(data['versions']['tilewright'])} on {escape(when)}, "
        "everything compiled anew.</p>"
    )


def _table(heads: str, rows: str) -> str:
    return f"<div class=wide><table><thead><tr>{heads}</tr></thead>{rows}</table></div>"


def _failures(verdicts: list[dict[str, Any]]) -> str:
    failed = [v for v in verdicts if v["status"] == FAIL]
    if not failed:
        return ""
    rows = "".join(
        f"<tr><td>{escape(v['tier'])}</td><td class='s fail'>{escape(v['name'])}</td><td>{escape(v['promise'])}</td>"
        f"<td><code>{escape(v['detail'][:2000])}</code></td></tr>"
        for v in failed
    )
    return f"<h2>What fails</h2>{_table('<th>tier<th>check<th>promise<th>what was seen', rows)}"


def _counts(verdicts: list[dict[str, Any]], titles: dict[str, str]) -> str:
    rows = ""
    for tier, title in titles.items():
        own = [v["status"] for v in verdicts if v["tier"] == tier]
        if own:
            seconds = sum(v["seconds"] for v in verdicts if v["tier"] == tier)
            cells = "".join(_number(own.count(status)) for status in STATUSES)
            rows += f"<tr><td>{tier}</td><td>{escape(title)}</td>{cells}<td class=n>{seconds:.0f}</td></tr>"
    heads = "".join(f"<th class=n>{status}" for status in (*STATUSES, "seconds"))
    return f"<h2>Tiers</h2>{_table(f'<th>tier<th>about{heads}', rows)}"


def _number(count: int) -> str:
    return f'<td class="n{"" if count else " zero"}">{count}</td>'


def _matrix(verdicts: list[dict[str, Any]]) -> str:
    """Checks whose names end with a dtype; a float's cell shows the worst error in ulp."""
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for v in verdicts:
        what, _, dtype = v["name"].rpartition(" ")
        if dtype in DTYPES:
            rows.setdefault(what, {})[dtype] = v
    if not rows:
        return ""
    columns = [d for d in DTYPES if any(d in row for row in rows.values())]
    body = "".join(
        f"<tr><td>{escape(what)}</td>{''.join(_cell(row.get(d)) for d in columns)}</tr>" for what, row in rows.items()
    )
    heads = "".join(f"<th class=cell>{d}" for d in columns)
    return (
        "<h2>Kinds and dtypes</h2><p class=dim>✓ holds, ✗ fails, · not claimed, ? could not be made. A number is the "
        "worst error seen, in units of the last place (ulp); what is allowed stands below with each check.</p>"
        + _table(f"<th>check{heads}", body)
    )


def _cell(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return "<td></td>"
    status = verdict["status"]
    text = {PASS: "✓", FAIL: "✗", NOT_CLAIMED: "·", NOT_RUN: "?"}[status]
    worst = verdict["facts"].get("worst ulp", 0)
    text = f"{worst:#.2g}" if status == PASS and worst else text
    return (
        f'<td class="cell {_CLASSES[status]}" title="{escape(status)}: {escape(verdict["detail"][:300])}">{text}</td>'
    )


def _functions(verdicts: list[dict[str, Any]]) -> str:
    """Worst error of each function, at special and at usual values, beside what is allowed."""
    worst: dict[str, dict[str, list[float]]] = {}
    for v in verdicts:
        kind, _, dtype = v["name"].rpartition(" ")
        if kind in ("special values", "accuracy") and v["status"] == PASS:
            for op, (error, allowed) in v["facts"].items():
                before = worst.setdefault(op, {}).get(dtype, [0.0, allowed])
                worst[op][dtype] = [max(error, before[0]), allowed]
    if not worst:
        return ""
    columns = [d for d in DTYPES if any(d in row for row in worst.values())]
    rows = ""
    for op, row in sorted(worst.items()):
        cells = "".join(f"<td class=n>{row[d][0]:.2f}</td>" if d in row else "<td></td>" for d in columns)
        rows += f"<tr><td>{op}</td><td class=n>{next(iter(row.values()))[1]:g}</td>{cells}</tr>"
    heads = "".join(f"<th class=n>{d}" for d in columns)
    return (
        "<h2>Accuracy of functions</h2><p class=dim>Worst error in ulp over all pairs of special values and 4,001 "
        "usual ones. Arithmetic, rounding, comparison and choice are not listed: they must be exact.</p>"
        + _table(f"<th>function<th class=n>allowed{heads}", rows)
    )


def _device(data: dict[str, Any]) -> str:
    def lines(values: dict[str, Any]) -> str:
        return "".join(
            f"<dt>{escape(k.replace('_', ' '))}<dd>{escape(_plain(v))}" for k, v in values.items() if v != ""
        )

    device = data["device"]
    lists = {"What was certified": device["fingerprint"], "What it claims": device["limits"], "With": data["versions"]}
    return "".join(f"<h2>{title}</h2><dl>{lines(values)}</dl>" for title, values in lists.items())


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(": ".join(map(str, v)) if isinstance(v, list | tuple) else _plain(v) for v in value) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _everything(verdicts: list[dict[str, Any]], titles: dict[str, str]) -> str:
    text = "<h2>Every check</h2>"
    for tier, title in titles.items():
        own = [v for v in verdicts if v["tier"] == tier]
        if own:
            rows = "".join(_row(v) for v in own)
            table = _table("<th>check<th>status<th>promise<th>error allowed<th>seen<th class=n>s", rows)
            text += f"<details><summary>{tier}: {escape(title)} ({len(own)})</summary>{table}</details>"
    return text


def _row(v: dict[str, Any]) -> str:
    seen = v["detail"] or "; ".join(f"{k}: {_fact(x)}" for k, x in v["facts"].items())
    status = f"<td class='s {_CLASSES[v['status']]}'>{v['status']}</td>"
    texts = [f"<td>{escape(text)}</td>" for text in (v["promise"], v["bound"], seen[:600])]
    return f"<tr><td>{escape(v['name'])}</td>{status}{''.join(texts)}<td class=n>{v['seconds']:.2f}</td></tr>"


def _fact(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], float):
        return f"{value[0]:.2g} of {value[1]:g}"
    return ", ".join(map(_fact, value)) if isinstance(value, list) else str(value)
