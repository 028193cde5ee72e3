"""A distribution of sizes: which few variants are kept, and that choices go by them."""

from __future__ import annotations

import math

import pytest

from tests.tuner.problems import FINGERPRINT, FakeDevice, FakeMeasurer, double
from tests.tuner.test_choose import store  # noqa: F401 (a fixture)
from tests.tuner.test_tune_problem import Synthetic
from tilewright.kernels import KERNELS
from tilewright.tuner import choose
from tilewright.tuner.decide import LEVEL
from tilewright.tuner.sizes import NEVER, Size, cover, fit_sizes
from tilewright.tuner.tune_problem import Search

SIZES = [Size(double(1 << k), count) for k, count in ((10, 1), (14, 100), (18, 1))]


@pytest.mark.parametrize(
    ("regrets", "counts", "most", "columns"),
    [
        ([[0.0, 0.5, 0.1], [0.5, 0.0, 0.1]], [9, 1], 1, (2,)),  # the compromise, whatever the counts
        ([[0.0, 0.5, 0.1], [0.5, 0.0, 0.1]], [1, 1], 2, (0, 1)),
        ([[0.0, 0.3], [0.3, 0.0]], [1, 2], 1, (1,)),  # as bad: the one that is used more
        ([[0.0, LEVEL / 2], [0.0, 0.0]], [1, 1], 2, (0,)),  # a second gains nothing
        ([[LEVEL / 2, 0.0], [LEVEL / 2, LEVEL / 2]], [1, 1], 2, (1,)),
        ([[0.0, NEVER], [NEVER, 0.2]], [1, 1], 2, (0, 1)),
    ],
)
def test_the_cover_costs_least_where_it_costs_most(regrets, counts, most, columns):
    assert cover(regrets, counts, most) == columns


class Sized(FakeMeasurer):
    """Each size has a best A of its own; the farther from it, the slower."""

    def measure(self, problem, candidate, *rest, **named):
        self._at = problem.space[0]
        return super().measure(problem, candidate, *rest, **named)

    def compare(self, problem, candidates, *rest, **named):
        self._at = problem.space[0]
        return super().compare(problem, candidates, *rest, **named)

    def time(self, candidate):
        c = candidate.config
        ideal = {1 << 10: 0, 1 << 14: 3, 1 << 18: 5}[self._at]
        return 1e-3 * (1 + 0.1 * abs(math.log2(c["A"]) - ideal) + 0.5 * (c["B"] != 1) + (c["MODE"] != "x"))


@pytest.fixture
def tuned(store, monkeypatch):  # noqa: F811
    monkeypatch.setitem(KERNELS, "map", (Synthetic(),))
    measurer = Sized(None)
    measurer._seconds = measurer.time
    for size in SIZES:
        clock = measurer.clock
        Search(size.problem, FakeDevice(), "exhaustive", math.inf, lambda s: None, store, measurer, clock).run()
    return store, measurer


def test_few_variants_serve_all_sizes_and_those_between(tuned):
    store, measurer = tuned  # noqa: F811
    device = FakeDevice()
    whole = fit_sizes(SIZES, device, 3, store=store, measurer=measurer)
    assert len(whole.variants) == 3 and whole.worst == 0
    one = fit_sizes(SIZES, device, 1, store=store, measurer=measurer)
    assert [row.chosen.config["A"] for row in one.rows] == [8, 8, 8]
    assert one.worst == pytest.approx(0.3) and one.missing == ()
    for n in (1 << 10, 1 << 12, 1 << 18):
        choice = choose(double(n), device)
        assert choice.candidate.name == one.variants[0]
        assert choice.origin == ("record" if n != 1 << 12 else "nearest")
    again = fit_sizes(SIZES, device, 3, store=store, measurer=measurer)  # what was put aside is not forgotten
    assert set(again.variants) == set(whole.variants)
    asked = Sized(None)
    result = Search(SIZES[0].problem, device, "full", math.inf, lambda s: None, store, asked, asked.clock).run()
    assert (result.stopped, asked.asked) == ("records", [])


def test_what_fails_at_a_size_is_no_variant_for_it(tuned):
    store, _ = tuned  # noqa: F811
    failing = Sized(None)
    failing._seconds = lambda c: "wrong result" if failing._at == 1 << 20 else failing.time(c)
    sizes = [*SIZES, Size(double(1 << 20))]
    found = fit_sizes(sizes, FakeDevice(), 3, store=store, measurer=failing)
    assert [size.problem.space for size in found.missing] == [(1 << 20,)] and len(found.rows) == 3
    assert store.failures(double(1 << 20).key, FINGERPRINT)


def test_bad_sizes_are_one_sentence(store):  # noqa: F811
    with pytest.raises(ValueError, match="the number of variants is from 1 to 8, not 0"):
        fit_sizes(SIZES, FakeDevice(), 0, store=store)
    with pytest.raises(ValueError, match="at least one is needed"):
        fit_sizes([], FakeDevice(), 1, store=store)
    with pytest.raises(ValueError, match="none of the sizes has been tuned"):
        fit_sizes(SIZES, FakeDevice(), 1, store=store, measurer=FakeMeasurer(None))
