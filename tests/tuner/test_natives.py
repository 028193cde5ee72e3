"""Native ops that are registered: checked, measured, recorded and chosen like any other candidate."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tilewright as tw
from tests.tuner import natives as ops
from tests.tuner.problems import double, matmul
from tilewright import tuner
from tilewright.backends.registry import get_device
from tilewright.tuner.choose import forget
from tilewright.tuner.prepare import registered
from tilewright.tuner.store import default_store
from tilewright.tuner.tune_problem import tune

BIG = 1 << 21  # elements: some 400 us for any kernel that reads and writes them


@pytest.fixture(autouse=True)
def own():
    """Registrations of this test alone."""
    before = dict(registered)
    forget()
    yield
    registered.clear()
    registered.update(before)
    forget()


@pytest.fixture
def cpu():
    device = get_device("cpu")
    if device.compiler is None:
        pytest.skip("the cpu has no compiler")
    return device


def last(problem, device, name):
    return [r for r in default_store().trials(problem.key, device.fingerprint) if r.kernel == name][-1]


def test_a_fast_one_wins_a_slow_one_loses_and_a_wrong_one_is_refused_with_its_reason(cpu):
    problem = double(BIG)
    for op in (ops.fast, ops.slow, ops.wrong, ops.raising):
        tw.register("map", "cpu", op)
    result = tune(problem, cpu, budget=3.0)
    assert result.best is not None and result.best.kernel == "fast", result
    assert last(problem, cpu, "slow").status == "ok" and last(problem, cpu, "slow").seconds > 2e-3
    assert last(problem, cpu, "wrong").reason == "wrong result: output 0: 1 elements were not written" or (
        "is right; 1 of" in last(problem, cpu, "wrong").reason
    )
    assert "RuntimeError: no such chip" in last(problem, cpu, "raising").reason
    x = tw.asarray(np.ones(BIG, np.float32), device="cpu")
    (group,) = tw.explain(x + x)
    assert (group.way, group.kernel, group.origin) == ("native", "fast", "record")
    assert float(tw.sum(x + x)) == 2 * BIG


def test_nothing_is_chosen_unmeasured_unless_it_is_trusted(cpu):
    tw.register("map", "cpu", ops.fast, version="new")
    assert tuner.choose(double(BIG), cpu).candidate.kernel != "fast"
    tw.register("map", "cpu", ops.fast, version="new", trusted=True)
    choice = tuner.choose(double(BIG), cpu)
    assert (choice.candidate.kernel, choice.origin) == ("fast", "registered")
    assert tuner.choose(matmul(), cpu).candidate.kernel != "fast"


def test_records_of_another_version_count_for_nothing(cpu):
    problem = double(BIG)
    tw.register("map", "cpu", ops.fast)
    tune(problem, cpu, budget=2.0)
    assert tuner.choose(problem, cpu).candidate.kernel == "fast"
    tw.register("map", "cpu", ops.fast, version="another")
    assert tuner.choose(problem, cpu).candidate.kernel != "fast"


def test_bad_registrations_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="no kind of problem 'sorting'; there are map"):
        tw.register("sorting", "cpu", ops.fast)
    with pytest.raises(ValueError, match="no device 'tpu'"):
        tw.register("map", "tpu", ops.fast)
    with pytest.raises(ValueError, match="function at the top of a module"):
        tw.register("map", "cpu", lambda problem, device: None)
    with pytest.raises(ValueError, match="name of another candidate"):
        named = type(ops.fast)(ops.fast.__code__, {}, "map")
        named.__qualname__ = "map"
        tw.register("map", "cpu", named)


def test_an_op_of_a_script_is_found_by_the_worker(cpu, tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import tilewright as tw\nfrom tests.tuner import natives\nfrom tests.tuner.problems import double\n"
        "from tilewright.backends.registry import get_device\nfrom tilewright.tuner.tune_problem import tune\n"
        "def mine(problem, device):\n    return natives.fast(problem, device)\n"
        "tw.register('map', 'cpu', mine)\n"
        f"print(tune(double({BIG}), get_device('cpu'), budget=2.0).best.kernel)\n"
    )  # not guarded: the worker runs it too
    path = os.pathsep.join([str(Path(__file__).parent.parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "mine", done.stdout + done.stderr
