"""Groups that share the depth of a tensor-core product's blocks (SPLITS, STREAM), under the emulation."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.emulation import EmulatedCuda
from tests.kernels.conftest import emulated_cuda
from tests.kernels.graphs import leaf, matmul, op
from tests.kernels.test_matmul_mma import (
    KERNEL,
    SMALL,
    TURNS,
    Array,
    biased,
    cast,
    check,
    check_exactly,
    factor,
    numbers,
    only_step,
)
from tilewright.backends.cache import load_program
from tilewright.backends.protocol import Source
from tilewright.kernels.matmul_mma import _Fit
from tilewright.kernels.matmul_share import PARTIAL_NBYTES
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import Config

STREAM: Config = {**SMALL, "STREAM": 4}
HOPPER = replace(EmulatedCuda.limits, compute_units=132, launch_shared_nbytes=227 << 10)


@pytest.fixture
def device() -> EmulatedCuda:
    if not emulated_cuda().compiler:
        pytest.skip("the emulation of CUDA compiles with g++, and there is none")
    return emulated_cuda()


@pytest.mark.parametrize("k", [256, 264, 1000])  # of 4 parts: equal, one shorter, the last of them nearly empty
def test_groups_that_share_a_block(k: int, device: EmulatedCuda) -> None:
    """The count of those that came is 0 again after each launch."""
    a, b, config = numbers(40, k), numbers(k, 72), {**SMALL, "SPLITS": 4}
    for _ in range(2):
        check_exactly(a, b, (False, False), device, config)
    check(op("add", matmul(leaf(numbers(3, 33, k)), leaf(numbers(3, k, 24))), leaf(numbers(3, 33, 24))), device, config)


# Of 4 groups and blocks of 32 x 32 by tiles of 32: as many blocks as groups; runs that begin within 3 blocks, and 5; 9
# blocks, of which 4 are taken whole; one block of fewer tiles than groups, and of 1; parts of one tile.
SHAPES = [(64, 64, 96), (96, 32, 200), (160, 32, 96), (96, 96, 70), (32, 32, 96), (30, 20, 9), (32, 64, 64)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_groups_that_share_all_blocks(shape: tuple[int, int, int], device: EmulatedCuda) -> None:
    m, n, k = shape
    check_exactly(numbers(m, k), numbers(k, n), (False, True), device, STREAM)
    check_exactly(numbers(m, k, dtype=np.int8), numbers(k, n, dtype=np.int8), (False, True), device, STREAM)


@pytest.mark.parametrize("splits", [2, 8])
def test_more_parts_than_tiles(splits: int, device: EmulatedCuda) -> None:
    """No rule lets that through; a group that finds nothing to do is no group to be waited for."""
    check_exactly(numbers(40, 40), numbers(40, 40), (False, False), device, {**SMALL, "SPLITS": splits})


@pytest.mark.parametrize("change", [{"SLICES": 2}, {"STREAM": 16}, {"SWIZZLE": 8, "STREAM": 8}], ids=str)
def test_a_stream_of_a_batch_with_an_epilogue(change: Config, device: EmulatedCuda) -> None:
    config = {**STREAM, **change}
    check(biased(), device, config)
    product = matmul(leaf(numbers(5, 70, 200)), leaf(numbers(5, 200, 40)))
    check(op("add", product, leaf(numbers(5, 70, 40))), device, config)


@pytest.mark.parametrize("seed", range(4))
def test_random_valid_streams(seed: int, device: EmulatedCuda) -> None:
    rng = random.Random(seed)
    m, n, k = rng.choice([(130, 70, 520), (67, 129, 1040), (20, 200, 1040)])
    a, b, turned = numbers(m, k), numbers(k, n), rng.choice(TURNS)
    problem = only_step(matmul(factor(a, turned[0]), factor(b, turned[1])), device).problem
    configs = [c for c in KERNEL.space(problem, device.limits) if c["STREAM"]]
    check_exactly(a, b, turned, device, rng.choice(configs))


def launched(problem: Problem, source: Source, a: Array, b: Array, times: int, device: EmulatedCuda) -> list[Array]:
    """The float32 result of each of a program's launches, on poisoned output."""
    count = len(a) * b.shape[1]
    program, results = load_program(device, source), []
    buffers = [device.allocate(nbytes) for nbytes in (4 * count, a.nbytes, b.nbytes)]
    for buffer, array in zip(buffers[1:], (a, b), strict=True):
        device.write(buffer, array)
    launch = program.bind(KERNEL.grid(problem, STREAM), *buffers, *KERNEL.values(problem, STREAM))
    for _ in range(times):
        device.write(buffers[0], np.full(count, np.nan, np.float32))
        launch()
        results.append(np.frombuffer(device.read(buffers[0], 4 * count), np.float32).copy())
    return results


ORDERS = ("GROUP(0)", "STREAM - 1 - GROUP(0)", "GROUP(0) ^ 1", "GROUP(0) ^ 2")


@pytest.mark.parametrize("m", [96, 160, 416])  # 3, 5 and 13 blocks
def test_a_stream_gives_the_same_bits_in_any_order(m: int, device: EmulatedCuda) -> None:
    """Launch by launch, whichever group comes last to a block."""
    a, b = numbers(m, 300), numbers(300, 32)
    problem = only_step(matmul(*(cast(leaf(x), "float32") for x in (a, b))), device).problem
    source, results = KERNEL.render(problem, STREAM), []
    for order in ORDERS:
        assert "GROUP(0)" in source.body
        text = source.body.replace("GROUP(0)", f"({order})")
        results += launched(problem, replace(source, body=text), a, b, 2, device)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].view(np.uint32), other.view(np.uint32))


MISTAKES = {
    "": ("", ""),
    "the count of another launch": ("arrived[part.block] = 0;", ""),
    "a group too many": ("*order != tail - head", "*order != tail - head + 1"),
    "one place for both parts of a run": ("(2 * (group) + ((group) == (head)))", "(2 * (group))"),
    "its neighbour's tile": ("((tile + 1) * work->runs - 1)", "(tile * work->runs)"),
    "a run too short": ("(group + 1) * work.tiles / work.runs", "((group + 1) * work.tiles - 1) / work.runs"),
    "a whole block passed over": ("work.whole = shared_blocks + group", "work.whole = shared_blocks + group + 1"),
    "whole blocks left out": ("STREAM ? STREAM :", "STREAM ? 2 * STREAM :"),
    "sums of another thread": ("PARTIAL_AT(group, head) * (BLOCK_M * BLOCK_N) + holder",
                               "PARTIAL_AT(group, head) * (BLOCK_M * BLOCK_N) + (holder ^ 1)"),
    "only the last sum": ("group == head ?", "group == tail ?"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_shows(name: str, device: EmulatedCuda) -> None:
    """In one of two launches, or with the groups in reverse; 5 of 13 blocks of 3 tiles are shared."""
    a, b = numbers(416, 96), numbers(96, 32)
    problem = only_step(matmul(*(cast(leaf(x), "float32") for x in (a, b))), device).problem
    source, results = KERNEL.render(problem, STREAM), []
    right, wrong = MISTAKES[name]
    assert right in source.body
    text = source.body.replace(right, wrong) if right else source.body
    for order in ORDERS[:2]:
        results += launched(problem, replace(source, body=text.replace("GROUP(0)", f"({order})")), a, b, 2, device)
    exact = (a.astype(np.float64) @ b.astype(np.float64)).reshape(-1)
    assert all(np.allclose(got, exact, rtol=0, atol=1e-3) for got in results) == (not name)


def test_where_a_stream_is_tried() -> None:
    def product(m: int, n: int, k: int) -> Problem:
        zeros = [np.broadcast_to(np.zeros((), np.float16), shape) for shape in ((m, k), (k, n))]
        return only_step(matmul(*map(leaf, zeros)), emulated_cuda()).problem

    problem = product(3072, 3072, 3072)  # 576 blocks of 128 x 128: 2.2 turns of 264 groups
    space, config = KERNEL.space(problem, HOPPER), {**KERNEL.default(problem, HOPPER), "STREAM": 264, "STAGES": 3}
    assert space.refusal(config) is None and KERNEL.default(problem, HOPPER)["STREAM"] == 0
    assert "at a time" in (space.refusal({**config, "STREAM": 528}) or "")
    assert "at a time" in (space.refusal({**config, "STAGES": 4, "DEPTH_NBYTES": 128}) or "")
    for other, reason in [
        (product(4096, 4096, 4096), "less than a 16th"),  # 1024 blocks: 3.9 turns
        (product(3072, 3072, 256), "more bytes of partial sums"),
        (product(1024, 1024, 8192), "either SPLITS"),
        (product(128, 128, 60000), "more than 16 groups"),
    ]:
        change = {"SPLITS": 2} if "SPLITS" in reason else {}
        assert reason in (KERNEL.space(other, HOPPER).refusal({**config, "SWIZZLE": 1, **change}) or "")
    for found in KERNEL.space(problem, HOPPER):
        work = _Fit(problem, HOPPER).work(found)
        assert 2 * int(found["STREAM"]) * 4 * work.sums <= PARTIAL_NBYTES
