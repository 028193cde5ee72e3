"""Observing what a program launches, and tuning it from Python."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

import tilewright as tw
import tilewright.tuner as tuner
from tests.tuner.problems import FakeDevice, double
from tilewright.backends.registry import get_device
from tilewright.tuner.decide import VENDOR
from tilewright.tuner.observe import LEAST_SECONDS, Observations, observe, shares, tune_observed, tuning
from tilewright.tuner.policy import Policy
from tilewright.tuner.standard import standard
from tilewright.tuner.store import default_store
from tilewright.tuner.yardstick import beaten, duration, least_seconds, rate, share_of_roof


def test_launches_are_counted_and_the_heaviest_comes_first():
    seen = Observations()
    for _ in range(3):
        seen.launched(double(10), FakeDevice(), 0.1)
    seen.launched(double(20), FakeDevice(), 0.2)
    assert [(r.count, round(r.seconds, 3)) for r in seen.heaviest()] == [(3, 0.3), (1, 0.2)]
    again = Observations.from_json(seen.to_json()).heaviest()
    assert [(r.problem, r.device, r.count, r.seconds) for r in again] == [
        (r.problem, r.device, r.count, r.seconds) for r in seen.heaviest()
    ]


def test_what_runs_is_observed_and_only_inside():
    with observe() as seen:
        tw.eval(tw.exp(tw.ones((5, 7), device="cpu")) + 1.0)
    assert tuner.observing is None
    (row,) = seen.heaviest()
    assert row.device == "cpu" and row.count == 1 and row.seconds > 0
    tw.eval(tw.exp(tw.ones((5, 7), device="cpu")))
    assert len(seen.heaviest()) == 1


def test_shares_follow_the_time():
    rows = [SimpleNamespace(seconds=s) for s in (8.0, 1.9, 0.1, 0.001)]
    assert shares(rows, 100.0) == [pytest.approx(80, rel=0.01), pytest.approx(19, rel=0.01), LEAST_SECONDS, None]
    assert shares(rows, None) == [math.inf, math.inf, math.inf, None]
    assert shares(rows[:1], 0.5) == [0.5]


def test_tuning_from_python(tmp_path, monkeypatch):
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    default_store.cache_clear()
    try:
        generation = tuner.generation
        x = tw.ones((64, 33), device="cpu")
        with tuning(budget=1.0) as seen:
            before = float(tw.sum(tw.tanh(x) * 3.0))
        assert tuner.generation > generation
        problem = seen.heaviest()[0].problem
        assert tuner.choose(problem, get_device("cpu")).origin == "record"
        assert float(tw.sum(tw.tanh(x) * 3.0)) == pytest.approx(before, rel=1e-6)
        assert tune_observed(seen, budget=1.0)[0].stopped in ("records", "settled", "budget")
    finally:
        default_store.cache_clear()


def test_tuning_a_call(tmp_path, monkeypatch):
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    default_store.cache_clear()
    try:
        x = tw.ones((40, 30), device="cpu")
        double, (total,) = tw.tune(lambda a, scale: (a * scale, [tw.sum(a)]), x, scale=2.0, budget=1.0)
        assert float(total) == 1200 and float(double[3, 4]) == 2.0
        problems = {r.title for r in default_store().records() if r.kind == "search"}
        assert len(problems) == 2, problems
        with pytest.raises(ValueError, match="no effort 'lazy'"):
            tw.tune(lambda: pytest.fail("not to be called"), effort="lazy")
    finally:
        default_store.cache_clear()


def test_a_call_with_many_sizes_keeps_few_variants(tmp_path, monkeypatch):
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    default_store.cache_clear()
    try:
        rows = [tw.ones((64, n), device="cpu") for n in (17, 48, 129)]
        policy = Policy(launch="replayed")
        tw.tune(lambda: [tw.sum(x, axis=1) for x in rows], budget=10.0, effort="quick", policy=policy, variants=1)
        finals = [r for r in default_store().records() if r.kind == "trial" and r.stage == "final"]
        last = {r.problem: r.session for r in finals}
        kept = {r.name for r in finals if r.session == last[r.problem] and r.kernel != VENDOR}
        assert len(last) == 3 and len(kept) == 1, kept
        assert {r.policy for r in finals} == {policy}
        with pytest.raises(ValueError, match="number of variants"):
            tw.tune(lambda: pytest.fail("not to be called"), variants=0)
    finally:
        default_store.cache_clear()


@pytest.mark.parametrize("budget", [math.nan, 0, -1])
def test_bad_budgets_are_told_before_anything_runs(budget):
    with pytest.raises(ValueError, match="positive number of seconds"), tuning(budget=budget):
        pytest.fail("the block must not run")


def test_an_error_inside_passes_through_and_nothing_is_tuned(monkeypatch):
    monkeypatch.setattr("tilewright.tuner.observe.tune_observed", lambda *a, **k: pytest.fail("nothing to tune"))
    with pytest.raises(ZeroDivisionError), tuning(budget=1.0):
        1 / 0  # noqa: B018
    assert tuner.observing is None


def test_standard_problems_are_what_their_names_say(device):
    named = dict(standard(device.limits))
    assert {p.kind for p in named.values()} == {"map", "reduce", "row", "matmul"}
    assert named["matmul 512"].space == (1, 512, 512, 512)
    assert named["softmax 2048x1024"].kind == "row"
    assert all(4e4 < p.nbytes < 70e6 for p in named.values())


def test_yardsticks():
    roof = {"triad_bytes_per_second": 1e10, "float32_madds_per_second": 1e9}
    problem = double(1_000_000)  # 8 MB, a million operations: 0.8 ms of memory, 0.5 ms of arithmetic
    assert least_seconds(problem, roof) == pytest.approx(0.8e-3)
    assert share_of_roof(problem, 1.6e-3, roof) == pytest.approx(0.5)
    assert rate(problem, 1e-3) == "8.0 GB/s"
    assert beaten(problem, 0.5e-3, roof, FakeDevice()) and not beaten(problem, 0.9e-3, roof, FakeDevice())
    small = double(1000)
    assert not beaten(small, 0.6e-6, roof, FakeDevice())  # it fits the caches: only arithmetic bounds it
    assert beaten(small, 0.4e-6, roof, FakeDevice())
    assert [duration(s) for s in (2.5, 0.0123, 4.56e-6, 7.8e-9)] == ["2.5 s", "12.3 ms", "4.56 µs", "7.8 ns"]
