"""`tilewright records` with packs: export, import, merge, verify, pin."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from tilewright.tuner.journal import pruned
from tilewright.tuner.packs import PINNED, Pack, packed, read_pack, write_pack
from tilewright.tuner.store import Store, default_path, default_store

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_TARGET = click.Path(dir_okay=False, path_type=Path)


@click.command("export")
@click.argument("file", type=_TARGET)
@click.option("--note", default="", help="A line for whoever gets the pack.")
def export_records(file: Path, note: str) -> None:
    """Write every record of your own to FILE ("-": standard output), a pack to be checked, merged and shipped."""
    lines = Store(default_path()).lines()
    if str(file) == "-":
        sys.stdout.buffer.write(packed(lines, **_provenance(note))[0])
        return
    digest = write_pack(file, lines, **_provenance(note))
    click.echo(f"{len(lines)} records written to {file} (sha256 {digest})")


@click.command("import")
@click.argument("file", type=_FILE)
def import_records(file: Path) -> None:
    """Check the pack FILE and add its records to your own. Records of other devices are kept for those devices."""
    pack = read_pack(file)
    merged = Store(default_path()).merge(pack.lines)
    click.echo(f"{merged.added} records added, {merged.known} were known{_newer(pack)}")


@click.command("merge")
@click.argument("target", type=_TARGET, metavar="OUT")
@click.argument("files", type=_FILE, nargs=-1, required=True, metavar="PACK...")
def merge_records(target: Path, files: tuple[Path, ...]) -> None:
    """Write the records of all PACKs, each once, to the pack OUT."""
    packs = [read_pack(file) for file in files]
    lines = dict.fromkeys(line for pack in packs for line in pack.lines)
    digest = write_pack(target, lines, **_provenance(""), merged=[pack.sha256 for pack in packs])
    click.echo(f"{len(lines)} records of {len(packs)} packs written to {target} (sha256 {digest})")


@click.command("verify")
@click.argument("file", type=_FILE)
def verify_records(file: Path) -> None:
    """Check FILE, and say what is in it and where it comes from. Exit status 0 if it is sound."""
    pack = read_pack(file)
    click.echo(f"{file} is sound: {len(pack.lines)} records{_newer(pack)} (sha256 {pack.sha256})")
    for name, value in sorted(pack.provenance.items()):
        click.echo(f"  {name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    for fingerprint in dict.fromkeys(r.fingerprint for r in pack.records):
        own = [r for r in pack.records if r.fingerprint == fingerprint]
        problems = len({r.problem for r in own if r.kind == "trial"})
        click.echo(f"  {own[0].device}: {fingerprint.model}: {len(own)} records about {problems} problems")


@click.command("pin")
@click.argument("file", type=_TARGET)
def pin_records(file: Path) -> None:
    """Write all that choices here depend on to FILE, for processes that must agree, such as the ranks of one job.

    Start each with TILEWRIGHT_RECORDS=FILE, or call tilewright.tuner.pin(FILE) first in it: it then chooses from FILE
    alone, and refuses to tune.
    """
    lines = pruned([r.to_line().encode() for r in default_store().records()], keep=1)
    digest = write_pack(file, lines, **_provenance("pinned"))
    click.echo(f"{len(lines)} records pinned in {file} (sha256 {digest})")
    click.echo(f"start every rank with {PINNED}={file.resolve()}")


def _provenance(note: str) -> dict[str, str]:
    """Where a pack comes from: versions and time, nothing that names the machine or its user."""
    try:
        own = version("tilewright")
    except PackageNotFoundError:  # run from its sources
        own = "not installed"
    made = {
        "tilewright": own, "python": sys.version.split()[0], "platform": sys.platform,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    return {**made, "note": note} if note else made


def _newer(pack: Pack) -> str:
    return f", {pack.newer} of a newer schema: kept, not used until tilewright is upgraded" if pack.newer else ""


COMMANDS = (export_records, import_records, merge_records, verify_records, pin_records)
