"""Step: a problem with the nodes whose buffers it reads and writes; and the kinds that take several of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Limits
from tilewright.kernels.node import Node, row_major
from tilewright.kernels.problem import Operand, Problem
from tilewright.kernels.sort import MOST_SELECTED, tile_of
from tilewright.kernels.space import serial

PART_GROUPS = 16  # groups per compute unit that keep a long row's units evenly busy
PART_SCAN, PART_COLUMN = 1 << 14, 64  # a shorter piece costs more to start than to do
PART_SELECT = 256  # times as long as what is selected: most of a shorter piece would be put in order
COLUMNS = 256  # kept neighbours that one group of columns covers, about


@dataclass(frozen=True, slots=True)
class Step:
    """One problem, with the nodes whose buffers it reads and writes, in the problem's operand order.

    `scalars` are the const nodes behind the problem's scalars, None where the value is fixed by the structure.
    `takeover`: the problem copies something that nobody else reads, so its buffer may become the output's as it is.
    `whole`: the problem of which this is a strip.
    """

    problem: Problem
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    scalars: tuple[Node | None, ...] = ()
    takeover: bool = False
    whole: Problem | None = None


def scan_in_parts(step: Step, limits: Limits) -> list[Step]:
    """Cut a scan of few rows into parts, so that every compute unit has work.

    The first step stores each part's total, the second scans each part behind the totals of those before it. Half as
    many bytes again are moved, and two units saturate many a memory, so more than half of them must be idle without.
    """
    problem = step.problem
    (scan,) = problem.body
    kept, extent = problem.space[:-1], problem.space[-1]
    output = problem.outputs[0]
    column = len(kept) > 0 and output.strides[-1] != 1 and output.strides[-2] == 1
    groups = -(-prod(kept) // (COLUMNS if column else 1))
    parts = min(-(-PART_GROUPS * limits.compute_units // groups), extent // (PART_COLUMN if column else PART_SCAN))
    if parts <= 1 or 2 * groups >= limits.compute_units:
        return [step]
    partial, count = DTYPES[scan.dtype].compute, prod(kept) * parts
    totals = Operand(partial, (*row_major((*kept, parts))[:-1], 0), 0, count)
    total = Node("reduce", scan.src, scan.arg, kept, partial)
    halves = Problem("reduce", problem.space, problem.inputs, (totals,), (total,), problem.scalars, parts)
    node = Node("partial", (), None, (*kept, parts), partial)
    first = Step(halves, step.inputs, (node,), step.scalars)
    before = Node("load", (), len(problem.inputs), kept, partial)
    body = (Node("scan", (*scan.src, before), scan.arg, problem.space, scan.dtype),)
    second = Problem("scan", problem.space, (*problem.inputs, totals), problem.outputs, body, problem.scalars, parts)
    return [first, Step(second, (*step.inputs, node), step.outputs, step.scalars)]


def sort_steps(step: Step, limits: Limits) -> list[Step]:
    """Sort tiles, or select from pieces, then merge runs until one is left, of which the asked number is kept."""
    problem, (node,) = step.problem, step.problem.body
    kept, have = problem.space[:-1], problem.space[-1]
    descending, keep = node.arg
    width, key = tile_of(limits), node.src[0]
    arg = -width if descending else width

    def stored(count: int, body: tuple[Node, ...]) -> tuple[tuple[Operand, ...], tuple[Node, ...]]:
        """Outputs for a step that is not the last."""
        shape = (*kept, count)
        place = tuple(Operand(n.dtype, row_major(shape), 0, prod(shape)) for n in body)
        return place, tuple(Node("partial", (), None, shape, n.dtype) for n in body)

    body: tuple[Node, ...] = (Node(node.op, (key,), arg, problem.space, node.dtype),)
    if have <= width and keep == have:
        return [replace(step, problem=replace(problem, body=body))]
    if serial(limits) and keep * 2 <= have and keep <= MOST_SELECTED:
        parts = max(1, min(-(-PART_GROUPS * limits.compute_units // prod(kept)), have // (keep * PART_SELECT)))
        kind, arg, width = "select", -keep if descending else keep, keep
    else:
        kind, parts = "sort", 1
    body = (Node(node.op, (key,), arg, problem.space, node.dtype),)
    if kind == "select" and parts == 1:
        return [replace(step, problem=replace(problem, kind=kind, body=body))]
    if node.op == "argsort":
        body = (Node("sort", (key,), arg, problem.space, key.dtype), *body)
    first = replace(problem, kind=kind, body=body, parts=parts)
    have = first.stored
    outputs, nodes = stored(have, body)
    steps = [Step(replace(first, outputs=outputs), step.inputs, nodes, step.scalars)]
    while True:
        merged = min(2 * width, keep)
        left = have // (2 * width) * merged + min(have % (2 * width), merged)
        space, last = (*kept, left), 2 * width >= have
        scalars = tuple(("int64", value) for value in (width, merged, have))
        numbers = [Node("scalar", (), k, kept, "int64") for k in range(3)]
        loads = [Node("load", (), k, space, n.dtype) for k, n in enumerate(nodes)]
        made = [Node("sort", (loads[0], *numbers), arg, space, key.dtype)]
        if node.op == "argsort":
            made.append(Node("argsort", (*loads, *numbers), arg, space, "int64"))
        body = tuple(made[-1:] if last else made)
        inputs, sources = outputs, nodes
        outputs, nodes = (problem.outputs, step.outputs) if last else stored(left, body)
        steps.append(Step(Problem("merge", space, inputs, outputs, body, scalars), sources, nodes, (None,) * 3))
        if last:
            return steps
        width, have = merged, left
