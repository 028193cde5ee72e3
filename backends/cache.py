"""Compiled binaries, in memory and on disk, so that a kernel is compiled once per machine.

A file's name is the sha256 of everything its content depends on: the source and the device's fingerprint. A device
therefore puts into its fingerprint's `versions` whatever else shapes its binaries (its prelude, its flags). The file
holds the sha256 of the binary before the binary itself. Folder: TILEWRIGHT_CACHE, else the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tilewright.backends.protocol import Device, Program, Source

_programs: dict[tuple[Device, Source], Program] = {}
_locks: dict[tuple[Device, Source], threading.Lock] = {}
_warned: set[str] = set()


def folder() -> Path:
    """Where tilewright keeps what it may lose: TILEWRIGHT_CACHE, else the system's cache folder of this user."""
    asked = os.environ.get("TILEWRIGHT_CACHE")
    return Path(asked) if asked else _default_folder()


@cache
def _default_folder() -> Path:
    from platformdirs import user_cache_dir  # late: not needed before the first kernel

    return Path(user_cache_dir("tilewright"))


def load_program(device: Device, source: Source) -> Program:
    """The program of `source` on `device`: from memory, disk or the compiler. Raises CompileError, Unsupported."""
    key = (device, source)  # the device itself: after a rediscovery another one may have its name
    program = _programs.get(key)
    if program is None:
        with _locks.setdefault(key, threading.Lock()):  # two threads that want one kernel compile it once
            program = _programs.get(key)
            if program is None:
                program = _programs[key] = device.load(binary(device, source), source)
        _locks.pop(key, None)
    return program


def has_program(device: Device, source: Source) -> bool:
    """Whether `load_program` would do without the compiler."""
    return (device, source) in _programs or (folder() / "binaries" / binary_key(device, source)).exists()


def binary(device: Device, source: Source) -> bytes:
    """The binary of `source`, from disk if it is there, else built and kept."""
    path = folder() / "binaries" / binary_key(device, source)
    return read(path) or _build(path, lambda: device.build(source))


def binary_key(device: Device, source: Source) -> str:
    return hashlib.sha256(repr((source, device.fingerprint)).encode()).hexdigest()


def _build(path: Path, build: Callable[[], bytes]) -> bytes:
    data = build()
    write(path, data)
    return data


def read(path: Path) -> bytes | None:
    """The bytes that `write` put at `path`; None if there are none or they are damaged."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn(f"the cache folder {path.parent} cannot be read ({error.strerror}); kernels are compiled anew: "
              "correct its permissions or set TILEWRIGHT_CACHE")  # fmt: skip
        return None
    data = stored[32:]
    if hashlib.sha256(data).digest() != stored[:32]:
        _warn(f"a damaged file in the cache folder {path.parent} is replaced: {path.name[:12]}...")
        return None
    return data


def write(path: Path, data: bytes) -> None:
    """Keep `data` at `path`, whole or not at all. Where that cannot be done, one warning is given and work goes on."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        _warn(f"the cache folder {path.parent} cannot be written ({error.strerror}); kernels are compiled each time: "
              "free space, correct its permissions or set TILEWRIGHT_CACHE")  # fmt: skip


def _warn(message: str) -> None:
    """Each sort of trouble is told once per process."""
    sort = message.partition("(")[0]
    if sort not in _warned:
        _warned.add(sort)
        warnings.warn(message, RuntimeWarning, stacklevel=3)
