"""`tilewright report`: what it counts, and that its page is whole, needs nothing else and survives odd records."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

from tests.tuner.problems import FINGERPRINT, double, matmul, trial
from tilewright.tuner.command import cli
from tilewright.tuner.records import Record
from tilewright.tuner.report import chapters, importance
from tilewright.tuner.store import Store


def search(problem, /, **details):
    return Record("search", "fake", FINGERPRINT, problem.key, title=problem.title, details=details)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "records.jsonl")
    problem, product = double(), matmul()
    for k in range(16):
        seconds = 1e-3 * (1 + k % 4) + 1e-7 * k
        config = {"TILE": k % 4, "FLAT": k // 8}
        store.append(trial(problem, "map", config, seconds, when=100.0 + k, default=k == 3))
    for k, config in ((3, {"TILE": 3, "FLAT": 0}), (0, {"TILE": 0, "FLAT": 0})):
        final = {"stage": "final", "session": "s", "when": 200.0, "default": k == 3}
        store.append(trial(problem, "map", config, 1e-3 * (1 + k), **final))
    store.append(search(problem, stopped="settled", problem=problem.to_json()))
    store.append(trial(product, "tile<&>", {"A": 1}, 1e-3, when=300.0))
    store.append(search(product, stopped="budget", problem={"kind": "of a later version"}))
    roof = {"triad_bytes_per_second": 2e10, "float32_madds_per_second": 4e10, "launch_seconds": 1e-6}
    store.append(Record("roof", "fake", FINGERPRINT, details=roof))
    return store


def test_a_story_has_what_was_measured(store):
    (chapter,) = chapters(store)
    first, second = chapter.stories
    assert (first.before.seconds, first.best.seconds) == (4e-3, 1e-3)
    assert first.progress[0] == first.progress[-1] == 1e-3 and len(first.progress) == 16
    assert (first.work.nbytes, first.work.operations) == (8000, 1000)
    assert (second.before, second.work, second.stopped) == (None, None, "budget")


def test_importance_is_the_share_that_a_tunable_explains(store):
    shares = importance(chapters(store)[0].stories[0].trials)
    assert list(shares) == ["TILE", "FLAT"] and shares["TILE"] > 0.99 and shares["FLAT"] < 0.01


def test_the_page_is_whole_and_needs_nothing_else(store, tmp_path, monkeypatch):
    monkeypatch.setattr("tilewright.tuner.command_report.default_store", lambda: store)
    done = CliRunner().invoke(cli, ["report", str(tmp_path / "r.html")])
    assert done.exit_code == 0 and done.output.startswith("2 problems on 1 device written to ")
    text = (tmp_path / "r.html").read_text()
    for title in ("Before and after", "Roofline", "Convergence", "What each tunable decides", "Winners"):
        assert f"<h3>{title}</h3>" in text
    assert "<li>map add 1000 float32, 0 % of the roof" in text and "<li class=none>" in text
    assert "4 ms default" in text and "1 ms, 4.00x" in text and "tile&lt;&amp;&gt;" in text
    assert not any(word in text for word in ("http", "<script", "src=", "@import", "url("))
    drawings = [f"<svg{part.split('</svg>')[0]}</svg>" for part in text.split("<svg")[1:]]
    assert len(drawings) == 4
    for drawing in drawings:  # HTML lets a class go without quotes, XML does not
        ET.fromstring(re.sub(r"class=([a-z]+)", r'class="\1"', drawing))


def test_no_records_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("tilewright.tuner.command_report.default_store", lambda: Store(tmp_path / "none.jsonl"))
    done = CliRunner().invoke(cli, ["report", str(tmp_path / "r.html")])
    assert done.exit_code == 1 and "no records yet" in done.output and not (tmp_path / "r.html").exists()
