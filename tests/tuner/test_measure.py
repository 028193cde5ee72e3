"""Supervision: a device whose kernels hang, crash, lie and print must harm nothing but the candidate that did it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import monotonic

import pytest

from tests.tuner.problems import double
from tilewright.tuner import Candidate
from tilewright.tuner.measure import Supervisor, Unmeasurable
from tilewright.tuner.store import Store
from tilewright.tuner.tune_problem import Search

PLUGIN = Path(__file__).parent / "plugin"
TILES = (2048, 4096, 8192, 16384, 32768, 65536, 131072)


@pytest.fixture
def supervised(monkeypatch, tmp_path):
    """Start a supervisor of the faulty device; `faults` maps a TILE to what goes wrong with it."""
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")]))
    made = []

    def start(faults, hang_seconds=1.0, **rest):
        monkeypatch.setenv("FAULTS", json.dumps(faults))
        made.append(Supervisor("faulty", hang_seconds, **rest))
        return made[-1]

    yield start
    for supervisor in made:
        supervisor.close()


def candidate(tile):
    return Candidate("map", {"TILE": tile, "FLAT": 0, "THREADS": 1})


def test_a_good_candidate_is_timed(supervised):
    measured = supervised({}).measure(double(), candidate(2048), 0.05)
    assert (measured.status, measured.reason) == ("ok", "")
    assert measured.seconds == pytest.approx(1e-3) and measured.rounds >= 3 and measured.error <= 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("segfault", "crash: SIGSEGV"),
        ("abort", "crash: SIGABRT"),
        ("exit", "crash: the process ended with status 3"),
        ("wrong", "wrong result: output 0: "),
        ("nan", "wrong result: output 0: nan at [3]"),
        ("short", "wrong result: output 0: "),
        ("past", "wrong result: output 0: wrote past the end"),
        ("memory", "OutOfMemory: faulty: out of memory: 1125899906842624 bytes were asked for, 1 bytes are free"),
        ("compile", "does not compile: kernel.c:3:7: error: no such thing"),
        ("raise", "RuntimeError: the driver does not like this"),
    ],
)
def test_a_bad_candidate_fails_with_its_reason_and_the_next_is_measured(supervised, fault, reason):
    supervisor = supervised({"2048": fault})
    failed = supervisor.measure(double(), candidate(2048), 0.02)
    assert failed.status == "failed"
    assert failed.reason.startswith(reason)
    assert supervisor.measure(double(), candidate(4096), 0.02).status == "ok"


def test_a_lost_device_is_lost_for_one_candidate_only(supervised):
    supervisor = supervised({"2048": "lost"})
    failed = supervisor.measure(double(), candidate(2048), 0.02)
    assert (failed.status, failed.reason) == ("failed", "DeviceLost: faulty: the device stopped answering")
    assert supervisor.measure(double(), candidate(4096), 0.02).status == "ok"


def test_a_slow_leak_is_ended_with_its_worker(supervised):
    supervisor = supervised({"4096": "leak"}, leak_nbytes=40 << 20)
    assert supervisor.measure(double(), candidate(2048), 0.02).status == "ok"
    worker = supervisor._child
    for _ in range(60):  # few runs fit into a measurement where other work goes on
        assert supervisor.measure(double(), candidate(4096), 0.02).status == "ok"
        if supervisor._child is not worker:
            break
    else:
        raise AssertionError("the leaking worker lives on")
    assert supervisor.measure(double(), candidate(8192), 0.02).status == "ok"


def test_memory_that_others_used_up_is_not_a_candidates_fault(supervised):
    supervisor = supervised({"2048": "leak there"})
    assert supervisor.measure(double(), candidate(2048), 0.02).status == "ok"
    assert supervisor.measure(double(2000), candidate(4096), 0.02).status == "ok"


def test_a_hang_is_ended_in_time(supervised):
    supervisor = supervised({"2048": "hang"}, hang_seconds=0.5)
    start = monotonic()
    failed = supervisor.measure(double(), candidate(2048), 0.02, best=1e-3)
    assert failed.status == "failed" and failed.reason.startswith("hang: did not end within")
    assert monotonic() - start < 15  # half a second of it is the hang, the rest the start of a process
    assert supervisor.measure(double(), candidate(4096), 0.02).status == "ok"


def test_a_compiler_that_takes_too_long_is_ended(supervised):
    supervisor = supervised({"2048": "slow build"})
    failed = supervisor.measure(double(), candidate(2048), 0.02, patience=1.0)
    assert (failed.status, failed.reason) == ("failed", "hang: did not compile within 1 s")
    assert supervisor.measure(double(), candidate(4096), 0.02).status == "ok"


def test_several_are_compiled_at_once_and_what_goes_wrong_is_told_later(supervised):
    few = [candidate(2048), candidate(4096), candidate(8192)]
    supervisor = supervised({2048: "slow build", 4096: "compile"})
    start = monotonic()
    assert supervisor.ahead(double(), few[1:], 1.0)
    assert not supervisor.ahead(double(), few, 0.5) and monotonic() - start < 20
    reasons = [supervisor.measure(double(), c, 0.05, patience=0.5).reason for c in few]
    assert [r.partition(":")[0] for r in reasons] == ["hang", "does not compile", ""]


def test_what_a_kernel_prints_is_no_answer(supervised):
    supervisor = supervised({"2048": "print"})
    measured = supervisor.measure(double(), candidate(2048), 0.02)
    assert measured.status == "ok" and measured.seconds == pytest.approx(1e-3)


def test_a_hopeless_candidate_is_not_timed_at_length(supervised):
    supervisor = supervised({"2048": "slow50"})
    assert supervisor.measure(double(), candidate(2048), 0.5, best=1e-3).rounds == 2


def test_comparison_in_turns(supervised):
    supervisor = supervised({"4096": "slow2"})
    one, two = supervisor.compare(double(), [candidate(2048), candidate(4096)], 0.05, 1e-3)
    assert (one.seconds, two.seconds) == (pytest.approx(1e-3), pytest.approx(2e-3))
    assert one.rounds == two.rounds >= 5


def test_an_unknown_device_is_told(supervised, monkeypatch):
    with pytest.raises(Unmeasurable, match="there is no device 'nowhere'"):
        Supervisor("nowhere").measure(double(), candidate(2048), 0.02)


def test_a_problem_that_does_not_fit_is_the_problems_fault(supervised):
    with pytest.raises(Unmeasurable, match="faulty"):
        supervised({}).measure(double(1 << 50), candidate(2048), 0.02)


def test_the_search_goes_on_past_every_fault(supervised, monkeypatch, tmp_path):
    faults = dict(zip(map(str, TILES), ["hang", "segfault", "wrong", "", "slow2", "print", "compile"], strict=True))
    supervisor = supervised(faults, hang_seconds=0.5)
    monkeypatch.syspath_prepend(str(PLUGIN))
    import faulty

    store = Store(tmp_path / "records.jsonl")
    result = Search(double(), faulty.Faulty(), "exhaustive", 300.0, lambda s: None, store, supervisor).run()
    assert result.stopped == "settled"
    assert result.best.config["TILE"] in (16384, 131072 // 2)
    failed = {r.config["TILE"]: r.reason for r in result.trials if r.status == "failed"}
    assert sorted(failed) == [2048, 4096, 8192, 131072]
    assert failed[2048].startswith("hang") and failed[4096].startswith("crash: SIGSEGV")
    again = Search(double(), faulty.Faulty(), "exhaustive", 300.0, lambda s: None, store, supervisor).run()
    assert again.stopped == "records" and again.trials == ()
