"""The measuring itself: who is timed, who is refused, what is judged. No test depends on how fast anything is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import overheads, page, peers, report
from benchmarks.measure import Aim, Contestant, Outcome, judge, race
from benchmarks.networks import networks, points
from benchmarks.races import distance, run_race
from benchmarks.report import duration
from benchmarks.workloads import COEFFICIENTS, Workload, black_scholes, gelu, layer_norm, polynomial, softmax, workloads


@pytest.fixture
def ours() -> peers.Peer:
    return peers.tilewright_peer("cpu")


def test_rounds_are_interleaved_and_each_has_another_first():
    order: list[str] = []
    contestants = [Contestant(name, lambda name=name: order.append(name), lambda: 0.5) for name in "abc"]
    samples = race(contestants, rounds=3)
    assert order == list("abc" + "bca" + "cab")
    assert samples == {name: [0.5] * 3 for name in "abc"}


def test_short_runs_are_timed_many_at_once():
    runs = []
    samples = race([Contestant("short", lambda: runs.append(1))], rounds=2)
    assert len(runs) > 1000 and len(samples["short"]) == 2 and max(samples["short"]) < 1e-3


def outcome(**seconds: float) -> Outcome:
    return Outcome("x", {name.replace("_", " "): [value] * 3 for name, value in seconds.items()})


def test_aims_are_judged_by_medians():
    found = outcome(numpy=4.0, torch=1.0, tilewright_cpu=2.0)
    met, missed, unknown = judge(found, [Aim("numpy", 2.0), Aim("best", 1.0), Aim("jax", 1.0)])
    assert met.met is True and "2.00x numpy" in met.text
    assert missed.met is False and "0.50x torch" in missed.text
    assert unknown.met is None and "jax" in unknown.text


def test_an_aim_for_the_kernel_judges_the_kernel_alone():
    found = outcome(numpy=1.0, tilewright_cpu=9.0)
    found.samples["tilewright cpu, kernel"] = [1.0]
    (verdict,) = judge(found, [Aim("numpy", 0.98, ", kernel")])
    assert verdict.met is True and verdict.text.startswith("tilewright cpu, kernel")
    (whole,) = judge(found, [Aim("numpy", 1.0)])
    assert whole.met is False and whole.text.startswith("tilewright cpu:")


def test_a_wrong_result_is_told_and_not_timed(ours):
    wrong = Workload("wrong", ((5, 7),), softmax, special={"tilewright": lambda tw: lambda x: softmax(tw, x) * 1.01})
    found = run_race(wrong, [peers.numpy_peer(1), ours], rounds=1, judged=True)
    assert found.broken and list(found.samples) == ["numpy"] and "wrong by 1.0e-02" in found.notes[0]


def test_a_failure_is_told_and_the_others_race(ours):
    def fails(_: object) -> object:
        raise ArithmeticError("no such thing")

    broken = Workload("broken", ((3,),), gelu, special={"tilewright": lambda tw: fails})
    found = run_race(broken, [peers.numpy_peer(1), ours], rounds=1, judged=True)
    assert found.broken and list(found.samples) == ["numpy"]
    assert found.notes == ["tilewright cpu failed: ArithmeticError: no such thing"]


def test_distance_of_what_cannot_be_compared_is_infinite():
    assert distance(np.ones(3), np.ones(4)) == np.inf
    assert distance(np.array([np.nan]), np.ones(1)) == np.inf
    assert distance(np.array([1.0, 2.2]), np.array([1.0, 2.0])) == pytest.approx(0.1)


@pytest.mark.parametrize("function", [gelu, softmax, layer_norm, polynomial, black_scholes])
def test_workloads_are_what_they_are_called(function):
    """Against float64 formulas that were written down another way."""
    from scipy import special

    rng = np.random.default_rng(3)
    x, weight, bias = rng.normal(size=(4, 9)), rng.normal(size=9), rng.normal(size=9)
    expected = {
        gelu: lambda: x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)),
        softmax: lambda: special.softmax(x, axis=1),
        layer_norm: lambda: (x - x.mean(1)[:, None]) / np.sqrt(x.var(1)[:, None] + 1e-5) * weight + bias,
        polynomial: lambda: np.polyval(COEFFICIENTS, x),
        black_scholes: lambda: _option(abs(x)),
    }[function]()
    arguments = {layer_norm: (x, weight, bias), black_scholes: (abs(x), np.ones_like(x), np.ones_like(x))}
    bound = 1e-6 if function is black_scholes else 1e-12  # its normal distribution is a formula good to 7.5e-8
    np.testing.assert_allclose(function(np, *arguments.get(function, (x,))), expected, rtol=bound, atol=bound)


def _option(price: np.ndarray) -> np.ndarray:
    """A year's call at 1, 3 % and a volatility of 0.2."""
    from scipy import stats

    d = (np.log(price) + 0.05) / 0.2
    return price * stats.norm.cdf(d) - np.exp(-0.03) * stats.norm.cdf(d - 0.2)


SMALL = [*workloads(quick=True), *(w for w in networks(quick=True) if w.inputs is not points)]


@pytest.mark.parametrize("workload", [w for w in SMALL if w.family != "transformer block"], ids=lambda w: w.name)
def test_every_workload_races(workload, ours):
    """At odd sizes, so that nothing fits a tile."""
    small = replace(workload, shapes=tuple(tuple(min(n, 37) for n in shape) for shape in workload.shapes))
    found = run_race(small, [peers.numpy_peer(1), ours], rounds=1, judged=True)
    assert not found.broken, found.notes
    assert {"numpy", "tilewright cpu"} <= set(found.samples)


def test_overheads_are_of_ten_kernels(monkeypatch):
    monkeypatch.setattr(overheads, "REPLAYS", 3)
    monkeypatch.setattr(overheads, "RECORDS", 3)
    replayed = overheads.replay("cpu", 1, judged=True)
    assert replayed.name == "replay of 10 kernels, cpu" and len(replayed.verdicts) == 1
    recorded = overheads.recording("cpu", 1, judged=True)
    assert set(recorded.samples) == {f"tilewright cpu, {x}" for x in ("x + y", "x * 2.0", "exp(x)", "x.T")}


def test_the_command_saves_every_sample(tmp_path, capsys):
    path = tmp_path / "new" / "result.json"
    options = ["--quick", "--device", "cpu", "--only", "polynomial", "--peers", "--rounds", "2", "--json", str(path)]
    options += ["--md", str(tmp_path / "page.md")]
    assert command.main([*options, "--png", str(tmp_path / "chart.png")]) == 0
    saved = json.loads(path.read_text())
    assert saved["versions"]["numpy"] == np.__version__ and saved["quick"] is True
    (only,) = saved["outcomes"]
    assert only["name"].startswith("polynomial") and [len(s) for s in only["samples"].values()] == [2, 2]
    assert "| polynomial 65536 | small |" in (tmp_path / "page.md").read_text()
    assert saved["roofs"]["cpu"]["triad_bytes_per_second"] > 1e8 and only["first"]["numpy"] > 0
    assert page.earlier(path)[only["name"]] == only["medians"]
    assert "no aim is judged" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--device", "abacus:7"], ["--rounds", "0"], ["--tune", "nan"]])
def test_bad_options_are_named(options, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(options)
    assert stop.value.code == 2 and options[1] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (0.9999, "1000 ms"), (3e-6, "3 µs"), (4e-8, "40 ns")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_page_says_who_leads_what_bounds_the_time_and_what_was_before():
    samples = {"numpy": [4.0], "torch": [1.0], "tilewright cpu": [2.0]}
    found = Outcome("sum", samples, nbytes=100, operations=8, family="sum")
    roof = {"triad_bytes_per_second": 100.0, "float32_madds_per_second": 40.0, "launch_seconds": 0.1}
    (row,) = page.rows([found], {"cpu": roof}, {"sum": {"numpy": 3.0, "tilewright cpu": 1.0}})
    assert (row.rival, row.ratio, row.to_numpy, row.before, row.share) == ("torch", 0.5, 2.0, 3.0, 0.5)
    assert row.bound.startswith("bytes (bytes 50 %, arithmetic 5 %, launches 5 % of the time")
    assert page.at_roof(found, "tilewright cpu", {}) == {}


def test_an_earlier_run_is_of_the_same_devices(tmp_path):
    facts = {"devices": {"cpu": "a"}, "quick": False, "outcomes": [{"nbytes": 1, "operations": 0}]}
    for day, changes in (("1", {}), ("2", {}), ("3", {"devices": {"cpu": "b"}}), ("4", {"quick": True})):
        (tmp_path / f"{day}.json").write_text(json.dumps({**facts, "date": day, **changes}))
    assert page.newest({"cpu": "a"}, tmp_path) == tmp_path / "2.json"
    assert page.newest({"cpu": "c"}, tmp_path) is None
    with pytest.raises(ValueError, match="no JSON file that this command saved"):
        page.earlier(tmp_path / "none.json")


def known(**changes: object) -> dict[str, object]:
    facts = {"date": "2026-01-01", "machine": {"processor": "p", "system": "s"}, "threads": 2, "quick": False}
    roof = {"triad_bytes_per_second": 1e9, "launch_seconds": 1e-6}
    return {**facts, "tuned_seconds": 0, "rounds": 3, "versions": {"numpy": "2"}, "devices": {"cpu": "a"},
            "roofs": {"cpu": roof}, **changes}  # fmt: skip


def test_parts_become_one_page(tmp_path, capsys):
    """The last of what is in several; the higher roof; and as a command, from what was saved."""
    one, two, again = (outcome(numpy=1.0, tilewright_cpu=0.5) for _ in range(3))
    one.family = two.family = again.family = "sum"
    two.name, again.samples = "y", {"numpy": [4.0], "tilewright cpu": [1.0]}
    higher = {"triad_bytes_per_second": 2e9, "launch_seconds": 2e-6}
    parts = [(known(), [one]), (known(versions={"jax": "1"}, roofs={"cpu": higher}), [two, again])]
    facts, outcomes = report.merge(parts)
    assert [x.name for x in outcomes] == ["x", "y"] and outcomes[0] is again
    assert facts["versions"] == {"numpy": "2", "jax": "1"} and facts["parts"] == 2
    assert facts["roofs"]["cpu"] == {"triad_bytes_per_second": 2e9, "launch_seconds": 1e-6}
    tuned = [({**facts, "tuned_seconds": s}, found) for (facts, found), s in zip(parts, (4.0, 10.0), strict=True)]
    assert facts["tuned_seconds"] == "" and report.merge(tuned)[0]["tuned_seconds"] == "4 or 10"
    with pytest.raises(ValueError, match="some parts are tuned"):
        report.merge([parts[0], tuned[1]])
    with pytest.raises(ValueError, match="threads differs"):
        report.merge([*parts, (known(threads=3), [])])
    paths = [tmp_path / f"{k}.json" for k in range(2)]
    for path, (part, found) in zip(paths, parts, strict=True):
        report.save_json(path, part, found)
        assert report.load_json(path)[1] == found
    with pytest.raises(SystemExit):
        command.main(["--merge", str(tmp_path / "none.json")])
    assert "no JSON file that this command saved" in capsys.readouterr().err


def test_who_is_disturbed_and_who_stays_below_the_triad():
    samples = {"numpy": [4.0], "tilewright cpu": [2.0]}
    found = Outcome("sum", samples, nbytes=1 << 40, family="sum", solo={"numpy": 1.0, "tilewright cpu": 1.9})
    roof = {"triad_bytes_per_second": float(1 << 40), "launch_seconds": 0.1}
    (row,) = page.rows([found], {"cpu": roof}, {})
    assert row.low and row.behind == "50 % of the triad" and row.disturbed == "numpy 4.0x"
    text = page.markdown(known(against=None, roofs={"cpu": roof}), [found], {})
    assert "1 that memory bounds below 85 % of the triad" in text and "- sum: 50 % of the triad; bound by bytes" in text
    assert "in 0 of 1 workloads" in text and "| numpy | 1 | 2.00 | 1 |" in text


@pytest.mark.parametrize("name", ["tinygrad", "pyopencl.array"])
def test_peers_of_extras_are_right_or_named(name):
    """Where they are installed, they come to the same results. CLBlast's kernels take PoCL a minute to compile."""
    found, missing = peers.find([name], 1, ["opencl:0"])
    if len(found) == 1:
        assert not missing or missing[0].startswith(f"{name} is left out: ")
        return
    spelled = [w for w in (*workloads(quick=True), *networks(quick=True)) if w.spelled(found[1])]
    for workload in {w.family: w for w in spelled if w.family in ("gelu", "sum", "cross-entropy", "matmul")}.values():
        small = replace(workload, shapes=tuple(tuple(min(n, 37) for n in shape) for shape in workload.shapes))
        raced = run_race(small, found, rounds=1, judged=False)
        assert not raced.notes, raced.notes
