"""Large results that one step makes and the next one reads, made and read strip by strip.

The scores of k nearest neighbours, the logits below a softmax, the hidden layer between two products: what lies between
two steps may be far larger than what they read and what they give. Cut along the axis that lies outermost in memory,
all strips share one buffer of the size of a strip, which stays in the last cache of many a device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Limits
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.problem import SUMMED, Operand, Problem
from tilewright.kernels.step import Step

STRIP_NBYTES = 32 << 20  # what devices take some 10 us to move at least, next to which launches cost little
MOST_STRIPS = 512  # so that a plan stays short, however large the result
ROWS_PER_UNIT = 8  # of a strip at least
WHOLE = ("raw", "merge", "scatter")  # kinds whose problems are not cut


@dataclass(frozen=True, slots=True)
class _Cut:
    """A step cut along `axis` of its space, of which `units` indices belong to one of the first step of the chain."""

    step: Step
    axis: int
    units: int


def in_strips(steps: Sequence[Step], roots: set[int], limits: Limits) -> list[Step]:
    """`steps` with large results between two of them done in strips. `roots`: ids of the nodes that are asked for."""
    result = list(steps)
    if not any(_large(node) for step in steps for node in step.outputs):
        return result
    made = Counter(id(node) for step in steps for node in step.outputs)
    reads = Counter(id(node) for step in steps for node in set(step.inputs))
    alone = {key for key, count in made.items() if count == reads[key] == 1} - roots
    at = 0
    while at < len(result):
        chain = _chain(result, at, alone)
        rows = _rows(chain, limits) if len(chain) > 1 else 0
        if 0 < rows < _extent(chain[0]):
            behind = 1 + max(k for k, step in enumerate(result) if any(step is cut.step for cut in chain))
            before = [s for s in result[:behind] if not any(s is cut.step for cut in chain)]
            strips = _strips(chain, rows)
            result[:behind] = before + strips
            at = len(before) + len(strips)
        else:
            at += 1
    return result


def _chain(steps: list[Step], at: int, alone: set[int]) -> list[_Cut]:
    """The step at that place and those behind it that each are the only reader of a large result of the one before.

    `alone`: ids of nodes that one step stores, in one go unlike a write, and one reads.
    """
    first = _outermost(steps[at])
    if first is None or not _cuttable(steps[at], first):
        return []
    chain = [_Cut(steps[at], first, 1)]
    while True:
        outputs = chain[-1].step.outputs
        node = outputs[0]
        if len(outputs) > 1 or id(node) not in alone or not _large(node):
            return chain
        reader = next(step for step in steps[at + 1 :] if any(s is node for s in step.inputs))
        cut = _cut_alike(reader, node, chain[-1])
        if cut is None:
            return chain
        chain.append(cut)


def _outermost(step: Step) -> int | None:
    """The axis of the space along which the step's output is cut into pieces that lie one behind the other."""
    problem = step.problem
    strides = problem.outputs[0].strides
    found = max(_kept(problem), key=lambda axis: (problem.space[axis] > 1, strides[axis]), default=None)
    return found if found is not None and _in_pieces(problem, problem.outputs[0], found) else None


def _kept(problem: Problem) -> range:
    return range(len(problem.space) - SUMMED[problem.kind])


def _in_pieces(problem: Problem, operand: Operand, axis: int) -> bool:
    """Whether indices along `axis` walk through the whole buffer, each through a piece behind that of the last."""
    step = operand.strides[axis]
    if operand.offset or any(s < 0 for s in operand.strides) or problem.space[axis] * step != operand.count:
        return False
    return sum((e - 1) * s for e, s in zip(problem.space, operand.strides, strict=True)) < operand.count


def _cuttable(step: Step, axis: int) -> bool:
    """Whether what is computed for an index along `axis` depends on what lies there alone, not on the index."""
    problem = step.problem
    if problem.parts > 1 or step.takeover or any(n.op == "iota" and n.arg == axis for n in toposort(problem.body)):
        return False
    free = {"attention": len(problem.space) - 4, "conv": 1}  # later ones are seen through a mask or a window
    return problem.kind not in WHOLE and axis < free.get(problem.kind, len(problem.space))


def _cut_alike(step: Step, node: Node, last: _Cut) -> _Cut | None:
    """`step` cut along the axis that walks through `node` as `last`, which stores it, does; None where none does."""
    made, problem = last.step.problem, step.problem
    pitch = made.outputs[0].strides[last.axis] * last.units  # elements of the node for one unit of the chain
    operands = [o for s, o in zip(step.inputs, problem.inputs, strict=True) if s is node]
    for axis in _kept(problem):
        stride = operands[0].strides[axis]
        if stride <= 0 or pitch % stride or problem.space[axis] * stride != _extent(last) * pitch:
            continue
        alike = all(o.strides[axis] == stride and _in_pieces(problem, o, axis) for o in operands)
        if alike and _cuttable(step, axis) and all(o.strides[axis] for o in problem.outputs):
            return _Cut(step, axis, pitch // stride)
    return None


def _extent(cut: _Cut) -> int:
    """Units of the chain."""
    return cut.step.problem.space[cut.axis] // cut.units


def _rows(chain: list[_Cut], limits: Limits) -> int:
    """Units of a strip: enough for every compute unit, and if possible as many in the last strip, too."""
    extent = _extent(chain[0])
    most = extent // (ROWS_PER_UNIT * limits.compute_units)
    strips = min(MOST_STRIPS, most, -(-max(_nbytes(cut.step.outputs[0]) for cut in chain[:-1]) // STRIP_NBYTES))
    even = (n for n in range(strips, min(2 * strips, most)) if extent % n == 0)
    return -(-extent // max(1, next(even, strips)))


def _strips(chain: list[_Cut], rows: int) -> list[Step]:
    """The steps of the chain for each strip of so many units, one strip after the other."""
    extent = _extent(chain[0])
    between = [cut.step.outputs[0] for cut in chain[:-1]]
    shared = {id(n): Node("partial", (), None, (rows, prod(n.shape) // extent), n.dtype) for n in between}
    return [_part(cut, start, min(rows, extent - start), shared) for start in range(0, extent, rows) for cut in chain]


def _part(cut: _Cut, start: int, rows: int, shared: dict[int, Node]) -> Step:
    """The step for some units of the chain. `shared`: the strip in place of each large result."""
    step, problem, axis = cut.step, cut.step.problem, cut.axis
    space = (*problem.space[:axis], rows * cut.units, *problem.space[axis + 1 :])

    def placed(nodes: tuple[Node, ...], operands: tuple[Operand, ...]) -> tuple[Operand, ...]:
        return tuple(
            replace(o, count=prod(shared[id(node)].shape))
            if id(node) in shared
            else replace(o, offset=o.offset + start * cut.units * o.strides[axis])
            for node, o in zip(nodes, operands, strict=True)
        )

    made: dict[int, Node] = {}
    for n in toposort(problem.body):
        made[id(n)] = Node(n.op, tuple(made[id(s)] for s in n.src), n.arg, space[: len(n.shape)], n.dtype)
    body = tuple(made[id(root)] for root in problem.body)
    inputs, outputs = placed(step.inputs, problem.inputs), placed(step.outputs, problem.outputs)
    return replace(
        step, problem=replace(problem, space=space, inputs=inputs, outputs=outputs, body=body),
        inputs=tuple(shared.get(id(n), n) for n in step.inputs),
        outputs=tuple(shared.get(id(n), n) for n in step.outputs), whole=problem,
    )  # fmt: skip


def _large(node: Node) -> bool:
    return _nbytes(node) > 2 * STRIP_NBYTES


def _nbytes(node: Node) -> int:
    return prod(node.shape) * DTYPES[node.dtype].nbytes
