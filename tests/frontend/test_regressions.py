"""Each difference from NumPy that random programs found, once mended, as a program of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree
from tests.frontend.differential.machine import Difference, Machine


def written(x: Any, key: Any, value: Any) -> Any:
    x[key] = value
    return x


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "a value per row, wanted by element": lambda xp: xp.ones((3, 5)) / xp.sum(xp.ones((3, 5)), axis=1, keepdims=True),
    "bounds that are arrays of no axes": lambda xp: xp.arange(xp.asarray(1.5), xp.asarray(6), xp.asarray(2)),
    "a write into an array without elements": lambda xp: written(xp.zeros((7, 0)), np.s_[:3, ..., -2:], 1),
    "an integer bound that bounds nothing": lambda xp: xp.clip(xp.asarray([1, 200], dtype="uint8"), -2, 300),
    "a complex variance is real": lambda xp: xp.var(xp.asarray([1 + 2j, 3], dtype="complex64"), correction=1),
    "a sum of booleans as a boolean": lambda xp: xp.sum(xp.asarray([True, True]), dtype=xp.bool),
    "a product of no booleans as a boolean": lambda xp: xp.prod(xp.zeros((0, 2), dtype="bool"), dtype=xp.bool, axis=0),
    "a vecdot of booleans": lambda xp: xp.vecdot(xp.asarray([True, False]), xp.asarray([False, True])),
    "dots of no axes keep index arrays apart": lambda xp: xp.reshape(xp.arange(12), (3, 4))[None, [0, 1], ..., [1, 2]],
    "a write into a turned complex copy": lambda xp: written(
        xp.positive(xp.reshape(xp.asarray([1j, 2, 3, 4]), (2, 2)).T), 0, 5
    ),
    "a complex element tiled": lambda xp: xp.tile(xp.reshape(xp.asarray([1j]), (1, 1)), (3, 2)),
    "and integers too": lambda xp: xp.reshape(xp.arange(12), (3, 4))[None, 1, ..., [1, 2]],
}
REFUSALS: dict[str, Callable[[Any], Any]] = {
    "index arrays that do not broadcast": lambda xp: xp.zeros((3, 3))[xp.asarray([0, 1]), xp.asarray([0, 1, 2])],
    "an integer bound that leaves nothing": lambda xp: xp.clip(xp.asarray([1, 200], dtype="uint8"), 300, None),
    "a list of integers that do not fit": lambda xp: xp.asarray([1, 300], dtype="int8"),
    "a list assigned that does not fit": lambda xp: written(xp.zeros(2, dtype="uint8"), ..., [-1, 1]),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_as_numpy(device, name):
    agree(PROGRAMS[name](tw), PROGRAMS[name](np), device)


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_as_numpy_does(device, name):
    with pytest.raises(Exception) as theirs:
        REFUSALS[name](np)
    with pytest.raises(theirs.type):
        REFUSALS[name](tw)


def test_the_machine_sees_differences(device):
    machine = Machine(device.name)
    pair = machine.put(np.asarray([1.0, -0.0, np.nan]))
    machine.compare(pair)
    for wrong in ([1.0, 0.0, np.nan], [1.0 + 1e-15, -0.0, np.nan], [1.0, -0.0, 0.0]):
        pair.ours = tw.asarray(wrong, device=device.name)
        with pytest.raises(Difference):
            machine.compare(pair)
    pair.ours = tw.asarray([1.0 + 1e-15, 0.0, np.nan], device=device.name)
    machine.compare(pair, ulps=5)
    with pytest.raises(Difference, match="NumPy accepts"):
        machine.make("x", lambda xp, a: xp.sort(a, axis=0 if xp is np else 3), pair)
