"""Products of warpgroups under the emulation of Hopper's barriers, copy engine and tensor cores."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.emulation import HOPPER, EmulatedCuda
from tests.kernels.conftest import emulated_hopper
from tests.kernels.graphs import broadcast, fused, gelu, leaf, matmul, op, view
from tests.kernels.judge import check_steps, run_problem
from tests.kernels.test_matmul_mma import KINDS, TURNS, cast, factor, numbers, only_step, scaled_bytes, square
from tilewright.backends.cache import load_program
from tilewright.backends.protocol import LaunchError, Unsupported
from tilewright.kernels import KERNELS
from tilewright.kernels.matmul_wgmma import MatmulWgmma, shared_nbytes, tile_maps
from tilewright.kernels.node import Node, View
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import Config

Array = np.ndarray[Any, Any]
KERNEL = MatmulWgmma()
SMALL: Config = {"BLOCK_M": 64, "BLOCK_N": 32, "DEPTH_NBYTES": 64, "STAGES": 3, "CONSUMERS": 1, "SPLITS": 1,
                 "SWIZZLE": 1, "GROUPS": 0}  # fmt: skip
ALLOWED = (None, "there are fewer tiles than stages")  # which is slower, and no less right


@pytest.fixture
def device(hopper: EmulatedCuda) -> EmulatedCuda:
    return hopper


def framed(array: Array, turned: bool = False) -> Node:
    """`array` amid NaN, or whatever integers have; it lies as its transpose if `turned`. Rows begin at 16 bytes."""
    inner = array.T if turned else array
    (rows, columns), per_piece = inner.shape, 16 // array.itemsize
    width = -(-columns // per_piece) * per_piece + 2 * per_piece
    image = np.full((rows + 2, width), 77 if array.dtype.kind in "iu" else np.nan, array.dtype)
    image[1:-1, per_piece : per_piece + columns] = inner
    strides = (1, width) if turned else (width, 1)
    return view(leaf(image, array.dtype.name), array.shape, strides, width + per_piece)


def check_exactly(a: Array, b: Array, turned: tuple[bool, bool], device: EmulatedCuda, config: Config = SMALL) -> None:
    """Against float64. Products of halves are exact in float32; each of k additions, by the nearest or towards zero,
    errs by at most 2^-23 of the sum of magnitudes. Sums of bytes are exact, modulo 2^32.
    """
    integers = a.dtype.kind in "iu"
    wide = "int32" if integers else "float32"
    step = only_step(matmul(*(cast(framed(x, t), wide) for x, t in zip((a, b), turned, strict=True))), device)
    assert KERNEL.space(step.problem, device.limits).refusal(config) in ALLOWED
    inputs = [np.ascontiguousarray(node.arg).reshape(-1) for node in step.inputs]
    got = run_problem(step.problem, inputs, [None], device, KERNEL, config)[0].reshape(len(a), -1)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    if integers:
        np.testing.assert_array_equal(got, exact)
    else:
        bound = a.shape[1] * 2.0**-23 * (np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64)))
        assert (np.abs(got - exact) <= bound).all()


EDGES = [(64, 32, 64), (65, 31, 33), (3, 63, 65), (129, 5, 100)]


@pytest.mark.parametrize("turned", TURNS, ids=["nn", "nt", "tn", "tt"])
def test_edges_in_every_layout(turned: tuple[bool, bool], device: EmulatedCuda) -> None:
    for m, n, k in EDGES:
        check_exactly(numbers(m, k), numbers(k, n), turned, device)


@pytest.mark.parametrize("names", [("bfloat16", "bfloat16"), ("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8")])
def test_every_type(names: tuple[str, str], device: EmulatedCuda) -> None:
    first, second = (KINDS[name] for name in names)
    check_exactly(numbers(66, 72, dtype=first), numbers(72, 35, dtype=second), (False, True), device)


@pytest.mark.parametrize("shape", [(1, 33, 40), (33, 1, 40), (1, 1, 24), (33, 40, 1)])
def test_axes_of_one_element(shape: tuple[int, int, int], device: EmulatedCuda) -> None:
    m, n, k = shape
    check_exactly(numbers(m, k), numbers(k, n), (k == 1, k != 1), device)


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")  # the oracle's
def test_not_a_number_infinity_and_subnormals(device: EmulatedCuda) -> None:
    a, b = numbers(70, 56), numbers(56, 40)
    a[3, 7], a[34, 49], b[0, 36], b[11, 5] = np.nan, np.inf, -np.inf, np.inf
    b[11, 6], a[20, 11] = 0.0, 0.0  # inf * 0 is NaN
    a[5], b[:, 9] = 6e-8, 65504.0  # the least and the largest there are
    check(matmul(leaf(a), leaf(b)), device)


def check(root: Node, device: EmulatedCuda, config: Config = SMALL) -> None:
    step = only_step(root, device)
    assert KERNEL.space(step.problem, device.limits).refusal(config) in ALLOWED
    check_steps([step], device, KERNEL, config)


def biased() -> Node:
    product = cast(matmul(leaf(numbers(3, 70, 40)), leaf(numbers(3, 40, 48))), "float32")
    return cast(gelu(op("add", product, broadcast(leaf(numbers(48).astype(np.float32)), (3, 70, 48)))), "float16")


def heads() -> Node:
    """Two factors of 3 heads each, side by side in the rows of one array: a batch's stride is less than a row's."""
    query, key = (view(leaf(numbers(50, 3 * 24)), (3, 50, 24), (24, 72, 1)) for _ in range(2))
    return matmul(query, view(key, (3, 24, 50), (1200, 1, 24)))


def written_across(first: Node, second: Node) -> Node:
    """Into the columns of a larger matrix, so that its rows' axis is the contiguous one."""
    whole = np.zeros((40, 50), KINDS.get(first.dtype, np.int32))
    value = matmul(first, second)
    return Node("write", (leaf(whole), value), View((33, 24), (1, 50), 2), (40, 50), first.dtype)


GRAPHS: dict[str, Callable[[], Node]] = {
    "batch, bias, gelu, rounded": biased,
    "one factor for the whole batch": lambda: matmul(
        leaf(numbers(4, 9, 24)), broadcast(leaf(numbers(24, 16)), (4, 24, 16))
    ),
    "heads": heads,
    "sums that wrap at 8 bits": lambda: matmul(
        leaf(numbers(33, 48, dtype=np.int8)), factor(numbers(48, 21, dtype=np.int8), True)
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("groups", [0, 4])
def test_batches_and_epilogues(name: str, groups: int, device: EmulatedCuda) -> None:
    problem = only_step(GRAPHS[name](), device).problem
    if KERNEL.space(problem, device.limits).refusal({**SMALL, "GROUPS": groups}) in ALLOWED:
        check(GRAPHS[name](), device, {**SMALL, "GROUPS": groups})
    else:
        assert groups and KERNEL.grid(problem, SMALL)[0] <= 4


@pytest.mark.parametrize("names", [("float16", "float16"), ("uint8", "int8")])
def test_result_in_transposed_order(names: tuple[str, str], device: EmulatedCuda) -> None:
    a, b = numbers(33, 48, dtype=KINDS[names[0]]), numbers(48, 24, dtype=KINDS[names[1]])
    halves = names[0] == "float16"
    pair = (leaf(a), leaf(b)) if halves else (cast(leaf(a), "int32"), cast(factor(b, True), "int32"))
    steps = fused(written_across(*pair), limits=device.limits)
    assert "#define M n2" in KERNEL.render(steps[-1].problem, SMALL).body  # the transposed product
    check_steps(steps[-1:], device, KERNEL, SMALL)


@pytest.mark.parametrize("seed", range(10))
def test_random_valid_configs(seed: int, device: EmulatedCuda) -> None:
    rng = random.Random(seed)
    m, n, k = rng.choice([(260, 200, 136), (130, 390, 264), (67, 520, 400), (300, 70, 520)])
    a, b, turned = numbers(m, k), numbers(k, n), rng.choice(TURNS)
    problem = only_step(matmul(framed(a, turned[0]), framed(b, turned[1])), device).problem
    configs = list(KERNEL.space(problem, device.limits))
    split = [config for config in configs if config["SPLITS"] != 1] if seed % 2 else []
    check_exactly(a, b, turned, device, rng.choice(split or configs))


@pytest.mark.parametrize("columns", [96, 224])  # whose boxes are 64 bytes wide, several side by side
def test_widths_that_128_bytes_do_not_divide(columns: int, device: EmulatedCuda) -> None:
    config = {**SMALL, "BLOCK_M": 128, "BLOCK_N": columns, "CONSUMERS": 2, "DEPTH_NBYTES": 128}
    check_exactly(numbers(130, 200), numbers(200, 235), (True, False), device, config)


@pytest.mark.parametrize("k", [512, 520, 1000])  # of 4 parts: equal, one shorter, the last of them nearly empty
def test_groups_that_share_a_block(k: int, device: EmulatedCuda) -> None:
    """The count of warps that came is 0 again after each launch."""
    config = {**SMALL, "BLOCK_M": 128, "BLOCK_N": 64, "CONSUMERS": 2, "SPLITS": 4}
    a, b = numbers(140, k), numbers(k, 40)
    for _ in range(2):
        check_exactly(a, b, (False, False), device, {**config, "GROUPS": 0 if k == 520 else 4})
    rows = leaf(numbers(3, 33, 24))
    check(op("add", matmul(leaf(numbers(3, 33, k)), leaf(numbers(3, k, 24))), rows), device, {**SMALL, "SPLITS": 2})


def test_a_new_buffer_and_one_at_an_odd_address(device: EmulatedCuda) -> None:
    a, b = numbers(64, 64), numbers(64, 32)
    problem = only_step(matmul(leaf(a), leaf(b)), device).problem
    program = load_program(device, KERNEL.render(problem, SMALL))
    out, first, second, other = (device.allocate(8192) for _ in range(4))
    for buffer, array in ((first, a), (second, b), (other, 2 * a)):
        device.write(buffer, array)
    launch = program.bind(KERNEL.grid(problem, SMALL), out, first, second, *KERNEL.values(problem, SMALL))
    launch()
    once = np.frombuffer(device.read(out, 64 * 32 * 2), np.float16).astype(np.float32)
    launch.set(1, other)
    launch()
    np.testing.assert_array_equal(np.frombuffer(device.read(out, 64 * 32 * 2), np.float16), 2 * once)
    other.handle += 2
    with pytest.raises(Unsupported, match="matmul_wgmma: the copy engine cannot bring the factors of matmul"):
        KERNEL.values(square(63, "float16"), SMALL)
    with pytest.raises(LaunchError, match="argument 1 cannot be copied in boxes: its first element is at"):
        launch.set(1, other)


def applies(root: Node) -> bool:
    return any(True for _ in KERNEL.space(only_step(root, emulated_hopper()).problem, HOPPER))


def test_where_it_applies() -> None:
    assert not list(KERNEL.space(square(64, "float16"), replace(HOPPER, matrix_units=frozenset(("mma",)))))
    assert not list(KERNEL.space(square(64, "float32"), HOPPER))
    a = leaf(numbers(64, 64))
    assert applies(matmul(a, a))
    assert not applies(scaled_bytes())  # computed on the way in
    assert not applies(matmul(leaf(numbers(64, 68, dtype=np.int8)), leaf(numbers(68, 64, dtype=np.int8))))  # across k
    wide = leaf(numbers(70, 136))
    assert applies(matmul(a, view(wide, (64, 60), (136, 1), 8)))
    assert not applies(matmul(a, view(wide, (64, 60), (136, 1), 4)))  # begins at no multiple of 16 bytes
    assert not applies(matmul(a, view(wide, (64, 60), (132, 1), 8)))  # nor do its rows
    assert not applies(matmul(a, view(wide, (64, 60), (8, 1))))  # rows overlap
    assert not applies(matmul(a, view(wide, (64, 60), (-136, 1), 63 * 136)))
    assert not applies(matmul(a, view(wide, (64, 60), (136, 2))))


def first_of(problem: Problem) -> str:
    return next(k.name for k in KERNELS["matmul"] if any(True for _ in k.space(problem, HOPPER)))


def test_it_is_tried_first_and_others_take_what_it_cannot() -> None:
    assert first_of(square(64, "float16")) == "matmul_wgmma"
    assert first_of(only_step(scaled_bytes(), emulated_hopper()).problem) == "matmul_mma"
    assert first_of(square(63, "float16")) == "matmul_mma"  # rows of 126 bytes


def test_defaults_are_valid_and_refusals_have_reasons() -> None:
    chip = replace(HOPPER, compute_units=132)
    for limits in (HOPPER, chip):
        for size in (8, 64, 304, 4096):
            problem = square(size, "float16")
            assert KERNEL.space(problem, limits).refusal(KERNEL.default(problem, limits)) is None
    problem = square(4096, "float16")
    space, config = KERNEL.space(problem, chip), KERNEL.default(problem, chip)
    assert (config["BLOCK_M"], config["BLOCK_N"], config["STAGES"], config["GROUPS"]) == (128, 256, 4, 132)
    assert KERNEL.grid(problem, config) == (132, 1, 1) and KERNEL.grid(problem, {**config, "GROUPS": 0}) == (512, 1, 1)
    assert chip.shared_nbytes < shared_nbytes(config) <= 227 << 10
    deep = only_step(
        matmul(*(leaf(np.empty(s, np.float16)) for s in ((128, 32000), (32000, 128)))), emulated_hopper()
    ).problem
    assert KERNEL.default(deep, chip)["SPLITS"] == 16 and KERNEL.grid(deep, KERNEL.default(deep, chip))[0] >= 32
    maps = tile_maps(problem, config)
    assert maps and [x.box for x in maps] == [(64, 128, 1), (64, 64, 1)]
    for change, reason in [
        ({"CONSUMERS": 1, "BLOCK_M": 256}, "two such matrices"), ({"CONSUMERS": 1}, "255 registers"),
        ({"BLOCK_M": 256}, "255 registers"), ({"STAGES": 6}, "shared memory that a launch"),
        ({"BLOCK_M": 64, "CONSUMERS": 1}, "far from square"), ({"GROUPS": 7}, "not one of (0, 132)"),
    ]:  # fmt: skip
        assert reason in (space.refusal({**config, **change}) or "")
    few = square(64, "float16")
    assert "without splitting" in (space.refusal({**config, "SPLITS": 2}) or "")
    assert "at once" in (KERNEL.space(few, chip).refusal({**SMALL, "STAGES": 2, "GROUPS": 132}) or "")
    assert "reorder" in (KERNEL.space(few, chip).refusal({**SMALL, "STAGES": 2, "SWIZZLE": 8}) or "")
