"""Products of narrow factors that share lanes: edge sizes, extremes of integers, what floats' instructions leave out.

Where a processor lacks the instructions, and once more where it has them, all is said in plain vectors.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.kernels.graphs import broadcast, const, fused, gelu, leaf, matmul, op, transpose, view
from tests.kernels.judge import check_steps, run_problem
from tilewright.backends.cpu import CpuDevice, c_text
from tilewright.backends.dtypes import numpy_dtype
from tilewright.backends.protocol import Source
from tilewright.kernels.matmul_cpu import MatmulCpu
from tilewright.kernels.matmul_narrow import lane_k, parts_of
from tilewright.kernels.node import Node
from tilewright.kernels.problem import Problem
from tilewright.kernels.step import Step

RNG = np.random.default_rng(31)
KERNEL = MatmulCpu()
UNITS = frozenset(("avx512_bf16", "avx512_vnni"))


class Plain(CpuDevice):
    """The cpu as if its compiler knew none of the instructions."""

    def build(self, source: Source) -> bytes:
        hidden = "".join(f"#undef {name}\n" for name in ("__AVX512BF16__", "__AVX512VNNI__", "__F16C__"))
        return self.compiler.compile(hidden + c_text(source))  # type: ignore[union-attr]


@pytest.fixture(scope="module", params=["instructions", "plain"])
def cpus(request: pytest.FixtureRequest, cpu: Any) -> CpuDevice:
    """The cpu as it is, and without the instructions; both are offered shared lanes."""
    if cpu.compiler is None:
        pytest.skip(cpu.no_compiler)
    device = Plain() if request.param == "plain" else CpuDevice()
    device.fingerprint = replace(device.fingerprint, compiler=request.param)  # binaries are kept by it
    device.limits = replace(device.limits, matrix_units=UNITS)
    return device


def numbers(dtype: str, *shape: int) -> Node:
    """Integers of the whole range, floats of a standard normal distribution."""
    kind = numpy_dtype(dtype)
    if kind.kind in "iu":
        info = np.iinfo(kind)
        return leaf(RNG.integers(info.min, info.max + 1, shape).astype(kind), dtype)
    return leaf(RNG.standard_normal(shape).astype(kind), dtype)


def cast(node: Node, dtype: str) -> Node:
    return node if node.dtype == dtype else Node("cast", (node,), None, node.shape, dtype)


def product(left: Node, right: Node, summed: str) -> Node:
    return matmul(cast(left, summed), cast(right, summed))


def of(root: Node, device: CpuDevice) -> Step:
    (step,) = fused(root, limits=device.limits)
    assert step.problem.kind == "matmul"
    return step


def check(root: Node, device: CpuDevice, lane: int, **config: Any) -> None:
    """With the default config, which must share lanes by `lane`, and with the others changed as told."""
    step = of(root, device)
    default = KERNEL.default(step.problem, device.limits)
    assert default["LANE_K"] == lane
    check_steps([step], device, KERNEL, {**default, **config})


PAIRS = {
    "bfloat16": ("bfloat16", "bfloat16", "bfloat16", 2),
    "bfloat16 as float32": ("bfloat16", "bfloat16", "float32", 2),
    "int8 as int32": ("int8", "int8", "int32", 4),
    "int8, wrapping": ("int8", "int8", "int8", 4),
    "uint8 by int8": ("uint8", "int8", "int32", 4),
    "int8 by uint8": ("int8", "uint8", "int32", 4),
    "uint8": ("uint8", "uint8", "int32", 2),
    "int16 as int32": ("int16", "int16", "int32", 2),
    "int16 by int8, wrapping": ("int16", "int8", "int16", 2),
    "bfloat16 by int8": ("bfloat16", "int8", "bfloat16", 2),
}


# One less than, as many as and one more than a lane holds, a register tile, a vector, a chunk and a block.
SIZES = [
    (1, 1, 1),
    (2, 3, 2),
    (7, 31, 3),
    (8, 32, 4),
    (9, 33, 5),
    (13, 47, 63),
    (16, 16, 64),
    (65, 129, 131),
    (5, 70, 1030),
]


COMMON = ("bfloat16", "int8 as int32", "int16 as int32")
SHAPES = [(name, shape) for name in PAIRS for shape in (SIZES if name in COMMON else SIZES[::4])]


@pytest.mark.parametrize("name,shape", SHAPES)
def test_sizes(name: str, shape: tuple[int, int, int], cpus: CpuDevice) -> None:
    left, right, summed, lane = PAIRS[name]
    m, n, k = shape
    check(product(numbers(left, m, k), numbers(right, k, n), summed), cpus, lane)


@pytest.mark.parametrize("name", ["bfloat16", "int8 as int32", "uint8"])
def test_layouts(name: str, cpus: CpuDevice) -> None:
    left, right, summed, lane = PAIRS[name]
    turned = transpose(numbers(left, 39, 21)), transpose(numbers(right, 50, 39))
    check(product(turned[0], numbers(right, 39, 50), summed), cpus, lane)
    check(product(numbers(left, 21, 39), turned[1], summed), cpus, lane)
    check(product(*turned, summed), cpus, lane)
    check(product(numbers(left, 3, 10, 39), numbers(right, 3, 39, 40), summed), cpus, lane)
    check(product(numbers(left, 40, 66), broadcast(numbers(right, 66, 1), (66, 20)), summed), cpus, lane)


def test_rows_in_place_that_do_not_begin_with_a_word(cpus: CpuDevice) -> None:
    """Rows of an odd length, of an odd pitch, and those that begin at an odd place."""
    for dtype, summed, lane in (("bfloat16", "bfloat16", 2), ("int8", "int32", 4)):
        wide, b = numbers(dtype, 33, 71), numbers(dtype, 64, 40)
        for node in (view(wide, (32, 64), (71, 1), 3), view(wide, (17, 64), (142, 1), 1)):
            check(product(node, b, summed), cpus, lane)
        check(product(view(wide, (33, 63), (71, 1), 0), numbers(dtype, 63, 40), summed), cpus, lane)


@pytest.mark.parametrize("name", ["bfloat16", "int8 as int32", "int16 as int32"])
def test_random_configs(name: str, cpus: CpuDevice) -> None:
    left, right, summed, _ = PAIRS[name]
    rng = random.Random(5)
    for a, b in (
        (numbers(left, 67, 150), numbers(right, 150, 90)),
        (numbers(left, 130, 600), transpose(numbers(right, 70, 600))),
    ):
        step = of(product(a, b, summed), cpus)
        configs = list(KERNEL.space(step.problem, cpus.limits))
        assert {c["LANE_K"] for c in configs} == {1, PAIRS[name][3]}
        for config in rng.sample([c for c in configs if int(c["LANE_K"]) > 1], 4):
            check_steps([step], cpus, KERNEL, config)


EXTREMES = [
    ("int8", -128, "int8", -128), ("int8", 127, "int8", -128), ("uint8", 255, "int8", -128),
    ("int8", -128, "uint8", 255), ("int16", -32768, "int16", -32768), ("uint8", 255, "uint8", 255),
]  # fmt: skip


@pytest.mark.parametrize("k", [1, 4, 1027, 140_009])  # the last is prime: no product in parts
@pytest.mark.parametrize("left,x,right,y", EXTREMES)
def test_extremes_are_summed_exactly_and_wrap(left: str, x: int, right: str, y: int, k: int, cpus: CpuDevice) -> None:
    a, b = leaf(np.full((5, k), x, left), left), leaf(np.full((k, 6), y, right), right)
    check(product(a, b, "int32"), cpus, 4 if "int8" in (left, right) else 2)


EPILOGUES = {
    "bias, gelu": lambda p: gelu(op("add", cast(p, "float32"), broadcast(leaf(RNG.standard_normal(21)), (33, 21)))),
    "scaled, back to bytes": lambda p: cast(op("mul", cast(p, "float32"), const(0.001)), "int8"),
    "compared": lambda p: op("gt", p, const(0, p.dtype)),
}


def test_not_a_number_and_infinity_reach_their_row_and_column_only(cpus: CpuDevice) -> None:
    a, b = numbers("bfloat16", 35, 51), numbers("bfloat16", 51, 37)
    a.arg[3, 7], a.arg[34, 50], b.arg[0, 36], b.arg[11, 5] = np.nan, np.inf, -np.inf, np.inf
    b.arg[11, 6], a.arg[20, 11] = 0.0, 0.0  # inf * 0 is NaN
    with np.errstate(invalid="ignore"):
        check(matmul(a, b), cpus, 2)
        check(matmul(a, b), cpus, 2, PACK_A=1)


def scaled(root: Node, factor: float) -> Node:
    return op("mul", root, const(factor, root.dtype))


TINY = {
    "a factor": (lambda one: one * 77 * 2.0**-133, lambda one: one * 2.0**126, 1.0),
    "products": (lambda one: one * 1.5 * 2.0**-70, lambda one: one * 2.0**-60, 2.0**126),
    "sums that cancel": (lambda one: one - one[:, ::-1] * 1.0078125, lambda one: (0 * one + 1) * 2.0**-125, 2.0**126),
}


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("pack_a", [0, 1])
def test_subnormal_numbers_are_not_0(name: str, pack_a: int, cpus: CpuDevice) -> None:
    """A factor below 2^-126, products below it, and sums of larger ones that are."""
    left, right, factor = TINY[name]
    for row, k in ((0, 0), (20, 49), (34, 11)):
        one, other = np.zeros((35, 50)), np.zeros((50, 37))
        one[row, k], other[k] = 1, 1
        arrays = [x.astype(numpy_dtype("bfloat16")) for x in (left(one), right(other))]
        assert np.abs(arrays[0].astype(float) @ arrays[1].astype(float) * factor).max() > 0.01
        x, y = (leaf(array, "bfloat16") for array in arrays)
        check(op("mul", product(x, y, "float32"), const(factor)), cpus, 2, PACK_A=pack_a)
        check(op("mul", product(transpose(y), transpose(x), "float32"), const(factor)), cpus, 2, PACK_A=1)


@pytest.mark.parametrize("k,at", [(50, 20), (1500, 20), (1500, 1300)])
def test_subnormal_results_are_stored_as_such(k: int, at: int, cpus: CpuDevice) -> None:
    """Of one block along k, of the first of two, and of the second."""
    a, b = np.zeros((20, k), numpy_dtype("bfloat16")), np.zeros((k, 70), numpy_dtype("bfloat16"))
    a[:, at], b[at] = 1.5 * 2.0**-70, 2.0**-60
    step = of(matmul(leaf(a, "bfloat16"), leaf(b, "bfloat16")), cpus)
    config = KERNEL.default(step.problem, cpus.limits)
    (found,) = run_problem(step.problem, [a.reshape(-1), b.reshape(-1)], [None], cpus, KERNEL, config)
    assert (found.astype(float) == 1.5 * 2.0**-130).all()


@pytest.mark.parametrize("shape", [(0, 3, 5), (3, 0, 5), (3, 5, 0)])
def test_nothing_to_sum_or_to_store(shape: tuple[int, int, int], cpus: CpuDevice) -> None:
    m, n, k = shape
    for name in COMMON:
        left, right, summed, _ = PAIRS[name]
        check_steps(fused(product(numbers(left, m, k), numbers(right, k, n), summed), limits=cpus.limits), cpus)


@pytest.mark.parametrize("shape", [SIZES[2], SIZES[5], SIZES[7]])
def test_halves(shape: tuple[int, int, int], cpus: CpuDevice) -> None:
    """They share none, but have a conversion of their own."""
    m, n, k = shape
    for left in (numbers("float16", m, k), transpose(numbers("float16", k, m))):
        for right in (numbers("float16", k, n), transpose(numbers("float16", n, k))):
            check(matmul(left, right), cpus, 1, PACK_A=1, PACK_B=1)
            check(op("mul", product(left, right, "float32"), const(0.5)), cpus, 1, PACK_A=1, PACK_B=1)


def test_what_shares_lanes(cpus: CpuDevice) -> None:
    """Casts that lose nothing are looked through; what is computed in float32 is not rounded for it."""

    def problem(left: Node, right: Node) -> Problem:
        return of(matmul(left, right), cpus).problem

    brain, byte, f32 = numbers("bfloat16", 9, 9), numbers("int8", 9, 9), numbers("float32", 9, 9)
    assert parts_of(problem(brain, op("abs", brain))) is None
    assert parts_of(problem(cast(brain, "float32"), f32)) is None
    assert parts_of(problem(cast(f32, "bfloat16"), brain)) is not None  # rounded by the cast
    assert parts_of(problem(cast(byte, "bfloat16"), brain)) is not None
    assert parts_of(problem(cast(numbers("int16", 9, 9), "bfloat16"), brain)) is not None  # rounded too
    assert parts_of(problem(cast(byte, "int64"), cast(byte, "int64"))) is None
    assert parts_of(problem(cast(byte, "float32"), cast(byte, "float32"))) is not None
    assert parts_of(problem(cast(numbers("uint16", 9, 9), "int32"), cast(byte, "int32"))) is None
    few = problem(brain, brain)
    assert lane_k(few, replace(cpus.limits, matrix_units=frozenset(("avx512_vnni",)))) == 1
    assert lane_k(few, replace(cpus.limits, threads_per_group=64)) == 1


@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("pair", ["bfloat16 as float32", "int8 as int32"])
def test_epilogues(name: str, pair: str, cpus: CpuDevice) -> None:
    left, right, summed, lane = PAIRS[pair]
    check(EPILOGUES[name](product(numbers(left, 33, 40), numbers(right, 40, 21), summed)), cpus, lane)


def test_computed_factors(cpus: CpuDevice) -> None:
    """Integers computed from others share lanes; weights times their scales, which are floats, do not."""
    a, b = numbers("int8", 33, 41), numbers("int8", 41, 21)
    check(
        product(op("add", a, a), op("where", leaf(RNG.random((41, 21)) > 0.5), b, const(0, "int8")), "int32"), cpus, 4
    )
    weights = op("mul", cast(b, "bfloat16"), broadcast(numbers("bfloat16", 21), (41, 21)))
    check(matmul(numbers("bfloat16", 33, 41), weights), cpus, 1)


def test_a_kernel_that_packs_by_itself_shares_none(cpus: CpuDevice) -> None:
    problem = of(product(numbers("int8", 40, 40), numbers("int8", 40, 40), "int32"), cpus).problem
    assert MatmulCpu(lanes=False).default(problem, cpus.limits)["LANE_K"] == 1
