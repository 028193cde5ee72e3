"""Inputs that exercise a problem, and a check that lets nothing wrong pass and nothing right fail."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tuner.problems import double, matmul
from tilewright.kernels.node import Node, View
from tilewright.kernels.oracle import reference, window
from tilewright.kernels.problem import Operand, Problem
from tilewright.tuner import check
from tilewright.tuner.check import CANARY_NBYTES, Reference, WrongResult, make_inputs, poison


def filled(problem, values=None):
    """An output buffer as a correct candidate leaves it."""
    data = bytearray(poison(problem.outputs[0]))
    (expected,) = reference(problem, make_inputs(problem), wide=False)
    flat = np.frombuffer(data, expected.dtype)
    o = problem.outputs[0]
    window(flat, View(expected.shape, o.strides[: expected.ndim], o.offset))[...] = (
        expected if values is None else values
    )
    return data


def gather(rows=100, columns=7, count=33):
    space = (count, columns)
    index = Node("load", (), 1, space, "int64")
    flat = Node("add", (Node("mul", (index, Node("scalar", (), 0, (count,), "int64")), None, space, "int64"),
                        Node("iota", (), 1, space, "int64")), None, space, "int64")  # fmt: skip
    body = Node("gather", (flat,), 0, space, "float32")
    table = Operand("float32", (0, 0), 0, rows * columns)
    chosen = Operand("int64", (1, 0), 0, count)
    out = Operand("float32", (columns, 1), 0, count * columns)
    return Problem("map", space, (table, chosen), (out,), (body,), (("int64", columns),))


def test_indices_stay_in_range_and_reach_the_whole_table():
    chosen = make_inputs(gather(count=5000))[1]
    assert chosen.min() == 0 and chosen.max() == 99


def test_inputs_are_the_same_every_time_and_well_scaled():
    one, two = make_inputs(matmul()), make_inputs(matmul())
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert np.abs(one[0]).min() >= 0.25 and np.abs(one[0]).max() <= 1 and one[0].min() < 0


def test_logarithms_get_positive_inputs():
    x = Node("load", (), 0, (50,), "float32")
    operand = Operand("float32", (1,), 0, 50)
    problem = Problem("map", (50,), (operand,), (operand,), (Node("log", (x,), None, (50,), "float32"),))
    assert make_inputs(problem)[0].min() > 0


@pytest.mark.parametrize(
    "problem", [double(), matmul(33), matmul(17, epilogue=True), matmul(24, dtype="float64"), gather()]
)
def test_a_correct_result_passes(problem):
    assert 0 <= Reference(problem, make_inputs(problem)).verify(0, filled(problem)).error <= 1


@pytest.mark.parametrize("large", [False, True])
def test_wrong_elements_are_found(large, monkeypatch):
    if large:
        monkeypatch.setattr(check, "REFERENCE_WORK", 300)
    problem = double(1000)
    judge = Reference(problem, make_inputs(problem))
    good = filled(problem)
    judge.verify(0, good)
    values = np.frombuffer(good, np.float32)
    for at in (0, 999):
        bad = values.copy()
        bad[at] *= 1.0001
        with pytest.raises(WrongResult, match="elements are wrong"):
            judge.verify(0, bad.tobytes())
    stale = values.copy()
    stale[250:252] = np.frombuffer(poison(problem.outputs[0])[:8], np.float32)  # in no slab when large
    with pytest.raises(WrongResult):
        judge.verify(0, stale.tobytes())


def test_writing_past_the_end_or_between_is_found():
    problem = double(1000)
    judge = Reference(problem, make_inputs(problem))
    past = filled(problem)
    past[-CANARY_NBYTES] ^= 1
    with pytest.raises(WrongResult, match="past the end"):
        judge.verify(0, past)
    apart = Operand("float32", (2,), 0, 2000)
    spread = Problem("map", (1000,), problem.inputs, (apart,), problem.body)
    judge = Reference(spread, make_inputs(spread))
    data = filled(spread)
    judge.verify(0, data)
    np.frombuffer(data, np.float32)[1] = 0
    with pytest.raises(WrongResult, match="not part of the result"):
        judge.verify(0, data)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers_are_checked_part_by_part(dtype):
    x = Node("load", (), 0, (500,), dtype)
    squares = Node("mul", (x, Node("mul", (x, x), None, (500,), dtype)), None, (500,), dtype)
    problem = Problem("map", (500,), (Operand(dtype, (1,), 0, 500),), (Operand(dtype, (2,), 0, 1000),), (squares,))
    judge = Reference(problem, make_inputs(problem))
    good = np.frombuffer(filled(problem), dtype)
    assert judge.verify(0, good.tobytes()).error <= 1
    for at, value, message in ((8, good[8].real, "are wrong"), (8, poisoned(problem)[0], "are wrong"),
                               (9, good[8], "not part"), (1000, good[8], "past the end")):  # fmt: skip
        bad = good.copy()
        bad[at] = value
        with pytest.raises(WrongResult, match=message):
            judge.verify(0, bad.tobytes())


def poisoned(problem):
    return np.frombuffer(poison(problem.outputs[0]), problem.outputs[0].dtype)


def test_a_lost_term_of_a_long_sum_is_found():
    problem = matmul(256)
    judge = Reference(problem, make_inputs(problem))
    a, b = make_inputs(problem)
    lost = (a.reshape(256, 256)[:, :-1].astype(np.float64) @ b.reshape(256, 256)[:-1]).astype(np.float32)
    with pytest.raises(WrongResult):
        judge.verify(0, filled(problem, lost[None]))


def test_infinities_and_nans_must_be_where_they_belong():
    x = Node("load", (), 0, (8,), "float32")
    zero = Node("sub", (x, x), None, (8,), "float32")
    operand = Operand("float32", (1,), 0, 8)
    problem = Problem("map", (8,), (operand,), (operand,), (Node("div", (x, zero), None, (8,), "float32"),))
    judge = Reference(problem, make_inputs(problem))
    data = filled(problem)
    judge.verify(0, data)
    np.frombuffer(data, np.float32)[2] = np.nan
    with pytest.raises(WrongResult):
        judge.verify(0, data)


def scattering(distinct):
    place, value = (Node("load", (), k, (300,), d) for k, d in enumerate(("int64", "float32")))
    inputs = (Operand("int64", (1,), 0, 300), Operand("float32", (1,), 0, 300))
    body = Node("scatter", (place, value), distinct, (300,), "float32")
    return Problem("scatter", (300,), inputs, (Operand("float32", (0,), 0, 400),), (body,))


@pytest.mark.parametrize("distinct", [False, True])
def test_a_scatter_is_judged_by_all_its_places_and_nothing_else(distinct):
    problem = scattering(distinct)
    inputs = make_inputs(problem)
    places, values = inputs
    assert (np.unique(places).size == 300) == distinct
    good = np.frombuffer(poison(problem.outputs[0]), np.float32).copy()
    for p, v in zip(places, values, strict=True):
        good[p] = v
    judge = Reference(problem, inputs)
    assert judge.verify(0, good.tobytes()).error <= 1
    untouched = next(p for p in range(400) if p not in places)
    for at, value in ((places[-1], 7.0), (untouched, 1.0)):
        bad = good.copy()
        bad[at] = value
        with pytest.raises(WrongResult):
            judge.verify(0, bad.tobytes())
    first = np.argmax(np.bincount(places)[places] > 1)
    if not distinct:  # the first of repeated places is not what stays
        bad = good.copy()
        bad[places[first]] = values[first]
        with pytest.raises(WrongResult, match="wrong"):
            judge.verify(0, bad.tobytes())
