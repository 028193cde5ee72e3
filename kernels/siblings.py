"""Steps that read the same elements made one with several outputs, so that those are read once.

Mean and variance, sums and extremes, a gradient's parts: each was a group of its own, since none is computed from
another, or what each row gives is wanted elsewhere too, as the maximum beside the sum of exponentials below it. Where
two have a space and an input in common, the earlier takes the later one in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tilewright.backends.protocol import Limits
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.ops import OPS
from tilewright.kernels.phases import kept
from tilewright.kernels.problem import Operand, Problem
from tilewright.kernels.space import serial
from tilewright.kernels.step import Step

KINDS = {"map": "map", "reduce": "reduce", "row": "reduce"}  # which go together


@dataclass(frozen=True, slots=True)
class Most:
    """What one kernel may hold: buffers, ops and scalars."""

    buffers: int
    ops: int
    scalars: int


def together(steps: Sequence[Step], limits: Limits, most: Most) -> list[Step]:
    """`steps` in an order that respects what they read, each joined to the last one before that it can go with."""
    if not limits.compiles:
        return list(steps)  # an op at a time reads what it needs
    result: list[Step] = []
    made: dict[int, int] = {}  # which step of the result stores a node
    readers: dict[Any, int] = {}  # the last that reads an element for each of its space
    for step in steps:
        needs = {made[id(node)] for node in step.inputs if id(node) in made}
        keys = _shareable(step)
        at = len(result)
        for k in dict.fromkeys(readers[key] for key in keys if key in readers):
            joined = _joined(result[k], step, limits, most) if max(needs - {k}, default=-1) < k else None
            if joined is not None:
                at, result[k] = k, joined
                break
        else:
            result.append(step)
        readers |= dict.fromkeys(keys, at)
        made |= {id(node): at for node in step.outputs}
    return result


def _shareable(step: Step) -> list[Any]:
    """For each input with an element for each of the step's space, what another step with that input has as well.

    None for kinds without several outputs, and for maps that walk across memory: they have kernels of their own.
    """
    problem = step.problem
    if problem.kind not in KINDS or step.takeover or any(node.op in ("write", "scatter") for node in step.outputs):
        return []
    if problem.kind == "map" and any(o.strides[-1] not in (0, 1) for o in (*problem.inputs, *problem.outputs)):
        return []
    family = (KINDS[problem.kind], problem.space, problem.parts)
    found = []
    for node, operand in zip(step.inputs, problem.inputs, strict=True):
        if all(s != 0 or extent == 1 for s, extent in zip(operand.strides, problem.space, strict=True)):
            found.append((*family, id(node), operand))
    return found


def _joined(first: Step, second: Step, limits: Limits, most: Most) -> Step | None:
    """Both in one; None where a kernel would hold too much, or gain nothing."""
    if first.problem.kind == "map" and serial(limits) and _costly(first) and _costly(second):
        return None  # a core takes longer for such functions than for what they read, and has few registers for two
    taken = _taken(first, second)
    if taken is None:
        return None
    joiner = _Joiner()
    roots = joiner.add(first, {})
    body = (*roots, *joiner.add(second, {k: roots[output] for k, output in taken.items()}))
    outputs = (*first.problem.outputs, *second.problem.outputs)
    if len(joiner.inputs) + len(outputs) > most.buffers or len(joiner.known) > most.ops:
        return None
    if len(joiner.scalars) > most.scalars:
        return None
    kind = first.problem.kind if first.problem.kind == second.problem.kind else "row"
    operands, scalars = tuple(joiner.operands), tuple(joiner.scalars)
    problem = Problem(kind, first.problem.space, operands, outputs, body, scalars, first.problem.parts)
    if kept(problem) is not None:
        return None  # what lies in the first output's row meanwhile would be gone when the second's is stored
    nodes = (*first.outputs, *second.outputs)
    return replace(first, problem=problem, inputs=tuple(joiner.inputs), outputs=nodes, scalars=tuple(joiner.constants))


def _taken(first: Step, second: Step) -> dict[int, int] | None:
    """Which inputs of `second` are what `first` stores for each row, by number; None where it needs that otherwise.

    Rows are then walked twice, and must come from cache the second time: across memory they would not.
    """
    number = {id(node): k for k, node in enumerate(first.outputs)}
    operands = second.problem.inputs
    found = {k: number[id(node)] for k, node in enumerate(second.inputs) if id(node) in number}
    if not found:
        return {}
    alike = all(
        (o.strides, o.offset) == (operands[k].strides, operands[k].offset) and o.strides[-1] == 0
        for k, o in ((k, first.problem.outputs[output]) for k, output in found.items())
    )
    in_order = all(o.strides[-1] in (0, 1) for o in (*first.problem.inputs, *operands))
    gathered = any(node.op == "gather" and node.arg in found for node in toposort(second.problem.body))
    return found if alike and in_order and not gathered and first.problem.parts == 1 else None


def _costly(step: Step) -> bool:
    return any(node.op in OPS and OPS[node.op].costly for node in toposort(step.problem.body))


@dataclass(slots=True)
class _Joiner:
    """The bodies of several steps over common operands and scalars; what is equal in them is one node."""

    inputs: list[Node] = field(default_factory=list)
    operands: list[Operand] = field(default_factory=list)
    scalars: list[tuple[str, int | float | bool]] = field(default_factory=list)
    constants: list[Node | None] = field(default_factory=list)
    known: dict[Any, Node] = field(default_factory=dict)

    def add(self, step: Step, taken: dict[int, Node]) -> tuple[Node, ...]:
        """The roots of the step's body. `taken`: by number, the inputs that are no longer loaded but there."""
        made: dict[int, Node] = {}
        inputs = list(enumerate(zip(step.inputs, step.problem.inputs, strict=True)))
        loads = {k: self._input(node, o) for k, (node, o) in inputs if k not in taken}
        numbers = [self._scalar(s, c) for s, c in zip(step.problem.scalars, step.scalars, strict=True)]
        for node in toposort(step.problem.body):
            arg = node.arg
            if node.op == "load" and arg in taken:
                made[id(node)] = taken[arg]
                continue
            if node.op in ("load", "gather"):
                arg = loads[arg]
            elif node.op == "scalar":
                arg = numbers[arg]
            src = tuple(made[id(s)] for s in node.src)
            key = (node.op, arg, node.dtype, node.shape, *map(id, src))
            if key not in self.known:
                self.known[key] = Node(node.op, src, arg, node.shape, node.dtype)
            made[id(node)] = self.known[key]
        return tuple(made[id(root)] for root in step.problem.body)

    def _input(self, node: Node, operand: Operand) -> int:
        for k, (other, place) in enumerate(zip(self.inputs, self.operands, strict=True)):
            if other is node and place == operand:
                return k
        self.inputs.append(node)
        self.operands.append(operand)
        return len(self.inputs) - 1

    def _scalar(self, scalar: tuple[str, int | float | bool], constant: Node | None) -> int:
        for k, (other, origin) in enumerate(zip(self.scalars, self.constants, strict=True)):
            if origin is constant and other[0] == scalar[0] and (constant is not None or _same(other[1], scalar[1])):
                return k
        self.scalars.append(scalar)
        self.constants.append(constant)
        return len(self.scalars) - 1


def _same(a: int | float | bool, b: int | float | bool) -> bool:
    """1, 1.0 and True are equal in Python, and so are 0.0 and -0.0."""
    return repr(a) == repr(b)
