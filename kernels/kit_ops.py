"""Checks of the op table on a device: special values exactly as NumPy has them, all others within a bound in ulp."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES, numpy_dtype
from tilewright.backends.kit import TEXT, Capability, Facts, Tier, broken, expect_equal
from tilewright.backends.kit_sources import chunk, download, loop, run, source, upload
from tilewright.backends.protocol import Device, Source
from tilewright.kernels.arrays import ARRAYS
from tilewright.kernels.emit import spell
from tilewright.kernels.kit_run import ulp_errors
from tilewright.kernels.node import Node
from tilewright.kernels.ops import OPS, Op
from tilewright.kernels.problem import Operand, Problem
from tilewright.kernels.ready import program_of

ops = Tier("kernels", "what is computed, against NumPy")

Array = np.ndarray[Any, Any]
EXACT = {"add", "sub", "mul", "div", "floordiv", "mod", "neg", "abs", "sign", "max", "min", "floor", "ceil", "trunc",
         "round", "copysign", "nextafter", "where"}  # fmt: skip
ULPS = {"pow": 16, "tan": 8, "erf": 16, "atan2": 8, "sinh": 8, "cosh": 8, "tanh": 8, "asinh": 8, "acosh": 8, "atanh": 8,
        "logaddexp": 8, "sqrt": 4}  # fmt: skip
USUAL = 4
BOUND = (
    "0 ulp for arithmetic, rounding and choices, which IEEE defines; 4 for functions, as vector libraries promise, 8 "
    "or 16 where OpenCL allows no better; logaddexp in ulp of its larger part, since the two may cancel"
)
PART_ULPS = 8
PART_BOUND = f"{PART_ULPS} ulp of the number's magnitude in each part of a complex number"
POINTS = 4001
SUBNORMALS = Capability("numbers below the smallest normal one", lambda device: device.limits.subnormals)
RANDOM = ("philox", "below", "normal")


def special_values(dtype: str) -> Array:
    """What makes a template go wrong: ends of the range, zeros, non-numbers, and some plain values."""
    kind, np_dtype = DTYPES[dtype].kind, numpy_dtype(dtype)
    if kind == "b":
        return np.array([False, True])
    if kind in "iu":
        low, high = int(np.iinfo(np_dtype).min), int(np.iinfo(np_dtype).max)
        values = [low, low + 1, high, high - 1, 0, 1, 2, 3, 5, 7, 8, 31, 64, high // 3]
        return np.array(values + ([-1, -2, -3, -7, -8, low // 3] if kind == "i" else []), np_dtype)
    if kind == "c":
        parts = [0.0, -0.0, 1.0, -2.5, 3.0, 1e4, np.inf, -np.inf, np.nan]
        return np.array([complex(*pair) for pair in itertools.product(parts, repeat=2)], np_dtype)
    import ml_dtypes  # late: np.finfo knows no bfloat16

    tiny, largest = smallest_normal(dtype), float(ml_dtypes.finfo(np_dtype).max)
    plain = [0.0, 1.0, 0.5, 1.5, 2.5, 3.0, 0.1, 1e-3, 7.25, 88.0, 710.0, 1e4, tiny, largest, np.inf]
    return np.array([*(sign * value for value in plain for sign in (1.0, -1.0)), np.nan], np.float64).astype(np_dtype)


def smallest_normal(dtype: str) -> float:
    import ml_dtypes  # late, as above

    return float(ml_dtypes.finfo(numpy_dtype(dtype)).tiny)


def subnormal_values(dtype: str) -> Array:
    """The smallest numbers that there are, larger ones that are not normal, and some to compute with them."""
    import ml_dtypes  # late, as above

    least, tiny = float(ml_dtypes.finfo(numpy_dtype(dtype)).smallest_subnormal), smallest_normal(dtype)
    plain = [0.0, 1.0, 0.5, 3.0, least, 3 * least, tiny / 4, tiny - least, tiny, np.inf]
    return np.array([sign * value for value in plain for sign in (1.0, -1.0)]).astype(numpy_dtype(dtype))


def pairs_of(values: Array) -> list[Array]:
    """All pairs of the values, and a condition that is neither all true nor all false."""
    pairs = np.array(list(itertools.product(range(len(values)), repeat=2)))
    return [values[pairs[:, 0]], values[pairs[:, 1]], np.arange(len(pairs)) % 3 == 0]


def usual_operands(dtype: str) -> list[Array]:
    """Points all over the range in which most functions are used, of both signs, and close to 0 and 1."""
    rng, half = np.random.default_rng(11), POINTS // 2
    x = np.concatenate([rng.uniform(-1, 1, half), rng.uniform(-30, 30, POINTS - half)])
    y = np.concatenate([rng.uniform(-1, 1, half), rng.uniform(0.01, 6, POINTS - half)])
    return [x.astype(numpy_dtype(dtype)), y.astype(numpy_dtype(dtype)), np.arange(POINTS) % 3 == 0]


def ops_for(kind: str, arity: tuple[int, ...] = (1, 2, 3)) -> list[Op]:
    """Without those of random words, which `kit` checks by their own oracle."""
    return [op for op in OPS.values() if kind in op.kinds and op.arity in arity and not op.name.startswith(RANDOM)]


def ops_source(device: Device, dtype: str, chosen: list[Op]) -> Source:
    """All ops in one kernel, a loop each: one scalar call would keep a shared loop from vector functions."""
    say = device.limits.language
    loads = say.constant(dtype, "x", say.load(dtype, "in0", "i"))
    loads += say.constant(dtype, "y", say.load(dtype, "in1", "i"))
    loads += say.constant("bool", "c", say.load("bool", "in2", "i"))
    body, parameters = chunk(device), []
    for k, op in enumerate(chosen):
        value = spell(say, op.name, [dtype] * op.arity, ["c", "x", "y"] if op.arity == 3 else ["x", "y"])
        result = op.result_dtype(dtype)
        body += say.each("i", "begin", "end", loads + say.store(result, f"out{k}", "i", value))
        parameters.append(f"out {result} out{k}")
    parameters += [f"in {dtype} in0", f"in {dtype} in1", "in bool in2", "value index n"]
    return source(device, f"ops_{dtype}", ", ".join(parameters), body)


def expected(op: Op, dtype: str, operands: list[Array]) -> Array:
    """NumPy's result in the dtype that kernels calculate in; a wider one decides where that is a rounded function's."""
    compute = numpy_dtype(DTYPES[dtype].compute)
    x, y, c = operands[0].astype(compute), operands[1].astype(compute), operands[2]
    if compute.kind == "f" and op.name not in EXACT and op.result == "same":
        wide = np.longdouble if op.name not in ("erf", "logaddexp") else np.float64
        x, y = x.astype(wide), y.astype(wide)
    with np.errstate(all="ignore"):
        if op.name == "pow" and compute.kind == "i":
            return _integer_power(x, y)
        return np.asarray(op.oracle(*((c, x, y) if op.arity == 3 else (x, y)[: op.arity])))


def _integer_power(x: Array, y: Array) -> Array:
    """NumPy refuses negative exponents; we round the exact result towards zero, and 0 to a negative power gives 0."""
    bits = 8 * x.dtype.itemsize
    wrapped = []
    for base, power in zip(x.tolist(), y.tolist(), strict=True):
        value = pow(base, power, 1 << bits) if power >= 0 else {1: 1, -1: 1 - 2 * (power & 1)}.get(base, 0)
        wrapped.append((value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1))
    return np.array(wrapped, x.dtype)


def errors_of(op: Op, dtype: str, got: Array, wanted: Array, operands: list[Array]) -> Array:
    """Errors in ulp; of integers and truth values 0 or infinity."""
    if _is_complex(op, dtype):
        return _part_errors(got, wanted)
    if op.result == "bool" or DTYPES[dtype].kind != "f":
        return np.where(got.astype(wanted.dtype) != wanted, np.inf, 0.0)
    if op.name in EXACT:
        rounded = wanted.astype(numpy_dtype(dtype))
        value, right = got.astype(np.float64), rounded.astype(np.float64)
        return np.where((value == right) | (np.isnan(value) & np.isnan(right)), 0.0, np.inf)
    if op.name == "logaddexp":  # a sum whose parts may cancel: its error is theirs
        larger = np.maximum(operands[0], operands[1]).astype(wanted.dtype)
        parts = np.maximum(np.abs(larger), np.abs(wanted - larger))
        return ulp_errors(got, wanted, dtype, np.where(np.isfinite(parts), parts, 0))
    return ulp_errors(got, wanted, dtype)


def _is_complex(op: Op, dtype: str) -> bool:
    """Whether the op takes complex numbers and gives one or its size, or makes one."""
    return op.result != "bool" and (DTYPES[dtype].kind == "c" or op.result == "pair")


def _part_errors(got: Array, wanted: Array) -> Array:
    """The larger error of the two parts, in ulp of the whole number's magnitude."""
    unit, worst = np.finfo(got.dtype).eps * np.abs(wanted), np.zeros(got.shape)
    for value, right in ((got.real, wanted.real), (got.imag, wanted.imag)):
        same = (value == right) | (np.isnan(value) & np.isnan(right))
        errors = np.nan_to_num(np.abs(value - right) / unit, nan=np.inf, posinf=np.inf)
        worst = np.maximum(worst, np.where(same, 0.0, errors))
    return worst


def check_ops(dtype: str, operands: list[Array], chosen: list[Op], device: Device) -> Facts:
    """Every op on all operands. The facts are the worst error of each function, in ulp, beside its bound."""
    results = (_by_kernel if device.limits.compiles else _by_arrays)(device, dtype, operands, chosen)
    facts: Facts = {}
    wrong = []
    for op, got in zip(chosen, results, strict=True):
        wanted = expected(op, dtype, operands)
        with np.errstate(all="ignore"):
            errors = errors_of(op, dtype, got, wanted, operands)
            if DTYPES[dtype].kind == "f" and op.result != "bool" and not device.limits.subnormals:
                errors = np.where(np.abs(got - wanted) <= smallest_normal(dtype), 0.0, errors)
        exact = op.name in EXACT or op.result == "bool" or DTYPES[dtype].kind != "f"
        allowed = PART_ULPS if _is_complex(op, dtype) else 0 if exact else ULPS.get(op.name, USUAL)
        if (errors > allowed).any():
            k = int(np.argmax(errors > allowed))
            values = ", ".join(str(operand[k]) for operand in operands[: min(op.arity, 2)])
            wrong.append(
                f"{op.name}({values}) = {got[k]}, not {wanted[k]} ({int((errors > allowed).sum())} of {errors.size})"
            )
        elif allowed:
            facts[op.name] = [float(errors.max()), allowed]
    if wrong:
        broken(f"{len(wrong)} of {len(chosen)} ops are wrong in {dtype}: " + "; ".join(wrong[:4]))
    return facts


def _by_kernel(device: Device, dtype: str, operands: list[Array], chosen: list[Op]) -> list[Array]:
    results: list[Array] = []
    most = device.limits.buffers - 3 if device.limits.buffers else len(chosen)
    for some in (chosen[k : k + most] for k in range(0, len(chosen), most)):
        outputs = [(len(operands[0]), numpy_dtype(op.result_dtype(dtype))) for op in some]
        results += run(device, ops_source(device, dtype, some), outputs, operands, len(operands[0]))
    return results


def _by_arrays(device: Device, dtype: str, operands: list[Array], chosen: list[Op]) -> list[Array]:
    """All ops as one problem, each with an output of its own."""
    n = len(operands[0])
    inputs = tuple(Operand(name, (1,), 0, n) for name in (dtype, dtype, "bool"))
    x, y, c = (Node("load", (), k, (n,), o.dtype) for k, o in enumerate(inputs))
    sources = {1: (x,), 2: (x, y), 3: (c, x, y)}
    body = tuple(Node(op.name, sources[op.arity], None, (n,), op.result_dtype(dtype)) for op in chosen)
    outputs = tuple(Operand(node.dtype, (1,), 0, n) for node in body)
    program = program_of(ARRAYS, Problem("map", (n,), inputs, outputs, body), {}, device)
    targets = [device.allocate(n * DTYPES[o.dtype].nbytes) for o in outputs]
    program.bind((1, 1, 1), *targets, *(upload(device, data) for data in operands))()
    return [download(device, b, numpy_dtype(o.dtype)) for b, o in zip(targets, outputs, strict=True)]


def check_special(dtype: str, device: Device) -> Facts:
    return check_ops(dtype, pairs_of(special_values(dtype)), ops_for(DTYPES[dtype].kind), device)


def check_subnormal(dtype: str, device: Device) -> Facts:
    return check_ops(dtype, pairs_of(subnormal_values(dtype)), ops_for("f"), device)


def check_accuracy(dtype: str, device: Device) -> Facts:
    return check_ops(dtype, usual_operands(dtype), ops_for("f"), device)


def check_conversion(dtype: str, device: Device) -> None:
    """All bit patterns of a 16-bit float as float32, and float32 halfway between them back, to nearest even."""
    say, np_dtype = device.limits.language, numpy_dtype(dtype)
    widened, narrowed = say.load(dtype, "x", "i"), say.load("float32", "w", "i")
    body = loop(device, say.store("float32", "y", "i", widened) + say.store(dtype, "z", "i", narrowed))
    parameters = f"out float32 y, out {dtype} z, in {dtype} x, in float32 w, value index n"
    what = source(device, f"widen_{dtype}", parameters, body)
    patterns = np.arange(1 << 16, dtype=np.uint16)
    x = patterns.view(np_dtype)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float32)
        if not device.limits.subnormals:
            wide[np.abs(wide) < smallest_normal("float32")] = 0.0
            x = wide.astype(np_dtype)
        between = (wide + np.roll(wide, -1)) / 2
        between[~np.isfinite(between)] = 1.0
        rounded = between.astype(np_dtype)
    y, z = run(device, what, [(x.size, np.float32), (x.size, np.uint16)], [x.view(np.uint16), between], x.size)
    number = ~np.isnan(wide)
    expect_equal(y.view(np.uint32)[number], wide.view(np.uint32)[number], f"{dtype} values as float32, their bits")
    if not np.isnan(y[~number]).all():
        broken(f"a NaN of {dtype} is no NaN as float32")
    expect_equal(z, rounded.view(np.uint16), f"float32 values between two of {dtype}, to nearest even, their bits")


def _claimed(dtype: str) -> Capability:
    return Capability(dtype, lambda device: dtype in device.limits.dtypes)


for _dtype in DTYPES:
    ops.check(
        f"Every op of the table means in {_dtype} what NumPy means, on the values that hurt.", _claimed(_dtype),
        name=f"special values {_dtype}", bound={"f": BOUND, "c": PART_BOUND}.get(DTYPES[_dtype].kind, "exact"),
    )(partial(check_special, _dtype))  # fmt: skip
for _dtype in (name for name in DTYPES if DTYPES[name].kind == "f"):
    ops.check(
        f"Numbers of {_dtype} below the smallest normal one are numbers, not 0: for every op of the table.",
        _claimed(_dtype), SUBNORMALS, name=f"subnormal numbers {_dtype}", bound=BOUND,
    )(partial(check_subnormal, _dtype))  # fmt: skip
for _dtype in (name for name in DTYPES if DTYPES[name].kind == "f"):
    ops.check(
        f"Every op of the table is accurate in {_dtype} at {POINTS} points all over its range.", _claimed(_dtype),
        name=f"accuracy {_dtype}", bound=BOUND,
    )(partial(check_accuracy, _dtype))  # fmt: skip
for _dtype in (name for name in DTYPES if DTYPES[name].compute != name):
    ops.check(
        f"{_dtype} converts to float32 and back exactly, to nearest even.", _claimed(_dtype), TEXT,
        name=f"conversions {_dtype}", bound="exact",
    )(partial(check_conversion, _dtype))  # fmt: skip
