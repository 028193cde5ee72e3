"""Every wrong argument raises at the call, by the class that the standard or NumPy has for it; nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tilewright as tw

Row = tuple[Callable[[Any], Any], type[Exception], str]
LA, FFT, NAN = tw.linalg, tw.fft, float("nan")


def put(x: Any, key: Any, value: Any) -> None:
    x[key] = value


def arrays(device: str) -> SimpleNamespace:
    """x (3, 4) floats, i (4,) integers, b its mask, c complex, v (3,), z 0-dimensional, e (0, 3), m a matrix."""

    def on(data: Any) -> tw.Array:
        return tw.asarray(np.asarray(data, None if np.asarray(data).dtype.kind in "bc" else "float32"), device=device)

    x = np.arange(12.0).reshape(3, 4)
    i = tw.asarray(np.arange(4, dtype="int32"), device=device)
    return SimpleNamespace(
        x=on(x), i=i, b=on(x > 3), c=on(np.asarray([1j, 2], "complex64")), v=on(np.ones(3)), z=on(1.5),
        e=on(np.zeros((0, 3))), m=on(np.eye(3)),
    )  # fmt: skip


CREATION: list[Row] = [
    (lambda a: tw.asarray("abc"), TypeError, "asarray: str"),
    (lambda a: tw.asarray(["a", "b"]), TypeError, "asarray: list"),
    (lambda a: tw.asarray(object()), TypeError, "asarray: object"),
    (lambda a: tw.asarray(None), TypeError, "asarray: NoneType"),
    (lambda a: tw.asarray([[1, 2], [3]]), ValueError, "asarray: .*inhomogeneous"),
    (lambda a: tw.asarray([1, 300], dtype="int8"), OverflowError, "asarray: .*300.*int8"),
    (lambda a: tw.asarray(2**70), OverflowError, "asarray: .*64 bits"),
    (lambda a: tw.asarray([1j], dtype="float32"), TypeError, "asarray: .*complex"),
    (lambda a: tw.asarray(a.c, dtype="float32"), TypeError, "asarray: complex64 .*float32"),
    (lambda a: tw.asarray([1], dtype="float31"), TypeError, "float31"),
    (lambda a: tw.asarray([1], dtype=object), TypeError, "object"),
    (lambda a: tw.asarray(np.zeros(2, "datetime64[s]")), TypeError, "datetime64"),
    (lambda a: tw.asarray([1], device="mars"), ValueError, "mars.*cpu"),
    (lambda a: tw.asarray([1], device=3), TypeError, "device.*3"),
    (lambda a: tw.astype(a.c, "float32"), TypeError, "astype: complex64 .*float32"),
    (lambda a: tw.astype(a.x, None), TypeError, "None is not a dtype"),
    (lambda a: tw.astype([1], "int8"), TypeError, "astype: .*list"),
    (lambda a: tw.zeros(-1), ValueError, r"zeros: .*\(-1,\)"),
    (lambda a: tw.ones((2, 2.5)), TypeError, "ones: .*2.5"),
    (lambda a: tw.zeros("a"), TypeError, "zeros: .*'a'"),
    (lambda a: tw.empty((2**40, 2**40)), ValueError, "empty: .*1099511627776"),
    (lambda a: tw.full(2, "a"), TypeError, "full: str"),
    (lambda a: tw.full(2, [1, 2]), TypeError, "full: .*scalar"),
    (lambda a: tw.full(2, 300, dtype="int8"), OverflowError, "full: .*300.*int8"),
    (lambda a: tw.full(2, NAN, dtype="int8"), ValueError, "full: nan.*int8"),
    (lambda a: tw.full((2,), a.v), ValueError, r"full: .*\(3,\).*\(2,\)"),
    (lambda a: tw.zeros_like(np.zeros(2)), TypeError, "zeros_like: .*ndarray"),
    (lambda a: tw.arange(0, 5, 0), ValueError, "arange: .*step"),
    (lambda a: tw.arange(0, NAN), ValueError, "arange: .*nan"),
    (lambda a: tw.arange("a"), TypeError, "arange: .*'a'"),
    (lambda a: tw.linspace(0, 1, -1), ValueError, "linspace: .*-1"),
    (lambda a: tw.linspace(0, 1, 2.5), TypeError, "linspace: .*2.5"),
    (lambda a: tw.eye(2, k=1.5), TypeError, "eye: .*1.5"),
    (lambda a: tw.tril(a.v), ValueError, r"tril: .*\(3,\)"),
    (lambda a: tw.triu([1]), TypeError, "triu: .*list"),
    (lambda a: tw.meshgrid(a.v, indexing="ab"), ValueError, "meshgrid: .*'ab'"),
    (lambda a: tw.meshgrid(a.x), ValueError, r"meshgrid: .*\(3, 4\)"),
    (lambda a: tw.meshgrid(1, 2), TypeError, "meshgrid: .*int"),
]
ELEMENTWISE: list[Row] = [
    (lambda a: tw.sin("a"), TypeError, "sin: .*str"),
    (lambda a: tw.sin(np.ones(2)), TypeError, "sin: .*ndarray"),
    (lambda a: tw.add(a.x, [1]), TypeError, "add: .*list"),
    (lambda a: tw.add(1, 2), TypeError, "add: .*int, int"),
    (lambda a: a.x + None, TypeError, r"\+.*NoneType"),
    (lambda a: a.x + a.m, ValueError, r"add: .*\(3, 4\).*\(3, 3\)"),
    (lambda a: a.i & 1.5, TypeError, "bitwise_and: .*int32.*float"),
    (lambda a: ~a.x, TypeError, "bitwise_invert: .*float32"),
    (lambda a: -a.b, TypeError, "negative: .*bool"),
    (lambda a: a.b - a.b, TypeError, "subtract: .*bool"),
    (lambda a: a.i + 2**70, OverflowError, "add: .*int32"),
    (lambda a: a.i**-1, ValueError, "pow: .*negative"),
    (lambda a: tw.floor(a.c), TypeError, "floor: .*complex64"),
    (lambda a: tw.atan2(a.c, a.c), TypeError, "atan2: .*complex64"),
    (lambda a: tw.where(1, 2, 3), TypeError, "where: .*int"),
    (lambda a: tw.where(a.b, a.x, a.m), ValueError, r"where: .*\(3, 4\).*\(3, 3\)"),
    (lambda a: tw.clip(a.x, "a"), TypeError, "clip: str"),
    (lambda a: tw.clip(a.i, 2**40, None), OverflowError, "int32"),
    (lambda a: tw.logical_and(a.x, "a"), TypeError, "logical_and: str"),
    (lambda a: a.i.__iadd__(1.5), TypeError, "add: .*float64.*int32"),
    (lambda a: a.i.__itruediv__(2), TypeError, "divide: .*int32"),
    (lambda a: a.v.__iadd__(a.m), ValueError, r"add: .*\(3, 3\).*\(3,\)"),
]
INDEXING: list[Row] = [
    (lambda a: a.x[3], IndexError, "index 3 .*axis 0 .*size 3"),
    (lambda a: a.x[0, 0, 0], IndexError, "too many indices.*2 axes.*3"),
    (lambda a: a.x[..., ...], IndexError, "ellipsis"),
    (lambda a: a.x["a"], IndexError, "'a'"),
    (lambda a: a.x[1.5], IndexError, "1.5"),
    (lambda a: a.x[[0, 5]], IndexError, "index 5 .*axis 0 .*size 3"),
    (lambda a: a.x[a.i], IndexError, "index 3 .*axis 0 .*size 3"),
    (lambda a: a.x[a.v], IndexError, "float32"),
    (lambda a: a.x[a.b[:2]], IndexError, r"\(2, 4\).*\(3, 4\)"),
    (lambda a: a.x[[0, 1], [0, 1, 2]], IndexError, r"\(2,\).*\(3,\)"),
    (lambda a: a.x[::0], ValueError, "step"),
    (lambda a: a.x["a":], TypeError, "slice"),
    (lambda a: a.z[0], IndexError, "too many indices"),
    (lambda a: put(a.x, 3, 0), IndexError, "index 3 .*axis 0 .*size 3"),
    (lambda a: put(a.x, [0, 9], 0), IndexError, "index 9 .*axis 0 .*size 3"),
    (lambda a: put(a.x, a.i, 0), IndexError, "index 3 .*axis 0 .*size 3"),
    (lambda a: put(a.x, a.b[:2], 0), IndexError, "setitem|boolean"),
    (lambda a: put(a.x, 0, [1, 2]), ValueError, r"setitem: .*\(2,\).*\(4,\)"),
    (lambda a: put(a.x, 0, [[1], [2, 3]]), ValueError, "setitem: .*inhomogeneous"),
    (lambda a: put(a.x, 0, "1.5"), TypeError, "setitem: str"),
    (lambda a: put(a.x, 0, None), TypeError, "setitem: NoneType"),
    (lambda a: put(a.x, 0, 1j), TypeError, "setitem: .*complex.*float32"),
    (lambda a: put(a.x, 0, a.c[:1]), TypeError, "setitem: .*complex.*float32"),
    (lambda a: put(a.x, a.b, a.v), ValueError, r"setitem: .*\(3,\).*\(8,\)"),
    (lambda a: put(a.x, a.b, a.m), ValueError, r"setitem: .*\(3, 3\).*\(8,\)"),
    (lambda a: put(a.x, [0, 1], a.m), ValueError, r"setitem: .*\(3, 3\).*\(2, 4\)"),
    (lambda a: put(a.i, 0, NAN), ValueError, "setitem: nan.*int32"),
    (lambda a: put(a.i, 0, 2**70), OverflowError, "setitem: .*int32"),
    (lambda a: put(a.i, 0, [2**70]), OverflowError, "setitem: .*int32"),
    (lambda a: put(tw.broadcast_to(a.v, (2, 3)), 0, 1), ValueError, "read-only"),
    (lambda a: tw.take(a.x, a.i), ValueError, "take: .*axis"),
    (lambda a: tw.take(a.x, a.i, axis=0), IndexError, "index 3"),
    (lambda a: tw.take_along_axis(a.x, a.i, axis=0), ValueError, "take_along_axis: .*1 axes.*2"),
]
SHAPES: list[Row] = [
    (lambda a: tw.reshape(a.x, (5, 5)), ValueError, r"reshape: .*\(3, 4\).*\(5, 5\)"),
    (lambda a: tw.reshape(a.x, (-1, -1)), ValueError, r"reshape: .*\(-1, -1\)"),
    (lambda a: tw.reshape(a.x, "a"), TypeError, "reshape: .*'a'"),
    (lambda a: tw.reshape(a.x, (2.5,)), TypeError, "reshape: .*2.5"),
    (lambda a: tw.reshape(a.x.T, (12,), copy=False), ValueError, r"reshape: .*\(4, 3\).*copy"),
    (lambda a: tw.permute_dims(a.x, (0, 0)), ValueError, r"permute_dims: .*\(0, 0\)"),
    (lambda a: tw.permute_dims(a.x, (0, 2)), ValueError, "permute_dims: axis 2 .*dimension 2"),
    (lambda a: tw.permute_dims(a.x, None), TypeError, "permute_dims: .*None"),
    (lambda a: tw.moveaxis(a.x, 0, 5), ValueError, "moveaxis: axis 5"),
    (lambda a: tw.moveaxis(a.x, (0, 1), 0), ValueError, r"moveaxis: .*\(0, 1\)"),
    (lambda a: tw.expand_dims(a.x, axis=(0, 0)), ValueError, "expand_dims: .*twice"),
    (lambda a: tw.expand_dims(a.x, axis=1.5), TypeError, "expand_dims: .*1.5"),
    (lambda a: tw.squeeze(a.x, axis=0), ValueError, r"squeeze: axis 0 .*\(3, 4\)"),
    (lambda a: tw.flip(a.x, axis=2), IndexError, "flip: axis 2"),  # AxisError is both
    (lambda a: tw.broadcast_to(a.x, (2, 4)), ValueError, r"broadcast_to: .*\(3, 4\).*\(2, 4\)"),
    (lambda a: tw.broadcast_shapes((2,), (3,)), ValueError, r"broadcast_shapes: .*\(2,\).*\(3,\)"),
    (lambda a: tw.broadcast_shapes((2,), (1.5,)), TypeError, "broadcast_shapes: .*1.5"),
    (lambda a: tw.broadcast_arrays(a.x, a.v), ValueError, r"broadcast_arrays: .*\(3, 4\).*\(3,\)"),
    (lambda a: tw.concat([]), ValueError, "concat: .*one array"),
    (lambda a: tw.concat(5), TypeError, "concat: .*int"),
    (lambda a: tw.concat([a.x, [1]]), TypeError, "concat: .*list"),
    (lambda a: tw.concat([a.x, a.v]), ValueError, r"concat: .*\(3, 4\), \(3,\)"),
    (lambda a: tw.concat([a.z, a.z]), ValueError, "concat: axis 0"),
    (lambda a: tw.stack([a.x, a.v]), ValueError, r"stack: .*\(3, 4\), \(3,\)"),
    (lambda a: tw.unstack(a.x, axis=3), ValueError, "unstack: axis 3"),
    (lambda a: tw.tile(a.x, (1.5,)), TypeError, "tile: .*1.5"),
    (lambda a: tw.repeat(a.x, -1), ValueError, "repeat: .*-1"),
    (lambda a: tw.repeat(a.x, 1.5), TypeError, "repeat: .*float64"),
    (lambda a: tw.repeat(a.x, [1, 2], axis=0), ValueError, r"repeat: .*\[1, 2\].*3"),
    (lambda a: tw.roll(a.x, 1.5, axis=0), TypeError, "roll: .*1.5"),
    (lambda a: tw.roll(a.x, (1, 2, 3), axis=(0, 1)), ValueError, "roll: 3 shifts.*2 axes"),
    (lambda a: tw.diff(a.x, n=-1), ValueError, "diff: .*-1"),
    (lambda a: tw.diff(a.x, prepend=a.v), ValueError, "diff: .*2 axes"),
    (lambda a: a.v.mT, ValueError, r"mT: .*\(3,\)"),
]
REDUCTIONS: list[Row] = [
    (lambda a: tw.sum(a.x, axis=2), ValueError, "sum: axis 2 .*dimension 2"),
    (lambda a: tw.sum(a.x, axis=(0, -2)), ValueError, r"sum: .*\(0, -2\).*twice"),
    (lambda a: tw.sum(a.x, axis="a"), TypeError, "sum: .*'a'"),
    (lambda a: tw.sum(a.x, axis=(0, 1.5)), TypeError, "sum: .*1.5"),
    (lambda a: tw.sum([1]), TypeError, "sum: .*list"),
    (lambda a: tw.sum(a.c, dtype="float32"), TypeError, "sum: complex64 .*float32"),
    (lambda a: tw.max(a.e, axis=0), ValueError, r"max: axis 0 .*\(0, 3\)"),
    (lambda a: tw.max(a.c), TypeError, "max: complex"),
    (lambda a: tw.argmax(a.x, axis=(0, 1)), TypeError, r"argmax: .*\(0, 1\)"),
    (lambda a: tw.argmin(a.e), ValueError, r"argmin: .*\(0, 3\)"),
    (lambda a: tw.var(a.x, correction="a"), TypeError, "var: .*'a'"),
    (lambda a: tw.cumulative_sum(a.x), ValueError, "cumulative_sum: .*axis"),
    (lambda a: tw.sort(a.x, axis=None), TypeError, "sort: .*None"),
    (lambda a: tw.argsort(a.x, axis=2), ValueError, "argsort: axis 2"),
    (lambda a: tw.nonzero(a.z), ValueError, "nonzero: .*0-dimensional"),
    (lambda a: tw.searchsorted(a.x, a.v), ValueError, r"searchsorted: .*\(3, 4\)"),
    (lambda a: tw.searchsorted(a.v, a.v, side="mid"), ValueError, "searchsorted: .*'mid'"),
    (lambda a: tw.unique_values([1]), TypeError, "unique_values: .*list"),
]
ALGEBRA: list[Row] = [
    (lambda a: a.x @ a.x, ValueError, r"matmul: .*\(3, 4\).*4 columns.*3 rows"),
    (lambda a: a.x @ 2, TypeError, "@.*int"),
    (lambda a: tw.matmul(a.z, a.z), ValueError, r"matmul: .*\(\)"),
    (lambda a: tw.vecdot(a.x, a.v), ValueError, r"vecdot: .*\(3, 4\).*\(3,\)"),
    (lambda a: tw.tensordot(a.x, a.x, axes=5), ValueError, r"tensordot: .*\(3, 4\).*5"),
    (lambda a: tw.tensordot(a.x, a.x, axes=-1), ValueError, "tensordot: .*-1"),
    (lambda a: tw.tensordot(a.x, a.x, axes="a"), TypeError, "tensordot: .*'a'"),
    (lambda a: tw.tensordot(a.x, a.x, axes=((0, 0), (0, 0))), ValueError, "tensordot: .*twice"),
    (lambda a: LA.inv(a.x), ValueError, r"inv: square .*\(3, 4\)"),
    (lambda a: LA.inv(a.m * 0), np.linalg.LinAlgError, "inv: .*float32.*3, 3"),
    (lambda a: LA.cholesky(-a.m), np.linalg.LinAlgError, "cholesky: .*float32.*3, 3"),
    (lambda a: LA.solve(a.m, a.i), ValueError, r"solve: .*\(3, 3\).*\(4,\)"),
    (lambda a: LA.qr(a.x, mode="x"), ValueError, "qr: .*'x'"),
    (lambda a: LA.matrix_norm(a.x, ord="x"), ValueError, "matrix_norm: .*'x'"),
    (lambda a: LA.vector_norm(a.x, ord="x"), ValueError, "vector_norm: .*'x'"),
    (lambda a: LA.matrix_power(a.m, 1.5), TypeError, "matrix_power: .*1.5"),
    (lambda a: LA.outer(a.x, a.v), ValueError, r"outer: .*\(3, 4\)"),
    (lambda a: LA.cross(a.v, a.i), ValueError, r"cross: .*\(3,\).*\(4,\)"),
    (lambda a: LA.cross(a.v, a.v, axis=3), ValueError, "cross: axis 3"),
    (lambda a: LA.diagonal(a.x, offset=1.5), TypeError, "diagonal: .*1.5"),
    (lambda a: LA.matrix_rank(a.x, rtol="a"), TypeError, "matrix_rank: str"),
    (lambda a: FFT.fft(a.x, axis=5), ValueError, "fft: axis 5"),
    (lambda a: FFT.fft(a.x, n=0), ValueError, "fft: .*0"),
    (lambda a: FFT.fft(a.x, norm="x"), ValueError, "fft: .*'x'"),
    (lambda a: FFT.fftn(a.x, s=(2,), axes=(0, 1)), ValueError, r"fftn: .*\(3, 4\)"),
    (lambda a: FFT.rfft(a.c), TypeError, "rfft: .*complex64"),
    (lambda a: FFT.fftfreq(0), ValueError, "fftfreq: .*0"),
    (lambda a: FFT.fftfreq(3, d=0), ValueError, "fftfreq: .*spacing"),
]
OTHERS: list[Row] = [
    (lambda a: bool(a.x), ValueError, r"\(3, 4\)"),
    (lambda a: int(a.x), TypeError, r"int.*\(3, 4\)"),
    (lambda a: float(a.v), TypeError, r"float.*\(3,\)"),
    (lambda a: range(a.z), TypeError, "float32"),
    (lambda a: len(a.z), TypeError, "0-dimensional"),
    (lambda a: iter(a.z), TypeError, "0-dimensional"),
    (lambda a: hash(a.x), TypeError, "unhashable"),
    (lambda a: a.x.item(), ValueError, r"item: .*\(3, 4\)"),
    (lambda a: a.x.to_device("mars"), ValueError, "mars"),
    (lambda a: a.x.to_device("cpu", stream=1), ValueError, "to_device: .*stream"),
    (lambda a: a.x.__array_namespace__(api_version="1999"), ValueError, "1999"),
    (lambda a: setattr(a.x, "shape", (4, 3)), AttributeError, "shape"),
    (lambda a: tw.nothing, AttributeError, "nothing"),
    (lambda a: tw.finfo(tw.int8), TypeError, "finfo: int8"),
    (lambda a: tw.iinfo(tw.float32), TypeError, "iinfo: float32"),
    (lambda a: tw.isdtype(tw.int8, "x"), ValueError, "isdtype: .*'x'"),
    (lambda a: tw.result_type(), ValueError, "result_type"),
    (lambda a: tw.result_type(None), TypeError, "None is not a dtype"),
    (lambda a: tw.can_cast("x", tw.int8), TypeError, "'x'"),
    (lambda a: tw.eval([a.x]), TypeError, "eval: list"),
    (lambda a: tw.explain(1), TypeError, "explain: .*int"),
    (lambda a: tw.jit(3), TypeError, "jit: .*int"),
    (lambda a: tw.set_default_device("x"), ValueError, "'x'"),
]
TABLES = {
    "creation": CREATION, "elementwise": ELEMENTWISE, "indexing": INDEXING, "shapes": SHAPES, "reductions": REDUCTIONS,
    "algebra": ALGEBRA, "others": OTHERS,
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_refused_at_the_call(device, table):
    given = arrays(device.name)
    before = {name: np.asarray(x).copy() for name, x in vars(given).items()}
    for number, (call, kind, words) in enumerate(TABLES[table]):
        with pytest.raises(kind) as caught:
            call(given)
            pytest.fail(f"{table} row {number} ({words}) raises nothing")
        assert re.search(words, str(caught.value)), f"{table} row {number}: {caught.value}"
        for name, x in vars(given).items():
            np.testing.assert_array_equal(np.asarray(x), before[name], f"{table} row {number} wrote into {name}")


MIXED: list[Callable[[Any, Any], Any]] = [
    lambda a, o: a.x + o.x, lambda a, o: tw.maximum(a.x, o.x), lambda a, o: a.x == o.x, lambda a, o: a.m @ o.m,
    lambda a, o: tw.where(a.b, a.x, o.x), lambda a, o: tw.concat([a.x, o.x]), lambda a, o: tw.stack([a.x, o.x]),
    lambda a, o: a.x[o.b], lambda a, o: put(a.x, 0, o.i), lambda a, o: put(a.x, o.b, 0), lambda a, o: a.x.__iadd__(o.x),
    lambda a, o: tw.take(a.x, o.i[:2], axis=0), lambda a, o: tw.clip(a.x, o.x), lambda a, o: tw.vecdot(a.v, o.v),
    lambda a, o: tw.tensordot(a.m, o.m), lambda a, o: tw.linalg.solve(a.m, o.m), lambda a, o: tw.linalg.cross(a.v, o.v),
    lambda a, o: tw.searchsorted(a.v, o.v), lambda a, o: tw.logical_and(a.b, o.b), lambda a, o: tw.pow(a.x, o.x),
    lambda a, o: tw.isin(a.x, o.x), lambda a, o: tw.diff(a.x, prepend=o.x), lambda a, o: tw.hypot(a.x, o.x),
    lambda a, o: tw.take_along_axis(a.x, tw.astype(o.x, "int32"), axis=0),
]  # fmt: skip


def test_devices_do_not_mix(device, narrow):
    here, there = arrays(device.name), arrays("narrow")
    for number, call in enumerate(MIXED):
        for one, other in ((here, there), (there, here)):
            with pytest.raises(ValueError, match=r"(cpu|narrow).*(narrow|cpu).*to_device"):
                call(one, other)
                pytest.fail(f"row {number} raises nothing")
