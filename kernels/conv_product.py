"""Convolution of single pixels with channels last: a matrix product as it lies, of pixels x channels x outputs."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.conv import conv_of, patches_in_order
from tilewright.kernels.matmul_cpu import MatmulCpu
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.problem import Operand, Problem
from tilewright.kernels.products import AXES, Axes
from tilewright.kernels.space import EMPTY, Config, Space

FEW = 64  # pixels up to which ConvPlanes was faster: its last ones cost no tile


def _pixel_stride(problem: Problem, operand: Operand, at: Axes) -> int | None:
    """From one pixel to the next, counted through all images; None where that is not always the same."""
    axes = [axis for axis in (at.w, at.h, at.n) if problem.space[axis] > 1]
    first = step = operand.strides[axes[0]] if axes else 0
    for axis in axes:
        if operand.strides[axis] != step:
            return None
        step *= problem.space[axis]
    return first


@lru_cache(256)
def as_product(problem: Problem) -> Problem | None:
    """The matmul problem with the same operands and scalars that computes the same, None where there is none."""
    node, order = conv_of(problem), toposort(problem.body)
    at = AXES[node.arg[0]]
    if not patches_in_order(problem) or any(n.op in ("iota", "gather") for n in order):
        return None
    space = problem.space
    whole = (space[at.group], prod(space[axis] for axis in (at.n, at.h, at.w)), space[at.o], space[at.c])
    steps = {o: _pixel_stride(problem, o, at) for o in (*problem.inputs, *problem.outputs)}
    if None in steps.values():
        return None
    made: dict[int, Node] = {}
    for n in order:
        src = n.src[:2] if n is node else n.src
        op, arg = ("dot", None) if n is node else (n.op, n.arg)
        made[id(n)] = Node(op, tuple(made[id(s)] for s in src), arg, whole[: 3 + (len(n.shape) == len(space))], n.dtype)

    def moved(o: Operand) -> Operand:
        strides = (o.strides[at.group], steps[o] or 0, o.strides[at.o], o.strides[at.c])
        return Operand(o.dtype, strides, o.offset, o.count)

    return Problem(
        "matmul", whole, tuple(map(moved, problem.inputs)), tuple(map(moved, problem.outputs)),
        tuple(made[id(n)] for n in problem.body), problem.scalars,
    )  # fmt: skip


class ConvProduct:
    """MatmulCpu for the product that such a convolution is."""

    name = "conv_product"
    product = MatmulCpu()

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "conv" or limits.threads_per_group != 1:
            return EMPTY
        alike = as_product(problem)
        return EMPTY if alike is None or alike.space[1] <= FEW else self.product.space(alike, limits)

    def default(self, problem: Problem, limits: Limits) -> Config:
        return self.product.default(_alike(problem), limits)

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        return self.product.render(_alike(problem), config, language)

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return self.product.grid(_alike(problem), config)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return self.product.values(_alike(problem), config)


def _alike(problem: Problem) -> Problem:
    alike = as_product(problem)
    assert alike is not None, "asked only where the space is not empty"
    return alike
