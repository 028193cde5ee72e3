"""Matrix products on every device against the oracle: odd sizes, layouts, dtypes, epilogues, random configs."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.kernels.graphs import broadcast, const, fused, gelu, leaf, matmul, op, reshape, transpose, view
from tests.kernels.judge import check_steps, run_problem
from tilewright.backends.dialect import prelude
from tilewright.backends.dtypes import DTYPES, PARTS, numpy_dtype
from tilewright.backends.language import Language
from tilewright.backends.protocol import Device
from tilewright.kernels import KERNELS
from tilewright.kernels.matmul_block import CHOICES, MatmulBlock
from tilewright.kernels.matmul_cpu import MatmulCpu
from tilewright.kernels.matmul_header import template
from tilewright.kernels.matmul_tile import MatmulTile
from tilewright.kernels.node import Node, View, row_major
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import Config
from tilewright.kernels.step import Step

RNG = np.random.default_rng(23)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def cast(node: Node, dtype: str) -> Node:
    return Node("cast", (node,), None, node.shape, dtype)


def product(m: int, n: int, k: int) -> Node:
    return matmul(leaf(floats(m, k)), leaf(floats(k, n)))


def transposed(node: Node) -> Node:
    """The last two axes exchanged."""
    strides = row_major(node.shape)
    order = (*range(len(node.shape) - 2), len(node.shape) - 1, len(node.shape) - 2)
    return view(node, tuple(node.shape[a] for a in order), tuple(strides[a] for a in order))


def problem_steps(*roots: Node, device: Device) -> list[Step]:
    steps = fused(*roots, limits=device.limits)
    assert [s.problem.kind for s in steps].count("matmul") == 1
    return steps


def check(*roots: Node, device: Device) -> None:
    check_steps(problem_steps(*roots, device=device), device)


# 1, primes, and one less, equal to and one more than the register tiles, vectors and blocks in use.
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 7, 3), (5, 1, 9), (1, 1, 130), (2, 3, 31), (13, 17, 19), (15, 15, 15), (16, 16, 16), (17, 17, 17),
     (31, 65, 129), (64, 64, 64), (6, 8, 8), (97, 33, 401), (41, 70, 1100), (3, 129, 67), (200, 2, 40), (50, 10, 20)],
)  # fmt: skip
def test_sizes(shape: tuple[int, int, int], device: Device) -> None:
    check(product(*shape), device=device)


LAYOUTS = {
    "a transposed": lambda: matmul(transpose(leaf(floats(19, 37))), leaf(floats(19, 23))),
    "b transposed": lambda: matmul(leaf(floats(37, 19)), transpose(leaf(floats(23, 19)))),
    "both transposed": lambda: matmul(transpose(leaf(floats(19, 37))), transpose(leaf(floats(23, 19)))),
    "a vector times a transposed matrix": lambda: matmul(leaf(floats(1, 83)), transpose(leaf(floats(45, 83)))),
    "a matrix times a vector": lambda: matmul(leaf(floats(45, 83)), leaf(floats(83, 1))),
    "a flipped, b every third": lambda: matmul(
        view(leaf(floats(37, 19)), (37, 19), (19, -1), 18), view(leaf(floats(60, 25)), (19, 25), (75, 1), 25)
    ),
    "batched": lambda: matmul(leaf(floats(3, 18, 20)), leaf(floats(3, 20, 21))),
    "batched and transposed": lambda: matmul(leaf(floats(3, 18, 20)), transposed(leaf(floats(3, 21, 20)))),
    "one b for all": lambda: matmul(leaf(floats(4, 9, 20)), broadcast(leaf(floats(20, 11)), (4, 20, 11))),
    "two batch axes": lambda: matmul(leaf(floats(2, 3, 9, 8)), leaf(floats(2, 3, 8, 10))),
    "a row repeated": lambda: matmul(broadcast(leaf(floats(1, 20)), (33, 20)), leaf(floats(20, 11))),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, device: Device) -> None:
    check(LAYOUTS[name](), device=device)


def test_result_in_transposed_order(device: Device) -> None:
    """The result is written into columns of a larger matrix, so that its rows' axis is the contiguous one."""
    old, value = leaf(floats(40, 50)), product(33, 21, 27)
    node = Node("write", (old, value), View((33, 21), (1, 50), 2), (40, 50), "float32")
    check(node, device=device)


EPILOGUES = {
    "bias and gelu": lambda: gelu(op("add", product(33, 21, 40), broadcast(leaf(floats(21)), (33, 21)))),
    "column bias": lambda: op("add", product(33, 21, 40), broadcast(leaf(floats(33, 1)), (33, 21))),
    "scaled": lambda: op("mul", product(33, 21, 40), const(0.125)),
    "added to": lambda: op("add", op("mul", product(33, 21, 40), const(2.0)), leaf(floats(33, 21))),
    "to half": lambda: cast(product(33, 21, 40), "float16"),
    "compared": lambda: op("gt", product(33, 21, 40), const(0.0)),
    "scaled factors": lambda: matmul(op("mul", leaf(floats(33, 40)), const(3.0)), op("abs", leaf(floats(40, 21)))),
    "mask on a factor": lambda: matmul(
        leaf(floats(33, 40)), op("where", leaf(floats(40, 21) > 0), leaf(floats(40, 21)), const(0.0))
    ),
    "halves summed in float32": lambda: matmul(
        cast(leaf(floats(33, 40).astype(np.float16)), "float32"),
        cast(leaf(floats(40, 21).astype(np.float16)), "float32"),
    ),
    "batched with bias": lambda: op(
        "add", matmul(leaf(floats(3, 9, 8)), leaf(floats(3, 8, 11))), broadcast(leaf(floats(3, 1, 11)), (3, 9, 11))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EPILOGUES)
def test_prologues_and_epilogues(name: str, device: Device) -> None:
    check(EPILOGUES[name](), device=device)


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name != "float32" and name not in PARTS])
def test_dtypes(dtype: str, device: Device) -> None:
    if dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {dtype}")
    kind = numpy_dtype(dtype)

    def data(*shape: int) -> np.ndarray[Any, Any]:
        if dtype == "bool":
            return RNG.random(shape) > 0.9
        spread = 100 if kind.kind in "iu" else 1  # integers overflow, and must wrap as NumPy's do
        return np.abs(RNG.standard_normal(shape) * spread).astype(kind)

    check(matmul(leaf(data(33, 40), dtype), leaf(data(40, 21), dtype)), device=device)
    check(matmul(leaf(data(2, 70), dtype), transpose(leaf(data(45, 70), dtype))), device=device)


@pytest.mark.filterwarnings("ignore:overflow")  # the oracle's
def test_halves_are_widened_and_rounded_exactly(device: Device) -> None:
    """Every finite float16 times 1, and products of two of them, which float32 holds."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].reshape(248, 256)
    some, others = RNG.choice(every.reshape(-1), (77, 1)), RNG.choice(every.reshape(-1), (1, 83))
    with np.errstate(over="ignore"):
        outer = (some.astype(np.float32) * others.astype(np.float32)).astype(np.float16)
    for a, b, wanted in ((every, np.eye(256, dtype=np.float16), every), (some, others, outer)):
        (step,) = problem_steps(matmul(leaf(a), leaf(b)), device=device)
        kernel = next(k for k in KERNELS["matmul"] if any(True for _ in k.space(step.problem, device.limits)))
        config = kernel.default(step.problem, device.limits)
        (found,) = run_problem(step.problem, [a.reshape(-1), b.reshape(-1)], [None], device, kernel, config)
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


@pytest.mark.filterwarnings("ignore:invalid value")  # the oracle's
def test_not_a_number_and_infinity_reach_their_row_and_column_only(device: Device) -> None:
    a, b = floats(35, 50), floats(50, 37)
    a[3, 7], a[34, 49], b[0, 36], b[11, 5] = np.nan, np.inf, -np.inf, np.inf
    b[11, 6], a[20, 11] = 0.0, 0.0  # inf * 0 is NaN
    check(matmul(leaf(a), leaf(b)), device=device)


def test_no_reach_beyond_the_edges(device: Device) -> None:
    """Rows and columns beside a slice hold NaN: one element too many would show."""
    for m, n, k in [(5, 9, 7), (33, 31, 65), (1, 20, 40)]:
        a, b = np.full((m + 2, k + 3), np.nan, np.float32), np.full((k + 2, n + 3), np.nan, np.float32)
        a[1:-1, 1:-2], b[1:-1, 1:-2] = floats(m, k), floats(k, n)
        inner_a = view(leaf(a), (m, k), (k + 3, 1), k + 4)
        inner_b = view(leaf(b), (k, n), (n + 3, 1), n + 4)
        check(matmul(inner_a, inner_b), device=device)


VARIED = [
    lambda: product(67, 45, 33),
    lambda: product(130, 70, 257),
    lambda: product(3, 200, 90),
    lambda: product(150, 4, 70),
    lambda: matmul(leaf(floats(2, 300)), transpose(leaf(floats(60, 300)))),
    LAYOUTS["b transposed"],
    LAYOUTS["both transposed"],
    LAYOUTS["batched and transposed"],
    EPILOGUES["bias and gelu"],
    EPILOGUES["scaled factors"],
]


@pytest.mark.parametrize("seed", range(10))
def test_random_valid_configs(seed: int, device: Device) -> None:
    rng = random.Random(seed)
    steps = problem_steps(VARIED[seed % len(VARIED)](), device=device)
    step = next(s for s in steps if s.problem.kind == "matmul")
    found = [(k, c) for k in KERNELS["matmul"] for c in k.space(step.problem, device.limits)]
    check_steps([step], device, *rng.choice(found))


@pytest.mark.parametrize("rows", [1, 2, 4, 6, 8, 12])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_panels_that_are_transposed(rows: int, dtype: str, cpu: Any) -> None:
    """Both factors along k: a panel is as wide as the tile, which need not be whole vectors."""
    kernel, (m, n, k) = MatmulCpu(), (31, 130, 150)
    a, b = RNG.standard_normal((m, k)).astype(dtype), RNG.standard_normal((n, k)).astype(dtype)
    (step,) = problem_steps(matmul(leaf(a), transpose(leaf(b))), device=cpu)
    packed = [c for c in kernel.space(step.problem, cpu.limits) if c["PACK_A"] == c["PACK_B"] == 1]
    check_steps([step], cpu, kernel, next(c for c in packed if c["TILE_M"] == rows))


def test_tiles_as_a_gpu_would_run_them(device: Device) -> None:
    """A CPU behind OpenCL is never offered the tile kernel, but its text must be right in that language too."""
    if device.limits.threads_per_group == 1:
        pytest.skip("one thread a group: the tile kernel does not apply")
    kernel, limits = MatmulTile(), replace(device.limits, subgroup=32)
    (step,) = problem_steps(product(33, 40, 37), device=device)
    check_steps([step], device, kernel, kernel.default(step.problem, limits))


class Spoken(Language):
    """Neutral C under another name: what is made for its devices must be right in C as well."""

    name = "spoken"


@pytest.mark.parametrize("tiles", [0, 1])
def test_the_generated_product_in_the_language_of_any_device(tiles: int, device: Device) -> None:
    steps = problem_steps(EPILOGUES["bias and gelu"](), device=device)
    sizes = (8, 8, 8, 8, 8) if device.limits.threads_per_group == 1 else (32, 16, 8, 4, 2)
    config: Config = dict(zip(CHOICES, (tiles, *sizes), strict=True))
    problem, limits = steps[0].problem, replace(device.limits, language=Spoken())
    assert MatmulBlock().space(problem, limits).refusal(config) is None
    able = [kernel.name for kernel in KERNELS["matmul"] if any(True for _ in kernel.space(problem, limits))]
    assert able == ["matmul_block"]
    check_steps(steps[:1], device, MatmulBlock(), config)


def test_spaces_are_searchable_and_defaults_are_in_them(device: Device) -> None:
    thin = [(1, 1, 1), (1, 1000, 500), (1000, 1, 500), (3, 3, 10000), (50, 10, 600)]
    for m, n, k in [*thin, (64, 64, 64), (512, 512, 512), (2048, 2048, 2048)]:
        for b_is_transposed in (False, True):
            b = leaf(np.empty((n, k) if b_is_transposed else (k, n), np.float32))
            graph = matmul(leaf(np.empty((m, k), np.float32)), transpose(b) if b_is_transposed else b)
            problem = problem_steps(graph, device=device)[0].problem
            spaces = [(kernel, kernel.space(problem, device.limits)) for kernel in KERNELS["matmul"]]
            counts = [sum(1 for _ in space) for _, space in spaces]
            assert any(counts), problem.title
            for (kernel, space), count in zip(spaces, counts, strict=True):
                if count:
                    refusal = space.refusal(kernel.default(problem, device.limits))
                    assert refusal is None, (kernel.name, problem.title, refusal)
            if min(m, n) >= 64:
                assert sum(counts) >= 40, problem.title


def test_problem_survives_the_way_to_a_worker(device: Device) -> None:
    problem = problem_steps(EPILOGUES["bias and gelu"](), device=device)[0].problem
    again = Problem.from_json(problem.to_json())
    for kernel in KERNELS["matmul"]:
        for config in list(kernel.space(problem, device.limits))[:1]:
            assert kernel.render(again, config) == kernel.render(problem, config)
            assert kernel.grid(again, config) == kernel.grid(problem, config)


def test_refusals_name_their_reason(device: Device) -> None:
    problem = problem_steps(product(256, 256, 256), device=device)[0].problem
    for kernel in KERNELS["matmul"]:
        space = kernel.space(problem, device.limits)
        if any(True for _ in space):
            config = kernel.default(problem, device.limits)
            assert "not one of" in (space.refusal({**config, "TILE_M": 7}) or "")
            assert "there is no tunable" in (space.refusal({**config, "TILE": 7}) or "")
            assert space.refusal({**config, "TILE_M": 8, "BLOCK_M": 8}) is not None


def test_reshaped_result(device: Device) -> None:
    check(reshape(op("mul", product(12, 10, 31), const(0.5)), (4, 30)), device=device)


PANELS = ("matmul_pack.c", "matmul_cpu.c")


@pytest.mark.parametrize("names", [PANELS, ("narrow.c", "matmul_narrow.c", *PANELS), ("matmul_dot.c",)])
def test_templates_compile_alone(names: tuple[str, ...], cpu: Any) -> None:
    if cpu.compiler is None:
        pytest.skip(cpu.no_compiler)
    cpu.compiler.compile(prelude("cpu") + "".join(map(template, names)))
