"""One operation at a time, evaluated at once, which takes a shorter way to its plan than a graph does."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tilewright as tw
from tilewright import realize, tuner


def test_each_run_has_its_own_operands_and_scalars(device):
    x, y = (tw.asarray(np.arange(6, dtype=np.float32) + k, device=device.name) for k in (1, 9))
    for _ in range(2):  # the second time the plans are there
        for a, b in ((x, y), (y, x), (x, x)):
            assert np.array_equal(np.asarray(a - b), np.asarray(a) - np.asarray(b))
        for scalar in (2.0, 7.0):
            assert np.array_equal(np.asarray(x - scalar), np.asarray(x) - np.float32(scalar))
            assert np.array_equal(np.asarray(scalar - x), np.float32(scalar) - np.asarray(x))
        wide = tw.reshape(x, (2, 3))
        assert np.array_equal(np.asarray(wide - wide), np.zeros((2, 3)))
        assert np.array_equal(np.asarray(-x), -np.asarray(x))


def test_results_do_not_share_memory(device):
    x = tw.ones(16, dtype=tw.float32, device=device.name)
    first = np.asarray(x + x * 0)  # its array is gone, its memory must not be handed out again
    second = np.asarray(x + 5.0)
    assert first.tolist() == [1.0] * 16
    assert second.tolist() == [6.0] * 16


def test_changed_records_are_asked_again(monkeypatch):
    x, y = tw.ones(5, device="cpu"), tw.ones(5, device="cpu")
    tw.eval(x + y)
    tw.eval(x + y)
    asked = []
    choose = tuner.choose
    monkeypatch.setattr(tuner, "choose", lambda *given: asked.append(given) or choose(*given))
    tw.eval(x + y)
    assert not asked
    monkeypatch.setattr(tuner, "generation", tuner.generation + 1)
    tw.eval(x + y)
    assert len(asked) == 1
    realize._short_plans.clear()  # those of a generation that ends with this test
    realize._plans.clear()


@pytest.mark.parametrize("shared", [True, False])
def test_threads_get_their_own_results(device, shared):
    x = tw.asarray(np.arange(16, dtype=np.float32), device=device.name)
    wrong = []

    def work(number: int) -> None:
        mine = tw.full(16, float(number), dtype=tw.float32, device=device.name)
        tw.eval(mine)
        pending = x - 3.0
        for _ in range(100):
            z = (pending if shared else x) + mine
            expected = np.arange(16) + number - (3.0 if shared else 0.0)
            if not np.array_equal(np.asarray(z), expected):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "bfloat16", "float32", "float64", "complex64"])
def test_elements_of_an_iteration_are_known_to_the_host(device, dtype):
    numbers = np.array([0, 2**64 - 1, 2**63], np.uint64) if dtype == "uint64" else np.array([0, 1, 3, 100])
    x = tw.astype(tw.asarray(numbers, device=device.name), dtype)
    known = np.asarray(x)
    for element, number in zip(x, known, strict=True):
        assert type(element) is tw.Array and element.shape == () and element.dtype == x.dtype
        assert element.device == x.device and np.asarray(element) == number
        np.testing.assert_array_equal(np.asarray(element + x), number + known)
    if dtype != "complex64":
        assert max(x) == known.max() and sorted(x.tolist()) == sorted(known.tolist())


def test_an_iteration_sees_what_is_written_meanwhile(device):
    x = tw.arange(5, device=device.name)
    seen = []
    for element in x:
        x[4] = 9
        seen.append(int(element))
    assert seen == [0, 1, 2, 3, 9]
    long = tw.arange(10_000, device=device.name)
    assert [int(v) for v in long] == list(range(10_000))
    assert [int(v) for v in long[::-3]] == list(range(9999, -1, -3))
    assert int(tw.jit(lambda v: sum(list(v)))(x)) == 15
