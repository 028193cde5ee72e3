"""digits: the same answer from every namespace, and refusals in one sentence."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
from benchmarks import digits


def shortly(name: str, device: str = "cpu") -> digits.Result:
    return digits.train(digits.namespace(name), device, epochs=8, hidden=32)


def test_a_third_is_held_out_always_the_same():
    first, second = digits.load(), digits.load()
    assert len(first.images) == 1198 and len(first.test_images) == 599
    assert np.array_equal(first.test_images, second.test_images)
    together = np.concatenate([first.images, first.test_images])
    assert together.dtype == np.float32 and together.min() == 0 and together.max() == 1


def test_gradients_are_those_of_the_loss():
    """The step's first update against central differences of its own loss, in float64."""
    xp, rng = digits.namespace("numpy"), np.random.default_rng(1)
    parameters = [p.astype(np.float64) for p in digits.initial(5, rng)]
    data = rng.random((12, digits.PIXELS)), rng.integers(0, 10, 12), np.arange(10), np.arange(12)
    step = digits.make_step(xp, rate=1.0, momentum=0.0)
    updated, _ = step(tuple(parameters), *data)
    for k, place in enumerate([(3, 2), (1,), (4, 7), (6,)]):
        losses = []
        for sign in (1, -1):
            moved = [p.copy() for p in parameters]
            moved[k][place] += sign * 1e-5
            losses.append(float(step(tuple(moved), *data)[1]))
        slope = (losses[0] - losses[1]) / 2e-5
        # The target's one-hot rows are float32, which bounds how well the two can agree.
        assert parameters[k][place] - updated[k][place] == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_tilewright_learns_what_numpy_learns():
    numpy, ours = shortly("numpy"), shortly("tilewright")
    assert numpy.accuracy > 0.93
    assert ours.accuracy == pytest.approx(numpy.accuracy, abs=0.01)
    assert ours.loss == pytest.approx(numpy.loss, rel=0.05)
    assert ours.steps == numpy.steps == 63


def test_the_command_prints_accuracy_and_speed(capsys):
    assert digits.main(["--xp", "numpy", "--epochs", "2"]) == 0
    output = capsys.readouterr().out
    assert "numpy on cpu: test accuracy" in output and "steps/s" in output


@pytest.mark.parametrize("xp", ["numpy", "tilewright"])
def test_a_device_that_is_not_there_is_named(xp, capsys):
    with pytest.raises(SystemExit) as stop:
        digits.main(["--xp", xp, "--device", "abacus:7"])
    assert stop.value.code == 2
    assert "abacus:7" in capsys.readouterr().err.splitlines()[-1]
