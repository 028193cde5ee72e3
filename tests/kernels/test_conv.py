"""Convolution on the cpu at edges of tiles, blocks and planes, against the definition; bounds as in test_products."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import prod

import numpy as np
import pytest

from tests.kernels.graphs import const, fused, op, view
from tests.kernels.judge import check_steps
from tests.kernels.test_products import check, floats, images
from tilewright.backends.protocol import Device
from tilewright.backends.registry import get_device
from tilewright.kernels.conv import ConvCpu
from tilewright.kernels.conv_planes import ConvPlanes
from tilewright.kernels.node import Node, row_major
from tilewright.kernels.products import Window
from tilewright.tuner.prepare import default_candidate

LAYOUTS = ["NCHW", "NHWC"]
CONFIGS = 2


def stored_as(shape: tuple[int, ...], order: tuple[int, ...]) -> Node:
    """Floats of that shape whose axes lie in memory in that order, the outermost first."""
    strides = [0] * len(shape)
    for axis, step in zip(order, row_major(tuple(shape[axis] for axis in order)), strict=True):
        strides[axis] = step
    return view(floats(prod(shape)), shape, tuple(strides))


def stored_otherwise(layout: str) -> Node:
    """Images in the memory of the other layout, and weights whose channels lie side by side."""
    x, w, first = (2, 1, 20, 6, 7), (1, 19, 20, 3, 3), layout == "NCHW"
    found = stored_as(x if first else (2, 6, 7, 1, 20), (0, 3, 4, 1, 2))
    weights = stored_as(w, (0, 1, 3, 4, 2) if first else (0, 3, 4, 2, 1))
    shape = (2, 1, 19, 6, 7) if first else (2, 6, 7, 1, 19)
    return Node("conv", (found, weights), Window(layout, 1, 1, 1, 1, 1, 1), shape, "float32")


def without_strides(layout: str, taps: int) -> Node:
    """Axes of one element have the stride 0, as a reshape leaves them."""
    x, w = (1, 1, 20, 9, 7), (1, 18, 20, taps, 1)
    y = images(layout, x, w)
    weights = view(floats(prod(w)), w, (0, 20 * taps, taps, int(taps > 1), 0))
    return Node("conv", (y.src[0], weights), y.arg, y.shape, y.dtype)


def with_prologues(layout: str) -> Node:
    y = images(layout, (1, 1, 20, 7, 7), (1, 18, 20, 3, 3), padding=(1, 1))
    x, w = y.src
    return Node("conv", (op("max", x, const(0.0)), op("mul", w, const(0.5))), y.arg, y.shape, y.dtype)


EDGES: dict[str, Callable[[str], Node]] = {
    "one tap": lambda layout: images(layout, (1, 1, 33, 9, 9), (1, 20, 33, 1, 1)),
    "one tap, many channels": lambda layout: images(layout, (1, 1, 530, 7, 7), (1, 20, 530, 1, 1)),
    "one tap, images": lambda layout: images(layout, (3, 1, 20, 5, 7), (1, 9, 20, 1, 1)),
    "one tap, strided": lambda layout: images(layout, (2, 1, 20, 9, 11), (1, 9, 20, 1, 1), stride=(2, 3)),
    "one tap, padded": lambda layout: images(layout, (2, 1, 20, 5, 7), (1, 9, 20, 1, 1), padding=(1, 2)),
    "stride beyond the taps": lambda layout: images(layout, (2, 1, 5, 17, 23), (1, 6, 5, 2, 2), stride=(3, 4)),
    "residues": lambda layout: images(
        layout, (2, 1, 4, 30, 31), (1, 6, 4, 3, 4), stride=(2, 3), padding=(3, 2), dilation=(3, 2)
    ),
    "strides divide dilations": lambda layout: images(
        layout, (1, 1, 4, 30, 31), (1, 6, 4, 3, 3), stride=(2, 4), padding=(3, 5), dilation=(4, 6)
    ),
    "49 pixels": lambda layout: images(layout, (1, 1, 70, 7, 7), (1, 19, 70, 3, 3), padding=(1, 1)),
    "one pixel": lambda layout: images(layout, (1, 1, 70, 3, 3), (1, 19, 70, 3, 3)),
    "three pixels": lambda layout: images(layout, (3, 1, 70, 3, 3), (1, 19, 70, 3, 3)),
    "17 pixels": lambda layout: images(layout, (1, 1, 9, 1, 17), (1, 7, 9, 1, 3), padding=(0, 1)),
    "47 pixels, 15 outputs": lambda layout: images(layout, (1, 1, 9, 47, 1), (1, 15, 9, 3, 1), padding=(1, 0)),
    "97 pixels, 17 outputs": lambda layout: images(layout, (1, 1, 9, 97, 3), (1, 17, 9, 3, 3), padding=(1, 0)),
    "rows longer than blocks": lambda layout: images(layout, (1, 1, 3, 2, 300), (1, 5, 3, 3, 3), padding=(1, 1)),
    "506 taps": lambda layout: images(layout, (1, 1, 3, 30, 40), (1, 4, 3, 23, 22)),
    "529 taps": lambda layout: images(layout, (1, 1, 5, 30, 40), (1, 4, 5, 23, 23)),
    "nothing but padding": lambda layout: images(layout, (1, 1, 5, 1, 1), (1, 4, 5, 1, 1), (3, 3), padding=(4, 4)),
    "doubles": lambda layout: images(layout, (1, 1, 30, 9, 9), (1, 9, 30, 3, 3), padding=(1, 1), dtype="float64"),
    "halves, 49 pixels": lambda layout: images(
        layout, (1, 1, 40, 7, 7), (1, 9, 40, 3, 3), padding=(1, 1), dtype="float16"
    ),
    "integers": lambda layout: images(layout, (1, 1, 40, 7, 7), (1, 9, 40, 3, 3), padding=(1, 1), dtype="int32"),
    "groups of images": lambda layout: images(layout, (3, 2, 9, 5, 5), (2, 7, 9, 3, 3), padding=(1, 1)),
    "stored otherwise": stored_otherwise,
    "prologues": with_prologues,
    "one tap without strides": lambda layout: without_strides(layout, 1),
    "one column of taps without strides": lambda layout: without_strides(layout, 3),
}


@pytest.fixture(scope="module")
def cpu() -> Device:
    return get_device("cpu")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str, layout: str, cpu: Device) -> None:
    steps = fused(EDGES[name](layout), limits=cpu.limits)
    check_steps(steps, cpu)
    kernel, rng = ConvPlanes(), random.Random(name)
    for step in steps:
        configs = list(kernel.space(step.problem, cpu.limits)) if step.problem.kind == "conv" else []
        for config in rng.sample(configs, min(CONFIGS, len(configs))):
            check_steps([step], cpu, kernel, config)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_spoils_what_sees_it_and_nothing_else(value: float, layout: str, cpu: Device) -> None:
    for place in (0, -1):
        root = EDGES["49 pixels"](layout)
        root.src[0].arg.reshape(-1)[place] = value
        check(root, cpu)
    root = EDGES["one tap"](layout)
    root.src[0].arg.reshape(-1)[40] = root.src[1].arg.reshape(-1)[-1] = value
    check(root, cpu)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_few_last_pixels_are_summed_along_the_taps(layout: str, cpu: Device) -> None:
    (step,) = fused(EDGES["49 pixels"](layout), limits=cpu.limits)
    kernel, lanes = ConvPlanes(), cpu.limits.vector_nbytes // 4
    rests = {config["REST"] for config in kernel.space(step.problem, cpu.limits)}
    assert rests == ({0, 1} if lanes >= 4 else {0})
    for rest in rests:
        for pack in (0, 1):
            config = {**kernel.default(step.problem, cpu.limits), "REST": rest, "PACK_A": pack, "PACK_B": 1}
            check_steps([step], cpu, kernel, config)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["residues", "groups of images", "rows longer than blocks", "49 pixels"])
def test_tiles_that_read_planes_store_no_pixel_that_is_nobodys(name: str, layout: str, cpu: Device) -> None:
    (step,) = fused(EDGES[name](layout), limits=cpu.limits)
    kernel, rng = ConvPlanes(), random.Random(name)
    configs = [c for c in kernel.space(step.problem, cpu.limits) if c["PACK_B"] == 0]
    for config in rng.sample(configs, CONFIGS):
        check_steps([step], cpu, kernel, config)


def test_default_is_of_the_space_and_by_planes_unless_a_channel_has_too_many_taps(cpu: Device) -> None:
    for name, make in EDGES.items():
        for layout in LAYOUTS:
            for step in fused(make(layout), limits=cpu.limits):
                if step.problem.kind != "conv":
                    continue
                found = default_candidate(step.problem, cpu.limits)
                expected = ConvCpu() if name == "529 taps" else ConvPlanes()
                assert found is not None and found.kernel == expected.name, name
                assert expected.space(step.problem, cpu.limits).refusal(found.config) is None
