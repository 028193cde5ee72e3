"""`tilewright report FILE.html`: the records as one page to look at."""

from __future__ import annotations

from pathlib import Path

import click

from tilewright.tuner.report import chapters
from tilewright.tuner.report_page import page
from tilewright.tuner.store import default_store


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def report(file: Path) -> None:
    """Write what the records say to FILE, a page that needs nothing else.

    For each device: every problem before and after, the roofline, how each search went, and what each tunable decides.
    """
    store = default_store()
    found = chapters(store)
    if not found:
        raise click.ClickException(f"no records yet in {store.path}; `tilewright tune` makes some")
    file.write_text(page(found, str(store.path)), encoding="utf-8")
    devices = f"{len(found)} device{'s' * (len(found) != 1)}"
    click.echo(f"{sum(len(c.stories) for c in found)} problems on {devices} written to {file}")
