"""The store: an append-only file of records that many processes may write at once, and views over it."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tilewright.backends.protocol import Fingerprint
from tilewright.kernels.problem import Problem
from tilewright.tuner.journal import append, locked, parse, pruned
from tilewright.tuner.packs import PINNED, installed, pinned
from tilewright.tuner.records import Record
from tilewright.tuner.views import Index

Layers = Callable[[], Iterable[Index]]


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
    crash is cut off by the next append. `layers` gives the packs that lie under it, asked for when first needed: where
    the file has nothing to use, they answer. `snapshot`, if given, is all that is looked at: see `packs.pinned`.
    """

    def __init__(self, path: Path, layers: Layers = tuple, snapshot: Index | None = None) -> None:
        self.path, self.snapshot = path, snapshot
        self._mutex = threading.RLock()
        self._own = Index()
        self._layers, self._under = layers, None if snapshot is None else [snapshot]
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
                        self._own, self._end, self._inode = Index(self._memory or ()), 0, stat.st_ino
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
            found = [self._take(line) for line in data[:whole].splitlines()]
            damaged = found.count(None)
            newer = sum(isinstance(record, int) for record in found)
            if newer:
                self._warn("newer", f"{newer} line{'s' * (newer > 1)} in {self.path} are of a newer tilewright: kept, "
                           "and not used until this one is upgraded")  # fmt: skip
            if damaged:
                self._warn("damaged", f"skipped {damaged} damaged line{'s' * (damaged > 1)} in {self.path}; "
                           "`tilewright records prune` removes them")  # fmt: skip

    def _take(self, line: bytes) -> Record | int | None:
        """Put a line into the views; what `parse` made of it."""
        record = parse(line)
        if isinstance(record, Record):
            self._own.add(record)
        return record

    def _mine(self) -> Index:
        """What the file says; nothing where a snapshot is all that counts."""
        if self.snapshot is not None:
            return Index()
        if self._end < 0:
            self.refresh()
        return self._own

    def _all(self) -> list[Index]:
        """The file, then the packs under it."""
        if self._under is None:
            self._under = list(self._layers())
        return [self._mine(), *self._under]

    def records(self) -> list[Record]:
        """Everything that can be used, in no particular order."""
        with self._mutex:
            return [r for index in self._all() for r in index.records()]

    def layered(self) -> int:
        """How many of them are not in the file but in packs, or in the snapshot that is pinned."""
        with self._mutex:
            return sum(len(index.records()) for index in self._all()[1:])

    def trials(self, problem: str, fingerprint: Fingerprint) -> list[Record]:
        """Every trial of the problem with that key on exactly that device, the packs' first, each oldest first."""
        with self._mutex:
            return [r for index in reversed(self._all()) for r in index.trials(problem, fingerprint)]

    def best(self, problem: str, fingerprint: Fingerprint) -> Record | None:
        """The trial to use: from the latest finals where there are any, else from all that were measured alone."""
        with self._mutex:
            mine = self._mine()
            failed = set(mine.failures(problem, fingerprint))
            best = mine.best(problem, fingerprint, failed)
            if best is not None:  # packs are not even looked for
                return best
            for index in self._all()[1:]:
                best = index.best(problem, fingerprint, failed | set(index.failures(problem, fingerprint)))
                if best is not None:
                    return best
        return None

    def failures(self, problem: str, fingerprint: Fingerprint) -> dict[tuple[str, str], Record]:
        """By canonical name and kernel text, the candidates that must not be tried again."""
        with self._mutex:
            return {k: r for index in self._all() for k, r in index.failures(problem, fingerprint).items()}

    def advantage(self, best: Record, vendor: bool) -> float:
        """How many times slower than `best` the vendor, or the default, surely was, measured alike; 0 if not known."""
        with self._mutex:
            return max(index.advantage(best, vendor) for index in self._all())

    def nearest(self, problem: Problem, fingerprint: Fingerprint, reach: float = 3.0) -> list[Record]:
        """Best trials of the same family at other sizes, closest log2 sizes first, each axis within 2**reach."""
        with self._mutex:
            found = sorted({row for index in self._all() for row in index.near(problem, fingerprint, reach)})
            best = (self.best(key, fingerprint) for _, key in found)
            return [record for record in best if record is not None]

    def search(self, problem: str, fingerprint: Fingerprint) -> Record | None:
        """How the last search of this problem ended."""
        return self._last(lambda r: r.kind == "search" and r.problem == problem and r.fingerprint == fingerprint)

    def roof(self, fingerprint: Fingerprint) -> Record | None:
        return self._last(lambda r: r.kind == "roof" and r.fingerprint == fingerprint)

    def _last(self, condition: Callable[[Record], bool]) -> Record | None:
        with self._mutex:
            return next((r for index in self._all() if (r := index.last(condition)) is not None), None)

    # writing

    def append(self, record: Record) -> None:
        """Write one line. Where the folder cannot be written, one warning and the record lives in memory.

        Raises ValueError where a snapshot is pinned: what is measured then could not be used.
        """
        if self.snapshot is not None:
            raise ValueError(f"the records are pinned to {os.environ.get(PINNED)}; unset {PINNED} to measure")
        with self._mutex:
            self._mine()
            if self._write(record.to_line().encode() + b"\n"):
                self.refresh()
            else:
                self._memory = [*(self._memory or ()), record]
                self._own.add(record)

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


@cache
def default_store() -> Store:
    """The one store of this process. Raises ValueError where TILEWRIGHT_RECORDS names no sound pack."""
    return Store(default_path(), installed, pinned())
