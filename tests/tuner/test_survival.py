"""The tuner itself is killed, shares its store, and loses its disk: what was finished stays."""

from __future__ import annotations

import math

import pytest

from tests.tuner import kill
from tests.tuner.problems import FINGERPRINT, FakeDevice, FakeMeasurer, double
from tests.tuner.test_tune_problem import Synthetic, bowl
from tilewright.kernels import KERNELS
from tilewright.tuner.store import Store
from tilewright.tuner.tune_problem import Search


def test_killed_tuners_resume_and_repeat_nothing(tmp_path):
    assert kill.killed(tmp_path, times=3, seed=1) >= 2
    assert kill.repeated(tmp_path) == [] and kill.damaged(tmp_path) == 0 and kill.orphans(tmp_path) == []
    failed = [r for r in kill.records(tmp_path) if r.status == "failed"]
    assert failed and all(r.reason.startswith("wrong result") for r in failed)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(30, "Read-only file system")])
def test_without_a_disk_tuning_finishes_in_memory_after_one_warning(tmp_path, monkeypatch, error):
    monkeypatch.setitem(KERNELS, "map", (Synthetic(),))
    store, written = Store(tmp_path / "records.jsonl"), []

    def append(path, lines):
        written.append(lines)
        if len(written) > 5:
            raise error
        path.write_bytes(path.read_bytes() + b"".join(lines) if path.exists() else b"".join(lines))

    monkeypatch.setattr("tilewright.tuner.store.append", append)
    measurer = FakeMeasurer(bowl)

    def tune():
        return Search(double(), FakeDevice(), "full", math.inf, lambda s: None, store, measurer, measurer.clock).run()

    with pytest.warns(RuntimeWarning, match=f"{error.strerror}.*set TILEWRIGHT_CACHE") as caught:
        result = tune()
    assert len(caught) == 1 and result.stopped == "settled" and result.best.seconds <= 1.3e-3
    assert len(store.trials(double().key, FINGERPRINT)) == len(result.trials)
    assert len(Store(store.path).records()) == 5  # what was written before is still there
    assert tune().stopped == "records"
