"""How the reductions of a problem go: along memory or across, what must wait for what, and what is left for whom."""

from __future__ import annotations

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Limits
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.ops import OPS
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import serial

SHORT = 16  # elements; a vector of float32, which such rows do not fill
TILE = 64  # rows at least, so that vectors are full


def across(problem: Problem, limits: Limits) -> bool:
    """Whether one thread or lane had better do a row, beside its neighbours: see `columnar`, or rows are short."""
    return columnar(problem) or short(problem, limits)


def columnar(problem: Problem) -> bool:
    """Whether neighbours in memory belong to different results, so that walking along a row misses the cache.

    What all neighbouring results read alike, such as weights for the rows, has no say where something else does.
    """
    loads = [o for o in problem.inputs if o.strides[-1] != 0]
    loads = [o for o in loads if o.strides[-2] != 0] or loads
    return bool(loads) and all(o.strides[-1] != 1 for o in loads) and any(o.strides[-2] == 1 for o in loads)


def short(problem: Problem, limits: Limits) -> bool:
    """Whether there are many rows, each too short for the lanes of a vector, which are then better used across them.

    As measured on AVX-512: compilers that make vectors of threads do well from half as many elements on. Of a group of
    threads half would idle, or more.
    """
    if problem.parts > 1 or len(problem.space) < 2 or problem.space[-2] < TILE:
        return False
    most = min(SHORT, limits.vector_nbytes // 4 or SHORT) // (2 if limits.lanes > 1 else 1) if serial(limits) else SHORT
    return problem.space[-1] < most


def phases(problem: Problem) -> list[list[Node]]:
    """The reductions in the order they must be done: each level needs the results of the levels before."""
    level: dict[int, int] = {}
    found: list[list[Node]] = []
    for node in toposort(problem.body):
        depth = max((level[id(s)] for s in node.src), default=0)
        if node.op == "reduce":
            while len(found) <= depth:
                found.append([])
            found[depth].append(node)
            depth += 1
        level[id(node)] = depth
    return found


def kept(problem: Problem) -> Node | None:
    """A costly per-element value that a reduction and a later pass both need, and that the first output can hold."""
    if problem.kind != "row":
        return None
    rank = len(problem.space)
    root = problem.body[0]
    output = problem.outputs[0]
    if len(root.shape) < rank or output.strides[-1] == 0 or DTYPES[output.dtype].compute != output.dtype:
        return None
    for level in reversed(phases(problem)):
        for reduction in level:
            node = reduction.src[0]
            costly = any(n.op in OPS and OPS[n.op].costly and len(n.shape) == rank for n in toposort([node]))
            if costly and node.dtype == output.dtype and node in toposort([root]) and _used_after(root, node):
                return node
    return None


def _used_after(root: Node, node: Node) -> bool:
    """Whether the stored value needs `node` other than through a reduction."""
    stack, seen = [root], set()
    while stack:
        at = stack.pop()
        if at is node:
            return True
        if id(at) in seen or at.op == "reduce":
            continue
        seen.add(id(at))
        stack.extend(at.src)
    return False
