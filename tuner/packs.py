"""Packs: records as one file that is checked whole before any of it is used. Plain data; nothing in it is executed.

The first line is a header: format, number of records, SHA-256 of all that follows it, and where it comes from. Every
other line is a record as in the store. A pack inside an installed package is found through the entry-point group
`tilewright.records`, whose values name it as `package:file`; the package is not imported for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilewright.tuner.journal import decode
from tilewright.tuner.records import Record
from tilewright.tuner.views import Index

GROUP = "tilewright.records"
PINNED = "TILEWRIGHT_RECORDS"
"""The environment variable that names the pack which processes that must agree read, and nothing else."""

FORMAT = 1
MOST_NBYTES = 1 << 28
MOST_RECORDS = 1_000_000
LONGEST_LINE = 1 << 16

_HEADER: dict[str, type] = {"tilewright_pack": int, "records": int, "sha256": str, "provenance": dict}


class PackError(ValueError):
    """A pack that is not used, in one sentence that names it and says what is wrong."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack that was found sound. `newer` counts records of a newer schema: kept as `lines`, not among `records`."""

    lines: tuple[bytes, ...]
    records: tuple[Record, ...]
    newer: int
    sha256: str
    provenance: dict[str, Any]


def packed(lines: Iterable[bytes], **provenance: Any) -> tuple[bytes, str]:
    """A pack of these record lines, each once, as it is written; and its SHA-256."""
    kept = list(dict.fromkeys(lines))
    body = b"".join(line + b"\n" for line in kept)
    digest = hashlib.sha256(body).hexdigest()
    header = {"tilewright_pack": FORMAT, "records": len(kept), "sha256": digest, "provenance": provenance}
    return json.dumps(header, sort_keys=True).encode() + b"\n" + body, digest


def write_pack(path: Path, lines: Iterable[bytes], **provenance: Any) -> str:
    """Write record lines as a pack, whole or not at all; returns its SHA-256. Raises OSError."""
    data, digest = packed(lines, **provenance)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        scratch.write_bytes(data)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    return digest


def read_pack(path: Path) -> Pack:
    """Raises PackError for what is no sound pack, OSError where it cannot be read."""
    nbytes = path.stat().st_size
    if nbytes > MOST_NBYTES:
        raise PackError(f"{path} has {nbytes} bytes, a pack at most {MOST_NBYTES}; export fewer records")
    with path.open("rb") as file:
        first, body = file.readline(LONGEST_LINE), file.read(MOST_NBYTES + 1)
    header = _header(path, first)
    count = body.count(b"\n")
    if count > MOST_RECORDS:
        raise PackError(f"{path} has {count} lines, a pack at most {MOST_RECORDS}; export fewer records")
    if count != header["records"] or not (body.endswith(b"\n") or not body):
        raise PackError(f"{path} has {count} whole records where its header says {header['records']}; copy it again")
    digest = hashlib.sha256(body).hexdigest()
    if digest != header["sha256"]:
        raise PackError(f"{path} is not what was exported: its content has another hash than its header; copy it again")
    lines = tuple(body.split(b"\n")[:-1])
    records = [_record(path, number, line) for number, line in enumerate(lines, 2)]
    sound = tuple(r for r in records if r is not None)
    return Pack(lines, sound, len(records) - len(sound), digest, header["provenance"])


def _header(path: Path, line: bytes) -> dict[str, Any]:
    what = f"{path} is no pack of records: `tilewright records export FILE` makes one"
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        raise PackError(what) from None
    if not isinstance(header, dict) or not isinstance(header.get("tilewright_pack"), int):
        raise PackError(what)
    if header["tilewright_pack"] > FORMAT:
        newer = header["tilewright_pack"]
        raise PackError(f"{path} is a pack of a newer tilewright (format {newer}); upgrade this one")
    if header.keys() != _HEADER.keys() or not all(isinstance(header[k], t) for k, t in _HEADER.items()):
        raise PackError(f"{path} has a header with missing, unknown or malformed fields; export it again")
    return header


def _record(path: Path, number: int, line: bytes) -> Record | None:
    """None where it is of a newer schema."""
    try:
        if len(line) > LONGEST_LINE:
            raise ValueError(f"{len(line)} bytes, a record has at most {LONGEST_LINE}")
        found = decode(line)
    except ValueError as error:
        raise PackError(f"{path} is refused, line {number}: {error}") from None
    return found if isinstance(found, Record) else None


def installed() -> list[Index]:
    """The packs of installed packages, in order of their names. One that is not sound is left out with a warning."""
    from importlib.metadata import entry_points  # late: reading every distribution's metadata takes some 10 ms

    found = []
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value)):
        try:
            found.append(Index(read_pack(_place(point.value)).records))
        except (OSError, ValueError) as error:
            warnings.warn(f"tilewright: the pack {point.name!r} is left out: {error}", RuntimeWarning, stacklevel=2)
    return found


def _place(value: str) -> Path:
    """The file that an entry point's value, `package:file`, names. The package is found, not imported."""
    from importlib.util import find_spec

    package, _, name = value.partition(":")
    if not name or "." in package:
        raise PackError(f"its entry point says {value!r}, and must say package:file with a top-level package")
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        return Path(folder) / name
    raise PackError(f"there is no package {package!r}, which its entry point names")


def pinned() -> Index | None:
    """The pack that TILEWRIGHT_RECORDS names; None where it names none. Raises PackError: ranks must not disagree."""
    path = os.environ.get(PINNED)
    if not path:
        return None
    try:
        return Index(read_pack(Path(path)).records)
    except OSError as error:
        raise PackError(f"{PINNED}={path} cannot be read: {error.strerror}") from None
