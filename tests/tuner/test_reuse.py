"""What a record is worth on a device that is, or is not, the one it was measured on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tests.tuner.problems import FINGERPRINT, FakeDevice, FakeMeasurer, double, matmul, trial
from tests.tuner.test_choose import (
    store,  # noqa: F401 (a fixture)
    valid,
)
from tests.tuner.test_tune_problem import Synthetic, bowl
from tilewright.kernels import KERNELS
from tilewright.tuner import choose
from tilewright.tuner.command_why import why_record
from tilewright.tuner.policy import DEFAULT, Policy
from tilewright.tuner.prepare import Candidate, default_candidate, text_hash
from tilewright.tuner.records import Record
from tilewright.tuner.reuse import reuse
from tilewright.tuner.store import Store
from tilewright.tuner.tune_problem import AGAIN_SECONDS, Search

BEST = "map A=8 B=5 MODE=y TILE=1024"


@pytest.mark.parametrize(
    ("change", "text", "grade"),
    [
        ({}, "t", "use"), ({}, "other", "re-measure"), ({"driver": "2"}, "t", "re-measure"),
        ({"versions": (("a", "2"),), "compiler": "3"}, "other", "re-measure"), ({"model": "x"}, "t", "seed"),
        ({"threads": 8, "isa": (), "partition": "1g", "driver": "2"}, "other", "seed"),
        ({"architecture": "x"}, "t", "ignore"), ({"vendor": "x"}, "t", "ignore"), ({"backend": "x"}, "t", "ignore"),
    ],
)  # fmt: skip
def test_grades(change, text, grade):
    found = reuse(trial(double(), "map", {}, 1e-3, text="t"), replace(FINGERPRINT, **change), text, DEFAULT)
    assert found.grade == grade
    named = {c.field for c in found.changes} - {"kernel"}
    assert named == set(change)


def test_a_change_says_what_it_was_and_is():
    record = trial(double(), "map", {}, 1e-3)
    changed = replace(FINGERPRINT, driver="driver 2", versions=(("a", "1"), ("b", "2")))
    said = [str(c) for c in reuse(record, changed, "", Policy(cache="cold")).changes]
    assert said[0] == "driver was 'driver 1', is 'driver 2'" and said[1] == "versions was 'a 1', is 'a 1, b 2'"
    assert said[2].startswith("policy was warm cache, eager launch") and "is cold cache" in said[2]


def run(store, measurer, device, effort="full", **rest):  # noqa: F811
    nothing = lambda status: None  # noqa: E731
    return Search(double(), device, effort, math.inf, nothing, store, measurer, measurer.clock, **rest).run()


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    monkeypatch.setitem(KERNELS, "map", (Synthetic(),))
    made = Store(tmp_path / "records.jsonl")
    run(made, FakeMeasurer(bowl), FakeDevice(), "exhaustive")
    return made


def test_a_new_driver_costs_a_new_look_at_the_best_few_and_no_more(tuned):
    device = FakeDevice(replace(FINGERPRINT, driver="driver 2"))
    measurer = FakeMeasurer(bowl)
    result = run(tuned, measurer, device, "exhaustive")
    assert (result.stopped, result.changed, result.best.name) == ("measured again", ("driver",), BEST)
    assert measurer.asked[0] == BEST and len(measurer.asked) <= 4 and measurer.now <= AGAIN_SECONDS
    assert run(tuned, FakeMeasurer(bowl), device, "exhaustive").stopped == "records"


def test_where_the_former_best_fail_now_the_search_is_made_anew(tuned):
    measurer = FakeMeasurer(lambda c: "crash: SIGSEGV" if c.config["MODE"] == "y" else bowl(c))
    result = run(tuned, measurer, FakeDevice(replace(FINGERPRINT, driver="driver 2")))
    assert result.stopped == "settled" and "MODE=y" not in result.best.name and len(measurer.asked) > 10


def test_a_like_device_tells_where_to_look_first(tuned):
    measurer = FakeMeasurer(bowl)
    result = run(tuned, measurer, FakeDevice(replace(FINGERPRINT, model="sibling")))
    assert result.changed == () and BEST in measurer.asked[:3]
    assert run(tuned, other := FakeMeasurer(bowl), FakeDevice(replace(FINGERPRINT, backend="x"))).best is not None
    assert BEST not in other.asked[:3]


def test_another_policy_is_another_search_and_the_last_one_counts(tuned):
    cold = Policy(cache="cold")
    slow = FakeMeasurer(lambda c: 2 - bowl(c))  # all is the other way round
    result = run(tuned, slow, FakeDevice(), policy=cold)
    assert result.changed == ("policy",) and result.best.policy == cold and result.best.name != BEST
    assert tuned.best(double().key, FINGERPRINT).name == result.best.name


def test_an_unseen_size_takes_the_nearest_only_where_it_beat_the_vendor_by_a_margin(store):  # noqa: F811
    device, problem = FakeDevice(vendor=True), matmul(96)
    kernel, config = valid(problem, device)

    def race(n, own, vendor, session, spread=0.0):
        store.append(trial(matmul(n), kernel, config, own, stage="final", session=session, spread=spread))
        store.append(trial(matmul(n), "vendor", {}, vendor, stage="final", session=session, spread=spread))

    race(64, 1.0e-3, 1.03e-3, "a")
    assert choose(problem, device).origin == "vendor"
    race(128, 1.0e-3, 1.50e-3, "b")
    closer, farther = matmul(120), matmul(80)
    assert choose(closer, device).origin == "nearest" and choose(closer, device).candidate.config == config
    assert choose(farther, device).origin == "vendor"  # what is closest says that the vendor is as good
    race(2048, 1.0e-3, 1.50e-3, "c", spread=1.2e-4)
    assert choose(matmul(2000), device).origin == "vendor"  # beaten, but perhaps by less than the margin


def test_without_a_vendor_the_default_is_what_the_nearest_must_have_beaten(store):  # noqa: F811
    device, problem = FakeDevice(), double(1 << 20)
    base = default_candidate(problem, device.limits)
    own = {**base.config, "TILE": 4096}
    assert base.config != own

    def race(n, seconds, others, session):
        store.append(trial(double(n), "map", own, seconds, stage="final", session=session))
        default = {"stage": "final", "session": session, "default": True}
        store.append(trial(double(n), "map", base.config, others, **default))

    race(1 << 19, 1.00e-3, 1.04e-3, "a")
    assert choose(problem, device).origin == "default"
    race(3 << 19, 1.00e-3, 1.20e-3, "b")
    assert choose(double(5 << 18), device).candidate.config == own


def test_why_names_what_changed(store, cpu, monkeypatch):  # noqa: F811
    monkeypatch.setattr("tilewright.tuner.command_why.default_store", lambda: store)
    problem, own = double(), cpu.fingerprint
    kernel, config = valid(problem, cpu)
    text = text_hash(problem, Candidate(kernel, config), cpu)
    changes = ({}, {"compiler": "an older one"}, {"model": "a sibling"}, {"backend": "another"})
    for change in changes:
        store.append(trial(problem, kernel, config, 1e-3, replace(own, **change), text=text))
    details = {"problem": problem.to_json()}
    store.append(Record("search", "cpu", own, problem.key, title=problem.title, details=details))
    lines = [x.strip() for x in CliRunner().invoke(why_record, [problem.title, "-d", "cpu"]).output.splitlines()]
    assert lines[1].startswith(f"runs now: {kernel} ") and lines[2].startswith("since it was measured here: 1 ms")
    assert [line.partition(":")[0] for line in lines[3:]] == ["use", "re-measure", "seed", "ignore"]
    assert "compiler was 'an older one', is " in lines[4] and "model was 'a sibling'" in lines[5]
    assert "backend was 'another', is 'cpu'" in lines[6]
    assert "no record is about 'x'" in CliRunner().invoke(why_record, ["x", "-d", "cpu"]).output


def test_why_says_that_the_text_was_rewritten_since(store, cpu, monkeypatch):  # noqa: F811
    monkeypatch.setattr("tilewright.tuner.command_why.default_store", lambda: store)
    problem = double()
    kernel, config = valid(problem, cpu)
    store.append(trial(problem, kernel, config, 1e-3, cpu.fingerprint, text="an earlier one"))
    details = {"problem": problem.to_json()}
    store.append(Record("search", "cpu", cpu.fingerprint, problem.key, title=problem.title, details=details))
    said = CliRunner().invoke(why_record, [problem.title, "-d", "cpu"]).output
    assert "since it was measured here, before the kernel's text was rewritten: 1 ms" in said
    assert "re-measure: 1 trials" in said and "chosen by until then; the next tune measures the best" in said
