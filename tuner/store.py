"""The store: an append-only file of records that many processes may write at once, and views over it."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tilewright.backends.protocol import Fingerprint
from tilewright.kernels.problem import Problem
from tilewright.tuner.journal import append, locked, parse, pruned
from tilewright.tuner.records import POLICY, Record, pick


class Merged(NamedTuple):
    """What an import did, in lines."""

    added: int
    known: int
    damaged: int


def default_path() -> Path:
    """`records.jsonl` in the folder named by TILEWRIGHT_CACHE, else in the user's data folder."""
    folder = os.environ.get("TILEWRIGHT_CACHE")
    if not folder:
        from platformdirs import user_data_dir  # late: only a process that looks up records pays for it

        folder = user_data_dir("tilewright")
    return Path(folder) / "records.jsonl"


class Store:
    """Records in the file `path`, read when first asked for. Never raises for a bad file: one warning, then memory.

    Appends are one O_APPEND write per line under a file lock, so several processes lose nothing; a last line torn by a
    crash is cut off by the next append.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.RLock()
        self._trials: dict[tuple[str, Fingerprint], list[Record]] = {}
        self._others: list[Record] = []  # searches and roofs
        self._end = -1  # bytes of the file already read; -1: not opened yet
        self._inode = 0
        self._memory: list[Record] | None = None  # once the file cannot be written: what it lacks
        self._warned: set[str] = set()

    @property
    def whereabouts(self) -> str:
        """Where what was measured is, for people."""
        return f"all is kept in {self.path}" if self._memory is None else "nothing could be kept: see the warning"

    # reading

    def refresh(self) -> None:
        """Read what was added to the file since the last time, by whichever process."""
        with self._mutex:
            try:
                with self.path.open("rb") as file:
                    stat = os.fstat(file.fileno())
                    if stat.st_ino != self._inode or stat.st_size < self._end:  # pruned: another file
                        self._trials, self._others, self._end, self._inode = {}, [], 0, stat.st_ino
                        for record in self._memory or ():
                            self._index(record)
                    file.seek(max(self._end, 0))
                    data = file.read()
            except FileNotFoundError:
                self._end = max(self._end, 0)
                return
            except OSError as error:
                self._end = max(self._end, 0)
                self._warn("read", f"cannot read the records in {self.path}: {error.strerror}; going on without them")
                return
            whole = data.rfind(b"\n") + 1  # what follows is a line being written, or torn
            self._end += whole
            damaged = 0
            for line in data[:whole].splitlines():
                damaged += not self._take(line)
            if damaged:
                self._warn("damaged", f"skipped {damaged} damaged line{'s' * (damaged > 1)} in {self.path}; "
                           "`tilewright records prune` removes them")  # fmt: skip

    def _take(self, line: bytes) -> bool:
        """Put a line into the views; False if it is damaged."""
        record = parse(line)
        if isinstance(record, Record):
            self._index(record)
        return record is not None

    def _index(self, record: Record) -> None:
        if record.kind == "trial":
            self._trials.setdefault((record.problem, record.fingerprint), []).append(record)
        else:
            self._others.append(record)

    def _opened(self) -> None:
        if self._end < 0:
            self.refresh()

    def records(self) -> list[Record]:
        """Everything that can be used, in no particular order."""
        with self._mutex:
            self._opened()
            return [*(r for rows in self._trials.values() for r in rows), *self._others]

    def trials(self, problem: str, fingerprint: Fingerprint) -> list[Record]:
        """Every trial of the problem with that key on exactly that device, oldest first."""
        with self._mutex:
            self._opened()
            return list(self._trials.get((problem, fingerprint), ()))

    def best(self, problem: str, fingerprint: Fingerprint) -> Record | None:
        """The trial to use: from the latest finals where there are any, else from all that were measured alone."""
        rows = [r for r in self.trials(problem, fingerprint) if r.policy == POLICY]
        finals = [r for r in rows if r.stage == "final" and r.status == "ok"]
        if finals:
            latest = max(finals, key=lambda r: r.when).session
            failed = {(r.name, r.text) for r in rows if r.status == "failed"}
            return pick(r for r in finals if r.session == latest and (r.name, r.text) not in failed)
        return pick(_latest(rows))

    def failures(self, problem: str, fingerprint: Fingerprint) -> dict[tuple[str, str], Record]:
        """By canonical name and kernel text, the candidates that must not be tried again."""
        return {(r.name, r.text): r for r in self.trials(problem, fingerprint) if r.status == "failed"}

    def nearest(self, problem: Problem, fingerprint: Fingerprint, reach: float = 3.0) -> list[Record]:
        """Best trials of the same family at other sizes, closest log2 sizes first, each axis within 2**reach."""
        with self._mutex:
            self._opened()
            family = f"{problem.family}:"
            keys = [k for k, f in self._trials if f == fingerprint and k.startswith(family) and k != problem.key]
        found = []
        for key in keys:
            best = self.best(key, fingerprint)
            if best is None or len(best.space) != len(problem.space):
                continue
            steps = [_octaves(a, b) for a, b in zip(best.space, problem.space, strict=True)]
            if max(steps, default=0.0) <= reach:
                found.append((sum(steps), key, best))
        return [best for _, _, best in sorted(found, key=lambda row: row[:2])]

    def search(self, problem: str, fingerprint: Fingerprint) -> Record | None:
        """How the last search of this problem ended."""
        return self._last(lambda r: r.kind == "search" and r.problem == problem and r.fingerprint == fingerprint)

    def roof(self, fingerprint: Fingerprint) -> Record | None:
        return self._last(lambda r: r.kind == "roof" and r.fingerprint == fingerprint)

    def _last(self, condition: Any) -> Record | None:
        with self._mutex:
            self._opened()
            return max(filter(condition, self._others), key=lambda r: r.when, default=None)

    # writing

    def append(self, record: Record) -> None:
        """Write one line. Where the folder cannot be written, one warning and the record lives in memory."""
        with self._mutex:
            self._opened()
            if self._write(record.to_line().encode() + b"\n"):
                self.refresh()
            else:
                self._memory = [*(self._memory or ()), record]
                self._index(record)

    def _write(self, line: bytes) -> bool:
        if self._memory is not None:
            return False
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self.path):
                append(self.path, [line])
        except OSError as error:
            why = f"cannot write records to {self.path}: {error.strerror or error}"
            self._warn(
                "write", f"{why}; what is measured now is forgotten at exit; set TILEWRIGHT_CACHE to a writable folder"
            )
            return False
        return True

    def _warn(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(f"tilewright: {message}", RuntimeWarning, stacklevel=4)

    # whole-file work

    def lines(self) -> list[bytes]:
        """Every undamaged line of the file, those of a newer schema too."""
        try:
            return [line for line in self.path.read_bytes().splitlines() if parse(line) is not None]
        except FileNotFoundError:
            return []

    def merge(self, lines: Iterable[bytes]) -> Merged:
        """Add the lines that are not here yet. Raises OSError where the file cannot be written."""
        known, fresh, again, damaged = set(self.lines()), [], 0, 0
        for line in lines:
            line = line.strip()
            if not line:
                continue
            if parse(line) is None:
                damaged += 1
            elif line in known:
                again += 1
            else:
                known.add(line)
                fresh.append(line + b"\n")
        if fresh:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self.path):
                append(self.path, fresh)
            self.refresh()
        return Merged(len(fresh), again, damaged)

    def prune(self, keep: int = 5) -> tuple[int, int]:
        """Keep, per problem and device, the last finals, the best `keep`, failures and the last search; and each roof.

        Damaged lines go, lines of a newer schema stay. Returns (lines before, lines after). Raises OSError.
        """
        if not self.path.exists():
            return 0, 0
        with self._mutex, locked(self.path):
            before = self.path.read_bytes().splitlines()
            after = pruned(before, keep)
            scratch = self.path.with_suffix(f".{os.getpid()}.tmp")
            scratch.write_bytes(b"".join(line + b"\n" for line in after))
            os.replace(scratch, self.path)
        self.refresh()
        return len(before), len(after)


def _octaves(a: int, b: int) -> float:
    return abs(math.log2(a / b)) if a > 0 and b > 0 else 0.0 if a == b else math.inf


def _latest(rows: Iterable[Record]) -> list[Record]:
    """Of each candidate the last word; a failure is final for that kernel text."""
    latest: dict[str, Record] = {}
    for record in sorted(rows, key=lambda r: r.when):
        before = latest.get(record.name)
        if before is None or before.status == "ok" or before.text != record.text:
            latest[record.name] = record
    return list(latest.values())


@cache
def default_store() -> Store:
    """The one store of this process."""
    return Store(default_path())
