"""Checks of the array API on a device: each case is written once and run by tilewright and by NumPy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

import tilewright as tw
from tilewright.backends import registry
from tilewright.backends.kit import Broken, Capability, Conformance, Facts, Tier, broken
from tilewright.backends.protocol import Device
from tilewright.dtypes import KINDS, narrow, object_of

tensor = Tier("tensor", "the array API, against NumPy")

Case = Callable[[Any, Any], Any]
TOLERANCE = {
    "float16": 2e-3,
    "bfloat16": 2e-2,
    "float32": 2e-5,
    "complex64": 2e-5,
    "float64": 1e-11,
    "complex128": 1e-11,
}
BOUND = "2e-5 of the value or of 1 in float32, 1e-11 in float64; the kernels tier has the bounds in ulp"


def of(function: str, operand: Callable[[Any], Any], **options: Any) -> Case:
    """The case of one function of one operand."""
    return lambda xp, v: getattr(xp, function)(operand(v), **options)


CREATION: dict[str, Case] = {
    "zeros": lambda xp, v: xp.zeros((3, 4), dtype="float32", device=v.device),
    "ones": lambda xp, v: xp.ones((5,), dtype="int32", device=v.device),
    "full": lambda xp, v: xp.full((2, 3), 2.5, dtype="float32", device=v.device),
    "arange": lambda xp, v: xp.arange(3, 20, 4, dtype="int32", device=v.device),
    "linspace": lambda xp, v: xp.linspace(0, 1, 7, dtype="float32", device=v.device),
    "eye": lambda xp, v: xp.eye(4, 5, k=1, dtype="float32", device=v.device),
    "asarray": lambda xp, v: xp.asarray([[1, 2], [3, 4]], dtype="int32", device=v.device),
    "zeros_like": lambda xp, v: xp.zeros_like(v.n), "full_like": lambda xp, v: xp.full_like(v.a, 3),
    "tril": lambda xp, v: xp.tril(v.a, k=-1), "triu": lambda xp, v: xp.triu(v.a, k=1),
    "meshgrid": lambda xp, v: xp.meshgrid(v.a[0], v.b[1], indexing="ij")[1],
}  # fmt: skip
_FLOATS = "abs atan ceil cos cosh exp expm1 floor negative round sign sin sinh square tan tanh trunc reciprocal"
_POSITIVE = "log log10 log1p log2 sqrt asinh"
FLOATS: dict[str, Case] = {
    **{name: of(name, lambda v: v.a) for name in _FLOATS.split()},
    **{name: of(name, lambda v: v.b) for name in _POSITIVE.split()},
    **{name: of(name, lambda v: v.a / 8) for name in ("acos", "asin", "atanh")},
    "acosh": lambda xp, v: xp.acosh(v.b + 1), "atan2": lambda xp, v: xp.atan2(v.a, v.b),
    "hypot": lambda xp, v: xp.hypot(v.a, v.b), "logaddexp": lambda xp, v: xp.logaddexp(v.a, v.b),
    "copysign": lambda xp, v: xp.copysign(v.b, v.a), "pow": lambda xp, v: xp.pow(v.b, v.a),
    "divide": lambda xp, v: v.a / v.b, "floor_divide": lambda xp, v: v.a // v.b, "remainder": lambda xp, v: v.a % v.b,
    "maximum": lambda xp, v: xp.maximum(v.a, v.b), "minimum": lambda xp, v: xp.minimum(v.a, v.b),
    "clip": lambda xp, v: xp.clip(v.a, -0.5, 0.5), "where": lambda xp, v: xp.where(v.a > 0, v.a, v.b),
    "a long chain": lambda xp, v: xp.tanh(v.a * 0.5 + v.b) * xp.exp(-v.b) - v.a / (1 + xp.abs(v.a)),
    "a row and a column": lambda xp, v: v.a * v.b[0] + v.b[:, :1],
}  # fmt: skip
INTEGERS: dict[str, Case] = {
    "arithmetic": lambda xp, v: (v.n + v.m) * 3 - v.n, "floor_divide": lambda xp, v: v.n // v.m,
    "remainder": lambda xp, v: v.n % v.m, "abs": lambda xp, v: xp.abs(v.n), "sign": lambda xp, v: xp.sign(v.n),
    "bitwise": lambda xp, v: (v.n & v.m) ^ (v.n | 5), "invert": lambda xp, v: ~v.n, "shifts": lambda xp, v: (v.n << 2) >> 1,
    "compare": lambda xp, v: (v.n > v.m) | (v.n == 3), "logic": lambda xp, v: xp.logical_and(v.t, v.n > 0),
    "not": lambda xp, v: xp.logical_not(v.t), "mixed dtypes": lambda xp, v: v.n + v.a, "a boolean counts": lambda xp, v: v.t + v.n,
    "isfinite": lambda xp, v: xp.isfinite(v.a / 0.0 * 0), "signbit": lambda xp, v: xp.signbit(v.a),
}  # fmt: skip
MANIPULATION: dict[str, Case] = {
    "concat": lambda xp, v: xp.concat([v.a, v.b], axis=1), "stack": lambda xp, v: xp.stack([v.a, v.b], axis=1),
    "reshape": lambda xp, v: xp.reshape(v.a.T, (4, 12)), "transpose": lambda xp, v: v.a.T + v.b.T,
    "permute_dims": lambda xp, v: xp.permute_dims(xp.reshape(v.a, (2, 3, 8)), (2, 0, 1)),
    "flip": lambda xp, v: xp.flip(v.a, axis=1), "roll": lambda xp, v: xp.roll(v.a, (1, -2), axis=(0, 1)),
    "repeat": lambda xp, v: xp.repeat(v.a, 2, axis=0), "tile": lambda xp, v: xp.tile(v.a, (2, 1)),
    "expand_dims": lambda xp, v: xp.expand_dims(v.a, axis=1), "squeeze": lambda xp, v: xp.squeeze(v.a[:1], axis=0),
    "moveaxis": lambda xp, v: xp.moveaxis(xp.reshape(v.a, (2, 3, 8)), 0, -1), "diff": lambda xp, v: xp.diff(v.a, axis=0),
    "broadcast_to": lambda xp, v: xp.broadcast_to(v.a[:, :1], (6, 9)), "unstack": lambda xp, v: xp.unstack(v.a)[2],
    "nothing": lambda xp, v: v.a[:0] + 1, "no axes": lambda xp, v: v.a[2, 3] * 2,
}  # fmt: skip


def _written(xp: Any, v: Any) -> Any:
    x = v.a + 0
    view = x[1::2, ::-1]
    view += 1
    x[:, 2:5] = x[:, 3:6] * 2
    x[x > 1] = 0
    return x


INDEXING: dict[str, Case] = {
    "slices": lambda xp, v: v.a[1:5:2, ::-1], "a row": lambda xp, v: v.a[-1], "new axes": lambda xp, v: v.a[:, None, ..., 2],
    "a mask": lambda xp, v: v.a[v.a > 0], "an array of integers": lambda xp, v: v.a[v.rows], "take": lambda xp, v: xp.take(v.a, v.rows, axis=1),
    "take_along_axis": lambda xp, v: xp.take_along_axis(v.a, xp.argsort(v.a, axis=1), axis=1), "writes": _written,
}  # fmt: skip
STATISTICS: dict[str, Case] = {
    **{name: of(name, lambda v: v.a, axis=0) for name in ("sum", "mean", "max", "min", "std", "var", "argmax", "argmin")},
    **{f"{name} of all": of(name, lambda v: v.a) for name in ("sum", "mean", "max", "min", "std")},
    "prod": lambda xp, v: xp.prod(v.b, axis=1, keepdims=True), "any": lambda xp, v: xp.any(v.t, axis=0), "all": lambda xp, v: xp.all(v.t, axis=1),
    "sum of two axes": lambda xp, v: xp.sum(xp.reshape(v.a, (2, 3, 8)), axis=(0, 2)), "sum of integers": lambda xp, v: xp.sum(v.n, axis=1),
    "count_nonzero": lambda xp, v: xp.count_nonzero(v.t, axis=0), "cumulative_sum": lambda xp, v: xp.cumulative_sum(v.a, axis=1),
    "cumulative_prod": lambda xp, v: xp.cumulative_prod(v.b, axis=0),
    "softmax": lambda xp, v: xp.exp(v.a - xp.max(v.a, axis=1, keepdims=True)) / xp.sum(xp.exp(v.a - xp.max(v.a, axis=1, keepdims=True)), axis=1, keepdims=True),
}  # fmt: skip
SEARCHING: dict[str, Case] = {
    "sort": lambda xp, v: xp.sort(v.a, axis=1), "argsort": lambda xp, v: xp.argsort(v.a, axis=0, stable=True),
    "nonzero": lambda xp, v: xp.nonzero(v.t)[1], "searchsorted": lambda xp, v: xp.searchsorted(xp.sort(v.a[0]), v.b[0]),
    "unique_values": lambda xp, v: xp.sort(xp.unique_values(v.n)), "unique_counts": lambda xp, v: xp.unique_counts(v.n).counts,
    "unique_inverse": lambda xp, v: xp.unique_inverse(v.n).inverse_indices,
}  # fmt: skip
ALGEBRA: dict[str, Case] = {
    "matmul": lambda xp, v: v.a @ v.b.T, "matrix and vector": lambda xp, v: v.a @ v.b[0], "batches": lambda xp, v: xp.reshape(v.a, (2, 3, 8)) @ xp.reshape(v.b, (2, 8, 3)),
    "matmul, bias, relu": lambda xp, v: xp.maximum(v.a @ v.b.T + v.b[:, 0], 0), "tensordot": lambda xp, v: xp.tensordot(v.a, v.b, axes=2),
    "vecdot": lambda xp, v: xp.vecdot(v.a, v.b), "outer": lambda xp, v: xp.linalg.outer(v.a[0], v.b[0]), "trace": lambda xp, v: xp.linalg.trace(v.square),
    "solve": lambda xp, v: xp.linalg.solve(v.square, v.a), "inv": lambda xp, v: xp.linalg.inv(v.square), "det": lambda xp, v: xp.linalg.det(v.square),
    "cholesky": lambda xp, v: xp.linalg.cholesky(v.square @ v.square.T), "svdvals": lambda xp, v: xp.linalg.svdvals(v.a),
    "eigvalsh": lambda xp, v: xp.linalg.eigvalsh(v.square + v.square.T), "vector_norm": lambda xp, v: xp.linalg.vector_norm(v.a, axis=1),
    "fft": lambda xp, v: xp.fft.fft(v.a), "rfft and back": lambda xp, v: xp.fft.irfft(xp.fft.rfft(v.a)), "complex numbers": lambda xp, v: xp.imag(xp.fft.fft(v.a) * 2),
}  # fmt: skip


def inputs() -> dict[str, np.ndarray[Any, Any]]:
    """What the cases compute with: a of both signs, b positive, n and m whole (m never 0), t truth, rows an index."""
    rng = np.random.default_rng(5)
    a, b = rng.uniform(-4, 4, (6, 8)).astype(np.float32), rng.uniform(0.25, 3, (6, 8)).astype(np.float32)
    n, m = rng.integers(-9, 9, (6, 8)).astype(np.int32), rng.integers(1, 5, (6, 8)).astype(np.int32)
    square = (rng.uniform(-1, 1, (6, 6)) + 6 * np.eye(6)).astype(np.float32)
    return {"a": a, "b": b, "n": n, "m": m, "t": n > 0, "square": square, "rows": np.array([3, -1, 0, 3], np.int32)}


def named(device: Device) -> str:
    """The device's name, under which arrays are made on it. Raises Broken where it is not registered."""
    try:
        found: Any = registry.get_device(device.name)
    except Exception as error:
        raise Broken(f"arrays cannot be made on {device.name!r}: {error}") from None
    if found is not device:
        broken(f"{device.name!r} is the name of another device that is registered")
    return device.name


def disagreement(result: Any, wanted: Any, device: Device) -> str:
    """ "" where a tilewright array is what NumPy says, else how it differs."""
    wanted = np.asarray(wanted)
    dtype = object_of(narrow(wanted.dtype.name, device))
    if result.shape != wanted.shape or result.dtype != dtype:
        return f"{result.dtype}{list(result.shape)} instead of {dtype}{list(wanted.shape)}"
    if result.device != device.name:
        return f"the result is on {result.device}"
    got = np.asarray(result)
    wide: Any = np.complex128 if KINDS[dtype.name] == "c" else np.float64
    room = TOLERANCE.get(dtype.name, 0.0)
    right = np.isclose(got.astype(wide), wanted.astype(wide), room, room, equal_nan=True)
    if right.all():
        return ""
    at = tuple(map(int, np.unravel_index(int(np.argmin(right)), right.shape)))
    return f"{got[at]} instead of {wanted[at]} at {list(at)} ({int((~right).sum())} of {right.size} wrong)"


def check_cases(cases: dict[str, Case], device: Device) -> Facts:
    """Every case by both; the facts are what the host did for the device."""
    name = named(device)
    theirs = SimpleNamespace(device="cpu", **inputs())
    ours = SimpleNamespace(device=name, **{k: tw.asarray(x, device=name) for k, x in inputs().items()})
    tw.fallbacks(reset=True)
    wrong = []
    for what, case in cases.items():
        with np.errstate(all="ignore"):
            wanted = case(np, theirs)
        try:
            trouble = disagreement(case(tw, ours), wanted, device)
        except Exception as error:  # one case that raises does not hide the others
            trouble = f"{type(error).__name__}: {error}"
        if trouble:
            wrong.append(f"{what}: {trouble}")
    if wrong:
        broken(f"{len(wrong)} of {len(cases)} cases are wrong: " + "; ".join(wrong[:4]))
    return {"cases": len(cases), "on the host": sorted(tw.fallbacks())}


_NEEDS = tuple(Capability(d, lambda device, d=d: d in device.limits.dtypes) for d in ("float32", "int32", "bool"))  # type: ignore[misc]
_GROUPS = {
    "creation": CREATION, "functions of floats": FLOATS, "integers and truth values": INTEGERS,
    "manipulation": MANIPULATION, "indexing and writing": INDEXING, "statistics": STATISTICS,
    "searching, sorting and sets": SEARCHING, "linear algebra and transforms": ALGEBRA,
}  # fmt: skip
for _name, _cases in _GROUPS.items():
    tensor.check(
        f"The array API's {_name}: values, shapes, dtypes and device as NumPy has them.",
        *_NEEDS,
        name=_name,
        bound=BOUND,
    )(partial(check_cases, _cases))


def check_dtype(dtype: str, device: Device) -> None:
    name = named(device)
    values = np.arange(-3 if KINDS[dtype] in "if" else 0, 13).astype(object_of(dtype))
    x = tw.asarray(values, device=name)
    expected = values | values if dtype == "bool" else values + values
    got = np.asarray(x + x)
    if got.dtype != values.dtype or (got != expected).any():
        broken(f"x + x in {dtype} is {got} instead of {expected}")
    if (np.asarray(tw.astype(x, "float32")) != values.astype(np.float32)).any():
        broken(f"{dtype} as float32 is {np.asarray(tw.astype(x, 'float32'))} instead of {values.astype(np.float32)}")


for _dtype in (d for d in KINDS if KINDS[d] != "c"):
    tensor.check(
        f"Arrays of {_dtype} can be made, added and converted.",
        Capability(_dtype, lambda device, d=_dtype: d in device.limits.dtypes), _NEEDS[0], name=f"arithmetic of arrays {_dtype}",  # type: ignore[misc]
    )(partial(check_dtype, _dtype))  # fmt: skip


@tensor.check(
    "A jitted function gives at every call what it gives without jit, with new arrays and new numbers.", *_NEEDS
)
def jit(device: Device) -> None:
    name, given = named(device), inputs()

    def step(xp: Any, x: Any, y: Any, scale: float) -> Any:
        return xp.tanh(x @ y.T * scale) + x[:, :1]

    replayed = tw.jit(lambda x, y, scale: step(tw, x, y, scale))
    for turn in range(4):
        a, b = given["a"] + np.float32(turn), given["b"] * np.float32(1 + turn)
        result = replayed(tw.asarray(a, device=name), tw.asarray(b, device=name), 0.1 * turn)
        trouble = disagreement(result, step(np, a, b, 0.1 * turn), device)
        if trouble:
            broken(f"call {turn}: {trouble}")


@tensor.check("Several threads may use one array.", *_NEEDS)
def threads(device: Device) -> None:
    name, a = named(device), inputs()["a"]
    shared = tw.asarray(a, device=name) * 2 + 1
    failures: list[str] = []

    def work(k: int) -> None:
        try:
            failures.append(disagreement(shared * k + shared, (a * 2 + 1) * np.float32(k) + (a * 2 + 1), device))
        except Exception as error:  # a thread's error would be lost
            failures.append(f"{type(error).__name__}: {error}")

    workers = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(failures):
        broken(next(text for text in failures if text))


class TensorTests(Conformance):
    """The array API on this device. Needs a registered device."""

    checks = tuple(tensor)
