"""The replay of measured spaces: its score, and that it runs from a folder."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import search
from benchmarks.spaces import TRIALS, load


@pytest.fixture
def folder(tmp_path):
    """Two devices, 64 configs of two tunables each, one of which failed."""
    rows = np.array([(a, b) for a in range(8) for b in range(8)], np.int16)
    values = json.dumps([list(range(8)), [1, 2, 4, 8, 16, 32, 64, 128]])
    for device, goal in (("one", (2, 5)), ("two", (3, 5))):
        time = 1.0 + np.abs(rows - goal).sum(1)
        time[63] = np.nan
        np.savez(tmp_path / f"bowl_{device}.npz", names='["A", "B"]', values=values, X=rows, time=time)
    return tmp_path


def test_random_search_scores_0_and_knowing_the_answer_1(folder):
    space = load(folder)[0]
    best = int(np.nanargmin(space.seconds))
    assert space.score(np.array([space.curve([best])])) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    curves = np.array([space.curve(rng.permutation(64)) for _ in range(2000)])
    assert abs(space.score(curves)) < 0.05
    assert space.random_curve()[0] == pytest.approx(space.worst_for_failed.mean())
    assert space.horizon == 31 and curves.shape == (2000, TRIALS)


def test_runs_and_saves_what_it_found(folder, capsys):
    path = folder / "out.json"
    arguments = ["--data", str(folder), "--seeds", "1", "--peer-seeds", "1", "--json", str(path)]
    assert search.main([*arguments, "--only", "tilewright"]) == 0
    results = json.loads(path.read_text())["results"]
    assert set(results) == {"tilewright", *(f"tilewright, others {how}" for how in search.TRANSFER)}
    assert results["tilewright, others as they are"]["fractions"]["50"] == 1.0
    assert "all spaces" in capsys.readouterr().out
    search.main([*arguments, "--only", "random", "--jobs", "2"])
    both = json.loads(path.read_text())["results"]
    assert both == {**results, "random": both["random"]}
    assert search.main([*arguments, "--only", "no such"]) == 2 and "optuna TPE" in capsys.readouterr().out


def test_without_data_it_says_where_they_come_from(capsys):
    with pytest.raises(SystemExit):
        search.main([])
    assert "AutoTuningAssociation/benchmark_hub" in capsys.readouterr().err
