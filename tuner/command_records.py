"""`tilewright records`: what is known, for which device, from when; moved between machines as plain JSON lines."""

from __future__ import annotations

from datetime import datetime

import click

from tilewright.tuner.command_packs import COMMANDS
from tilewright.tuner.command_why import why_record
from tilewright.tuner.records import Record
from tilewright.tuner.store import Store, default_store
from tilewright.tuner.yardstick import duration


@click.group(invoke_without_command=True)
@click.pass_context
def records(context: click.Context) -> None:
    """What has been measured: list it, ask why, move it between machines, prune it."""
    if context.invoked_subcommand is None:
        context.invoke(list_records)


@records.command("list")
def list_records() -> None:
    """The best known for every problem on every device, and when it was measured."""
    store = default_store()
    everything, packs = store.records(), store.layered()
    devices = list(dict.fromkeys(r.fingerprint for r in everything))
    if not everything:
        click.echo(f"no records yet in {store.path}; `tilewright tune` makes some")
        return
    for fingerprint in devices:
        own = [r for r in everything if r.fingerprint == fingerprint]
        software = ", ".join(x for x in (fingerprint.driver, fingerprint.compiler) if x)
        click.echo(f"{own[-1].device}: {fingerprint.model}, {software}: {len(own)} records")
        for key in dict.fromkeys(r.problem for r in own if r.kind == "trial"):
            click.echo("  " + _line(store, key, [r for r in own if r.problem == key]))
    own_count = len(everything) - packs
    under = f"; {packs} in packs that are layered under them" if packs else ""
    click.echo(f"{own_count} records in {store.path}{under}")


def _line(store: Store, key: str, rows: list[Record]) -> str:
    trials = [r for r in rows if r.kind == "trial"]
    failed = sum(r.status == "failed" for r in trials)
    best = store.best(key, trials[0].fingerprint)
    search = store.search(key, trials[0].fingerprint)
    ended = search.details.get("stopped") if search is not None else None
    state = {"settled": "settled", "roof": "at roof"}.get(str(ended), "open")
    day = datetime.fromtimestamp(max(r.when for r in trials)).strftime("%Y-%m-%d %H:%M")
    time = duration(best.seconds) if best else "nothing works"
    counts = f"{len(trials)} trials" + (f", {failed} failed" if failed else "")
    return f"{trials[0].title:<52} {time:>13}  {day}  {state:<7} {counts}  {best.name if best else trials[-1].reason}"


@records.command("prune")
def prune_records() -> None:
    """Forget what no choice depends on: losers, all but the last search, damaged lines."""
    before, after = default_store().prune()
    click.echo(f"{before - after} of {before} lines removed from {default_store().path}")


for _command in (why_record, *COMMANDS):
    records.add_command(_command)
