"""Complex arrays: recorded and computed as real ones are, by kernels; what no kernel has, and devices without them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample
from tilewright.dtypes import KINDS

PARTS = [0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan]
SPECIAL = np.array([complex(*pair) for pair in itertools.product(PARTS, repeat=2)])
BINARY = ["add", "subtract", "multiply", "divide", "equal", "not_equal"]
UNARY = [
    "abs", "conj", "imag", "isfinite", "isinf", "isnan", "logical_not", "negative", "positive", "real", "reciprocal",
    "square",
]  # fmt: skip
BOTH = pytest.mark.parametrize("dtype", ["complex64", "complex128"])


def complexes(shape: tuple[int, ...], dtype: str = "complex64", seed: int = 0) -> np.ndarray[Any, Any]:
    return (sample(shape, "float64", seed) + 1j * sample(shape, "float64", seed + 1)).astype(dtype)


@pytest.fixture
def natively():
    """Fails a test in which the host computes."""
    tw.fallbacks(reset=True)
    yield
    assert tw.fallbacks() == {}


@BOTH
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's
def test_special_values(device, natively, dtype):
    a, b = (x.reshape(-1).astype(dtype) for x in np.meshgrid(SPECIAL, SPECIAL))
    x, y = (tw.asarray(p, device=device.name) for p in (a, b))
    results = {name: getattr(tw, name)(x, y) for name in BINARY} | {name: getattr(tw, name)(x) for name in UNARY}
    tw.eval(*results.values())
    for name, result in results.items():
        agree(result, getattr(np, name)(a, b) if name in BINARY else getattr(np, name)(a), device, 1e-6)
    for name in ("conj", "negative"):  # zeros have signs
        np.testing.assert_array_equal(
            *(np.signbit(f(p).imag) for f, p in ((np.asarray, results[name]), (getattr(np, name), a)))
        )


def test_large_numbers_do_not_overflow_on_the_way(device, natively):
    a = np.array([1e30 + 1e30j, 1e-30 + 0j, 2e25 - 1e30j], np.complex64)
    x = tw.asarray(a, device=device.name)
    agree(x / x, np.ones(3, np.complex64), device, 1e-6)
    agree(tw.abs(x[::2]), np.abs(a[::2]), device)


def test_promotion(device, natively):
    """The dtype is NumPy's, and so are the values of a real number and of a Python one that meet a complex one."""
    for dtype, other in itertools.product(("complex64", "complex128"), [d for d in KINDS if d != "bfloat16"]):
        a, b = complexes((3, 1), dtype), sample((4,), other, 2)
        x, y = tw.asarray(a, device=device.name), tw.asarray(b, device=device.name)
        assert (x + y).dtype == (a + b).dtype and (y - x).dtype == (b - a).dtype
        assert tw.where(tw.asarray([True], device=device.name), y, x).dtype == (a + b).dtype
    for other in ("int32", "float16", "complex128"):
        a, b = complexes((3, 1)), sample((4,), other, 2)
        agree(tw.asarray(a, device=device.name) * tw.asarray(b, device=device.name), a * b, device, 1e-6)
    x = tw.asarray(complexes((2, 3)), device=device.name)
    for scalar in (True, 2, 0.5, 1 - 2j):
        agree(x * scalar, complexes((2, 3)) * scalar, device)
        agree((scalar - x).T, (scalar - complexes((2, 3))).T, device)
    agree(tw.asarray(sample((3,), "float32"), device=device.name) + 1j, sample((3,)) + 1j, device)
    agree(x == 1j, complexes((2, 3)) == 1j, device)
    assert tw.astype(tw.ones(2, dtype="int8", device=device.name), "complex64").tolist() == [1, 1]


@BOTH
def test_reductions(device, natively, dtype):
    a = complexes((5, 40, 3), dtype)
    x = tw.asarray(a, device=device.name)
    for axis in (None, 0, (0, 2)):
        agree(tw.sum(x, axis=axis, keepdims=True), a.sum(axis=axis, keepdims=True), device, 1e-5)
    for name in ("mean", "std", "all", "count_nonzero"):
        agree(getattr(tw, name)(x, axis=1), getattr(np, name)(a, axis=1), device, 1e-5)
    agree(tw.var(x, correction=1), a.var(ddof=1), device, 1e-5)
    agree(tw.prod(x / 3, axis=2), (a / 3).prod(axis=2), device, 1e-5)
    agree(tw.sum(x[:0], axis=0), a[:0].sum(axis=0), device)
    agree(tw.prod(x[:0], axis=0), a[:0].prod(axis=0), device)
    agree(tw.linalg.vecdot(x, x, axis=1), np.vecdot(a, a, axis=1), device, 1e-5)
    agree(tw.sum(tw.asarray(sample((9,)), device=device.name), dtype=dtype), sample((9,)).sum(dtype=dtype), device)
    for name in ("max", "argmin"):
        with pytest.raises(TypeError, match="no order"):
            getattr(tw, name)(x)
    with pytest.raises(TypeError, match="real"):
        tw.sum(x, dtype="float32")


@BOTH
def test_indexing_and_writes(device, natively, dtype):
    a = complexes((6, 8), dtype)
    x = tw.asarray(a, device=device.name)
    view, theirs = x[1::2, ::-1].T, a[1::2, ::-1].T
    agree(x[[0, -1, 2], 3:], a[[0, -1, 2], 3:], device)
    agree(tw.take(x, tw.asarray([5, 0], device=device.name), axis=1), a[:, [5, 0]], device)
    x[0], a[0] = 1j, 1j
    x[:, 2:4], a[:, 2:4] = tw.asarray([3.5, -1], device=device.name), [3.5, -1]
    x[4], a[4] = x[5], a[5]
    view *= 1 - 1j
    theirs *= 1 - 1j
    mask = tw.real(x) > 1
    x[mask] = 2
    a[a.real > 1] = 2
    agree(x, a, device)
    agree(view, theirs, device)
    agree(tw.concat([x.T, x.T], axis=1), np.concat([a.T, a.T], axis=1), device)
    agree(tw.full((2, 3), 1 - 2j, dtype=dtype, device=device.name)[:, 1], np.full(2, 1 - 2j, dtype), device)
    assert x[2, 3].item() == a[2, 3]
    with pytest.raises(TypeError, match="real"):
        tw.ones(3, device=device.name)[0:2] = x[0, :2]


def test_a_compiled_function_takes_complex_arrays(device):
    turn = tw.jit(lambda z, w: tw.sum(z * tw.conj(w) + 2j, axis=0))
    tw.fallbacks(reset=True)
    for seed in (0, 3, 6):
        a, b = complexes((7, 4), seed=seed), complexes((7, 4), seed=seed + 9)
        agree(turn(*(tw.asarray(p, device=device.name) for p in (a, b))), (a * b.conj() + 2j).sum(0), device)
    assert tw.fallbacks() == {}


def test_what_no_kernel_has_is_done_by_the_host_and_counted(device):
    a = complexes((3, 3))
    x = tw.asarray(a, device=device.name)
    tw.fallbacks(reset=True)
    agree(tw.exp(x * x), np.exp(a * a), device, 1e-4)
    agree(x @ x, a @ a, device)
    agree(x**0.5, a**0.5, device)
    found = tw.fallbacks()
    assert {name: f.count for name, f in found.items()} == {"exp": 1, "matmul": 1, "pow": 1}
    assert found["exp"].nbytes == 2 * a.nbytes


@BOTH
def test_a_device_without_complex_numbers_lets_the_host_compute(small, dtype):
    a, f = complexes((4, 5), dtype), sample((5,), "float32")
    x, y = tw.asarray(a, device="narrow"), tw.asarray(f, device="narrow")
    tw.fallbacks(reset=True)
    agree(x * y + 1j, a * f + np.array(1j, dtype), small)
    agree(tw.sum(tw.abs(x), axis=0), np.abs(a).sum(axis=0), small, 1e-5)
    agree(tw.var(x[:, 1:], axis=1), a[:, 1:].var(axis=1), small, 1e-5)
    x[1:3, ::2] = tw.imag(x)[0, :3]
    a[1:3, ::2] = a.imag[0, :3]
    agree(x.T, a.T, small)
    assert any("mul" in name for name in tw.fallbacks())
    assert (y + 1).tolist() == (f + 1).tolist()
