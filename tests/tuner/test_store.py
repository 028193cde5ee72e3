"""The store: what many processes, torn lines, damage, full disks and other versions must not do to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace

import pytest

from tests.tuner.problems import FINGERPRINT, double, trial
from tilewright.tuner import journal
from tilewright.tuner.decide import beats, pick
from tilewright.tuner.journal import parse
from tilewright.tuner.records import Record, differs
from tilewright.tuner.store import Store, default_path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "records.jsonl"


def test_record_survives_its_line():
    record = trial(double(), "map", {"TILE": 64, "FAST": True, "MODE": "x", "F": 0.5}, 1e-3, error=0.25, rounds=7)
    assert parse(record.to_line().encode()) == record


@pytest.mark.parametrize(
    "change",
    [{"seconds": "fast"}, {"seconds": 0}, {"seconds": True}, {"space": 3}, {"space": ["a"]}, {"fingerprint": {}},
     {"fingerprint": {"isa": 1}}, {"extra": 1}, {"config": []}, {"kind": None}],
)  # fmt: skip
def test_damaged_fields_are_damage(change):
    data = json.loads(trial(double(), "map", {}, 1e-3).to_line()) | change
    assert parse(json.dumps(data).encode()) is None
    for line in (b"", b"null", b"[1]", b"{}", b"\xff\xfe", b'{"schema": 1', b'{"schema": "new"}'):
        assert parse(line) is None


def test_append_and_read_back(path):
    problem = double()
    Store(path).append(trial(problem, "map", {"TILE": 1}, 2e-3))
    Store(path).append(trial(problem, "map", {"TILE": 2}, 1e-3))
    store = Store(path)
    assert store.best(problem.key, FINGERPRINT).config == {"TILE": 2}
    assert store.best(problem.key, replace(FINGERPRINT, driver="other")) is None
    if os.name == "posix":
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_store_sees_what_others_append(path):
    problem, mine, theirs = double(), Store(path), Store(path)
    assert mine.records() == []
    theirs.append(trial(problem, "map", {}, 1e-3))
    mine.refresh()
    assert len(mine.records()) == 1
    theirs.prune()
    theirs.append(trial(problem, "map", {"TILE": 3}, 1e-4))
    mine.refresh()
    assert mine.best(problem.key, FINGERPRINT).config == {"TILE": 3}


def test_torn_last_line_is_repaired(path):
    problem, store = double(), Store(path)
    store.append(trial(problem, "map", {"TILE": 1}, 1e-3))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = Store(path)
        assert len(again.records()) == 1
        again.append(trial(problem, "map", {"TILE": 2}, 1e-3))
        assert len(Store(path).records()) == 2
    assert path.read_bytes().count(b"\n") == 2


def test_last_line_without_newline_but_whole_is_kept(path):
    problem, store = double(), Store(path)
    store.append(trial(problem, "map", {"TILE": 1}, 1e-3))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    Store(path).append(trial(problem, "map", {"TILE": 2}, 1e-3))
    assert {r.config["TILE"] for r in Store(path).records()} == {1, 2}


def test_damaged_lines_are_skipped_with_one_warning(path):
    problem, store = double(), Store(path)
    store.append(trial(problem, "map", {"TILE": 1}, 1e-3))
    path.write_bytes(b"garbage\n\x00\xff\n" + path.read_bytes() + b'{"schema": 1, "kind": "trial"}\n')
    damaged = Store(path)
    with pytest.warns(RuntimeWarning, match="skipped 3 damaged lines") as caught:
        assert len(damaged.records()) == 1
        damaged.append(trial(problem, "map", {"TILE": 2}, 1e-3))
        damaged.refresh()
    assert len(caught) == 1
    assert damaged.prune() == (5, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Store(path).records()) == 2


def test_newer_schema_is_kept_not_used_and_said(path):
    newer = b'{"schema": 99, "something": "else"}'
    path.parent.mkdir()
    path.write_bytes(newer + b"\n")
    store = Store(path)
    with pytest.warns(RuntimeWarning, match="1 line in .* newer tilewright: kept, and not used") as caught:
        assert store.records() == []
        store.append(trial(double(), "map", {}, 1e-3))
        assert len(store.records()) == 1
    assert len(caught) == 1
    store.prune()
    assert newer in path.read_bytes().splitlines()


_WRITER = """
import sys
from pathlib import Path
from tests.tuner.problems import double, trial
from tilewright.tuner.store import Store
store = Store(Path(sys.argv[1]))
for k in range(25):
    store.append(trial(double(), "map", {"writer": int(sys.argv[2]), "k": k, "long": "x" * 3000}, 1e-3))
"""


def test_eight_processes_lose_nothing(path):
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(k)]) for k in range(8)]
    assert [w.wait(120) for w in writers] == [0] * 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = Store(path).records()
    assert len({(r.config["writer"], r.config["k"]) for r in records}) == len(records) == 200


def _refuse(monkeypatch, error):
    def append(path, lines):
        raise error

    monkeypatch.setattr("tilewright.tuner.store.append", append)


def test_full_disk_gives_one_warning_and_works_in_memory(path, monkeypatch):
    problem, store = double(), Store(path)
    store.append(trial(problem, "map", {"TILE": 1}, 3e-3))
    _refuse(monkeypatch, OSError(28, "No space left on device"))
    with pytest.warns(RuntimeWarning, match="No space left") as caught:
        store.append(trial(problem, "map", {"TILE": 2}, 2e-3))
        store.append(trial(problem, "map", {"TILE": 3}, 1e-3))
    assert len(caught) == 1
    assert store.best(problem.key, FINGERPRINT).config == {"TILE": 3}


def test_short_write_leaves_no_torn_line(path, monkeypatch):
    store, write = Store(path), os.write
    store.append(trial(double(), "map", {"TILE": 1}, 3e-3))
    before = path.read_bytes()
    monkeypatch.setattr(journal.os, "write", lambda file, data: write(file, data[:10]))
    with pytest.warns(RuntimeWarning, match="no space left"):
        store.append(trial(double(), "map", {"TILE": 2}, 2e-3))
    assert path.read_bytes() == before


def test_unusable_folder_gives_one_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    store = Store(blocked / "records.jsonl")
    with pytest.warns(RuntimeWarning) as caught:
        store.append(trial(double(), "map", {}, 1e-3))
        store.append(trial(double(), "map", {"TILE": 2}, 1e-4))
    assert sum("cannot write" in str(w.message) for w in caught) == 1
    assert store.best(double().key, FINGERPRINT).config == {"TILE": 2}


def test_import_merges(path, tmp_path):
    problem = double()
    one, two = Store(path), Store(tmp_path / "other.jsonl")
    one.append(trial(problem, "map", {"TILE": 1}, 1e-3))
    two.append(trial(problem, "map", {"TILE": 2}, 5e-4))
    with pytest.warns(RuntimeWarning, match="of a newer tilewright"):
        merged = one.merge([*two.lines(), *one.lines(), b"rubbish", b'{"schema": 7}', b""])
    assert merged == (2, 1, 1)
    assert one.best(problem.key, FINGERPRINT).config == {"TILE": 2}
    assert one.merge(two.lines()) == (0, 1, 0)


def test_prune_keeps_what_choices_depend_on(path):
    problem, store = double(), Store(path)
    for k in range(1, 21):
        store.append(trial(problem, "map", {"TILE": k}, k * 1e-3, when=float(k)))
    store.append(trial(problem, "map", {"TILE": 99}, 0.0, status="failed", reason="hang", when=30.0))
    for k in (12, 3):
        store.append(trial(problem, "map", {"TILE": k}, k * 1e-3, stage="final", session="s", when=31.0))
    for k in range(3):
        store.append(Record("search", "fake", FINGERPRINT, problem.key, when=40.0 + k))
    best = store.best(problem.key, FINGERPRINT)
    before, after = store.prune()
    assert before == 26 and after == 5 + 1 + 2 + 1 - 1  # TILE 3's final time is among the best five
    again = Store(path)
    assert again.best(problem.key, FINGERPRINT) == best
    assert [name for name, _ in again.failures(problem.key, FINGERPRINT)] == ["map TILE=99"]


def test_ties_go_to_the_vendor_then_the_default_then_canonical_order():
    problem = double()
    fast = trial(problem, "map", {"TILE": 2}, 1.000e-3, spread=1e-6)
    twin = trial(problem, "map", {"TILE": 1}, 1.001e-3, spread=1e-6)
    default = trial(problem, "map", {"TILE": 9}, 1.005e-3, spread=1e-5, default=True)
    vendor = trial(problem, "vendor", {}, 1.006e-3, spread=1e-5)
    slow = trial(problem, "vendor", {}, 1.2e-3, spread=1e-5)
    assert pick([fast, twin, default, vendor]) is vendor
    assert pick([fast, twin, default, slow]) is default
    assert pick([fast, twin, slow]) is twin
    assert pick([fast, slow]) is fast
    assert not beats(fast, trial(problem, "map", {}, 1.1e-3, spread=1e-4))


def test_finals_overrule_screens_and_failures_overrule_both(path):
    problem, store = double(), Store(path)
    store.append(trial(problem, "map", {"TILE": 1}, 1e-4, when=1.0))
    store.append(trial(problem, "map", {"TILE": 1}, 3e-3, stage="final", session="a", when=2.0))
    store.append(trial(problem, "map", {"TILE": 2}, 2e-3, stage="final", session="a", when=2.0))
    assert store.best(problem.key, FINGERPRINT).config == {"TILE": 2}
    store.append(trial(problem, "map", {"TILE": 2}, 0.0, status="failed", reason="crash", when=3.0))
    assert store.best(problem.key, FINGERPRINT).config == {"TILE": 1}


def test_nearest_by_octaves(path):
    store = Store(path)
    for n, tile in ((1 << 10, 1), (1 << 14, 2), (1 << 20, 3)):
        store.append(trial(double(n), "map", {"TILE": tile}, 1e-3))
    found = [r.config["TILE"] for r in store.nearest(double(1 << 13), FINGERPRINT)]
    assert found == [2, 1]  # 2**20 is more than three octaves away
    assert store.nearest(double(1 << 13), replace(FINGERPRINT, threads=2)) == []


def test_differs_names_the_fields():
    assert differs(FINGERPRINT, replace(FINGERPRINT, driver="2", threads=8)) == ["threads", "driver"]


def test_path_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    assert default_path() == tmp_path / "records.jsonl"
    monkeypatch.setenv("TILEWRIGHT_CACHE", "")
    assert default_path().name == "records.jsonl" and default_path().parent != tmp_path
