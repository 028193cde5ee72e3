"""The simulation of noisy runs: a small seeded sample of it, and that it shows its results."""

from __future__ import annotations

import numpy as np

from benchmarks import decisions
from benchmarks.decisions import Case, clear, judge


def case(gap, noise, count=8):
    """Candidates of 1 ms and more, the third the fastest; now and then a run is disturbed."""
    rng = np.random.default_rng(0)
    bases = [1 + gap + 0.05 * abs(k - 2) if k != 2 else 1.0 for k in range(count)]
    draws = [1e-3 * base * (1 + noise * rng.normal(size=64) + 0.3 * (rng.random(64) < 0.05)) for base in bases]
    return Case(f"{gap} {noise}", draws)


def test_clear_winners_are_the_same_in_99_runs_of_100_and_cost_nothing():
    rows = [judge(case(gap, noise), 40) for gap, noise in ((0.02, 0.005), (0.1, 0.02))]
    assert all(map(clear, rows))
    for row in rows:
        assert row["ours"]["same"] >= 0.99 and row["ours"]["worst_regret"] <= 0.01


def test_near_ties_cost_at_most_a_percent_and_are_steadier_than_the_least_median():
    row = judge(Case("twins", [1e-3 * (1 + 0.004 * np.random.default_rng(k).normal(size=64)) for k in range(8)]), 40)
    assert row["ours"]["worst_regret"] <= 0.01
    assert row["ours"]["same"] > row["argmin"]["same"]


def test_what_was_taken_here_is_judged_and_shown(capsys):
    decisions.main(["--runs", "3"])
    shown = capsys.readouterr().out
    assert "ours: same winner" in shown and "argmin: same winner" in shown


def test_repeated_times_are_taken_here_and_read_back(tmp_path):
    decisions.collect(tmp_path / "spread.json", rounds=3, labels=["sum rows 2048x2048"])
    (found,) = decisions.stored(tmp_path / "spread.json")
    assert found.name == "sum rows 2048x2048"
    assert len(found.times) > 1
    assert all(len(row) == 3 and (row > 0).all() for row in found.times)
