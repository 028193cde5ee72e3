"""What must wait for what among the reductions of a problem, and what they leave for each other."""

from __future__ import annotations

from tilewright.backends.dtypes import DTYPES
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.ops import OPS
from tilewright.kernels.problem import Problem


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
