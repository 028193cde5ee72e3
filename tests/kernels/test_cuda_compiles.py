"""Every kernel of every kind compiles for the CUDA architectures we claim, without a GPU."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.emulation import HOPPER, LIMITS
from tests.kernels.graphs import (
    broadcast,
    const,
    fused,
    gelu,
    layer_norm,
    leaf,
    matmul,
    op,
    reduce,
    reshape,
    softmax,
    transpose,
)  # fmt: skip
from tests.kernels.test_products import heads, images, with_bias
from tests.nvrtc import compile_cuda, inspect_cuda, library, missing
from tilewright.backends.cuda import cuda_text
from tilewright.backends.dialect import prelude
from tilewright.backends.dtypes import DTYPES, PARTS, numpy_dtype
from tilewright.backends.protocol import CompileError, Source
from tilewright.kernels import KERNELS, Kernel
from tilewright.kernels.matmul_header import template
from tilewright.kernels.matmul_mma import MatmulMma
from tilewright.kernels.matmul_wgmma import MatmulWgmma
from tilewright.kernels.node import Node
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import Config

ARCHITECTURES = ("sm_80", "sm_90", "sm_90a", "sm_100")
pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


def array(*shape: int, dtype: str = "float32") -> Node:
    return leaf(np.ones(shape, numpy_dtype(dtype)), dtype)


def batched_product() -> Node:
    return matmul(array(4, 90, 80), array(4, 80, 70))


def normal_deviates() -> Node:
    words = [array(300, dtype="uint32") for _ in range(6)]
    draws = tuple(Node(f"philox{k}", tuple(words), None, (300,), "uint32") for k in range(2))
    return Node("normal64", draws, None, (300,), "float64")


def maximum(dtype: str) -> Callable[[], list[Node]]:
    return lambda: [reduce("max", array(40, 30, dtype=dtype), 1)]


GRAPHS: dict[str, Callable[[], list[Node]]] = {
    "map": lambda: [gelu(array(300, 70))],
    "transpose": lambda: [op("add", transpose(array(300, 90)), const(1.0))],
    "integers": lambda: [op("floordiv", array(99, dtype="int64"), array(99, dtype="int64"))],
    "random": lambda: [normal_deviates()],
    "complex": lambda: [op("div", x := array(40, 30, dtype="complex128"), op("conj", x))],
    "complex sum": lambda: [reduce("sum", array(3000, 70, dtype="complex64"), 1)],
    "softmax": lambda: [softmax(array(50, 1000))],
    "layer norm": lambda: [layer_norm(array(50, 400), array(400), array(400))],
    "columns": lambda: [reduce("max", array(3000, 70), 0)],
    "several outputs": lambda: [op("exp", x := array(300, 70)), op("sin", x), op("mul", x, const(2.0))],
    "mean and variance": lambda: [reduce("sum", x := array(50, 1000), 1), reduce("spread", x, 1), reduce("max", x, 1)],
    "of columns": lambda: [reduce("sum", x := array(3000, 70), 0), reduce("spread", x, 0), reduce("max", x, 0)],
    "sum of all": lambda: [reduce("sum", reshape(array(300, 300), (90000,)), 0)],
    "scan": lambda: [Node("scan", (array(2, 90000, dtype="complex128"),), ("sum", 1), (2, 90000), "complex128")],
    "scan of columns": lambda: [Node("scan", (array(300, 70),), ("max", 0), (300, 70), "float32")],
    "argsort": lambda: [Node("argsort", (array(3, 5000),), (1, True, 5000), (3, 5000), "int64")],
    "largest": lambda: [Node("sort", (array(5000, 3, dtype="float16"),), (0, True, 9), (9, 3), "float16")],
    "gather": lambda: [Node("gather", (array(90), array(3, 11, dtype="int64")), None, (3, 11), "float32")],
    "scatter": lambda: [Node("scatter", (array(90), array(33, dtype="int64"), array(33)), True, (90,), "float32")],
    "matmul": lambda: [matmul(array(512, 512), array(512, 512))],
    "matmul transposed": lambda: [matmul(array(300, 200), transpose(array(400, 200)))],
    "matmul, bias, gelu": lambda: [gelu(op("add", batched_product(), broadcast(array(70), (4, 90, 70))))],
    "matmul of halves": lambda: [matmul(array(70, 80, dtype="float16"), array(80, 90, dtype="float16"))],
    "matmul of bytes": lambda: [matmul(array(70, 80, dtype="int8"), array(80, 90, dtype="int8"))],
    "matmul of doubles": lambda: [matmul(array(70, 80, dtype="float64"), array(80, 90, dtype="float64"))],
    "attention": lambda: [heads(100, 130, 64, 64, causal=True)],
    "attention of halves": lambda: [heads(70, 70, 128, 96, dtype="float16")],
    "conv": lambda: [images("NCHW", (2, 1, 32, 28, 28), (1, 64, 32, 3, 3), padding=(1, 1))],
    "conv of channels last": lambda: [with_bias("NHWC")],
    **{f"maximum of {dtype}": maximum(dtype) for dtype in DTYPES if dtype not in PARTS},
}  # fmt: skip


def kernels(name: str) -> list[tuple[Kernel, Problem]]:
    """Each kernel that applies to each problem of the graph."""
    problems = [step.problem for step in fused(*GRAPHS[name](), limits=LIMITS)]
    pairs = [(kernel, problem) for problem in problems for kernel in KERNELS[problem.kind]]
    return [(k, p) for k, p in pairs if any(True for _ in k.space(p, LIMITS))]


def assert_compiles(source: Source, architecture: str) -> None:
    assert compile_cuda(cuda_text(source), architecture)[:4] == b"\x7fELF"


@pytest.mark.parametrize("name", GRAPHS)
def test_defaults_on_every_architecture(name: str) -> None:
    found = kernels(name)
    assert found
    for kernel, problem in found:
        source = kernel.render(problem, kernel.default(problem, LIMITS))
        for architecture in ARCHITECTURES:
            assert_compiles(source, architecture)


@pytest.mark.parametrize("name", [name for name in GRAPHS if not name.startswith("maximum")])
def test_sampled_configs(name: str) -> None:
    rng = random.Random(name)
    for kernel, problem in kernels(name):
        configs = list(kernel.space(problem, LIMITS))
        for config in rng.sample(configs, min(2, len(configs))):
            assert_compiles(kernel.render(problem, config), rng.choice(ARCHITECTURES))


@pytest.mark.parametrize("name", ["matmul_tile.c", "matmul_mma.c", "matmul_wgmma.c", "attention_tile.c"])
def test_a_template_compiles_alone(name: str) -> None:
    text = template(name).replace('#include "matmul_share.c"', template("matmul_share.c"))
    architecture = "sm_90a" if "wgmma" in name else "sm_80"
    assert compile_cuda(prelude("cuda") + text, architecture)[:4] == b"\x7fELF"


def test_an_error_names_the_line_of_our_file() -> None:
    (kernel, problem), *_ = kernels("matmul")
    source = kernel.render(problem, kernel.default(problem, LIMITS))
    broken = replace(source, body=source.body.replace("BARRIER();", "BARIER();"))
    with pytest.raises(CompileError, match=r"matmul_tile\.c\(\d+\).*\n?.*BARIER"):
        compile_cuda(cuda_text(broken), "sm_80")


PTX = {"float16": "m16n8k16.row.col.f32.f16.f16.f32", "bfloat16": "m16n8k16.row.col.f32.bf16.bf16.f32",
       "int8": "m16n8k32.row.col.s32.s8.s8.s32", "uint8": "m16n8k32.row.col.s32.u8.u8.s32"}  # fmt: skip


@pytest.mark.skipif(library() is None, reason="needs NVRTC: nvcc tells of registers elsewhere")
@pytest.mark.parametrize(
    ("name", "architecture"),
    [("float16", "sm_80"), ("float16", "sm_90a"), ("bfloat16", "sm_90a"), ("int8", "sm_80"), ("uint8", "sm_90a")],
)
def test_what_nvrtc_makes_of_tensor_cores(name: str, architecture: str) -> None:
    """One mma for each 16 x 8 of a warp's tile and 32 bytes of depth, from copies under way, and nothing is spilled."""
    kernel, hopper = MatmulMma(), replace(LIMITS, compute_units=132, launch_shared_nbytes=227 << 10)
    (step,) = fused(matmul(array(4096, 4096, dtype=name), transpose(array(4096, 4096, dtype=name))), limits=hopper)
    source = kernel.render(step.problem, kernel.default(step.problem, hopper))
    ptx, log = inspect_cuda(cuda_text(source), architecture)
    assert ptx.count(f"mma.sync.aligned.{PTX[name]}") == (64 // 16) * (64 // 8) * 2
    assert ptx.count("ldmatrix.sync") == 2 * (4 + 4) and ptx.count("cp.async.cg") == 2 * 8
    assert " 0 bytes spill stores, 0 bytes spill loads" in log
    (registers,) = re.findall(r"Used (\d+) registers", log)
    assert int(registers) <= 255


@pytest.mark.skipif(library() is None, reason="needs NVRTC: nvcc tells of registers elsewhere")
@pytest.mark.parametrize("change", [{"STREAM": 264, "STAGES": 3}, {"STREAM": 132}, {"SPLITS": 4}], ids=str)
def test_groups_that_share_blocks_spill_nothing(change: Config) -> None:
    """The sums stay in registers on their way to and from other groups; two groups of 128 threads fill a unit's."""
    kernel, hopper = MatmulMma(), replace(LIMITS, compute_units=132, launch_shared_nbytes=227 << 10)
    size = 1024 if "SPLITS" in change else 3072
    (step,) = fused(matmul(array(size, 3072, dtype="float16"), array(3072, size, dtype="float16")), limits=hopper)
    config = {**kernel.default(step.problem, hopper), **dict(BLOCK_M=128, BLOCK_N=128, WARP_M=64, WARP_N=64), **change}
    assert kernel.space(step.problem, hopper).refusal(config) is None
    for architecture in ("sm_80", "sm_90a"):
        _, log = inspect_cuda(cuda_text(kernel.render(step.problem, config)), architecture)
        assert " 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in log


def wgmma_source(root: Node, **changed: int) -> Source:
    kernel, hopper = MatmulWgmma(), replace(HOPPER, compute_units=132)
    (step,) = fused(root, limits=hopper)
    config = {**kernel.default(step.problem, hopper), **changed}
    assert kernel.space(step.problem, hopper).refusal(config) is None
    return kernel.render(step.problem, config)


WGMMA = {
    "float16": "k16.f32.f16.f16",
    "bfloat16": "k16.f32.bf16.bf16",
    "int8": "k32.s32.s8.s8",
    "uint8": "k32.s32.u8.u8",
}
LARGEST = {"BLOCK_M": 128, "BLOCK_N": 192, "CONSUMERS": 1}  # most registers: 192 sums of a thread


@pytest.mark.skipif(library() is None, reason="needs NVRTC: nvcc tells of registers elsewhere")
@pytest.mark.parametrize(
    ("name", "turned", "changed", "boxes"),
    [("float16", (0, 1), {}, 2), ("float16", (0, 0), {}, 1 + 4), ("float16", (1, 0), LARGEST, 2 + 3),
     ("bfloat16", (1, 1), {}, 2 + 1), ("int8", (0, 1), {}, 2), ("uint8", (0, 1), LARGEST, 2)],
)  # fmt: skip
def test_what_nvrtc_makes_of_warpgroups(
    name: str, turned: tuple[int, int], changed: dict[str, int], boxes: int
) -> None:
    """One wgmma for each 64 rows of a warpgroup and 32 bytes of depth; nothing is spilled or waits for registers."""
    factors = [array(4096, 4096, dtype=name) for _ in range(2)]
    root = matmul(*(transpose(x) if turn else x for x, turn in zip(factors, turned, strict=True)))
    ptx, log = inspect_cuda(cuda_text(wgmma_source(root, **changed)), "sm_90a")
    columns, matrices = (192, 2) if changed else (256, 1)
    assert ptx.count(f"wgmma.mma_async.sync.aligned.m64n{columns}{WGMMA[name]}") == 128 // 32 * matrices
    assert ptx.count("cp.async.bulk.tensor.3d") == boxes
    assert " 0 bytes spill stores, 0 bytes spill loads" in log and "Potential Performance Loss" not in log


@pytest.mark.skipif(library() is None, reason="needs NVRTC: nvcc tells of registers elsewhere")
@pytest.mark.parametrize(
    ("m", "k", "changed"),
    [(4096, 4096, {}), (600, 16384, {"BLOCK_M": 128, "BLOCK_N": 256, "CONSUMERS": 2, "SPLITS": 4, "GROUPS": 0})],
)
def test_an_epilogue_spills_no_sums(m: int, k: int, changed: dict[str, int]) -> None:
    product = matmul(array(m, k, dtype="float16"), array(k, m, dtype="float16"))
    wide = Node("cast", (product,), None, (m, m), "float32")
    source = wgmma_source(gelu(op("add", wide, broadcast(array(m), (m, m)))), **changed)
    _, log = inspect_cuda(cuda_text(source), "sm_90a")
    assert " 0 bytes spill stores, 0 bytes spill loads" in log and "Potential Performance Loss" not in log


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_other_chips_refuse_warpgroups(architecture: str) -> None:
    source = wgmma_source(matmul(array(4096, 4096, dtype="float16"), array(4096, 4096, dtype="float16")))
    with pytest.raises(CompileError, match="refused a kernel for"):
        compile_cuda(cuda_text(source), architecture)
