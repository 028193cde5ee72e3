"""Reductions that walk the same rows become one step with several results: the rows are read once.

Fusion gives each stored node a group of its own. Here two steps over the same space that read the same data meet again:
the mean and the largest of each row, or a row's sum of exponentials and the maximum that it needs, where others need
that too.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Limits
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.parts import parts_of, pruned, rebuild
from tilewright.kernels.problem import Operand, Problem
from tilewright.kernels.step import Step

KINDS = ("reduce", "row")


def together(steps: Sequence[Step], limits: Limits, most_reads: int, most_ops: int) -> list[Step]:
    """`steps` in an order that still respects what they read, the mergeable ones merged.

    `most_reads` and `most_ops`: inputs and nodes up to which a step is a kernel that devices take.
    """
    done: list[Step | None] = []
    readers: dict[int, list[int]] = {}  # where in `done` a node is read
    for step in steps:
        at = len(done)
        earlier = {k for node in step.inputs for k in readers.get(id(node), ())} if _able(step) else ()
        for k in sorted(earlier):
            first = done[k]
            if first is None or not _able(first):
                continue
            between = [s for s in done[k + 1 :] if s is not None]
            made = {id(node) for s in between for node in s.outputs}
            wanted = {id(node) for s in between for node in s.inputs}
            early = not any(id(node) in made for node in step.inputs)
            if not early and any(id(node) in wanted for node in first.outputs):
                continue
            merged = _merged(first, step, limits, most_reads, most_ops)
            if merged is not None:
                step, at = merged, k if early else len(done)
                done[k] = None
        if at < len(done):
            done[at] = step
        else:
            done.append(step)
        for node in step.inputs:
            readers.setdefault(id(node), []).append(at)
    return [step for step in done if step is not None]


def _able(step: Step) -> bool:
    return step.problem.kind in KINDS and all(node.op != "write" for node in step.outputs)


def _touched(problem: Problem, operand: Operand) -> int:
    """Bytes of an input that are read."""
    elements = prod(e for e, s in zip(problem.space, operand.strides, strict=True) if s)
    return min(elements, operand.count) * DTYPES[operand.dtype].nbytes


def _merged(first: Step, second: Step, limits: Limits, most_reads: int, most_ops: int) -> Step | None:
    """One step with the outputs of both; None where they are not of the same rows, or do better apart."""
    one, two = first.problem, second.problem
    if one.space != two.space:
        return None
    places = {(id(node), operand): k for k, (node, operand) in enumerate(zip(first.inputs, one.inputs, strict=True))}
    common = [(id(n), o) in places for n, o in zip(second.inputs, two.inputs, strict=True)]
    shared = sum(_touched(two, o) for o, same in zip(two.inputs, common, strict=True) if same and o.strides[-1])
    read = min(sum(_touched(p, o) for o in p.inputs) for p in (one, two))
    if 2 * shared < max(read, 1):
        return None
    taken, parts = _taken(first, second), parts_of(one, limits)
    if taken is None or parts != parts_of(two, limits) or (taken and (parts > 1 or not _in_order(one, two))):
        return None
    joined = pruned(_joined(first, second, places, taken))
    most = most_reads if not limits.buffers else min(most_reads, limits.buffers - len(joined.outputs))
    if len(joined.inputs) > most or len(toposort(joined.problem.body)) > most_ops:
        return None
    return joined


def _taken(first: Step, second: Step) -> dict[int, Node] | None:
    """The inputs of `second` that are results of `first`, by number, with what computes them; None where it reads one
    otherwise than `first` stores it.
    """
    results = {
        id(n): (o, root) for n, o, root in zip(first.outputs, first.problem.outputs, first.problem.body, strict=True)
    }
    found: dict[int, Node] = {}
    gathered = {n.arg for n in toposort(second.problem.body) if n.op == "gather"}
    for k, (node, operand) in enumerate(zip(second.inputs, second.problem.inputs, strict=True)):
        if id(node) not in results:
            continue
        stored, root = results[id(node)]
        if k in gathered or operand.strides != stored.strides or operand.offset != stored.offset:
            return None
        found[k] = root
    return found


def _in_order(*problems: Problem) -> bool:
    """Whether rows that are walked again, with what the first walk has found, come from cache then."""
    return all(o.strides[-1] == 1 for p in problems for o in p.inputs if o.strides[-1])


def _joined(first: Step, second: Step, places: dict[tuple[int, Operand], int], taken: dict[int, Node]) -> Step:
    one, two = first.problem, second.problem
    inputs, operands = list(first.inputs), list(one.inputs)
    place: dict[int, int] = {}
    for k, (node, operand) in enumerate(zip(second.inputs, two.inputs, strict=True)):
        place[k] = places.get((id(node), operand), len(inputs))
        if place[k] == len(inputs):
            inputs.append(node)
            operands.append(operand)
    replaced: dict[int, Node] = {}
    for node in toposort(two.body):
        if node.op == "load" and node.arg in taken:
            replaced[id(node)] = taken[node.arg]
        elif node.op in ("load", "gather", "scalar"):
            arg = len(one.scalars) + node.arg if node.op == "scalar" else place[node.arg]
            src = tuple(rebuild(s, replaced) for s in node.src)
            replaced[id(node)] = Node(node.op, src, arg, node.shape, node.dtype)
    body = _shared((*one.body, *(rebuild(root, replaced) for root in two.body)))
    kind = "row" if "row" in (one.kind, two.kind) else "reduce"
    scalars, constants = (*one.scalars, *two.scalars), (*first.scalars, *second.scalars)
    outputs = (*one.outputs, *two.outputs)
    problem = Problem(kind, one.space, tuple(operands), outputs, body, scalars)
    return Step(problem, tuple(inputs), (*first.outputs, *second.outputs), constants)


def _shared(body: tuple[Node, ...]) -> tuple[Node, ...]:
    """The same values, each computed once."""
    made: dict[int, Node] = {}
    known: dict[tuple[object, ...], Node] = {}
    for node in toposort(body):
        src = tuple(made[id(s)] for s in node.src)
        key = (node.op, tuple(map(id, src)), node.arg, node.shape, node.dtype)
        made[id(node)] = known.setdefault(key, Node(node.op, src, node.arg, node.shape, node.dtype))
    return tuple(made[id(root)] for root in body)
