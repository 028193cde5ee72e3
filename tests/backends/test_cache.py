"""Binaries on disk: found again, damaged, unwritable, full, and wanted by many at once."""

from __future__ import annotations

import os
import stat
import threading
import warnings
from pathlib import Path

import pytest

from tilewright.backends import cache
from tilewright.backends.kit_sources import scale
from tilewright.backends.protocol import Device, Source


class Counting:
    """A device that counts its builds and keeps the binaries it is given."""

    name = "counting"

    def __init__(self, cpu: Device) -> None:
        self.fingerprint, self.limits = cpu.fingerprint, cpu.limits
        self.builds, self.loaded = 0, []

    def build(self, source: Source) -> bytes:
        self.builds += 1
        return b"binary of " + source.entry.encode()

    def load(self, binary: bytes, source: Source) -> bytes:
        self.loaded.append(binary)
        return binary


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a process that has warned of nothing and loaded nothing."""
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", set())
    monkeypatch.setattr(cache, "_programs", {})
    return tmp_path / "cache"


@pytest.fixture
def device(cpu: Device) -> Counting:
    return Counting(cpu)


def forget() -> None:
    cache._programs.clear()


def test_is_built_once_per_machine(folder: Path, device: Counting) -> None:
    source = scale(device)
    assert cache.load_program(device, source) == cache.load_program(device, source) == b"binary of scale"
    assert (device.builds, len(device.loaded)) == (1, 1)
    forget()
    assert cache.load_program(device, source) == b"binary of scale"
    assert (device.builds, len(device.loaded)) == (1, 2)


def test_folder_and_files_are_the_users_own(folder: Path, device: Counting) -> None:
    cache.load_program(device, scale(device))
    (file,) = (folder / "binaries").iterdir()
    assert stat.S_IMODE((folder / "binaries").stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_everything_that_shapes_a_binary_is_in_its_key(device: Counting) -> None:
    source = scale(device)
    other = Source(source.entry, source.parameters, source.body, (("CHUNK", 512),), source.group)
    assert cache.binary_key(device, source) != cache.binary_key(device, other)
    before = cache.binary_key(device, source)
    from dataclasses import replace

    device.fingerprint = replace(device.fingerprint, compiler="another")
    assert cache.binary_key(device, source) != before
    assert "prelude" in dict(device.fingerprint.versions)


@pytest.mark.parametrize("damage", [b"", b"short", bytes(100)])
def test_a_damaged_file_is_rebuilt_with_one_warning(folder: Path, device: Counting, damage: bytes) -> None:
    cache.load_program(device, scale(device))
    (file,) = (folder / "binaries").iterdir()
    file.write_bytes(damage)
    forget()
    with pytest.warns(RuntimeWarning, match="damaged file") as caught:
        assert cache.load_program(device, scale(device)) == b"binary of scale"
    assert len(caught) == 1 and device.builds == 2
    forget()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.load_program(device, scale(device))
    assert device.builds == 2


def test_a_folder_that_cannot_be_made(folder: Path, device: Counting) -> None:
    folder.write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="TILEWRIGHT_CACHE") as caught:
        for _ in range(3):
            forget()
            assert cache.load_program(device, scale(device)) == b"binary of scale"
    assert len([w for w in caught if "cannot be written" in str(w.message)]) == 1
    assert len([w for w in caught if "cannot be read" in str(w.message)]) <= 1
    assert device.builds == 3


def test_a_full_disk(folder: Path, device: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="No space left on device") as caught:
        for _ in range(3):
            forget()
            cache.load_program(device, scale(device))
    assert len(caught) == 1
    assert list((folder / "binaries").iterdir()) == []  # no half-written file stays behind


def test_threads_that_want_one_kernel_build_it_once(folder: Path, device: Counting) -> None:
    start, got = threading.Barrier(8), []

    def work() -> None:
        start.wait()
        got.append(cache.load_program(device, scale(device)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [b"binary of scale"] * 8
    assert (device.builds, len(device.loaded)) == (1, 1)


def test_writers_of_one_file_leave_a_whole_one(folder: Path) -> None:
    path, contents = folder / "binaries" / "x", [bytes([k]) * 300_000 for k in range(6)]
    threads = [threading.Thread(target=cache.write, args=(path, data)) for data in contents for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.read(path) in contents
    assert [p.name for p in path.parent.iterdir()] == ["x"]
