"""The classes of results: how distances are counted, that a search keeps to one, and that records say which."""

from __future__ import annotations

import importlib
import json

import ml_dtypes
import numpy as np
import pytest

import tilewright as tw
from tests.tuner.problems import double, trial
from tests.tuner.test_measure import PLUGIN, TILES, candidate, supervised  # noqa: F401 (a fixture)
from tilewright.tuner.check import Reference, make_inputs
from tilewright.tuner.measure import Unmeasurable
from tilewright.tuner.numerics import FAR, most_ulp, named, ulps
from tilewright.tuner.policy import Policy
from tilewright.tuner.records import Record
from tilewright.tuner.store import Store
from tilewright.tuner.tune_problem import Search


def plugin(monkeypatch):
    """The module of the device that misbehaves as asked."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    return importlib.import_module("faulty")


VALUES = [1.0, 2.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -3.5]


def test_distances_are_counted_in_numbers_between():
    for dtype in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16):
        x = np.array(VALUES, np.float64).astype(dtype)
        assert ulps(x, x.astype(np.float64)) == 0
        assert ulps(np.nextafter(x, dtype(9)), x.astype(np.float64)) in (1, FAR)  # below infinity is the largest
    x = np.float32(1.0)
    for steps in (1, 2, 7):
        moved = x
        for _ in range(steps):
            moved = np.nextafter(moved, np.float32(0))
        assert ulps(np.array([moved]), np.array([1.0])) == steps
    tiny = np.array([-1e-45], np.float32)
    assert ulps(tiny, -tiny.astype(np.float64)) == 2  # through 0
    assert ulps(np.array([np.nan], np.float32), np.array([1.0])) == FAR
    assert ulps(np.array([1 + 2j, 3 - 4j], np.complex64), np.array([1 + 2j, 3 - 4j])) == 0
    assert ulps(np.array([1 + 2j], np.complex64), np.array([1 + 2j * (1 + 2**-23)])) == 1
    assert ulps(np.zeros(0, np.float32), np.zeros(0)) == 0


def test_classes_have_names_and_bad_ones_are_told():
    assert [named(u) for u in (0.0, 3.0, 1000.0, 1001.0, -1.0)] == ["bitwise", "3 ulp", "1000 ulp", *2 * ["tolerance"]]
    assert [most_ulp(n) for n in ("bitwise", "4 ulp", "4ulp", "tolerance")] == [0, 4, 4, np.inf]
    for bad in ("exact", "-1 ulp", "ulp", "1e3 ulp", "5000 ulp", "", None, 4):
        with pytest.raises(ValueError, match="numerics is 'bitwise', 'tolerance', or a distance such as '4 ulp'"):
            Policy(numerics=bad)


def test_the_reference_tells_the_distance():
    problem = double(1000)
    judge, right = Reference(problem, make_inputs(problem)), 2 * make_inputs(problem)[0]
    canary = np.frombuffer(b"\xa5\xa5\xa5\x7f" * 64, np.uint8)
    off = np.where(np.arange(1000) == 7, np.nextafter(right, np.float32(9)), right)
    for values, ulp in ((right, 0), (off, 1)):
        data = np.concatenate([values.astype(np.float32).view(np.uint8), canary]).tobytes()
        assert judge.verify(0, data).ulp == ulp


def test_a_search_keeps_to_its_class_and_one_without_is_free_again(supervised, tmp_path, monkeypatch):  # noqa: F811
    faulty = plugin(monkeypatch)
    faults = {t: "slow2" for t in TILES} | {2048: "off"}
    measurer, store = supervised(faults), Store(tmp_path / "records.jsonl")

    def run(numerics):
        policy = Policy(numerics=numerics)
        search = Search(double(), faulty.Faulty(), "exhaustive", 60.0, lambda s: None, store, measurer, policy=policy)
        return search.run()

    for numerics in ("bitwise", "1 ulp", "tolerance"):
        result = run(numerics)
        assert (result.best.config["TILE"] == 2048) == (numerics != "bitwise")
        assert result.best.numerics == ("bitwise" if numerics == "bitwise" else "1 ulp")
        outside = {r.config["TILE"]: r.reason for r in result.trials if r.status == "outside"}
        said = {2048: "numerics: 1 ulp from the reference, where bitwise is asked for"}
        assert outside == (said if numerics == "bitwise" else {})
    assert not store.failures(double().key, faulty.Faulty.fingerprint)
    assert next(r.numerics for r in Store(store.path).records() if r.config.get("TILE") == 2048) == "1 ulp"


def test_where_nothing_is_near_enough_it_is_said(supervised, tmp_path, monkeypatch):  # noqa: F811
    faulty = plugin(monkeypatch)
    measurer = supervised({t: "off" for t in TILES})
    search = Search(
        double(), faulty.Faulty(), "exhaustive", 60.0, lambda s: None, Store(tmp_path / "r.jsonl"), measurer,
        policy=Policy(numerics="bitwise"),
    )  # fmt: skip
    result = search.run()
    assert (result.best, result.stopped) == (None, "failed")
    assert result.reason == "numerics: 1 ulp from the reference, where bitwise is asked for"


def test_what_crashed_is_not_tried_again_under_another_policy(supervised, tmp_path, monkeypatch):  # noqa: F811
    faulty = plugin(monkeypatch)
    measurer, store = supervised({4096: "abort"}), Store(tmp_path / "records.jsonl")
    counts = []
    for policy in (Policy(), Policy(numerics="bitwise"), Policy(warmup=2)):
        Search(double(), faulty.Faulty(), "exhaustive", 60.0, lambda s: None, store, measurer, policy=policy).run()
        counts.append(sum(r.status == "failed" for r in store.records()))
    assert counts == [1, 1, 1]


def test_records_of_before_are_of_no_known_class():
    data = json.loads(trial(double(), "map", {"TILE": 1}, 1e-3).to_line())
    assert data.pop("ulp") == -1.0 and data["policy"].pop("numerics") == "tolerance"
    old = Record.from_json({**data, "schema": 2})
    assert (old.numerics, old.policy) == ("tolerance", Policy())


THIRD = """
void third(float *out, const float *x, const int n) {
    for (int i = 0; i < n; i++) out[i] = EXACT ? x[i] / 3.0f : x[i] * 0.333f * 1.00101f;
}
"""


def test_a_kernel_of_ones_own_keeps_to_it_too():
    x = np.random.default_rng(0).random(4096, np.float32)

    def tune(exact, numerics):
        return tw.tune_kernel(
            THIRD, "third", [np.empty_like(x), x, x.size], {"EXACT": exact}, device="cpu", budget=10.0,
            reference=lambda out, x, n: x / np.float32(3), numerics=numerics,
        )  # fmt: skip

    kernel = tune([1, 0], "bitwise")
    assert kernel.config == {"EXACT": 1} and kernel.result.best.numerics == "bitwise"
    assert {r.status for r in kernel.result.trials if r.config == {"EXACT": 0}} == {"outside"}
    with pytest.raises(Unmeasurable, match=r"none of the 1 configs tried works; .* where 2 ulp is asked for"):
        tune([0], "2 ulp")


def test_tuning_from_a_program_is_restricted_by_a_word():
    with pytest.raises(ValueError, match="numerics is 'bitwise'"), tw.tuning(numerics="nearly"):
        pass
    with tw.tuning(budget=2.0, numerics="bitwise"):
        y = (tw.asarray(np.arange(1 << 16, dtype=np.float32), device="cpu") * 3).sum()
        assert float(y) > 0
