"""Elementwise functions and operators: values, dtypes and broadcasting against NumPy."""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, narrowed, sample
from tilewright.backends.dtypes import numpy_dtype
from tilewright.dtypes import KINDS, supported

UNARY = {
    "acos": np.arccos, "acosh": np.arccosh, "asin": np.arcsin, "asinh": np.arcsinh, "atan": np.arctan,
    "atanh": np.arctanh, "cos": np.cos, "cosh": np.cosh, "sin": np.sin, "sinh": np.sinh, "tan": np.tan, "tanh": np.tanh,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "log2": np.log2, "log10": np.log10,
    "sqrt": np.sqrt, "abs": np.abs, "negative": np.negative, "sign": np.sign, "signbit": np.signbit, "ceil": np.ceil,
    "floor": np.floor, "round": np.round, "trunc": np.trunc, "isfinite": np.isfinite, "isinf": np.isinf,
    "isnan": np.isnan, "square": np.square, "reciprocal": np.reciprocal, "positive": np.positive,
    "logical_not": np.logical_not,
}  # fmt: skip
BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
    "floor_divide": np.floor_divide, "remainder": np.remainder, "pow": np.power, "atan2": np.arctan2,
    "copysign": np.copysign, "hypot": np.hypot,
    "logaddexp": np.logaddexp, "nextafter": np.nextafter, "maximum": np.maximum, "minimum": np.minimum,
    "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal,
    "greater": np.greater, "greater_equal": np.greater_equal, "logical_and": np.logical_and,
    "logical_or": np.logical_or, "logical_xor": np.logical_xor,
}  # fmt: skip
BITWISE = {
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
    "bitwise_left_shift": np.left_shift, "bitwise_right_shift": np.right_shift,
}  # fmt: skip
SPECIAL = np.array([0.0, -0.0, 0.5, -1.5, 2.5, 3.0, np.inf, -np.inf, np.nan], np.float32)
DTYPES = [name for name in KINDS if name != "bfloat16"]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("name", UNARY)
def test_unary_of_floats_and_specials(device, name):
    x = tw.asarray(SPECIAL, device=device.name)
    agree(getattr(tw, name)(x), UNARY[name](SPECIAL), device, 1e-4)


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_waves_hold_however_large_the_number(every_device, name):
    """In float32 within what OpenCL allows, next to their zeros too."""
    rng = np.random.default_rng(8)
    turns = rng.integers(-(2**20), 2**20, 5000) * (np.pi / 2)
    x = np.concatenate([turns, 10 ** rng.uniform(-30, 38, 5000), [np.ldexp(16367173.0, 72)]]).astype(np.float32)
    wanted = UNARY[name](x.astype(np.float64))
    units = np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64)
    got = np.asarray(getattr(tw, name)(tw.asarray(x, device=every_device.name)))
    assert (np.abs(got - wanted) / units).max() < (5 if name == "tan" else 4)


@pytest.mark.parametrize("name", BINARY)
def test_binary_of_floats_and_specials(device, name):
    a, b = np.meshgrid(SPECIAL, SPECIAL)
    result = getattr(tw, name)(tw.asarray(a, device=device.name), tw.asarray(b, device=device.name))
    expected = BINARY[name](a, b)
    if name == "floor_divide":  # the standard: of an infinity as divide, where NumPy says NaN or -1
        expected = np.where(np.isinf(a) | np.isinf(b), a / b, expected)
    agree(result, expected, device, 1e-4)


def test_complex_specials_follow_the_standard(device):
    a = [complex(np.inf, 0), complex(-np.inf, np.inf), complex(np.inf, np.nan), complex(np.nan, 0), 0.5 - 2j]
    a = np.array([*a, complex(-0.0, 0)])
    grown = np.asarray(tw.expm1(tw.asarray(a, device=device.name)))
    np.testing.assert_array_equal(grown[:4], [complex(np.inf, 0), -1, complex(np.inf, np.nan), complex(np.nan, 0)])
    np.testing.assert_allclose(grown[4], np.expm1(a[4]), rtol=1e-14)
    assert grown[5] == 0 and not np.signbit(grown[5].real)
    flat = np.asarray(tw.tanh(tw.asarray(np.array([complex(np.inf, 2), complex(-np.inf, -2)]), device=device.name)))
    np.testing.assert_array_equal(flat, [1, -1])
    assert not np.signbit(flat[0].imag) and np.signbit(flat[1].imag)


@pytest.mark.parametrize("name", BITWISE)
def test_bitwise(device, name):
    a, b = sample((40,), "int32"), abs(sample((40,), "int32", 1)) % 8
    x, y = tw.asarray(a, device=device.name), tw.asarray(b, device=device.name)
    agree(getattr(tw, name)(x, y), BITWISE[name](a, b), device)


@pytest.mark.parametrize("name", [*UNARY, "bitwise_invert"])
def test_dtype_of_unary(device, name):
    """What NumPy refuses we refuse; else the dtype is NumPy's. Nothing is computed."""
    function = UNARY.get(name, np.invert)
    for dtype in DTYPES:
        if KINDS[dtype] == "c" or (dtype == "bool" and name in ("square", "reciprocal")):
            continue
        x = tw.ones((2,), dtype=dtype, device=device.name)
        try:
            expected = function(np.ones(2, dtype)).dtype
        except TypeError:
            with pytest.raises(TypeError, match=name):
                getattr(tw, name)(x)
            continue
        if name == "reciprocal" and KINDS[dtype] in "iu":
            continue  # NumPy divides integers here; ours gives floats
        if dtype == "bool" and name in ("ceil", "floor", "trunc", "round"):
            expected = np.dtype(bool)
        assert getattr(tw, name)(x).dtype == narrowed(expected, device), dtype


@pytest.mark.parametrize("name", [*BINARY, *BITWISE])
def test_dtype_of_binary(device, name):
    function = (BINARY | BITWISE)[name]
    for a, b in itertools.product(DTYPES, DTYPES):
        if KINDS[a] == "c" or KINDS[b] == "c" or not (supported(a, device) and supported(b, device)):
            continue
        x, y = tw.ones((2,), dtype=a, device=device.name), tw.ones((2,), dtype=b, device=device.name)
        try:
            expected = function(np.ones(2, a), np.ones(2, b)).dtype
        except TypeError:
            with pytest.raises(TypeError, match=name):
                getattr(tw, name)(x, y)
            continue
        assert getattr(tw, name)(x, y).dtype == narrowed(expected, device), (a, b)


@pytest.mark.parametrize("scalar", [True, 2, 1.5, 2j])
def test_python_scalars_are_weak(device, scalar):
    for dtype in DTYPES:
        if not supported(dtype, device) or (KINDS[dtype] == "c" and not isinstance(scalar, complex)):
            continue
        x, y = tw.ones((2,), dtype=dtype, device=device.name), np.ones(2, dtype)
        expected = (y * scalar).dtype
        if expected.name == "complex128" and narrowed(np.dtype("float64"), device) == "float32":
            continue
        assert (x * scalar).dtype == narrowed(expected, device), dtype
        assert (scalar * x).dtype == narrowed(expected, device), dtype


def test_operators(device):
    a, b = sample((3, 4)) + 5, sample((3, 4), seed=1) + 5
    x, y = tw.asarray(a, device=device.name), tw.asarray(b, device=device.name)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
        op = getattr(operator, name)
        agree(op(x, y), op(a, b), device, 1e-4)
    for op in (operator.add, operator.sub, operator.truediv):
        agree(op(x, 3), op(a, 3), device)
        agree(op(3, x), op(3, a), device)
    for op in (operator.lt, operator.eq):
        agree(op(x, y), op(a, b), device)
    agree(-x, -a, device)
    agree(abs(-x), abs(-a), device)
    for power in (2, 0.5, -1, 3, 1.5):
        agree(x**power, a**power, device, 1e-4)
    whole = tw.asarray([[5, 6], [7, 8]], dtype="int32", device=device.name)
    expected = np.array([[5, 6], [7, 8]], "int32")
    agree((whole & 3) | (whole << 2) ^ (~whole >> 1), (expected & 3) | (expected << 2) ^ (~expected >> 1), device)
    agree(2**whole, 2**expected, device)


def test_broadcasting(device):
    a, b, c = sample((3, 1, 4)), sample((5, 1), seed=1), sample((), seed=2)
    x, y, z = (tw.asarray(v, device=device.name) for v in (a, b, c))
    agree(x * y + z, a * b + c, device)
    agree(x[0:0] + y, a[0:0] + b, device)
    agree(z + z, c + c, device)


def test_mixed_dtypes_compute_in_the_promoted_one(device):
    a, b = sample((6,), "int16"), sample((6,), "float32", 1)
    x, y = tw.asarray(a, device=device.name), tw.asarray(b, device=device.name)
    agree(x + y, a + b, device)
    agree(x / 2, a / 2, device)
    agree(tw.sqrt(abs(x)), np.sqrt(abs(a)), device)
    flags = tw.asarray(a > 0, device=device.name)
    agree(flags + flags, (a > 0) + (a > 0), device)
    agree(flags * x, (a > 0) * a, device)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(device, dtype):
    a = np.linspace(-2, 2, 50, dtype=np.float32)
    x = tw.astype(tw.asarray(a, device=device.name), dtype)
    result = tw.exp(x) * 0.5 + x
    assert result.dtype.name == dtype
    np.testing.assert_allclose(np.asarray(result).astype(np.float32), np.exp(a) * 0.5 + a, rtol=3e-2, atol=3e-2)


def test_where_and_clip(device):
    a, b = sample((4, 5)), sample((4, 5), seed=1)
    x, y = tw.asarray(a, device=device.name), tw.asarray(b, device=device.name)
    agree(tw.where(x > y, x, 0), np.where(a > b, a, np.float32(0)), device)
    agree(tw.where(x > 0, 1, -1), np.where(a > 0, 1, -1), device)
    agree(tw.clip(x, -1, 1.5), np.clip(a, -1, 1.5), device)
    agree(tw.clip(x, max=y), np.clip(a, None, b), device)
    agree(tw.clip(x), a, device)


def test_comparison_with_a_number_the_dtype_cannot_hold(device):
    a = np.array([0, 200], np.uint8)
    x = tw.asarray(a, device=device.name)
    for op in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):
        for number in (300, -1):
            agree(op(x, number), op(a, number), device)
            agree(op(number, x), op(number, a), device)
    with pytest.raises(OverflowError, match="300"):
        x + 300


def test_deep_graphs_are_evaluated_on_the_way(device):
    x = tw.zeros((3,), dtype="float32", device=device.name)
    for _ in range(1000):
        x = x + 1
    assert x.node().depth <= 200
    agree(x, np.full(3, 1000, np.float32), device)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_quotients_next_to_whole_numbers_and_at_the_ends_of_a_dtype(dtype, device):
    limits, rng = np.iinfo(dtype), np.random.default_rng(2)
    edges = [limits.min, limits.min + 1, limits.max - 1, limits.max, limits.max // 2, 0, 1, 2, 3, 7]
    edges = np.array(edges + [-1, -2, -7] * (limits.min < 0)).astype(dtype)
    a, b = (rng.integers(limits.min, limits.max, 20000, dtype=dtype, endpoint=True) for _ in range(2))
    b[::2] = a[::2] // rng.integers(1, 100, 10000).astype(dtype)  # quotients that are whole, or nearly
    a, b = np.concatenate([np.repeat(edges, len(edges)), a]), np.concatenate([np.tile(edges, len(edges)), b])
    x, y = (tw.asarray(v, device=device.name) for v in (a, b))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(np.asarray(x // y), a // b)
        np.testing.assert_array_equal(np.asarray(x % y), a % b)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_cast_and_stored_is_rounded_once(dtype, device):
    x = np.random.default_rng(3).standard_normal(5000).astype(np.float32) * 1e-3
    got = tw.asarray(x, device=device.name)
    half = tw.astype(got, dtype)
    np.testing.assert_array_equal(np.asarray(half), x.astype(numpy_dtype(dtype)))
    wide = tw.astype(tw.astype(got, dtype), "float32") + 1.0  # not stored between: rounded all the same
    np.testing.assert_array_equal(np.asarray(wide), x.astype(numpy_dtype(dtype)).astype(np.float32) + 1.0)


def test_sine_and_cosine_of_one_argument(device):
    x = np.random.default_rng(4).standard_normal(1000).astype(np.float32)
    a = tw.asarray(x, device=device.name)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(np.asarray(tw.sin(a) + 2 * tw.cos(a)), np.sin(wide) + 2 * np.cos(wide), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
def test_cubes(dtype, device):
    x = (np.random.default_rng(5).standard_normal(1000) * 9).astype(dtype)
    np.testing.assert_allclose(np.asarray(tw.asarray(x, device=device.name) ** 3), x**3, rtol=3e-7)
