"""Tensor-core products under the emulation of a warp's instructions."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.emulation import EmulatedCuda
from tests.kernels.conftest import emulated_cuda
from tests.kernels.graphs import broadcast, const, fused, gelu, leaf, matmul, op, transpose, view
from tests.kernels.judge import check_steps, run_problem
from tilewright.backends.cache import load_program
from tilewright.backends.protocol import LaunchError
from tilewright.kernels.matmul_mma import MatmulMma, instruction, shared_nbytes
from tilewright.kernels.node import Node, View
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import Config
from tilewright.kernels.step import Step

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(31)
KERNEL = MatmulMma()
SMALL: Config = {"BLOCK_M": 32, "BLOCK_N": 32, "WARP_M": 16, "WARP_N": 32, "DEPTH_NBYTES": 64, "STAGES": 3, "SLICES": 1,
                 "SPLITS": 1, "STREAM": 0, "SWIZZLE": 1}  # fmt: skip


@pytest.fixture
def device() -> EmulatedCuda:
    if not emulated_cuda().compiler:
        pytest.skip("the emulation of CUDA compiles with g++, and there is none")
    return emulated_cuda()


def numbers(*shape: int, dtype: Any = np.float16) -> Array:
    if np.dtype(dtype).kind in "iu":
        return RNG.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    return RNG.standard_normal(shape).astype(dtype)


def factor(array: Array, turned: bool = False) -> Node:
    """`array`, which lies in memory as its transpose if `turned`."""
    name = array.dtype.name
    return transpose(leaf(np.ascontiguousarray(array.T), name)) if turned else leaf(array, name)


def cast(node: Node, dtype: str) -> Node:
    return Node("cast", (node,), None, node.shape, dtype)


def only_step(root: Node, device: EmulatedCuda) -> Step:
    (step,) = (s for s in fused(root, limits=device.limits) if s.problem.kind == "matmul")
    return step


def run(step: Step, device: EmulatedCuda, config: Config) -> Array:
    inputs = [np.ascontiguousarray(node.arg).reshape(-1) for node in step.inputs]
    return run_problem(step.problem, inputs, [None], device, KERNEL, config)[0]


def check(root: Node, device: EmulatedCuda, config: Config = SMALL) -> None:
    step = only_step(root, device)
    assert instruction(step.problem)
    check_steps([step], device, KERNEL, config)


def check_exactly(a: Array, b: Array, turned: tuple[bool, bool], device: EmulatedCuda, config: Config = SMALL) -> None:
    """Against float64. Products of halves are exact in float32; each of k additions, by the nearest or towards zero,
    errs by at most 2^-23 of the sum of magnitudes. Sums of bytes are exact, modulo 2^32.
    """
    integers = a.dtype.kind in "iu"
    wide = "int32" if integers else "float32"
    step = only_step(matmul(*(cast(factor(x, t), wide) for x, t in zip((a, b), turned, strict=True))), device)
    got = run(step, device, config).reshape(len(a), -1)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    if integers:
        np.testing.assert_array_equal(got, exact)
    else:
        bound = a.shape[1] * 2.0**-23 * (np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64)))
        assert (np.abs(got - exact) <= bound).all()


# A row of 16 elements more, fewer or exactly as many than a tile has, and primes; 40 and 64 let rows begin at 16 bytes.
EDGES = [(32, 32, 32), (31, 33, 31), (33, 31, 65), (37, 29, 67), (2, 2, 2), (40, 64, 40), (64, 40, 200)]
KINDS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "int8": np.int8, "uint8": np.uint8}
TURNS = [(False, False), (False, True), (True, False), (True, True)]


@pytest.mark.parametrize("turned", TURNS, ids=["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("name", ["float16", "int8"])
def test_edges_in_every_layout(name: str, turned: tuple[bool, bool], device: EmulatedCuda) -> None:
    for m, n, k in EDGES:
        check_exactly(numbers(m, k, dtype=KINDS[name]), numbers(k, n, dtype=KINDS[name]), turned, device)


@pytest.mark.parametrize("names", [("bfloat16", "bfloat16"), ("uint8", "uint8"), ("int8", "uint8"), ("uint8", "int8")])
def test_every_instruction(names: tuple[str, str], device: EmulatedCuda) -> None:
    first, second = (KINDS[name] for name in names)
    check_exactly(numbers(33, 72, dtype=first), numbers(72, 48, dtype=second), (False, True), device)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 33, 40), (33, 1, 40), (33, 40, 1)])
def test_axes_of_one_element(shape: tuple[int, int, int], device: EmulatedCuda) -> None:
    m, n, k = shape
    check_exactly(numbers(m, k), numbers(k, n), (False, False), device)


@pytest.mark.parametrize("shape", [(0, 5, 7), (5, 0, 7), (5, 7, 0)])
def test_nothing_is_multiplied_of_nothing(shape: tuple[int, int, int], device: EmulatedCuda) -> None:
    m, n, k = shape
    steps = fused(matmul(leaf(numbers(m, k)), leaf(numbers(k, n))), limits=device.limits)
    assert all(step.problem.kind == "map" for step in steps)
    check_steps(steps, device)


@pytest.mark.parametrize("turned", TURNS[::3], ids=["nn", "tt"])
@pytest.mark.parametrize("frame", [8, 3])
def test_no_reach_beyond_the_edges(frame: int, turned: tuple[bool, bool], device: EmulatedCuda) -> None:
    """NaN lies all around; with a frame of 8, rows begin at 16 bytes, and copies must end within a piece."""

    def framed(rows: int, columns: int, turn: bool) -> Node:
        rows, columns = (columns, rows) if turn else (rows, columns)
        width = -(-columns // 8) * 8 + 2 * frame
        image = np.full((rows + 2, width), np.nan, np.float16)
        image[1:-1, frame : frame + columns] = numbers(rows, columns)
        inner = view(leaf(image), (rows, columns), (width, 1), width + frame)
        return view(leaf(image), (columns, rows), (1, width), width + frame) if turn else inner

    check(matmul(framed(33, 45, turned[0]), framed(45, 37, turned[1])), device)


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")  # the oracle's
def test_not_a_number_infinity_and_subnormals(device: EmulatedCuda) -> None:
    a, b = numbers(35, 56), numbers(56, 40)
    a[3, 7], a[34, 49], b[0, 36], b[11, 5] = np.nan, np.inf, -np.inf, np.inf
    b[11, 6], a[20, 11] = 0.0, 0.0  # inf * 0 is NaN
    a[5], b[:, 9] = 6e-8, 65504.0  # the least and the largest there are
    check(matmul(leaf(a), leaf(b)), device)


def scaled_bytes() -> Node:
    """Weights in 8 bits, made halves on their way in."""
    weights = cast(leaf(numbers(40, 24, dtype=np.int8)), "float16")
    return matmul(leaf(numbers(33, 40)), op("mul", weights, const(0.0625, "float16")))


def written_across() -> Node:
    """Into the columns of a larger matrix, so that its rows' axis is the contiguous one."""
    value = matmul(leaf(numbers(33, 40)), leaf(numbers(40, 21)))
    return Node("write", (leaf(numbers(40, 50)), value), View((33, 21), (1, 50), 2), (40, 50), "float16")


def biased() -> Node:
    product = cast(matmul(leaf(numbers(3, 33, 40)), leaf(numbers(3, 40, 24))), "float32")
    return cast(gelu(op("add", product, broadcast(leaf(numbers(24).astype(np.float32)), (3, 33, 24)))), "float16")


GRAPHS: dict[str, Callable[[], Node]] = {
    "batch, bias, gelu, rounded": biased,
    "one factor for the whole batch": lambda: matmul(
        leaf(numbers(4, 9, 24)), broadcast(leaf(numbers(24, 16)), (4, 24, 16))
    ),
    "dequantised": scaled_bytes,
    "rows backwards, every third column": lambda: matmul(
        view(leaf(numbers(37, 24)), (37, 24), (24, -1), 23), view(leaf(numbers(24, 60)), (24, 20), (60, 3))
    ),
    "sums that wrap at 8 bits": lambda: matmul(
        leaf(numbers(33, 40, dtype=np.int8)), leaf(numbers(40, 21, dtype=np.int8))
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_prologues_and_epilogues(name: str, device: EmulatedCuda) -> None:
    check(GRAPHS[name](), device)


def test_result_in_transposed_order(device: EmulatedCuda) -> None:
    steps = fused(written_across(), limits=device.limits)
    source = KERNEL.render(steps[-1].problem, SMALL)
    assert "#define M n2" in source.body  # the transposed product
    check_steps(steps, device)


CUTS = [(1, 1), (2, 1), (4, 2), (1, 4)]


@pytest.mark.parametrize("seed", range(6))
def test_random_valid_configs(seed: int, device: EmulatedCuda) -> None:
    rng = random.Random(seed)
    m, n, k = rng.choice([(130, 70, 520), (67, 129, 520), (20, 200, 1040)])
    a, b, turned = numbers(m, k), numbers(k, n), rng.choice(TURNS)
    problem = only_step(matmul(factor(a, turned[0]), factor(b, turned[1])), device).problem
    configs = [c for c in KERNEL.space(problem, device.limits) if (c["SLICES"], c["SPLITS"]) == CUTS[seed % len(CUTS)]]
    check_exactly(a, b, turned, device, rng.choice(configs))


def test_more_shared_memory_than_a_kernel_may_declare(device: EmulatedCuda) -> None:
    config = {**SMALL, "BLOCK_M": 128, "BLOCK_N": 64, "WARP_M": 64, "DEPTH_NBYTES": 128, "STAGES": 4}
    a, b = numbers(130, 300), numbers(300, 72)
    problem = only_step(matmul(leaf(a), leaf(b)), device).problem
    assert KERNEL.space(problem, device.limits).refusal(config) is None
    assert device.limits.shared_nbytes < KERNEL.render(problem, config).shared_nbytes <= 99 << 10
    check_exactly(a, b, (False, False), device, config)


MISTAKES = {
    "": ("", ""),
    "a wrong lane of A": ("row + lane % 16, piece + lane / 16", "row + lane / 2, piece + lane % 2"),
    "B's depths exchanged": ("piece + lane / 8 % 2, B_PIECES", "piece + 1 - lane / 8 % 2, B_PIECES"),
    "columns of a lane": ("lane % 4 * 2 + e % 2", "lane % 4 + e % 2 * 4"),
    "no barrier of the warp": ("WARP_BARRIER();", ""),
    "no wait for copies": ("COPY_WAIT(STAGES - 2);", ""),
    "a wait too short": ("COPY_WAIT(STAGES - 2);", "COPY_WAIT(STAGES - 1);"),
    "no barrier": ("BARRIER(); /* tile t is there", "/* tile t is there"),
    "sums turned too early": ("BARRIER(); /* all are done", "/*"),
    "a stage overwritten too early": ("next % STAGES", "(next + 1) % STAGES"),
    "banks": ("piece ^ turn", "piece"),
    "copies that are not aligned": ("% PIECE == 0", "% 1 == 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_emulation_finds(name: str, device: EmulatedCuda) -> None:
    """Each mistake in the template's text shows as a fault or a wrong result, and nothing else does."""
    k = 203 if name == "copies that are not aligned" else 200
    a, b = numbers(64, k), numbers(k, 64)
    problem = only_step(matmul(leaf(a), factor(b, True)), device).problem
    source = KERNEL.render(problem, SMALL)
    right, wrong = MISTAKES[name]
    assert right in source.body
    text = source.body.replace(right, wrong) if right else source.body
    program = load_program(device, replace(source, body=text))
    buffers = [device.allocate(x.nbytes) for x in (np.empty((64, 64), np.float16), a, b)]
    for buffer, array in zip(buffers[1:], (a, np.ascontiguousarray(b.T)), strict=True):
        device.write(buffer, array)
    try:
        program.bind(KERNEL.grid(problem, SMALL), *buffers, *KERNEL.values(problem, SMALL))()
        got = np.frombuffer(device.read(buffers[0], 64 * 64 * 2), np.float16).reshape(64, 64)
    except LaunchError:
        got = np.full((64, 64), np.nan, np.float16)
    same = np.allclose(got, a.astype(np.float32) @ b.astype(np.float32), rtol=2e-3, atol=2e-2)
    assert same == (not name)


def square(size: int, name: str, turned: tuple[bool, bool] = (False, False)) -> Problem:
    arrays = [np.broadcast_to(np.zeros((), KINDS.get(name, name)), (size, size)) for _ in range(2)]
    factors = [transpose(leaf(x, name)) if t else leaf(x, name) for x, t in zip(arrays, turned, strict=True)]
    return only_step(matmul(*factors), emulated_cuda()).problem


def test_where_it_applies() -> None:
    limits = EmulatedCuda.limits
    assert [instruction(square(64, name)) for name in ("float32", "float64", "bool", "int16", "int64")] == [None] * 5
    mixed = matmul(
        cast(factor(numbers(8, 8)), "float32"), cast(factor(numbers(8, 8, dtype=KINDS["bfloat16"])), "float32")
    )
    assert instruction(only_step(mixed, emulated_cuda()).problem) is None
    long = matmul(*(cast(factor(numbers(8, 8, dtype=np.int8)), "int64") for _ in range(2)))
    assert instruction(only_step(long, emulated_cuda()).problem) is None  # sums of 32 bits would wrap
    assert list(KERNEL.space(square(64, "float16"), replace(limits, matrix_units=frozenset()))) == []


def test_defaults_are_valid_and_refusals_have_reasons() -> None:
    hopper = replace(EmulatedCuda.limits, compute_units=132, launch_shared_nbytes=227 << 10)
    for limits in (EmulatedCuda.limits, hopper):
        for size in (1, 17, 64, 300, 4096):
            problem = square(size, "float16")
            assert KERNEL.space(problem, limits).refusal(KERNEL.default(problem, limits)) is None
    space = KERNEL.space(square(4096, "float16"), hopper)
    config = KERNEL.default(square(4096, "float16"), hopper)
    deep = only_step(matmul(*(leaf(np.empty(s, np.float16)) for s in ((128, 30000), (30000, 128)))), emulated_cuda())
    split = KERNEL.default(deep.problem, hopper)
    assert split["SPLITS"] == 16 and KERNEL.space(deep.problem, hopper).refusal(split) is None
    assert config["BLOCK_M"] == config["BLOCK_N"] == 128 and shared_nbytes(config) > hopper.shared_nbytes
    for change, reason in [
        ({"SLICES": 2}, "not one of (1,)"), ({"BLOCK_M": 32, "WARP_M": 64}, "whole warps"),
        ({"STAGES": 4, "DEPTH_NBYTES": 128, "BLOCK_M": 256, "BLOCK_N": 256}, "shared memory that a launch"),
        ({"WARP_M": 16, "WARP_N": 16, "BLOCK_M": 256, "BLOCK_N": 256}, "no group of that many threads"),
    ]:  # fmt: skip
        assert reason in (space.refusal({**config, **change}) or "")
