"""Whether a candidate is right: inputs made for a problem, poisoned outputs, comparison with the oracle."""

from __future__ import annotations

from dataclasses import replace
from math import prod, sqrt
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES, PARTS, numpy_dtype
from tilewright.kernels.node import View, toposort
from tilewright.kernels.oracle import held, ordered, reference, scattered_places, window
from tilewright.kernels.problem import SUMMED, Operand, Problem, merge_sizes
from tilewright.kernels.products import AXES, PRODUCTS
from tilewright.tuner.numerics import FAR, Deviation, ulps, worst

Array = np.ndarray[Any, Any]

CANARY_NBYTES = 256
"""Poisoned bytes behind every output: a candidate that writes past the end is wrong, whatever else it wrote."""

REFERENCE_WORK = 1 << 20
"""Index points of a problem up to which all of it is compared; of larger ones SLABS slabs of so much in all are."""

SLABS = 8

_POSITIVE = frozenset(("log", "log2", "log10", "log1p", "sqrt", "pow", "acosh", "atanh", "asin", "acos", "shl", "shr"))
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "signbit", "isnan", "isinf", "isfinite")
_JUMPS = frozenset((*_COMPARISONS, "floor", "ceil", "trunc", "round", "sign", "floordiv", "mod", "nextafter"))


class WrongResult(Exception):
    """A candidate's output is not what the reference says; the message names where and by how much."""


def make_inputs(problem: Problem, seed: int = 0) -> list[Array]:
    """One flat array per input: magnitudes in [1/4, 1), random signs unless an op needs positive values.

    Small integers, never 0; what a gather takes as index stays in range, and spreads over the whole table.
    """
    rng = np.random.default_rng(seed)
    names = {row[0] if row[0] not in ("reduce", "scan") else row[1] for row in problem.lines}
    signed = not names & _POSITIVE
    inputs = [_random(rng, o, signed, "prod" in names) for o in problem.inputs]
    if problem.kind == "merge":
        width, _, have = merge_sizes(problem)
        node = problem.body[0]
        runs = held(problem, node.src[0], inputs, have)
        runs[...] = np.take_along_axis(runs, ordered(runs, width, node.arg < 0), -1)
    for node in toposort(problem.body):
        if node.op not in ("gather", "scatter"):
            continue
        place = node.src[0]
        feeding = {n.arg for n in toposort([place]) if n.op == "load" and DTYPES[n.dtype].kind in "iu"}
        index = Problem("map", problem.space, problem.inputs, (), (place,), problem.scalars)
        bounds = []
        for value in (0, 1):  # an index is affine in what the user gives: index * columns + column
            probe = [np.full_like(x, value) if k in feeding else x for k, x in enumerate(inputs)]
            bounds.append(int(np.max(_whole(index, probe), initial=0)))
        table = problem.inputs[node.arg] if node.op == "gather" else problem.outputs[0]
        rows = max(1, (table.count - 1 - bounds[0]) // max(1, bounds[1] - bounds[0]) + 1)
        for k in feeding:
            inputs[k] = rng.integers(0, rows, inputs[k].size).astype(inputs[k].dtype)
            if node.op == "scatter" and node.arg:  # distinct, and in order as after a sort
                size = inputs[k].size
                inputs[k] = np.arange(size) * max(rows // max(size, 1), 1)
                inputs[k] = inputs[k].astype(problem.inputs[k].dtype)
    return inputs


def _whole(index: Problem, inputs: list[Array]) -> Array:
    return reference(replace(index, outputs=(Operand("int64", (0,) * len(index.space), 0, 1),)), inputs)[0]


def _random(rng: np.random.Generator, operand: Operand, signed: bool, product: bool) -> Array:
    kind, dtype = DTYPES[operand.dtype].kind, numpy_dtype(operand.dtype)
    if kind == "b":
        return rng.integers(0, 2, operand.count).astype(bool)
    if kind in "iu":
        values = rng.integers(1, 9, operand.count).astype(dtype)
        return values * rng.choice(np.array([-1, 1], dtype), operand.count) if signed and kind == "i" else values
    low, high = (0.9, 1.1) if product else (0.25, 1.0)  # a long product neither overflows nor vanishes
    values = rng.random(operand.count, dtype=np.float32) * np.float32(high - low) + np.float32(low)
    if signed and not product:
        values *= rng.integers(0, 2, operand.count, dtype=np.int8) * np.float32(2) - np.float32(1)
    if kind == "c":
        return (values * np.exp(1j * rng.uniform(0, 2 * np.pi, operand.count))).astype(dtype)
    return values.astype(dtype)


def poison(operand: Operand) -> bytes:
    """What an output's buffer holds before a run, canary included: a signalling NaN, or all ones."""
    width = DTYPES[operand.dtype].nbytes
    count = operand.count + CANARY_NBYTES // width
    return _pattern(operand.dtype) * count


def _pattern(dtype: str) -> bytes:
    if dtype in PARTS:
        return 2 * _pattern(PARTS[dtype])
    signalling = {"float16": 0x7D55, "bfloat16": 0x7FA5, "float32": 0x7FA5A5A5, "float64": 0x7FF5A5A5A5A5A5A5}
    width = DTYPES[dtype].nbytes
    return signalling.get(dtype, (1 << 8 * width) - 1).to_bytes(width, "little")


class Reference:
    """What is expected of `problem` on `inputs`, computed once and compared with every candidate.

    Tolerance of a float result: |got - expected| is at most

        16 eps |expected| + 4 eps' sqrt(n) rms(expected) + 8 |native - expected|

    where eps is that of the output's dtype and eps' that of the dtype computed in (float32 for 16-bit floats); n is how
    many values are summed, 1 without a reduction; native is the same by NumPy in the problem's own dtypes, which tells
    how badly conditioned the problem is. Rounding errors of a sum of n terms grow with sqrt(n) in the mean, and a lost
    term is far above that. Where values jump (comparisons, floor, ...), one element in a thousand may be on the other
    side of a jump.
    """

    def __init__(self, problem: Problem, inputs: list[Array]) -> None:
        self.problem = problem
        names = {row[0] for row in problem.lines}
        floats = any(DTYPES[o.dtype].kind in "fc" for o in problem.inputs)
        casts = any(row[0] == "cast" and DTYPES[row[2]].kind in "biu" for row in problem.lines)
        self._slack = 1e-3 if floats and (names & _JUMPS or casts) else 0.0
        self._terms = prod(problem.space[-SUMMED[problem.kind] :]) if SUMMED[problem.kind] else 1
        self._places = scattered_places(problem, inputs) if problem.kind == "scatter" else None
        self._slabs = [(part, _expected(part, inputs)) for part in _parts(problem)]

    def verify(self, k: int, data: bytes | bytearray) -> Deviation:
        """Compare output `k`'s buffer, canary included. Returns the largest error.

        Raises WrongResult.
        """
        operand = self.problem.outputs[k]
        dtype, pattern = numpy_dtype(operand.dtype), _pattern(PARTS.get(operand.dtype, operand.dtype))
        bits = np.frombuffer(bytearray(data), dtype=f"u{len(pattern)}").reshape(-1, dtype.itemsize // len(pattern))
        mark = int.from_bytes(pattern, "little")
        if (bits[operand.count :] != mark).any():
            raise WrongResult(f"output {k}: wrote past the end of its buffer")
        got = bits[: operand.count].reshape(-1).view(dtype)
        found = [Deviation(0.0, 0.0)]
        if self._places is not None:
            found.append(self._compare(k, got[self._places], *(e[k] for e in self._slabs[0][1])))
            return self._alone(k, bits, self._places, mark, worst(found))
        for part, expected in self._slabs:
            view = _view(part, k, expected[0][k].shape)
            found.append(self._compare(k, window(got, view), expected[0][k], expected[1][k]))
        everything = _view(self.problem, k, self.problem.stored_shape(k))
        written = window(bits[: operand.count].reshape(-1), _apart(everything, bits.shape[1]))
        if DTYPES[operand.dtype].kind in "fbc" and (stale := int((written == mark).any(-1).sum())):
            raise WrongResult(f"output {k}: {stale} elements were not written")
        written[...] = mark
        if (bits != mark).any():
            raise WrongResult(f"output {k}: wrote elements that are not part of the result")
        return worst(found)

    def _alone(self, k: int, bits: Array, places: Array, mark: int, found: Deviation) -> Deviation:
        """`found`, where a scatter stored at all of its places and nowhere else."""
        if DTYPES[self.problem.outputs[k].dtype].kind in "fbc" and (bits[places] == mark).all(-1).any():
            raise WrongResult(f"output {k}: places were not written")
        bits[places] = mark
        if (bits != mark).any():
            raise WrongResult(f"output {k}: wrote elements that are not part of the result")
        return found

    @np.errstate(all="ignore")  # among the values may be the poison, a signalling NaN
    def _compare(self, k: int, got: Array, expected: Array, native: Array) -> Deviation:
        if got.size == 0:
            return Deviation(0.0, 0.0)
        if DTYPES[self.problem.outputs[k].dtype].kind not in "fc":
            wrong = (got != expected) & (got != native)
            if wrong.mean() > self._slack:
                raise WrongResult(f"output {k}: {int(wrong.sum())} of {wrong.size} elements are wrong")
            return Deviation(0.0, FAR if wrong.any() else 0.0)
        share = self._shares(k, got, expected, native)
        if (share > 1).mean() > self._slack:
            at = np.unravel_index(int(np.argmax(share)), share.shape)
            where = "[" + ", ".join(map(str, at)) + "]"
            many = f"{int((share > 1).sum())} of {share.size} elements are wrong"
            raise WrongResult(f"output {k}: {got[at]} at {where} where {expected[at]:.8g} is right; {many}")
        error = float(np.quantile(share, 1 - self._slack)) if self._slack else float(share.max())
        return Deviation(error, ulps(got, expected))

    def _shares(self, k: int, got: Array, expected: Array, native: Array) -> Array:
        """Per element, the error as a share of the tolerance; NaN and infinity must be where they are expected."""
        dtype = self.problem.outputs[k].dtype
        own, single = _eps(PARTS.get(dtype, dtype)), _eps("float32")
        sums = min(own, single) if own < single else single
        widest = np.complex128 if dtype in PARTS else np.float64
        wide, right, other = (x.astype(widest) for x in (got, expected, native))
        finite = np.isfinite(right)
        scale = sqrt(float(np.mean(np.square(np.abs(right[finite]))))) if finite.any() else 1.0
        drift = np.where(np.isfinite(other), np.abs(other - right), 0.0)
        allowed = 16 * own * np.abs(right) + 4 * sums * sqrt(self._terms) * scale + 8 * drift + 1e-37
        share = np.abs(wide - right) / allowed
        same = (wide == right) | (np.isnan(wide) & np.isnan(right))
        return np.where(same, 0.0, np.where(finite & np.isfinite(wide), share, np.inf))


def _apart(view: View, width: int) -> View:
    """`view` onto numbers as a view onto the `width` parts that each is made of: one, or two of a complex number."""
    return View((*view.shape, width), (*(s * width for s in view.strides), 1), view.offset * width)


def _eps(dtype: str) -> float:
    return {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}[dtype]


def _expected(part: Problem, inputs: list[Array]) -> tuple[list[Array], list[Array]]:
    with np.errstate(all="ignore"):
        return reference(part, inputs), reference(part, inputs, wide=False)


def _parts(problem: Problem) -> list[Problem]:
    """The problem, or where that is large slabs of it along its longest free axis, from the first to the last."""
    free = problem.space[: len(problem.space) - SUMMED[problem.kind]]
    fixed = {n.arg for n in toposort(problem.body) if n.op == "iota"} | _bound(problem)
    axes = [a for a, extent in enumerate(free) if extent > 1 and a not in fixed]
    work = prod(problem.space)
    if problem.kind == "attention":
        work //= problem.space[-3]  # scores are computed once, not for every element of a value
    if problem.kind in PRODUCTS and DTYPES[problem.outputs[0].dtype].kind == "f":
        work //= 1024  # a library multiplies and adds so much faster than NumPy goes through elements
    if work <= REFERENCE_WORK or not axes or problem.kind == "scatter":
        return [problem]
    axis = max(axes, key=lambda a: free[a])
    extent = free[axis]
    count = max(1, extent * REFERENCE_WORK // (SLABS * work))
    begins = sorted({(extent - count) * k // (SLABS - 1) for k in range(SLABS)})
    return [_cut(problem, axis, begin, count) for begin in begins]


def _bound(problem: Problem) -> set[int]:
    """Axes along which a part is not computed as the whole is: a causal row or a pixel knows its place."""
    for node in toposort(problem.body):
        if node.op == "conv":
            return {AXES[node.arg[0]].h, AXES[node.arg[0]].w}
        if node.op == "attention":  # an axis of elements may be cut, but there is nothing to win
            return {len(problem.space) - 3, *((len(problem.space) - 4,) if node.arg else ())}
    return set()


def _cut(problem: Problem, axis: int, begin: int, count: int) -> Problem:
    def moved(operands: tuple[Operand, ...]) -> tuple[Operand, ...]:
        return tuple(replace(o, offset=o.offset + begin * o.strides[axis]) for o in operands)

    data = problem.to_json()  # rebuilds the body's nodes with the shapes of the smaller space
    data["space"][axis] = count
    smaller = Problem.from_json(data)
    return replace(smaller, inputs=moved(smaller.inputs), outputs=moved(smaller.outputs))


def _view(problem: Problem, k: int, shape: tuple[int, ...]) -> View:
    operand = problem.outputs[k]
    strides = operand.strides[: len(shape)]
    if problem.kind == "reduce" and problem.parts > 1:
        strides = (*operand.strides[: len(problem.space) - 1], 1)
    return View(shape, strides, operand.offset)
