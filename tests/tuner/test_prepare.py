"""Candidates become launches that compute the problem, and whose arguments can be replaced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.tuner.problems import LIMITS, FakeDevice, double, matmul
from tilewright.backends.language import Language
from tilewright.backends.protocol import Unsupported
from tilewright.kernels.oracle import reference
from tilewright.tuner import Candidate, prepare, vendor_candidate
from tilewright.tuner.check import make_inputs
from tilewright.tuner.prepare import default_candidate, text_hash


def buffers(device, problem, seed=0):
    inputs = make_inputs(problem, seed)
    made = [device.allocate(x.nbytes) for x in inputs]
    for buffer, data in zip(made, inputs, strict=True):
        device.write(buffer, data.view(np.uint8))
    return inputs, made


def some_candidate(kind, problem, device):
    candidate = vendor_candidate(problem, device) if kind == "vendor" else default_candidate(problem, device.limits)
    if candidate is None:
        pytest.skip(f"{device.name} has no {kind} for this")
    return candidate


def run(device, bound, out, like):
    for launch in bound.launches:
        launch()
    device.synchronize()
    return np.frombuffer(device.read(out, like.nbytes), like.dtype).reshape(like.shape)


@pytest.mark.parametrize("kind", ["vendor", "default"])
@pytest.mark.parametrize("problem", [matmul(48), matmul(48, epilogue=True), matmul(20, dtype="float64")])
def test_vendor_and_default_compute_the_problem(device, problem, kind):
    candidate = some_candidate(kind, problem, device)
    inputs, made = buffers(device, problem)
    (expected,) = reference(problem, inputs)
    out = device.allocate(expected.nbytes)
    bound = prepare(problem, candidate, device).bind([out], made)
    np.testing.assert_allclose(run(device, bound, out, expected), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["vendor", "default"])
def test_every_place_of_an_argument_can_be_replaced(device, kind):
    problem = matmul(32, epilogue=True)
    candidate = some_candidate(kind, problem, device)
    _, made = buffers(device, problem)
    out = device.allocate(4 * 32 * 32)
    bound = prepare(problem, candidate, device).bind([out], made)
    inputs, others = buffers(device, problem, seed=1)
    target = device.allocate(4 * 32 * 32)
    for places, buffer in zip((*bound.outputs, *bound.inputs), (target, *others), strict=True):
        assert places
        for launch, index in places:
            launch.set(index, buffer)
    for launch, index in bound.scalars[0]:
        launch.set(index, -1000.0)
    expected = np.matmul(inputs[0].reshape(1, 32, 32), inputs[1].reshape(1, 32, 32)) + inputs[2]
    np.testing.assert_allclose(run(device, bound, target, expected), expected, rtol=1e-4, atol=1e-4)


def test_no_vendor_for_what_libraries_do_not_take(device):
    assert vendor_candidate(double(), device) is None
    assert vendor_candidate(matmul(8, dtype="float16"), device) is None


def test_unknown_kernels_are_named(device):
    with pytest.raises(Unsupported, match="no kernel 'nothing' for a map problem"):
        prepare(double(), Candidate("nothing"), device)
    with pytest.raises(Unsupported, match="vendor library has nothing"):
        prepare(double(), Candidate("vendor"), device)


class Narrow(Language):
    name, index = "narrow", "int32"


def test_what_32_bit_indices_do_not_reach_is_refused_by_name():
    limits = replace(LIMITS, language=Narrow())
    with pytest.raises(Unsupported, match="fake: map add 2147483648 float32 is beyond int32, narrow's indices"):
        prepare(double(1 << 31), default_candidate(double(1 << 31), limits), FakeDevice(limits=limits))


def test_names_are_canonical_and_texts_are_hashed(device):
    assert Candidate("k", {"B": 1, "A": 2}).name == Candidate("k", {"A": 2, "B": 1}).name == "k A=2 B=1"
    default = default_candidate(double(), device.limits)
    assert len(text_hash(double(), default)) == 12
    assert text_hash(double(10), default) == text_hash(double(20), default)
    assert text_hash(matmul(), Candidate("vendor")) == ""
