"""float16 and bfloat16 through and through: promotion, sums in float32, limits, printing, NumPy, pickle and copies."""

from __future__ import annotations

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample

DTYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
WITH = {  # what the other operand's dtype makes of either
    "bool": "same", "int8": "same", "uint8": "same", "int16": "float32", "int32": "float64", "uint64": "float64",
    "float32": "float32", "float64": "float64", "complex64": "complex64", "complex128": "complex128",
}  # fmt: skip


@pytest.fixture(params=DTYPES)
def half(request):
    return DTYPES[request.param]


def test_promotion(device, half, by_oracle):
    x = tw.ones(3, dtype=half, device=device.name)
    for other, wanted in WITH.items():
        target = half if wanted == "same" else np.dtype(wanted)
        y = tw.ones(3, dtype=other, device=device.name)
        assert (x + y).dtype == (y + x).dtype == tw.result_type(x, y) == tw.result_type(half, other) == target, other
    for scalar in (True, 2, 2.5):
        for result in (x + scalar, scalar * x, x / scalar, scalar - x, x**scalar, x % scalar, x // scalar):
            assert result.dtype == half
        assert tw.where(x > 0, x, scalar).dtype == tw.result_type(x, scalar) == half
    assert (x * 1j).dtype == tw.complex64 and (x > 1).dtype == tw.bool and (x + 70000.0).dtype == half
    both = tw.ones(1, dtype=tw.float16, device=device.name) + tw.ones(1, dtype=tw.bfloat16, device=device.name)
    assert both.dtype == tw.float32
    assert tw.can_cast(half, tw.float32) and not tw.can_cast(tw.float32, half) and tw.isdtype(half, "real floating")


def test_arithmetic_rounds_once(device, half):
    a, b = sample((500,), half.name, 1), sample((500,), half.name, 2)
    x, y = tw.asarray(a, device=device.name), tw.asarray(b, device=device.name)
    with np.errstate(all="ignore"):
        for op in ("__add__", "__sub__", "__mul__", "__truediv__"):
            wanted = getattr(a.astype(np.float32), op)(b.astype(np.float32)).astype(half)
            np.testing.assert_array_equal(np.asarray(getattr(x, op)(y)), wanted)
    every = np.arange(1 << 16, dtype=np.uint16).view(half)
    found = np.asarray(tw.asarray(every, device=device.name) + 0)
    np.testing.assert_array_equal(found.astype(np.float32), every.astype(np.float32))


SUMS = {
    "sum": lambda xp, x: xp.sum(x), "mean": lambda xp, x: xp.mean(x), "var": lambda xp, x: xp.var(x),
    "std": lambda xp, x: xp.std(x, axis=0), "norm": lambda xp, x: xp.linalg.vector_norm(x, axis=-1),
    "norm 3": lambda xp, x: xp.linalg.vector_norm(x, ord=3), "vecdot": lambda xp, x: xp.vecdot(x, x),
    "matmul": lambda xp, x: xp.matmul(x, x.T), "tensordot": lambda xp, x: xp.tensordot(x, x, axes=2),
    "cumulative": lambda xp, x: xp.cumulative_sum(x, axis=1), "einsum": lambda xp, x: xp.einsum("ij,ij->i", x, x),
    "trace": lambda xp, x: xp.linalg.trace(x), "nanmean": lambda xp, x: xp.nanmean(x),
}  # fmt: skip


def test_sums_are_kept_in_float32(device, half):
    limit = 0.3 if half == np.float16 else 300.0
    data = (np.abs(sample((40, 1000), "float32", 3)) * limit + 0.1).astype(half)
    x = tw.asarray(data, device=device.name)
    for name, function in SUMS.items():
        wanted = function(np, data.astype(np.float64)).astype(half).astype(np.float64)
        found = function(tw, x)
        assert found.dtype == half, name
        digits = float(ml_dtypes.finfo(half).eps)
        np.testing.assert_allclose(np.asarray(found).astype(np.float64), wanted, digits, err_msg=name)
    large = tw.full((4,), 3e4 if half == np.float16 else 1e18, dtype=half, device=device.name)
    assert tw.isfinite(tw.linalg.vector_norm(large)) and tw.isfinite(tw.mean(large))


def test_limits(half):
    theirs = ml_dtypes.finfo(half)
    for info in (tw.finfo(half), tw.finfo(tw.ones(1, dtype=half))):
        assert (info.bits, info.dtype) == (16, half)
        for name in ("eps", "max", "min", "smallest_normal"):
            assert float(getattr(info, name)) == float(getattr(theirs, name))
    assert tw.zeros(1, dtype=half.name).dtype == half


def test_to_and_from_numpy(device, half):
    data = sample((4, 5), half.name)
    x = tw.asarray(data, device=device.name)
    assert np.asarray(x).dtype == half and x.tolist() == data.tolist() and type(x[0, 0].item()) is float
    for result in (data + x, x + data, np.add(x, x)):
        agree(result, data + data, device)
    agree(np.sin(x), np.sin(data.astype(np.float32)).astype(half), device)
    for target in ("float32", "float64", "int32", "int8", "bool", "float16", "bfloat16", "complex64"):
        there = tw.astype(x, target)
        assert there.dtype.name == target
        np.testing.assert_array_equal(np.asarray(there), data.astype(there.dtype))
        if target != "complex64":
            assert tw.astype(there, half).dtype == half
    x[1] = 7.3
    x += 1
    assert x.dtype == half and float(x[1, 0]) == float(half.type(float(half.type(7.3)) + 1))


def test_printing(device, half):
    x, s = tw.asarray([1.5, 3.25], dtype=half, device=device.name), tw.asarray(2.5, dtype=half, device=device.name)
    assert repr(x).startswith("Array([1.5") and repr(x).endswith(f"], dtype={half.name}, device='{device.name}')")
    assert f"{s:.3f}|{s:>8}|{s:e}|{s}" == "2.500|     2.5|2.500000e+00|2.5" and f"{x}" == str(x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex128", "bool", "int8"])
def test_formats_pickles_and_copies_of_every_kind(device, dtype):
    data = sample((3, 4), dtype)
    x = tw.asarray(data, device=device.name)
    for source, wanted in (
        (x, data),
        (x.T, data.T),
        (x[::-1, 1:3], data[::-1, 1:3]),
        (x[0, 0], data[0, 0]),
        (x[:0], data[:0]),
    ):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            agree(pickle.loads(pickle.dumps(source, protocol)), wanted, device)
        for made in (copy.copy(source), copy.deepcopy(source), copy.deepcopy({"a": [source]})["a"][0]):
            agree(made, wanted, device)
            made[...] = 1
        agree(source, wanted, device)
    assert format(x[0, 0], "") == str(data[0, 0].item()) and format(x) == str(x)
    with pytest.raises(TypeError, match=r"format: .*\(3, 4\).*'\.2f'"):
        format(x, ".2f")
