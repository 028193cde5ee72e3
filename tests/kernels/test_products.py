"""Attention and convolution on every device against their definitions: odd sizes, layouts, dtypes, epilogues.

Bounds are the judge's.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.kernels.graphs import broadcast, const, fused, leaf, op, view
from tests.kernels.judge import check_steps
from tilewright.backends.dtypes import numpy_dtype
from tilewright.backends.protocol import Device
from tilewright.kernels import KERNELS
from tilewright.kernels.node import Node
from tilewright.kernels.products import Window

RNG = np.random.default_rng(29)
Shape = tuple[int, ...]


def floats(*shape: int, dtype: str = "float32") -> Node:
    return leaf(RNG.standard_normal(shape).astype(numpy_dtype(dtype)), dtype)


def attention(q: Node, k: Node, v: Node, *masks: Node, causal: bool = False, scale: float = 0.25) -> Node:
    factor = const(scale, "float64" if q.dtype == "float64" else "float32")
    return Node("attention", (q, k, v, factor, *masks), causal, (*q.shape[:-1], v.shape[-1]), q.dtype)


def heads(m: int, n: int, d: int, e: int, causal: bool = False, dtype: str = "float32", outer: Shape = (2,)) -> Node:
    q, k, v = (floats(*outer, *shape, dtype=dtype) for shape in ((m, d), (n, d), (n, e)))
    return attention(q, k, v, causal=causal)


def tokens_first() -> Node:
    """(tokens, heads, elements) read as (heads, tokens, elements)."""
    turned = [view(floats(21, 3, 8), (3, 21, 8), (8, 24, 1)) for _ in range(3)]
    return attention(*turned)


def shared_keys() -> Node:
    """Two groups of three heads, each with one head of keys and values."""
    q, k, v = floats(2, 3, 10, 8), floats(2, 1, 19, 8), floats(2, 1, 19, 8)
    return attention(q, broadcast(k, (2, 3, 19, 8)), broadcast(v, (2, 3, 19, 8)))


def masked(mask: Node) -> Node:
    q, k, v = floats(2, 13, 8), floats(2, 40, 8), floats(2, 40, 5)
    return attention(q, k, v, broadcast(mask, (2, 13, 40)))


def seen() -> Node:
    """Random, but query 4 sees nothing and query 5 only the last key."""
    chosen = RNG.random((13, 40)) < 0.5
    chosen[4], chosen[5] = False, np.arange(40) == 39
    return leaf(chosen)


ATTENTION: dict[str, Callable[[], Node]] = {
    "1 of everything": lambda: heads(1, 1, 1, 1),
    "one query": lambda: heads(1, 67, 8, 8),
    "odd sizes": lambda: heads(37, 67, 33, 17),
    "more queries than keys": lambda: heads(70, 5, 16, 40),
    "causal": lambda: heads(70, 70, 16, 16, causal=True),
    "causal, more keys": lambda: heads(33, 140, 8, 8, causal=True),
    "a large head": lambda: heads(9, 11, 300, 260),
    "two outer axes": lambda: heads(9, 11, 8, 8, outer=(2, 3)),
    "tokens first": tokens_first,
    "shared keys": shared_keys,
    "truth mask": lambda: masked(seen()),
    "mask of one row": lambda: masked(leaf(RNG.random((1, 40)) < 0.5)),
    "number mask": lambda: masked(floats(13, 40)),
    "halves": lambda: heads(20, 30, 16, 16, dtype="float16"),
    "brains": lambda: heads(20, 30, 16, 16, dtype="bfloat16"),
    "doubles": lambda: heads(20, 30, 16, 16, dtype="float64"),
    "huge scores": lambda: attention(*(op("mul", floats(1, 9, 8), const(1e4)) for _ in range(2)), floats(1, 9, 8)),
    "with an epilogue": lambda: op("add", op("mul", heads(9, 11, 8, 8), const(0.5)), floats(2, 9, 8)),
}


def images(
    layout: str, x: Shape, w: Shape, stride: Shape = (1, 1), padding: Shape = (0, 0), dilation: Shape = (1, 1),
    out: Shape | None = None, dtype: str = "float32",
) -> Node:  # fmt: skip
    """`x` (n, groups, c, h, w) and `w` (groups, o, c, kh, kw) in either layout; `out` where the end is padded too."""
    n, groups, _, *size = x
    found = tuple(
        (e + 2 * p - g * (t - 1) - 1) // s + 1
        for e, p, g, t, s in zip(size, padding, dilation, w[3:], stride, strict=True)
    )
    high, wide = out or found
    if layout == "NHWC":
        x = (n, *size, groups, x[2])
    shape = (n, groups, w[1], high, wide) if layout == "NCHW" else (n, high, wide, groups, w[1])
    window = Window(layout, *stride, *dilation, *padding)
    return Node("conv", (floats(*x, dtype=dtype), floats(*w, dtype=dtype)), window, shape, dtype)


def with_bias(layout: str) -> Node:
    """Bias, residual and ReLU, written on a result whose groups are joined."""
    y = images(layout, (2, 2, 3, 9, 10), (2, 4, 3, 3, 3), padding=(1, 1))
    n, high, wide = 2, 9, 10
    shape = (n, 8, high, wide) if layout == "NCHW" else (n, high, wide, 8)
    strides = (8 * high * wide, high * wide, wide, 1) if layout == "NCHW" else (8 * high * wide, 8 * wide, 8, 1)
    bias = view(floats(8), shape, (0, 1, 0, 0) if layout == "NCHW" else (0, 0, 0, 1))
    return op("max", op("add", op("add", view(y, shape, strides), bias), floats(*shape)), const(0.0))


CONV: dict[str, Callable[[str], Node]] = {
    "1 of everything": lambda layout: images(layout, (1, 1, 1, 1, 1), (1, 1, 1, 1, 1)),
    "3x3": lambda layout: images(layout, (2, 1, 5, 13, 19), (1, 7, 5, 3, 3), padding=(1, 1)),
    "two images a tile": lambda layout: images(layout, (5, 1, 3, 4, 3), (1, 9, 3, 2, 2)),
    "many channels": lambda layout: images(layout, (2, 1, 70, 6, 7), (1, 19, 70, 3, 3), padding=(1, 1)),
    "strided": lambda layout: images(layout, (1, 1, 4, 15, 21), (1, 6, 4, 3, 3), stride=(2, 3), padding=(1, 0)),
    "dilated": lambda layout: images(layout, (1, 1, 4, 15, 21), (1, 6, 4, 3, 2), dilation=(2, 4), padding=(2, 3)),
    "7x7": lambda layout: images(layout, (1, 1, 3, 30, 33), (1, 10, 3, 7, 7), stride=(2, 2), padding=(3, 3)),
    "mostly padding": lambda layout: images(layout, (1, 1, 2, 2, 3), (1, 3, 2, 5, 5), padding=(4, 4)),
    "padded at the end only": lambda layout: images(layout, (1, 1, 2, 6, 7), (1, 3, 2, 3, 3), out=(6, 7)),
    "groups": lambda layout: images(layout, (2, 3, 4, 9, 11), (3, 5, 4, 3, 3), padding=(1, 1)),
    "depthwise": lambda layout: images(layout, (2, 21, 1, 9, 21), (21, 1, 1, 3, 3), padding=(1, 1)),
    "depthwise, strided, two each": lambda layout: images(layout, (1, 10, 1, 9, 40), (10, 2, 1, 3, 5), (2, 2), (1, 2)),
    "depthwise, many": lambda layout: images(layout, (1, 150, 1, 7, 12), (150, 1, 1, 3, 3), padding=(1, 1)),
    "depthwise, dilated": lambda layout: images(layout, (2, 10, 2, 9, 23), (10, 1, 2, 3, 4), (1, 2), (2, 5), (2, 3)),
    "depthwise, channels": lambda layout: images(layout, (2, 3, 3, 9, 8), (3, 2, 3, 3, 2), (1, 1), (4, 5), (2, 3)),
    "depthwise, rows in pieces": lambda layout: images(layout, (1, 3, 1, 70, 60), (3, 1, 1, 3, 3), padding=(1, 1)),
    "depthwise, wide": lambda layout: images(layout, (1, 3, 1, 5, 140), (3, 1, 1, 3, 3), padding=(1, 1)),
    "halves": lambda layout: images(layout, (1, 1, 8, 9, 9), (1, 8, 8, 3, 3), padding=(1, 1), dtype="float16"),
    "bytes": lambda layout: images(layout, (1, 1, 8, 9, 9), (1, 8, 8, 3, 3), padding=(1, 1), dtype="int8"),
    "bias, residual, relu": with_bias,
}


def check(root: Node, device: Device, kernel: Any = None, config: Any = None) -> None:
    if root.dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {root.dtype}")
    steps = fused(root, limits=device.limits)
    assert len(steps) == 1
    check_steps(steps, device, kernel, config)


ELSEWHERE = (
    "odd sizes", "causal, more keys", "truth mask", "halves", "many channels", "strided", "bias, residual, relu",
)  # fmt: skip


def skip_elsewhere(name: str, device: Device) -> None:
    if device.name != "cpu" and name not in ELSEWHERE:
        pytest.skip("the cpu has all of them, and other devices' compilers are slow")


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str, device: Device) -> None:
    skip_elsewhere(name, device)
    if name == "huge scores":  # the factors are computed, and once
        check_steps(fused(ATTENTION[name](), limits=device.limits), device)
    else:
        check(ATTENTION[name](), device)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", CONV)
def test_conv(name: str, layout: str, device: Device) -> None:
    skip_elsewhere(name, device)
    check(CONV[name](layout), device)


@pytest.mark.parametrize("name", ["attention", "strided", "many channels"])
def test_random_configs(name: str, device: Device) -> None:
    root = heads(37, 67, 33, 17, causal=True) if name == "attention" else CONV[name]("NHWC")
    if device.name != "cpu" and name == "many channels":
        pytest.skip("the cpu has it, and other devices' compilers are slow")
    (step,) = fused(root, limits=device.limits)
    rng = random.Random(7)
    for kernel in KERNELS[step.problem.kind]:  # of conv_direct, which has but one tunable, none applies here
        configs = list(kernel.space(step.problem, device.limits))
        for config in rng.sample(configs, min(4 if device.name == "cpu" else 1, len(configs))):
            check_steps([step], device, kernel, config)


def test_nan_spoils_what_sees_it_and_nothing_else(device: Device) -> None:
    x = floats(1, 1, 2, 8, 8)
    x.arg[0, 0, 1, 3, 4] = np.nan
    conv = Node("conv", (x, floats(1, 3, 2, 3, 3)), Window("NCHW", 1, 1, 1, 1, 1, 1), (1, 1, 3, 8, 8), "float32")
    check(conv, device)
    q, k = floats(1, 9, 8), floats(1, 30, 8)
    q.arg[0, 2, 1], k.arg[0, 25, 3] = np.nan, np.nan
    check(attention(q, k, floats(1, 30, 8)), device)
    k.arg[0, 25, 3] = 0
    check(attention(q, k, floats(1, 30, 8)), device)  # only query 2
