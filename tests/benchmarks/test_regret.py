"""The regret of unseen sizes: its sums, and that no size is both tuned and unseen."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
from rich.console import Console

from benchmarks import regret
from benchmarks.regret import TUNED, UNSEEN, Regret, summed
from tilewright.tuner.choose import forget
from tilewright.tuner.store import Store


def row(chosen, best, value):
    return Regret("softmax", (8, 8), "nearest", chosen, best, 4.0, value)


def test_sums():
    said = summed([row(1.0, 1.0, 0.0), row(1.1, 1.0, 0.1), row(2.0, 1.0, 1.0)])
    assert said["sizes"] == 3 and said["median"] == pytest.approx(0.1) and said["worst"] == 1.0
    assert said["default_worst"] == pytest.approx(3.0)


def test_what_was_measured_apart_comes_together_in_one_file(tmp_path):
    path, facts = tmp_path / "regret.json", {"machine": {"model": "m"}, "seconds": 1.0}
    sums = Regret("sum rows", (4, 4), "default", 1.0, 1.0, 1.0, 0.0)
    for rows in ([row(2.0, 1.0, 1.0)], [sums], [row(1.0, 1.0, 0.0)]):
        regret.save(path, facts, rows)
    data = json.loads(path.read_text())
    assert [(s["name"], s["value"]) for s in data["sizes"]] == [("sum rows", 0.0), ("softmax", 0.0)]
    assert {name: s["sizes"] for name, s in data["summary"].items()} == {"sum rows": 1, "softmax": 1, "all": 2}
    regret.save(path, facts | {"machine": {"model": "another"}}, [sums])
    assert len(json.loads(path.read_text())["sizes"]) == 1


def test_no_size_is_tuned_and_unseen():
    assert TUNED.keys() == UNSEEN.keys() and not any({*TUNED[k]} & {*UNSEEN[k]} for k in TUNED)


def test_choices_are_made_before_the_sizes_are_known(cpu, monkeypatch, tmp_path, capsys):
    fresh = Store(tmp_path / "records.jsonl")
    for module in ("choose", "tune_problem"):
        monkeypatch.setattr(import_module(f"tilewright.tuner.{module}"), "default_store", lambda: fresh)
    monkeypatch.setattr(regret, "default_store", lambda: fresh)
    monkeypatch.setattr(import_module("tilewright.tuner.choose"), "MARGIN", 0.0)  # else noise decides who convinces
    monkeypatch.setattr(regret, "TUNED", {"sum rows": ((64, 64),)})
    monkeypatch.setattr(regret, "UNSEEN", {"sum rows": ((80, 90), (100, 64))})
    rows = regret.sweep(cpu, 0.4, only="rows")
    # Not "record": what was tuned at 64 x 64 is taken there.
    assert [r.origin for r in rows] == ["nearest", "nearest"] and all(r.value >= 0 for r in rows)
    regret.show(Console(width=120), rows)
    assert "all: median" in capsys.readouterr().out
    forget()
