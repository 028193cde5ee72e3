"""The file under the store: JSON lines that many processes append to, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tilewright.tuner.records import SCHEMA, Record


def decode(line: bytes) -> Record | int:
    """A line's record, or its schema number if that is newer than ours. Raises ValueError where it is damaged."""
    try:
        data = json.loads(line, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is no JSON") from None
    if not isinstance(data, dict) or type(data.get("schema")) is not int:
        raise ValueError("it is no record: there is no schema")
    return data["schema"] if data["schema"] > SCHEMA else Record.from_json(data)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def parse(line: bytes) -> Record | int | None:
    """As `decode`, None where it is damaged."""
    try:
        return decode(line)
    except ValueError:
        return None


def append(path: Path, lines: list[bytes]) -> None:
    """Under the lock, so a last line without its end is torn for sure, or whole if an editor saved the file."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(file).st_size
        if size:
            os.lseek(file, max(0, size - (1 << 20)), os.SEEK_SET)
            last = os.read(file, 1 << 20).rsplit(b"\n", 1)[-1]
            if last and parse(last) is not None:
                os.write(file, b"\n")
            elif last:
                os.ftruncate(file, size - len(last))
        for line in lines:
            size = os.fstat(file).st_size
            if os.write(file, line) != len(line):
                os.ftruncate(file, size)
                raise OSError(errno.ENOSPC, "no space left on the device")
    finally:
        os.close(file)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among the processes that write to `path`."""
    from filelock import FileLock  # late: only a process that writes pays for it

    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=10)
    except (NotImplementedError, TimeoutError):  # no locks on this file system, or its holder is stopped:
        yield  # one O_APPEND write per line is still whole on every local file system
        return
    try:
        yield
    finally:
        lock.release()


def pruned(lines: list[bytes], keep: int) -> list[bytes]:
    groups: dict[Any, list[tuple[Record, int]]] = {}
    kept: set[int] = set()
    for number, line in enumerate(lines):
        record = parse(line)
        if isinstance(record, Record):
            groups.setdefault((record.kind, record.problem, record.fingerprint), []).append((record, number))
        elif record is not None:
            kept.add(number)
    for (kind, *_), rows in groups.items():
        rows.sort(key=lambda row: row[0].when)
        if kind != "trial":
            kept.add(rows[-1][1])
            continue
        finals = [r.session for r, _ in rows if r.stage == "final"]
        last = finals[-1] if finals else None
        kept.update(n for r, n in rows if r.status == "failed" or (r.stage == "final" and r.session == last))
        fastest = sorted((row for row in rows if row[0].status == "ok"), key=lambda row: row[0].seconds)
        kept.update(n for _, n in fastest[:keep])
    return [line for number, line in enumerate(lines) if number in kept]
