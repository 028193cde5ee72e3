"""Workers that share a search through Optuna's storages: each config measured once, also when one of them dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from filelock import FileLock

from tests.tuner.fleet_worker import Slow
from tests.tuner.problems import FakeDevice, double
from tilewright.tuner.fleet import Fleet
from tilewright.tuner.fleet_search import FleetSearch
from tilewright.tuner.pool import Pool
from tilewright.tuner.sampler import VOID, open_storage
from tilewright.tuner.store import Store

POOL = Pool({"A": a, "B": b} for a in range(4) for b in range(2))


def start(url, log, cache):
    command = [sys.executable, "-m", "tests.tuner.fleet_worker", url, str(log), "3"]
    environment = {**os.environ, "TILEWRIGHT_CACHE": str(cache)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def rows(log):
    return [line.split(" ", 2) for line in log.read_text().splitlines()] if log.exists() else []


def test_three_workers_one_killed_measure_everything_once(tmp_path):
    log, url, cache = tmp_path / "log", f"journal:{tmp_path / 'study.log'}", tmp_path / "cache"
    workers = [start(url, log, cache) for _ in range(3)]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        held = {pid for what, pid, _ in rows(log) if what == "begin"}
        last = rows(log)[-1] if rows(log) else ["", "", ""]
        if len(held) == 3 and last[0] == "begin":
            victim = next(w for w in workers if str(w.pid) == last[1])
            os.kill(victim.pid, signal.SIGKILL)
            break
        time.sleep(0.003)
    else:
        pytest.fail("the three never worked together")
    ended = [w.communicate(timeout=60)[0].split("\n")[0] for w in workers if w is not victim]
    victim.communicate()
    assert len(set(ended)) == 1 and ended[0].startswith("settled map ")
    finished, begun = defaultdict(set), defaultdict(set)
    for what, pid, name in rows(log):
        if what in ("begin", "end"):
            (begun if what == "begin" else finished)[name].add(pid)
    assert set(finished) == set(begun)
    assert len(begun.pop(last[2])) == 2  # what the killed one was at; nothing that was finished is another's, too
    assert {len(pids) for pids in begun.values()} == {1}  # the same one may look twice: at a surprising best
    assert {len(pids) for pids in finished.values()} == {1}
    store = Store(cache / "records.jsonl")
    kept = {r.name for r in store.trials(double(1 << 20).key, FakeDevice().fingerprint) if r.stage == "screen"}
    assert kept == set(finished)  # nothing is lost
    assert sum(r.kind == "search" for r in store.records()) == 1  # the finals were one worker's


@pytest.fixture
def proxy(tmp_path):
    """The address of Optuna's gRPC proxy before a database, in a process of its own: its server has no way to stop."""
    pytest.importorskip("grpc")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    code = "import sys; from optuna.storages import RDBStorage, run_grpc_proxy_server; " \
        "run_grpc_proxy_server(RDBStorage(sys.argv[1]), host='localhost', port=int(sys.argv[2]))"  # fmt: skip
    url = f"sqlite:///{tmp_path}/proxied.db"
    server = subprocess.Popen([sys.executable, "-c", code, url, str(port)], stderr=subprocess.DEVNULL)
    yield f"grpc://localhost:{port}"
    server.kill()
    server.wait()


@pytest.mark.parametrize("scheme", ["journal:{}/study.log", "sqlite:///{}/study.db", "grpc"])
def test_a_config_is_claimed_once_and_free_again_when_its_worker_dies(scheme, tmp_path, request):
    url = request.getfixturevalue("proxy") if scheme == "grpc" else scheme.format(tmp_path)
    one, two = (Fleet(open_storage(url), "study", POOL, seed, lease_seconds=1.5) for seed in (0, 1))
    first, second = one.claim(lambda: ""), two.claim(lambda: "")
    assert first.config != second.config
    one._study.add_trial(one._study.get_trials()[0].__class__(**_copied(one, first)))  # an equal trial, offered late
    third = two.claim(lambda: "")
    assert third.config not in (first.config, second.config)
    voids = [t.user_attrs[VOID] for t in one._study.get_trials() if VOID in t.user_attrs]
    assert voids == ["an equal trial came first"]
    two.finish(second, 1.0, "", "")
    two.finish(third, None, "no", "")
    others = []
    while not isinstance(claim := two.claim(lambda: ""), str):  # the first, never finished, comes free after its lease
        others.append(claim.config)
        two.finish(claim, 2.0, "", "")
    assert claim == "exhausted" and first.config in others and len(others) == len(POOL) - 2
    one.finish(first, 0.1, "", "")  # too late
    assert sorted(t.value or 0 for t in two.finished()) == [0, 1, 2, 2, 2, 2, 2, 2]


def test_workers_of_one_host_offer_by_turns_and_void_nothing(tmp_path):
    fleets, start, inside, most = [], threading.Barrier(4), [], []

    def slowly(propose, *past):
        inside.append(1)
        time.sleep(0.1)
        most.append(len(inside))
        inside.pop()
        return propose(*past)

    for _ in range(4):
        turn = FileLock(tmp_path / "turn.lock")
        fleets.append(Fleet(open_storage(f"journal:{tmp_path / 'study.log'}"), "study", POOL, 0, turn=turn))
        sampler = fleets[-1]._sampler
        sampler.propose = partial(slowly, sampler.propose)

    def claim(fleet):
        start.wait()
        return tuple(fleet.claim(lambda: "").config.values())

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(claim, fleets))) == 4
    assert set(most) == {1}  # choosing and offering are one step, which no two do at once
    assert not any(VOID in t.user_attrs for t in fleets[0]._study.get_trials())


def _copied(fleet, claim):
    """The fields of a waiting trial with a claimed trial's parameters."""
    trial = next(t for t in fleet.trials() if t._trial_id == claim.trial)
    return {
        "number": -1, "trial_id": -1, "state": trial.state.WAITING, "value": None, "datetime_start": None,
        "datetime_complete": None, "params": trial.params, "distributions": trial.distributions, "user_attrs": {},
        "system_attrs": {}, "intermediate_values": {},
    }  # fmt: skip


def test_what_others_measured_reaches_a_store_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    storage = open_storage(f"journal:{tmp_path / 'study.log'}")
    counts = []
    for name in ("here", "there"):
        search = FleetSearch(
            double(1 << 20), FakeDevice(), "exhaustive", 60.0, lambda status: None, storage,
            store=Store(tmp_path / f"{name}.jsonl"), measurer=Slow(str(tmp_path / name)),
        )  # fmt: skip
        counts.append((search.run().best.name, len(rows(tmp_path / name))))
    assert counts[0][1] > 10 and counts[1] == (counts[0][0], 0)


@pytest.mark.parametrize(
    "url", ["nonsense", "journal:", "grpc://nowhere", "sqlite:////no/such/folder/x.db", "none://x"]
)
def test_a_storage_that_cannot_be_opened_is_one_clear_error(url):
    with pytest.raises(ValueError, match=r"names no storage|cannot be opened: ") as caught:
        open_storage(url)
    assert repr(url) in str(caught.value) and "\n" not in str(caught.value)
