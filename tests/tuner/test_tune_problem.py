"""Searching a space with known times: what is tried, what is found, when it ends, what is kept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.tuner.problems import FINGERPRINT, FakeDevice, FakeMeasurer, double, matmul, trial
from tilewright.kernels import KERNELS
from tilewright.kernels.map import Map
from tilewright.kernels.space import Rule, Space
from tilewright.tuner.measure import Unmeasurable
from tilewright.tuner.records import Record
from tilewright.tuner.store import Store
from tilewright.tuner.tune_problem import Search, allotment

CHOICES = {"A": (1, 2, 4, 8, 16, 32), "B": (1, 2, 3, 4, 5, 6), "MODE": ("x", "y", "z"), "TILE": (1024,)}


class Synthetic(Map):
    """The map kernel's text under a larger space of its own; A * B may not exceed 64."""

    def space(self, problem, limits):
        return Space(CHOICES, (Rule("A and B share what there is", lambda c: c["A"] * c["B"] <= 64),))

    def default(self, problem, limits):
        return {"A": 1, "B": 1, "MODE": "x", "TILE": 1024}

    def render(self, problem, config, *language):
        return super().render(problem, {"TILE": 1024, "FLAT": 0, "THREADS": 1}, *language)


def bowl(candidate):
    """Fastest at A 8, B 5, MODE y: 1 ms; every step away from there costs."""
    if candidate.kernel == "vendor":
        return 1.5e-3
    c = candidate.config
    away = abs(math.log2(c["A"]) - 3) + abs(c["B"] - 5) + 2 * (c["MODE"] != "y")
    return 1e-3 * (1 + 0.3 * away)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "records.jsonl")


@pytest.fixture(autouse=True)
def synthetic(monkeypatch):
    monkeypatch.setitem(KERNELS, "map", (Synthetic(),))


def search(store, measurer, problem=None, device=None, effort="full", allotted=math.inf, progress=lambda status: None):
    return Search(
        problem or double(), device or FakeDevice(), effort, allotted, progress, store, measurer, measurer.clock
    )


def test_finds_the_optimum_and_tries_only_valid_unseen_configs(store):
    measurer = FakeMeasurer(bowl)
    result = search(store, measurer).run()
    valid = {f"map A={c['A']} B={c['B']} MODE={c['MODE']} TILE=1024" for c in Synthetic().space(None, None)}
    asked = [name for name, before in zip(measurer.asked, ["", *measurer.asked], strict=False) if name != before]
    assert len(asked) == len(set(asked)) < len(valid)  # the same twice in turn: a surprise, confirmed
    assert set(measurer.asked) <= valid
    assert measurer.asked[0] == "map A=1 B=1 MODE=x TILE=1024"
    assert result.stopped == "settled"
    assert result.best.seconds <= 1.3e-3  # the best, or next to it
    assert result.baseline.default and result.baseline.session == result.best.session


def test_same_records_same_search(tmp_path):
    asked = []
    for name in "ab":
        measurer = FakeMeasurer(bowl)
        search(Store(tmp_path / name), measurer).run()
        asked.append(measurer.asked)
    assert asked[0] == asked[1]


def test_exhaustive_tries_everything(store):
    measurer = FakeMeasurer(bowl)
    result = search(store, measurer, effort="exhaustive").run()
    assert len(set(measurer.asked)) == len(list(Synthetic().space(None, None)))
    assert result.best.config == {"A": 8, "B": 5, "MODE": "y", "TILE": 1024}


def test_settled_problem_is_not_searched_again(store):
    search(store, FakeMeasurer(bowl)).run()
    again = FakeMeasurer(bowl)
    result = search(store, again).run()
    assert (again.asked, again.compared, result.stopped) == ([], [], "records")
    assert result.best is not None and result.baseline is not None
    more = FakeMeasurer(bowl)
    assert search(store, more, effort="exhaustive").run().stopped == "settled"
    assert more.asked


def test_budget_ends_the_search_and_more_budget_goes_on_with_it(store):
    first = FakeMeasurer(bowl, cost=0.1)
    result = search(store, first, allotted=1.0).run()
    assert result.stopped == "budget"
    assert first.now <= 1.2
    same = FakeMeasurer(bowl)
    assert search(store, same, allotted=1.0).run().stopped == "records"
    assert same.asked == []
    more = FakeMeasurer(bowl, cost=0.1)
    search(store, more, allotted=5.0).run()
    assert more.asked and not set(more.asked) & set(first.asked)


LARGE = 1 << 22
"""Elements of `double` whose bytes are far beyond the fake device's caches: 2**25 bytes are moved."""


@pytest.mark.parametrize(
    ("bandwidth", "launch", "n", "effort", "stopped"),
    [
        (0.97e3 * (1 << 25), 1e-6, LARGE, "full", "roof"),  # 3 % from the roof
        (1.5e3 * (1 << 25), 1e-6, LARGE, "full", "settled"),
        (0.8e3 * (1 << 25), 1e-6, LARGE, "full", "settled"),  # faster than the roof, which is wrong then
        (0.97e3 * (1 << 25), 1e-4, LARGE, "full", "settled"),  # a tenth of it is the launch
        (0.97e3 * 8000, 1e-6, 1000, "full", "settled"),  # within the caches
        (0.97e3 * (1 << 25), 1e-6, LARGE, "exhaustive", "settled"),
    ],
)  # fmt: skip
def test_what_is_at_the_roof_is_not_searched_on(store, bandwidth, launch, n, effort, stopped):
    details = {"triad_bytes_per_second": bandwidth, "launch_seconds": launch, "float32_madds_per_second": 1e15}
    store.append(Record("roof", "fake", FINGERPRINT, details=details))
    at_best = lambda c: 1.0e-3 if c.config["A"] == 1 else 1.2e-3  # noqa: E731 (the default, measured first)
    measurer = FakeMeasurer(at_best)
    result = search(store, measurer, double(n), effort=effort).run()
    assert result.stopped == stopped
    ended = store.search(double(n).key, FINGERPRINT).details
    assert ended["stopped"] == stopped and ended["of_roof"] == pytest.approx(double(n).nbytes / bandwidth / 1e-3)
    assert (len(measurer.asked) == 1) == (stopped == "roof")
    if stopped == "roof":
        assert search(store, again := FakeMeasurer(at_best), double(n)).run().stopped == "records" and not again.asked
        assert search(store, again, double(n), effort="exhaustive").run().stopped == "settled" and again.asked


def test_failures_are_recorded_and_never_tried_again(store):
    def half_bad(candidate):
        return "crash: SIGSEGV" if candidate.config["MODE"] == "y" else bowl(candidate)

    first = FakeMeasurer(half_bad, cost=0.1)
    result = search(store, first, allotted=2.0).run()
    bad = {r.name for r in result.trials if r.status == "failed"}
    assert bad and all(r.reason == "crash: SIGSEGV" for r in result.trials if r.status == "failed")
    assert result.best.status == "ok" and "MODE=y" not in result.best.name
    second = FakeMeasurer(half_bad, cost=0.1)
    search(store, second, allotted=20.0).run()
    assert not bad & set(second.asked)
    assert all("MODE=y" not in name for names in second.compared for name in names)


def test_everything_failing_is_told(store):
    result = search(store, FakeMeasurer(lambda c: "does not compile: no such thing"), allotted=1.0).run()
    assert (result.best, result.stopped, result.reason) == (None, "failed", "does not compile: no such thing")


def test_vendor_and_default_are_measured_first_and_compared_in_the_end(store):
    measurer = FakeMeasurer(lambda c: 1e-3 if c.kernel == "vendor" else 0.998e-3)
    result = search(store, measurer, matmul(), FakeDevice(vendor=True), allotted=1.0).run()
    assert measurer.asked[0] == "vendor"
    assert "vendor" in measurer.compared[0]
    assert result.best.kernel == "vendor"  # so little is a tie


def test_a_new_kernel_text_is_measured_again_best_first(store, monkeypatch):
    search(store, FakeMeasurer(bowl), effort="exhaustive").run()
    monkeypatch.setattr(
        Synthetic, "render", lambda self, p, c, *_: replace(Map.render(self, p, {"TILE": 1024, "FLAT": 0}), body="new")
    )
    measurer = FakeMeasurer(bowl)
    result = search(store, measurer).run()
    assert result.changed == ("kernel",)
    assert "map A=8 B=5 MODE=y TILE=1024" in measurer.asked[:2]


def test_a_new_driver_is_named_and_seeds_the_search(store):
    search(store, FakeMeasurer(bowl), effort="exhaustive").run()
    measurer = FakeMeasurer(bowl)
    device = FakeDevice(replace(FINGERPRINT, driver="driver 2"))
    result = search(store, measurer, device=device).run()
    assert result.changed == ("driver",)
    assert "map A=8 B=5 MODE=y TILE=1024" in measurer.asked[:2]
    other = FakeMeasurer(bowl)
    assert search(store, other, device=FakeDevice(replace(FINGERPRINT, model="x"))).run().changed == ()


def test_interruption_keeps_what_was_measured(store):
    class Interrupted(FakeMeasurer):
        def measure(self, *arguments, **rest):
            if len(self.asked) == 4:
                raise KeyboardInterrupt
            return super().measure(*arguments, **rest)

    with pytest.raises(KeyboardInterrupt):
        search(store, Interrupted(bowl)).run()
    again = Store(store.path)
    assert len(again.trials(double().key, FINGERPRINT)) == 4
    assert again.search(double().key, FINGERPRINT).details["stopped"] == "interrupted"
    measurer = FakeMeasurer(bowl)
    assert search(again, measurer).run().stopped == "settled"


def test_what_cannot_be_measured_is_told(store):
    class Broken(FakeMeasurer):
        def measure(self, *arguments, **rest):
            raise Unmeasurable("fake: OutOfMemory: 5 bytes were asked for")

    result = search(store, Broken(bowl)).run()
    assert (result.stopped, result.reason) == ("failed", "fake: OutOfMemory: 5 bytes were asked for")


def test_two_are_compiled_at_once_while_nothing_is_timed(store):
    measurer = FakeMeasurer(bowl)
    result = search(store, measurer).run()
    assert all(len(names) == 2 for names in measurer.built)
    built = [name for names in measurer.built for name in names]
    default, *measured = dict.fromkeys(r.name for r in result.trials if r.stage == "screen")
    assert default not in built and built[: len(measured)] == measured  # the last may have been compiled in vain


def test_progress_tells_the_best_so_far(store):
    seen = []
    search(store, FakeMeasurer(bowl), progress=seen.append).run()
    times = [s.best.seconds for s in seen if s.best is not None]
    assert times and times == sorted(times, reverse=True)
    assert seen[-1].candidate == "finals"


@pytest.mark.parametrize("budget", [0, -1, math.nan, math.inf, "soon"])
def test_bad_budgets_are_one_clear_error(budget):
    with pytest.raises(ValueError, match="positive number of seconds, not"):
        allotment("quick", budget)


def test_a_budget_caps_the_effort():
    assert allotment("instant", None) == 1.0
    assert allotment("instant", 5) == 1.0
    assert allotment("full", 5) == 5.0
    with pytest.raises(ValueError, match="instant, quick, full, exhaustive"):
        allotment("lazy", None)


def test_nearest_sizes_are_tried_early(store):
    best = {"A": 8, "B": 5, "MODE": "y", "TILE": 1024}
    store.append(trial(double(2000), "map", best, 1e-3))
    measurer = FakeMeasurer(bowl)
    search(store, measurer).run()
    assert measurer.asked[1] == "map A=8 B=5 MODE=y TILE=1024"
