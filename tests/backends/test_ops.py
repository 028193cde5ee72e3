"""Every template of the op table compiles on every device and means what NumPy means, on the values that hurt."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.backends.sources import c_types, run, source
from tilewright.backends.dtypes import DTYPES, KERNEL_DTYPES, numpy_dtype
from tilewright.backends.protocol import Device, Source
from tilewright.kernels.ops import OPS, Op

EXACT = {"add", "sub", "mul", "div", "floordiv", "mod", "neg", "abs", "sign", "max", "min", "floor", "ceil", "trunc",
         "round", "copysign", "nextafter", "where"}  # fmt: skip
ULPS = {"pow": 16, "tan": 8, "erf": 16, "atan2": 8, "sinh": 8, "cosh": 8, "tanh": 8, "asinh": 8, "acosh": 8, "atanh": 8,
        "logaddexp": 8}  # fmt: skip
"""Errors that OpenCL allows where they are above the 4 units in the last place that libmvec promises."""


def special_values(dtype: str) -> Any:
    """What makes a template go wrong: ends of the range, zeros, non-numbers, and some plain values."""
    kind, np_dtype = DTYPES[dtype].kind, numpy_dtype(dtype)
    if kind == "b":
        return np.array([False, True])
    if kind in "iu":
        info = np.iinfo(np_dtype)
        values = [info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 3, 5, 7, 8, 31, 64, info.max // 3]
        return np.array(values + ([-1, -2, -3, -7, -8, info.min // 3] if kind == "i" else []), np_dtype)
    import ml_dtypes

    info = ml_dtypes.finfo(np_dtype)
    tiny, least, largest = float(info.tiny), float(info.smallest_subnormal), float(info.max)
    positive = [
        0.0,
        1.0,
        0.5,
        1.5,
        2.5,
        3.0,
        0.1,
        1e-3,
        7.25,
        88.0,
        710.0,
        1e4,
        tiny,
        3 * least,
        least,
        largest,
        np.inf,
    ]
    values = [sign * value for value in positive for sign in (1.0, -1.0)]
    return np.array([*values, np.nan], np.float64).astype(np_dtype)


def ops_for(kind: str, arity: tuple[int, ...]) -> list[Op]:
    random = ("philox", "below", "normal")  # of words alone: tests/kernels/test_random_ops.py
    return [op for op in OPS.values() if kind in op.kinds and op.arity in arity and not op.name.startswith(random)]


def operands(dtype: str) -> list[Any]:
    """All pairs of special values, and a condition that is neither all true nor all false."""
    values = special_values(dtype)
    pairs = list(itertools.product(range(len(values)), repeat=2))
    left, right = (values[[pair[k] for pair in pairs]] for k in (0, 1))
    return [left, right, np.arange(len(left)) % 3 == 0]


def ops_source(device: Device, dtype: str, ops: list[Op]) -> Source:
    """All `ops` in one kernel, a loop each: one scalar call would keep a shared loop from libmvec."""
    (t, u), kind, storage = c_types(dtype), DTYPES[dtype].kind, DTYPES[dtype].c
    loads = f"const {t} x = LOAD({storage}, in0, i), y = LOAD({storage}, in1, i); const b8 c = in2[i];"
    lines, parameters = ["const i64 begin = GROUP(0) * CHUNK, end = begin + CHUNK < n ? begin + CHUNK : n;"], []
    for k, op in enumerate(ops):
        text = op.c[kind].format(*(("c", "x", "y") if op.arity == 3 else ("x", "y")), t=t, u=u)
        result = result_dtype(op, dtype)
        lines.append(f"FOR_EACH(i, begin, end) {{ {loads} STORE({DTYPES[result].c}, out{k}, i, {text}); }}")
        parameters.append(f"out {result} out{k}")
    parameters += [f"in {dtype} in0", f"in {dtype} in1", "in bool in2", "value int64 n"]
    return source(device, f"ops_{dtype}", ", ".join(parameters), "\n    ".join(lines))


def result_dtype(op: Op, dtype: str) -> str:
    return "bool" if op.result == "bool" else dtype


def expected(op: Op, dtype: str, data: list[Any]) -> Any:
    """NumPy's result in the dtype that kernels calculate in; float64 decides where that is a rounded function's."""
    compute = numpy_dtype(DTYPES[dtype].compute)
    x, y, c = data[0].astype(compute), data[1].astype(compute), data[2]
    if compute.kind == "f" and op.name not in EXACT and op.result == "same":
        x, y = x.astype(np.longdouble if op.name not in ("erf", "logaddexp") else np.float64), y.astype(np.longdouble)
    with np.errstate(all="ignore"):
        if op.name == "pow" and compute.kind == "i":
            return integer_power(x, y)
        return np.asarray(op.oracle(*((c, x, y) if op.arity == 3 else (x, y)[: op.arity])))


def integer_power(x: Any, y: Any) -> Any:
    """NumPy refuses negative exponents; we round the exact result towards zero, and 0 to a negative power gives 0."""
    bits = 8 * x.dtype.itemsize
    wrapped = []
    for base, power in zip(x.tolist(), y.tolist(), strict=True):
        value = pow(base, power, 1 << bits) if power >= 0 else {1: 1, -1: 1 - 2 * (power & 1)}.get(base, 0)
        wrapped.append((value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1))
    return np.array(wrapped, x.dtype)


def disagreement(op: Op, dtype: str, got: Any, data: list[Any]) -> str:
    """ "" if `got` is right, else the first operands for which it is wrong."""
    want = expected(op, dtype, data)
    kind = DTYPES[dtype].kind
    if op.result == "bool" or kind != "f":
        wrong = got.astype(want.dtype) != want
    else:
        with np.errstate(all="ignore"):
            rounded = want.astype(numpy_dtype(DTYPES[dtype].compute)).astype(numpy_dtype(dtype)).astype(np.float64)
            value = got.astype(np.float64)
            wrong = ~((value == rounded) | (np.isnan(value) & np.isnan(rounded)))
            if op.name not in EXACT:
                import ml_dtypes

                info = ml_dtypes.finfo(numpy_dtype(dtype))
                room = np.abs(rounded) * float(info.eps) + float(info.smallest_subnormal)
                wrong &= ~(np.abs(value - rounded) <= ULPS.get(op.name, 4) * room)
    if not wrong.any():
        return ""
    k = int(np.argmax(wrong))
    values = [str(operand[k]) for operand in data[: min(op.arity, 2)]]
    return f"{op.name}({', '.join(values)}) = {got[k]}, not {want[k]} ({int(wrong.sum())} of {wrong.size} wrong)"


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_templates_mean_what_numpy_means(device: Device, dtype: str) -> None:
    if dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {dtype}")
    data = operands(dtype)
    ops = ops_for(DTYPES[dtype].kind, (1, 2, 3))
    assert ops
    outputs = [(len(data[0]), numpy_dtype(result_dtype(op, dtype))) for op in ops]
    results = run(device, ops_source(device, dtype, ops), outputs, data, len(data[0]))
    wrong = [disagreement(op, dtype, got, data) for op, got in zip(ops, results, strict=True)]
    assert [text for text in wrong if text] == []
