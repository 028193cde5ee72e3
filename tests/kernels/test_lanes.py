"""Kernels for a CPU whose compiler makes vectors of neighbouring threads: what a group of theirs is, and who applies.

Their results are checked on every device that there is by the other tests here; only Intel's OpenCL runtime is one.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from tests.kernels.graphs import LIMITS, const, fused, gelu, leaf, matmul, op, reduce, softmax, transpose
from tilewright.backends.language import LANES
from tilewright.backends.opencl import opencl_text
from tilewright.backends.protocol import Limits, Parameter, Source
from tilewright.kernels import KERNELS
from tilewright.kernels.node import Node

RNG = np.random.default_rng(31)
INTEL = replace(LIMITS, threads_per_group=8192, shared_nbytes=1 << 18, vector_nbytes=64, lanes=16, language=LANES)
POCL = replace(LIMITS, threads_per_group=4096, shared_nbytes=1 << 20, vector_nbytes=64)


def numbers(*shape: int) -> Node:
    return leaf(RNG.standard_normal(shape).astype(np.float32))


def scan(x: Node, axis: int) -> Node:
    return Node("scan", (x,), ("sum", axis), x.shape, x.dtype)


def attention() -> Node:
    x = numbers(2, 40, 64)
    return Node("attention", (x, x, x, const(0.125)), False, x.shape, "float32")


GRAPHS = {
    "map": lambda: gelu(numbers(100, 33)),
    "crossed map": lambda: op("add", transpose(numbers(50, 70)), numbers(70, 50)),
    "rows": lambda: softmax(numbers(50, 300)),
    "columns": lambda: reduce("sum", numbers(300, 50), 0),
    "scan": lambda: scan(numbers(50, 300), 1),
    "scan of columns": lambda: scan(numbers(300, 50), 0),
    "matmul": lambda: matmul(numbers(70, 50), numbers(50, 90)),
    "attention": attention,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_group_is_one_vector(name: str) -> None:
    """Also of the first configs of the space, and every kernel's default is in its space."""
    for step in fused(GRAPHS[name](), limits=INTEL):
        problem, seen = step.problem, 0
        for kernel in KERNELS[problem.kind]:
            if not (space := kernel.space(problem, INTEL)).choices.get("NONE", (1,)):
                continue
            config = kernel.default(problem, INTEL)
            assert space.refusal(config) is None, (kernel.name, config)
            if kernel.name in ("matmul_cpu", "attention_tile"):  # what was there without lanes
                continue
            seen += 1
            for one in (config, *islice(space, 20)):
                source = kernel.render(problem, one, LANES)
                threads = source.group[0]
                assert source.group[1:] == (1, 1)
                assert threads == one.get("THREADS", int(one.get("VECTOR", 0)) // 4) and 1 < threads <= 16
        assert seen


@pytest.mark.parametrize("limits", [LIMITS, POCL], ids=["cpu", "pocl"])
@pytest.mark.parametrize("name", GRAPHS)
def test_others_keep_their_groups(name: str, limits: Limits) -> None:
    for step in fused(GRAPHS[name](), limits=limits):
        for kernel in KERNELS[step.problem.kind]:
            space = kernel.space(step.problem, limits)
            assert not kernel.name.endswith("_lanes") or not list(space)
            assert space.choices.get("THREADS", (1,)) == (1,)


def test_full_rounds_have_no_mask() -> None:
    """A round's body twice: for all threads together, then for those that are left."""
    text = LANES.each("i", "begin", "end", "x;\n")
    assert text.count("x;\n") == 2
    assert "i_at + LOCAL_SIZE(0) <= end" in text and "if (i_at + LOCAL(0) < end)" in text


@pytest.mark.parametrize(("group", "lanes", "width"), [(16, 16, 16), (8, 16, 8), (64, 16, 0), (1, 16, 0), (16, 1, 0)])
def test_the_compiler_is_told_the_width(group: int, lanes: int, width: int) -> None:
    source = Source("f", (Parameter("out", "float32", "out"),), "KERNEL { out[0] = 1; }", (), (group, 1, 1))
    text = opencl_text(source, lanes)
    assert (f"intel_reqd_sub_group_size({width})" in text) == bool(width)
    assert text.startswith(f"#define VECTOR_GROUP {width}\n") == bool(width)


@pytest.mark.parametrize(("calls", "lanes", "alone"), [(2, 1, True), (1, 1, False), (2, 16, False)])
def test_loops_with_several_functions_are_counted_before_calls_are_paired(calls: int, lanes: int, alone: bool) -> None:
    body = f"KERNEL {{ out[0] = {' + '.join(['exp_f32(out[0])'] * calls)}; }}"
    text = opencl_text(Source("f", (Parameter("out", "float32", "out"),), body, (), (1, 1, 1)), lanes)
    assert ("#define ALONE\n" in text) == alone
