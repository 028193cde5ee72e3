"""Packs: what is shipped is checked whole, nothing is lost or executed, and the user's own records come first."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

import tilewright.tuner as tuner
from tests.tuner.problems import FINGERPRINT, FakeDevice, double, trial
from tests.tuner.test_choose import valid
from tilewright.tuner import packs
from tilewright.tuner.command_records import records
from tilewright.tuner.packs import PINNED, PackError, installed, read_pack, write_pack
from tilewright.tuner.store import Store, default_store
from tilewright.tuner.tune_problem import Search
from tilewright.tuner.views import Index

PROBLEM = double()


def lines(*tiles):
    return [trial(PROBLEM, "map", {"TILE": t}, 1e-3 * t, when=1.0).to_line().encode() for t in tiles]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pack.jsonl"


def forged(path, *rows):
    """A pack whose header is right about rows that need not be."""
    write_pack(path, rows)
    return path


def test_a_pack_travels_whole(path):
    digest = write_pack(path, [*lines(1, 2), *lines(2)], note="why not")
    pack = read_pack(path)
    assert [r.config["TILE"] for r in pack.records] == [1, 2] and pack.lines == tuple(lines(1, 2))
    assert (pack.sha256, pack.provenance, pack.newer) == (digest, {"note": "why not"}, 0)


def test_another_content_is_refused(path):
    write_pack(path, lines(1, 2))
    path.write_bytes(path.read_bytes().replace(b'"TILE":2', b'"TILE":3'))
    with pytest.raises(PackError, match="another hash than its header; copy it again"):
        read_pack(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PackError, match="1 whole records where its header says 2"):
        read_pack(path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"space": [1 << 70]}, "not within 0 and"),
        ({"rounds": -1}, "not within 0 and"),
        ({"config": {"TILE": 1 << 80}}, "tunable 'TILE'"),
        ({"config": {"TILE": [1]}}, "tunable 'TILE'"),
        ({"policy": {"cache": "lukewarm"}}, "cache is one of warm, cold"),
        ({"policy": {"mode": 1}}, "missing or malformed"),
        ({"seconds": "fast"}, "'seconds' has the wrong type"),
        ({"title": "x" * 70_000}, "a record has at most 65536"),
    ],
)
def test_a_bad_record_is_named_and_refuses_the_pack(path, change, what):
    row = json.dumps(json.loads(lines(1)[0]) | change).encode()
    with pytest.raises(PackError, match=f"line 3: .*{what}"):
        read_pack(forged(path, *lines(2), row))


@pytest.mark.parametrize("row", [b"rubbish", b"[1]", b'{"a": NaN}', b"[" * 60_000, b"\xff\xfe", b'{"schema": true}'])
def test_what_is_no_record_is_refused(path, row):
    with pytest.raises(PackError, match="line 2: "):
        read_pack(forged(path, row))


@pytest.mark.parametrize("header", [b"", b"{}\n", b"rubbish\n", lines(1)[0] + b"\n", b"[" * 60_000])
def test_what_is_no_pack_is_refused(path, header):
    path.write_bytes(header)
    with pytest.raises(PackError, match="is no pack of records"):
        read_pack(path)


def test_newer_records_are_kept_and_not_used(path, tmp_path):
    newer = b'{"schema": 99, "something": "else"}'
    pack = read_pack(forged(path, newer, *lines(1)))
    assert pack.newer == 1 and len(pack.records) == 1
    store = Store(tmp_path / "records.jsonl")
    with pytest.warns(RuntimeWarning, match="of a newer tilewright"):
        assert store.merge(pack.lines).added == 2
    assert newer in store.lines() and len(store.records()) == 1
    path.write_bytes(path.read_bytes().replace(b'"tilewright_pack": 1', b'"tilewright_pack": 2'))
    with pytest.raises(PackError, match=r"newer tilewright \(format 2\); upgrade"):
        read_pack(path)


def test_ten_million_lines_are_refused_before_they_are_read_one_by_one(path, monkeypatch):
    body = b"{}\n" * 10_000_000
    head = {"tilewright_pack": 1, "records": 10_000_000, "sha256": "", "provenance": {}}
    path.write_bytes(json.dumps(head).encode() + b"\n" + body)
    with pytest.raises(PackError, match="10000000 lines, a pack at most 1000000"):
        read_pack(path)
    monkeypatch.setattr(packs, "MOST_NBYTES", 1000)
    with pytest.raises(PackError, match="a pack at most 1000; export fewer"):
        read_pack(path)


def test_own_records_lie_over_packs(tmp_path):
    theirs = Index([trial(PROBLEM, "map", {"TILE": 1}, 1e-3), trial(double(2000), "map", {"TILE": 5}, 1e-3)])
    asked = []
    store = Store(tmp_path / "records.jsonl", lambda: asked.append(1) or [theirs])
    assert store.best(PROBLEM.key, FINGERPRINT).config == {"TILE": 1}
    assert [r.config for r in store.nearest(double(1500), FINGERPRINT)] == [{"TILE": 5}, {"TILE": 1}]
    store.append(trial(PROBLEM, "map", {"TILE": 1}, 0.0, status="failed", reason="crash"))
    assert store.best(PROBLEM.key, FINGERPRINT) is None  # what failed here is not taken from elsewhere
    store.append(trial(PROBLEM, "map", {"TILE": 2}, 2e-3))
    assert store.best(PROBLEM.key, FINGERPRINT).config == {"TILE": 2}
    assert len(asked) == 1 and len(store.lines()) == 2


def wheel(site, value, content=None):
    """An installed package with a pack, whose code must not run."""
    (site / "shipped").mkdir(parents=True)
    (site / "shipped" / "__init__.py").write_text("raise SystemExit('imported')")
    (site / "shipped-1.0.dist-info").mkdir()
    (site / "shipped-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: shipped\nVersion: 1.0\n")
    (site / "shipped-1.0.dist-info" / "entry_points.txt").write_text(f"[tilewright.records]\nshipped = {value}\n")
    if content is None:
        write_pack(site / "shipped" / "records.jsonl", lines(4))
    else:
        (site / "shipped" / "records.jsonl").write_bytes(content)
    return site


def test_the_list_counts_packs_apart(tmp_path, monkeypatch):
    under = Index([trial(PROBLEM, "map", {"TILE": t}, 1e-3) for t in (1, 2)])
    store = Store(tmp_path / "records.jsonl", lambda: [under])
    store.append(trial(PROBLEM, "map", {"TILE": 4}, 1e-3))
    monkeypatch.setattr("tilewright.tuner.command_records.default_store", lambda: store)
    said = CliRunner().invoke(records, ["list"]).output.splitlines()[-1]
    assert said == f"1 records in {store.path}; 2 in packs that are layered under them"


def test_a_pack_in_a_wheel_is_found_and_its_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(wheel(tmp_path / "site", "shipped:records.jsonl")))
    [index] = installed()
    assert [r.config for r in index.records()] == [{"TILE": 4}]
    assert "shipped" not in sys.modules


@pytest.mark.parametrize(
    ("value", "content", "what"),
    [("shipped", None, "must say package:file"), ("shipped:records.jsonl", b"x", "is no pack"),
     ("absent:records.jsonl", None, "there is no package 'absent'"), ("shipped:other.jsonl", None, "No such file")],
)  # fmt: skip
def test_a_bad_pack_in_a_wheel_is_one_warning(tmp_path, monkeypatch, value, content, what):
    monkeypatch.syspath_prepend(str(wheel(tmp_path / "site", value, content)))
    with pytest.warns(RuntimeWarning, match=f"the pack 'shipped' is left out: .*{what}") as caught:
        assert installed() == []
    assert len(caught) == 1


@pytest.fixture
def unpinned(monkeypatch, tmp_path):
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv(PINNED, "")
    default_store.cache_clear()
    yield
    monkeypatch.undo()
    default_store.cache_clear()


def test_a_pin_is_all_that_choices_look_at(path, unpinned):
    device = FakeDevice()
    one, two = (valid(PROBLEM, device, k) for k in (1, 2))
    write_pack(path, [trial(PROBLEM, *one, 1e-3).to_line().encode()])
    default_store().append(trial(PROBLEM, *two, 1e-4))
    tuner.pin(path)
    assert tuner.choose(PROBLEM, device).candidate.config == one[1]
    with pytest.raises(ValueError, match="unset TILEWRIGHT_RECORDS to measure"):
        Search(PROBLEM, device, "quick", 1.0, lambda s: None, measurer=object()).run()
    with pytest.raises(PackError, match="cannot be read: No such file"):
        tuner.pin(path.with_name("absent"))
    default_store.cache_clear()
    assert tuner.choose(PROBLEM, device).candidate.config == one[1]  # a pin that fails changes nothing


def test_schema_one_is_still_read(path):
    old = json.loads(trial(PROBLEM, "map", {"TILE": 1}, 1e-3).to_line())
    for name in ("low", "high", "workspace"):
        del old[name]
    row = json.dumps(old | {"schema": 1, "policy": "median-1", "spread": 1e-5}).encode()
    [record] = read_pack(forged(path, row)).records
    assert (record.low, record.high) == (pytest.approx(0.9804e-3), pytest.approx(1.0196e-3))


def test_deploying_needs_neither_optuna_nor_another_devices_compiler(tmp_path):
    code = f"""
import os, sys
from dataclasses import replace
os.environ["TILEWRIGHT_CACHE"] = {str(tmp_path)!r}
for name in ("optuna", "click", "rich", "pyopencl", "cupy", "scipy"):
    sys.modules[name] = None  # whoever imports it fails
import numpy as np
from tests.tuner.problems import double, trial
from tests.tuner.test_choose import valid
from tilewright import tuner
from tilewright.backends.registry import get_device
from tilewright.tuner.packs import write_pack
from pathlib import Path
cpu, problem = get_device("cpu"), double()
kernel, config = valid(problem, cpu)
pack = Path({str(tmp_path)!r}) / "pack.jsonl"
write_pack(pack, [trial(problem, kernel, config, 1e-3, cpu.fingerprint).to_line().encode()])
tuner.pin(pack)
choice = tuner.choose(problem, cpu)
x, y = cpu.allocate(4000), cpu.allocate(4000)
cpu.write(x, np.arange(1000, dtype=np.float32))
for launch in tuner.prepare(problem, choice.candidate, cpu).bind([y], [x]).launches:
    launch()
result = np.frombuffer(cpu.read(y, 4000), np.float32)
print(choice.origin, choice.candidate.config == config, bool((result == 2 * np.arange(1000)).all()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["record", "True", "True"], done.stdout + done.stderr


def test_records_of_other_devices_in_a_pack_are_kept_apart(path, tmp_path):
    other = trial(PROBLEM, "map", {"TILE": 9}, 1e-9, replace(FINGERPRINT, model="other"))
    theirs = Index(read_pack(forged(path, other.to_line().encode())).records)
    store = Store(tmp_path / "records.jsonl", lambda: [theirs])
    assert store.best(PROBLEM.key, FINGERPRINT) is None
    assert store.best(PROBLEM.key, other.fingerprint).config == {"TILE": 9}
