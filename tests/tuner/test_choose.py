"""The order of choice: record, nearest, vendor, default; and that choosing costs no heavy import."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

import tilewright.tuner as tuner
from tests.emulation import HOPPER
from tests.tuner.problems import FINGERPRINT, LIMITS, FakeDevice, double, matmul, trial
from tilewright.backends.protocol import Unsupported
from tilewright.kernels import KERNELS
from tilewright.tuner import choose
from tilewright.tuner.choose import forget
from tilewright.tuner.prepare import default_candidate
from tilewright.tuner.store import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    made = Store(tmp_path / "records.jsonl")
    monkeypatch.setattr(sys.modules[forget.__module__], "default_store", lambda: made)  # tuner.choose is the function
    forget()
    yield made
    forget()


def valid(problem, device, number=1):
    """Some valid candidate that is not the default."""
    kernel = next(k for k in KERNELS[problem.kind] if list(k.space(problem, device.limits)))
    configs = [c for c in kernel.space(problem, device.limits) if c != kernel.default(problem, device.limits)]
    return kernel.name, configs[number]


def test_default_without_records(store):
    device = FakeDevice()
    choice = choose(double(), device)
    assert choice.origin == "default"
    assert choice.candidate == default_candidate(double(), device.limits)


def test_vendor_before_default(store):
    assert choose(matmul(), FakeDevice(vendor=True)).origin == "vendor"
    assert choose(matmul(), FakeDevice(vendor=True)).candidate.kernel == "vendor"


def test_a_default_that_leads_runs_before_the_vendor_unless_records_speak_against_it(store):
    device = FakeDevice(vendor=True, limits=replace(LIMITS, vector_nbytes=64, registers=512))
    assert choose(matmul(96), device).origin == "default"

    def race(n, own, vendor, session):
        default = default_candidate(matmul(n), device.limits)
        store.append(
            trial(matmul(n), default.kernel, default.config, own, stage="final", session=session, default=True)
        )
        store.append(trial(matmul(n), "vendor", {}, vendor, stage="final", session=session))

    race(64, 1.03e-3, 1.0e-3, "a")
    assert choose(matmul(80), device).origin == "default"  # beaten, but by less than the margin
    race(1024, 1.5e-3, 1.0e-3, "b")
    choice = choose(matmul(1000), device)
    assert (choice.origin, choice.candidate.kernel) == ("nearest", "vendor")
    unseen = default_candidate(matmul(16), device.limits)
    assert choose(matmul(16), device).origin == "default"
    store.append(trial(matmul(16), unseen.kernel, unseen.config, 0.0, status="failed", reason="hang"))
    forget()
    assert choose(matmul(16), device).origin == "vendor"


def test_what_a_copy_engine_cannot_bring_is_another_choice(store):
    """Of problems that differ in an offset alone, which their key does not tell."""
    device = FakeDevice(limits=HOPPER)
    chosen = []
    for offset in (8, 12, 16, 3):
        problem = matmul(64, dtype="float16")
        moved = tuple(replace(o, offset=offset, count=o.count + offset) for o in problem.inputs)
        chosen.append(choose(replace(problem, inputs=moved), device).candidate.kernel)
    assert chosen == ["matmul_wgmma", "matmul_mma", "matmul_wgmma", "matmul_mma"]


def test_exact_record_first(store):
    device, problem = FakeDevice(), double()
    kernel, config = valid(problem, device)
    store.append(trial(problem, kernel, config, 1e-3))
    choice = choose(problem, device)
    assert (choice.origin, choice.candidate.config) == ("record", config)


def test_nearest_record_of_the_family_where_it_is_valid(store):
    device, problem = FakeDevice(), double(4096)
    kernel, config = valid(problem, device)
    store.append(trial(double(2048), kernel, {**config, "TILE": -7}, 1e-3))  # closest, but no longer valid
    store.append(trial(double(1024), kernel, config, 1e-3))
    choice = choose(problem, device)
    assert (choice.origin, choice.candidate.config) == ("nearest", config)


def test_nearest_does_not_repeat_a_failure(store):
    device, problem = FakeDevice(), double(4096)
    kernel, config = valid(problem, device)
    store.append(trial(double(2048), kernel, config, 1e-3))
    store.append(trial(problem, kernel, config, 0.0, status="failed", reason="hang"))
    assert choose(problem, device).origin == "default"


def test_records_of_another_device_do_not_count(store):
    device, problem = FakeDevice(), double()
    kernel, config = valid(problem, device)
    store.append(trial(problem, kernel, config, 1e-3, replace(FINGERPRINT, model="other")))
    assert choose(problem, device).origin == "default"


def test_choices_are_remembered_until_the_generation_changes(store):
    device, problem = FakeDevice(), double()
    before = choose(problem, device)
    kernel, config = valid(problem, device)
    store.append(trial(problem, kernel, config, 1e-3))
    assert choose(problem, device) is before
    generation = tuner.generation
    forget()
    assert tuner.generation == generation + 1
    assert choose(problem, device).origin == "record"


def test_no_kernel_is_unsupported(store, monkeypatch):
    monkeypatch.setitem(KERNELS, "map", ())
    with pytest.raises(Unsupported, match="no kernel"):
        choose(double(), FakeDevice())


def test_choosing_imports_nothing_heavy(tmp_path):
    code = """
import sys
import tilewright.tuner as tuner
early = {m for m in ("optuna", "rich", "click", "platformdirs", "filelock") if m in sys.modules}
from tests.tuner.problems import FakeDevice, double
tuner.choose(double(), FakeDevice())
late = {m for m in ("optuna", "rich", "click", "filelock") if m in sys.modules}
print(sorted(early), sorted(late))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[0] == "[] []", done.stdout + done.stderr
