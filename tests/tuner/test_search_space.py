"""The public search: what it proposes, what it learns, when it ends, and what it says about bad input."""

from __future__ import annotations

import math
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from tilewright.kernels.space import Rule, Space
from tilewright.tuner import Failed, Known, search
from tilewright.tuner.pool import Pool, valid_configs
from tilewright.tuner.propose import Proposer
from tilewright.tuner.sampler import PoolSampler
from tilewright.tuner.transfer import Advice

CHOICES = {
    "X": (1, 2, 4, 8, 16, 32), "Y": (16, 32, 48, 64, 80, 96), "SCALE": (0.25, 0.5, 1.0, 2.0), "MODE": ("a", "b", "c"),
    "FLAG": (False, True),
}  # fmt: skip
SPACE = Space(CHOICES, (Rule("X and Y share the threads", lambda c: c["X"] * c["Y"] <= 1024),))


def hills(config) -> float:
    """Seconds; 1 at X 8, Y 64, SCALE 0.5, MODE b, FLAG on."""
    away = abs(math.log2(config["X"]) - 3) + abs(config["Y"] - 64) / 16 + abs(math.log2(config["SCALE"]) + 1)
    return 1.0 + 0.3 * away + 0.8 * (config["MODE"] != "b") + 0.2 * (not config["FLAG"])


def asked(space, measure, **options):
    """The configs in the order of being asked for, and the result."""
    seen = []

    def watched(config):
        seen.append(tuple(config.items()))
        return measure(config)

    return seen, search(space, watched, **options)


def test_proposes_valid_unseen_configs_and_finds_the_best_of_them():
    seen, result = asked(SPACE, hills, trials=60)
    valid = {tuple(c.items()) for c in SPACE}
    assert len(seen) == len(set(seen)) == 60 and set(seen) <= valid
    assert result.best.seconds == 1.0 and result.stopped == "trials"
    assert [tuple(t.config.items()) for t in result.trials] == seen


def test_beats_random_search_on_spaces_of_other_kinds():
    rng = np.random.default_rng(1)
    for tunables, plateau in ((3, 0), (8, 0.5), (15, 0)):
        names = [f"T{k}" for k in range(tunables)]
        rows = np.unique(rng.integers(0, 4, (1500, tunables)), axis=0)
        weight, goal = rng.random(tunables), rng.integers(0, 4, tunables)
        seconds = 1 + (weight * np.abs(rows - goal)).sum(1)
        seconds = np.round(seconds / plateau) * plateau + 1e-3 if plateau else seconds
        times = {tuple(row): s for row, s in zip(rows.tolist(), seconds.tolist(), strict=True)}
        configs = [dict(zip(names, row, strict=True)) for row in rows.tolist()]
        found = search(configs, lambda c, times=times: times[tuple(c.values())], trials=40).best.seconds
        assert (seconds < found).mean() <= 0.01  # random search comes to about 1 / 41


def test_the_same_seed_is_the_same_search_and_another_is_not():
    first, second, other = (asked(SPACE, hills, trials=12, seed=seed)[0] for seed in (3, 3, 4))
    assert first == second != other


def test_small_spaces_are_enumerated_and_a_search_without_budget_ends_by_itself():
    seen, result = asked([{"A": a} for a in (1, 1.0, True, "1")], lambda c: 2.0 if c["A"] is True else 3.0, trials=99)
    assert result.stopped == "exhausted" and len(seen) == 4
    assert result.best.config["A"] is True
    assert search(SPACE, hills).stopped == "settled"
    assert search([{}], lambda c: 1.0).stopped == "exhausted"
    kernels = [{"kernel": "one", "one.A": 1}, {"kernel": "one", "one.A": 2}, {"kernel": "two", "two.B": "x"}]
    assert len(asked(kernels, lambda c: 1.0)[0]) == 3


def test_learns_from_failures():
    def fails(config):
        if config["Y"] > 48:
            raise Failed("too many registers")
        return hills(config)

    result = search(SPACE, fails, trials=30)
    failed = [t.seconds is None for t in result.trials]
    share = np.mean([c["Y"] > 48 for c in SPACE])
    assert np.mean(failed[10:30]) < share / 2
    assert {t.reason for t in result.trials if t.seconds is None} == {"too many registers"}
    assert result.best.seconds == pytest.approx(1.3)


@pytest.mark.parametrize("taken", [math.nan, math.inf, 0.0, -1.0, "fast", None])
def test_no_time_is_a_failure(taken):
    result = search([{"A": 1}, {"A": 2}], lambda c: taken if c["A"] == 1 else 1.0)
    assert result.best.config == {"A": 2}
    assert [t.reason for t in result.trials if t.seconds is None] == [
        f"measured {taken!r}, which is no positive number of seconds"
    ]


def test_everything_failing_ends_with_no_best():
    def fails(config):
        raise Failed("no")

    result = search(SPACE, fails, trials=20)
    assert result.best is None and len(result.trials) == 20 and result.stopped == "trials"


def test_known_times_come_first_and_misleading_ones_do_no_harm():
    known = [Known(c, 2 * hills(c), "other device") for c in SPACE]
    assert search(SPACE, hills, trials=1, known=known).best.seconds <= 1.3
    partial = [(c, hills(c), "other size") for c in list(SPACE)[::7]]
    assert search(SPACE, hills, trials=10, known=partial).best.seconds <= 1.3
    backwards = [(c, 10 / hills(c), "backwards") for c in SPACE]
    elsewhere = [({"Z": 1}, 1.0, "another kernel"), ({**next(iter(SPACE)), "X": 77}, 1.0, "another kernel")]
    failed = [(c, math.nan, "broken") for c in list(SPACE)[:5]]
    assert search(SPACE, hills, trials=60, known=[*backwards, *elsewhere, *failed]).best.seconds <= 1.2
    plain = asked(SPACE, hills, trials=8)[0]
    assert asked(SPACE, hills, trials=8, known=[*elsewhere, *failed])[0] == plain


def test_times_that_belong_to_other_configs_are_seen_through_before_the_first_trial():
    rng = np.random.default_rng(0)
    times = [hills(c) for c in SPACE]
    mixed = [(c, s, "mixed up") for c, s in zip(SPACE, rng.permutation(times).tolist(), strict=True)]
    assert asked(SPACE, hills, trials=12, known=mixed)[0] == asked(SPACE, hills, trials=12)[0]
    pool = Pool(SPACE)
    for noise in (0.0, 0.2, 1.0):  # a rough space is none that is mixed up
        rough = [Known(c, s * (1 + noise * rng.random()), "rough") for c, s in zip(SPACE, times, strict=True)]
        assert len(Advice(pool, rough)) == 1
    few = [Known(c, s, "few") for c, s, _ in mixed[:40]]  # nobody can tell
    alike = [Known(c, 1.0, "alike") for c in SPACE]
    assert len(Advice(pool, [*few, *alike])) == 2


def test_seconds_end_the_search():
    start = time.monotonic()
    result = search(SPACE, lambda c: time.sleep(0.02) or hills(c), seconds=0.3)
    assert result.stopped == "seconds" and result.trials
    assert time.monotonic() - start < 2.0


@pytest.mark.parametrize("budget", [0, -1, math.nan, math.inf, "soon", 1.5, True])
def test_bad_budgets_are_one_clear_error(budget):
    with pytest.raises(ValueError, match="trials is a whole number of at least 1, not"):
        search(SPACE, hills, trials=budget)
    if budget not in (1.5, True):
        with pytest.raises(ValueError, match="seconds is a positive number, not"):
            search(SPACE, hills, seconds=budget)


def test_a_space_without_a_valid_config_says_what_empties_it():
    half = Rule("A is even", lambda c: c["A"] % 2 == 0)
    never = Rule("A fits the cache", lambda c: c["A"] > 9)
    with pytest.raises(ValueError, match=r"rule 'A fits the cache' refuses all 2 that were left to it"):
        search(Space({"A": (1, 2, 3, 4)}, (half, never)), hills)
    with pytest.raises(ValueError, match="tunable 'B' has no choices"):
        search(Space({"A": (1,), "B": ()}), hills)
    with pytest.raises(ValueError, match="the list is empty"):
        search([], hills)


def test_bad_rules_and_configs_are_told():
    with pytest.raises(ValueError, match=r"rule 'ratio' raised ZeroDivisionError: .*\{'A': 0\}"):
        search(Space({"A": (0, 1)}, (Rule("ratio", lambda c: 1 / c["A"] > 0),)), hills)
    with pytest.raises(ValueError, match="a tunable is an int, a float, a str or a bool"):
        search([{"A": (1, 2)}], hills)
    with pytest.raises(ValueError, match="twice"):
        search([{"A": 1, "B": 2}, {"B": 2, "A": 1}], hills)


def test_too_large_spaces_are_sampled():
    space = Space({f"T{k}": tuple(range(16)) for k in range(8)}, (Rule("low", lambda c: c["T0"] < 12),))
    configs = valid_configs(space, 0)
    assert len(configs) == 20_000 and all(c["T0"] < 12 for c in configs)


def test_what_measure_raises_otherwise_is_the_callers():
    study = optuna.create_study()
    with pytest.raises(ZeroDivisionError):
        search(SPACE, lambda c: 1 / 0, trials=3, study=study)
    assert [t.state.name for t in study.trials] == ["RUNNING"]
    with pytest.raises(ValueError, match="direction='minimize'"):
        search(SPACE, hills, trials=1, study=optuna.create_study(direction="maximize"))


KILLED = """
import os, sys, optuna
from tests.tuner.test_search_space import SPACE, hills
from tilewright.tuner import search
from optuna.storages.journal import JournalFileBackend
storage = optuna.storages.JournalStorage(JournalFileBackend(sys.argv[1]))
study = optuna.create_study(storage=storage, study_name="s")
def measure(config):
    if len(study.get_trials(deepcopy=False)) == 8:
        os._exit(9)
    return hills(config)
search(SPACE, measure, trials=20, study=study)
"""


def test_a_study_in_a_storage_goes_on_after_a_kill_and_repeats_nothing(tmp_path):
    path = str(tmp_path / "study.journal")
    assert subprocess.run([sys.executable, "-c", KILLED, path]).returncode == 9
    storage = optuna.storages.JournalStorage(JournalFileBackend(path))
    study = optuna.load_study(storage=storage, study_name="s")
    before = [tuple(t.params.items()) for t in study.trials]
    assert len(before) == 8 and study.trials[-1].state.name == "RUNNING"
    seen, result = asked(SPACE, hills, trials=12, study=study)
    assert len(seen) == 12 and not set(seen) & set(before)
    assert result.best.seconds <= min(hills(dict(row)) for row in before[:7])


def test_the_sampler_serves_studies_that_are_not_ours():
    pool = Pool(SPACE)
    sampler = PoolSampler(pool, seed=1)
    study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.MedianPruner(n_startup_trials=2))

    def objective(trial):
        config = {name: trial.suggest_categorical(name, values) for name, values in sampler.choices.items()}
        trial.report(hills(config), 0)
        if trial.should_prune():
            raise optuna.TrialPruned
        return hills(config)

    study.optimize(objective, n_trials=25)
    assert len({tuple(t.params.items()) for t in study.trials}) == 25
    assert all(pool.find(t.params) is not None for t in study.trials)
    assert {t.state.name for t in study.trials} == {"COMPLETE", "PRUNED"}


def test_what_others_measure_is_left_to_them_until_nothing_else_is_left():
    pool = Pool([{"A": a} for a in range(3)])
    assert Proposer(pool, 0).propose([0], [1.0], busy=[1]) == 2
    assert Proposer(pool, 0).propose([0, 2], [1.0, 1.0], busy=[1]) == 1
    with pytest.raises(IndexError, match="has been tried"):
        Proposer(pool, 0).propose([0, 1, 2], [1.0, 1.0, 1.0])


def test_a_long_search_stays_cheap():
    configs = [
        {"A": a, "B": b, "C": c, "D": d} for a in range(20) for b in range(20) for c in range(10) for d in "xyzuv"
    ]
    pool, rng = Pool(configs), np.random.default_rng(0)
    tried = rng.choice(len(pool), 600, replace=False).tolist()
    proposer, start = Proposer(pool, 0), time.process_time()
    for n in (200, 400, 600):
        proposer.propose(tried[:n], rng.random(n).tolist())
    assert (time.process_time() - start) / 3 < 0.3  # 10 ms here; the margin is for machines under load
