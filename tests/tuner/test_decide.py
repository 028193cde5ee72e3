"""The rules by which candidates win, drop out and tie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.tuner.problems import double, trial
from tilewright.tuner.decide import (
    FEWEST,
    Timing,
    batch,
    beats,
    finalists,
    finals_seconds,
    levelled,
    narrow,
    pick,
    race,
    summary,
)
from tilewright.tuner.policy import Policy


def test_the_interval_holds_the_median_95_times_in_100():
    rng = np.random.default_rng(0)
    for count in (6, 11, 30, 200):
        draws = np.exp(rng.normal(0, 0.1, (1000, count))) + (rng.random((1000, count)) < 0.1)  # skewed, with outliers
        truth = np.median(np.exp(rng.normal(0, 0.1, 1 << 18)) + (rng.random(1 << 18) < 0.1))
        held = [t.low <= truth <= t.high for t in map(summary, draws.tolist())]
        assert 0.93 <= np.mean(held) <= 0.995, count
    assert summary([1.0]) == Timing(1.0, 1 / 1.04, 1.04, 1)


def test_levelled_takes_out_what_hit_all_alike():
    rng = np.random.default_rng(1)
    drift = np.linspace(1.0, 1.5, 60)  # a clock that slows down, far more than the candidates differ
    one, two = (base * drift * rng.normal(1, 0.002, 60) for base in (1.00, 1.01))
    assert not beats(summary(one.tolist()), summary(two.tolist()))
    a, b = levelled([one.tolist(), two.tolist()])
    assert beats(a, b) and narrow(a)


def test_a_quiet_one_beats_a_noisy_one_though_there_were_few_turns():
    quiet, noisy = levelled([[4.18, 4.07, 4.2, 4.1, 4.11], [3220.0, 595.0, 15800.0, 2900.0, 4100.0]])
    assert beats(quiet, noisy) and noisy.low > 0 and quiet.high < 4.5
    a, b, c = levelled([[1.0] * 40, [1.0] * 40, [0.9, 1.1] * 20])  # whose noise is its own, and nobody else's
    assert c.high - c.low > 0.1 and narrow(a) and narrow(b)


def test_losers_drop_out_and_the_race_ends_when_nothing_is_in_doubt():
    rng = np.random.default_rng(2)
    bases = (1.0, 1.3, 1.002)
    rows = race(lambda k: bases[k] * rng.normal(1, 0.01), 3, lambda turn: turn < 200)
    assert FEWEST <= len(rows[1]) < 20 < len(rows[0]) == len(rows[2])
    assert [len(row) for row in race(lambda k: [1.0, 1.5][k], 2, lambda turn: turn < 200)] == [FEWEST, FEWEST]
    assert [len(row) for row in race(lambda k: 1.0 + k, 2, lambda turn: turn < 2)] == [2, 2]  # the time is over


def test_ties_go_to_the_smallest_workspace_then_to_the_order_of_values():
    problem = double()
    large = trial(problem, "map", {"TILE": 16}, 1.000e-3, spread=1e-6, workspace=64)
    later = trial(problem, "map", {"TILE": 128}, 1.001e-3, spread=1e-6)
    first = trial(problem, "map", {"TILE": 64}, 1.002e-3, spread=1e-6)
    assert pick([large, later, first]) is first
    assert pick([large, later]) is later


def test_a_tie_surely_costs_at_most_a_percent_however_much_noise_there_is():
    problem = double()
    top = trial(problem, "map", {"TILE": 9}, 1.000e-3, spread=1e-5)
    noisy = trial(problem, "map", {"TILE": 1}, 1.005e-3, spread=2e-5)  # in no way beaten, but perhaps 2 % slower
    assert pick([top, noisy]) is top
    sure, known, slower = (trial(problem, "map", {"TILE": t}, s, spread=1e-6)
                           for t, s in ((9, 1.000e-3), (1, 1.002e-3), (2, 1.005e-3)))  # fmt: skip
    assert pick([sure, known]) is known
    assert pick([sure, slower]) is sure


def test_the_median_of_a_batch_is_of_an_odd_number_so_that_it_is_one_of_two_modes():
    assert all(batch(s) % 2 for s in (1e-7, 1e-4, 3e-4, 9e-4, 1e-3, 1.9e-3, 5e-3, 1.0))
    assert batch(1e-7) == 21 and batch(0.5) == 1
    assert [finals_seconds(s) for s in (1e-4, 0.03, 10.0)] == [1.0, 3.0, 5.0]


def test_who_is_taken_beats_the_vendor_itself():
    problem = double()
    top = trial(problem, "map", {"TILE": 9}, 1.000e-3, spread=1e-6)
    tied = trial(problem, "map", {"TILE": 1}, 1.002e-3, spread=1e-6)  # first in order, but no better than the vendor
    vendor = trial(problem, "vendor", {}, 1.004e-3, spread=1e-6)
    assert pick([top, tied, vendor]) is top
    assert pick([top, tied]) is tied
    assert pick([]) is None


def test_what_runs_untuned_is_first_among_equals():
    problem = double()
    vendor = trial(problem, "vendor", {}, 1.000e-3, spread=2e-5)
    own = trial(problem, "map", {"TILE": 9}, 1.001e-3, spread=2e-5, default=True)
    assert pick([own, vendor]) is vendor
    leading = replace(own, details={"leads": True})
    assert pick([leading, vendor]) is leading
    assert pick([leading, replace(vendor, seconds=0.8e-3, low=0.79e-3, high=0.81e-3)]).kernel == "vendor"


def test_a_fastest_one_that_ties_with_all_does_not_let_the_vendor_win():
    problem = double()
    noisy = trial(problem, "map", {"TILE": 9}, 1.25e-3, spread=1e-3)
    known = trial(problem, "map", {"TILE": 1}, 1.30e-3, spread=1e-5, default=True)
    vendor = trial(problem, "vendor", {}, 2.05e-3, spread=1e-5)
    assert pick([noisy, vendor]) is vendor
    assert pick([noisy, known, vendor]) is known
    slower = trial(problem, "map", {"TILE": 2}, 1.35e-3, spread=1e-5)  # no tie itself
    assert pick([noisy, slower, vendor]) is noisy


def test_finalists_are_few_and_close():
    found = finalists(Timing(s, s, s, 5) for s in (3.0, 1.0, 1.1, 2.0, *np.linspace(1.01, 1.2, 20)))
    assert len(found) == 6 and found[0].seconds == 1.0 and max(t.seconds for t in found) < 1.1
    unlucky = Timing(1.08, 0.99, 1.09, 20)  # two modes, and mostly the slow one was met
    others = [Timing(s, s - 0.01, s + 0.01, 20) for s in (1.0, *np.linspace(1.03, 1.05, 8))]
    assert finalists([*others, unlucky])[6:] == [unlucky]


@pytest.mark.parametrize("wrong", [{"warmup": -1}, {"repeats": 0}, {"repeats": True}, {"cache": "x"}, {"launch": "x"}])
def test_a_bad_policy_is_refused(wrong):
    with pytest.raises(ValueError, match="a policy's"):
        Policy(**wrong)
