"""Reductions and products with few results, cut into parts so that every compute unit has work."""

from __future__ import annotations

from math import prod

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Limits
from tilewright.kernels.node import Node, row_major, toposort
from tilewright.kernels.phases import columnar
from tilewright.kernels.problem import Operand, Problem
from tilewright.kernels.space import serial
from tilewright.kernels.step import COLUMNS, PART_COLUMN, PART_GROUPS, Step

PART_ROW = 4096  # a shorter piece costs more to start than to reduce
PART_DEPTH = 1024  # the same of a product
PART_WORK = 1 << 21  # multiply-adds: some 40 microseconds of a core
BLOCK_M, BLOCK_N = 96, 64  # results of a product that one unit does


def reduce_in_parts(step: Step, limits: Limits) -> list[Step]:
    """Cut the last axis of a reduction with few results into parts.

    The first step stores partial results for each part, the second reduces those and does what follows.
    """
    problem = step.problem
    reductions = [n for n in toposort(problem.body) if n.op == "reduce"]
    nested = any(n.op == "reduce" for r in reductions for n in toposort(r.src))
    kept, extent = problem.space[:-1], problem.space[-1]
    if problem.kind != "reduce" or nested:
        return [step]
    column = columnar(problem)
    groups = -(-prod(kept) // (COLUMNS if column else 1))
    parts = min(-(-PART_GROUPS * limits.compute_units // groups), extent // (PART_COLUMN if column else PART_ROW))
    if parts <= 1:
        return [step]
    shape = (*kept, parts)
    steps = row_major(shape)
    count = prod(shape)
    offsets = [Node("reduce", r.src, "offset", r.shape, r.dtype) for r in reductions if r.arg == "spread"]
    partial = [DTYPES[r.dtype].compute for r in (*reductions, *offsets)]
    outputs = tuple(Operand(dtype, (*steps[:-1], 0), 0, count) for dtype in partial)
    halves = Problem("reduce", problem.space, problem.inputs, outputs, (*reductions, *offsets), problem.scalars, parts)
    first = _pruned(halves, step)
    nodes = tuple(Node("partial", (), None, shape, dtype) for dtype in partial)
    loads = [Node("load", (), len(problem.inputs) + k, shape, dtype) for k, dtype in enumerate(partial)]
    gather = _Gathering(step, shape)
    means = iter(loads[len(reductions) :])
    replaced = {}
    for r, load in zip(reductions, loads, strict=False):
        replaced[id(r)] = gather.spread(r, load, next(means)) if r.arg == "spread" else gather.plain(r, load)
    inputs = (*problem.inputs, *(Operand(dtype, steps, 0, count) for dtype in partial))
    body = tuple(_rebuild(root, replaced) for root in problem.body)
    second = Problem("reduce", shape, inputs, problem.outputs, body, tuple(gather.scalars))
    whole_step = Step(second, (*step.inputs, *nodes), step.outputs, tuple(gather.constants))
    return [Step(first.problem, first.inputs, nodes, first.scalars), _pruned(second, whole_step)]


def product_in_parts(step: Step, limits: Limits) -> list[Step]:
    """Cut the depth of one product with few results, on CPUs, whose kernels do not split it themselves.

    The first step stores a product for each part, as a batch, the second sums those and does what follows.
    """
    problem = step.problem
    batch, m, n, depth = problem.space
    blocks = -(-m // BLOCK_M) * -(-n // BLOCK_N)
    if not serial(limits) or batch != 1 or blocks >= limits.compute_units or m * n * depth < PART_WORK:
        return [step]
    (dot,) = (node for node in toposort(problem.body) if node.op == "dot")
    moving = any(node.op in ("iota", "gather") for node in toposort([dot]))
    parts = _divisor(depth, limits.compute_units)
    if parts < 2 or moving or DTYPES[dot.dtype].compute != dot.dtype:
        return [step]
    chunk = depth // parts
    whole = (parts, m, n, chunk)
    inputs = tuple(Operand(o.dtype, (o.strides[3] * chunk, *o.strides[1:]), o.offset, o.count) for o in problem.inputs)
    partial = Operand(dot.dtype, (m * n, n, 1, 0), 0, parts * m * n)
    made: dict[int, Node] = {}
    for node in toposort([dot]):
        shape = whole if len(node.shape) == 4 else whole[:-1]
        made[id(node)] = Node(node.op, tuple(made[id(s)] for s in node.src), node.arg, shape, node.dtype)
    node = Node("partial", (), None, (parts, m, n), dot.dtype)
    first = _pruned(Problem("matmul", whole, inputs, (partial,), (made[id(dot)],), problem.scalars), step)
    space = (1, m, n, parts)
    load = Node("load", (), len(problem.inputs), space, dot.dtype)
    total = Node("reduce", (load,), "sum", space[:-1], dot.dtype)
    body = tuple(_rebuild(root, {id(dot): total}) for root in problem.body)
    sums = Operand(dot.dtype, (0, n, 1, m * n), 0, parts * m * n)
    second = Problem("reduce", space, (*problem.inputs, sums), problem.outputs, body, problem.scalars)
    whole_step = Step(second, (*step.inputs, node), step.outputs, step.scalars)
    return [Step(first.problem, first.inputs, (node,), first.scalars), _pruned(second, whole_step)]


def _divisor(depth: int, units: int) -> int:
    """Into how many equal parts of PART_DEPTH at least: about four a unit, and the same number for each; 1: none."""
    found = [p for p in range(2, 8 * units + 1) if depth % p == 0 and depth // p >= PART_DEPTH]
    return min(found, key=lambda p: (p % units != 0 and p < 4 * units, abs(p - 4 * units)), default=1)


class _Gathering:
    """Makes one result of those of the parts, over a space whose last axis counts the parts."""

    def __init__(self, step: Step, shape: tuple[int, ...]) -> None:
        self.extent, self.parts = step.problem.space[-1], shape[-1]
        self.shape, self.kept = shape, shape[:-1]
        self.scalars, self.constants = list(step.problem.scalars), list(step.scalars)

    def plain(self, node: Node, results: Node) -> Node:
        return Node("reduce", (results,), node.arg, self.kept, node.dtype)

    def spread(self, node: Node, results: Node, offsets: Node) -> Node:
        """Chan, Golub and LeVeque's: the spreads within the parts, and that of the parts' means by their sizes.

        "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
        """
        weights = self._sizes(node.dtype)
        total = self._op("mul", offsets, weights)
        mean = Node("reduce", (total,), "sum", self.kept, node.dtype)
        mean = Node("div", (mean, self._scalar(node.dtype, self.extent)), None, self.kept, node.dtype)
        apart = self._op("sub", offsets, mean)
        both = self._op("add", results, self._op("mul", weights, self._op("mul", apart, apart)))
        return Node("reduce", (both,), "sum", self.kept, node.dtype)

    def _sizes(self, dtype: str) -> Node:
        """How many elements each part has: the last ones fewer, or none."""
        chunk = -(-self.extent // self.parts)
        place = Node("iota", (), len(self.shape) - 1, self.shape, "int64")
        behind = self._op("mul", place, self._scalar("int64", -chunk))
        left = self._op("add", behind, self._scalar("int64", self.extent))
        size = self._op("max", self._op("min", left, self._scalar("int64", chunk)), self._scalar("int64", 0))
        return Node("cast", (size,), None, self.shape, dtype)

    def _op(self, name: str, a: Node, b: Node) -> Node:
        return Node(name, (a, b), None, self.shape, a.dtype)

    def _scalar(self, dtype: str, value: int) -> Node:
        self.scalars.append((dtype, value))
        self.constants.append(None)
        return Node("scalar", (), len(self.scalars) - 1, self.kept, dtype)


def _rebuild(root: Node, replaced: dict[int, Node]) -> Node:
    """`root` with some nodes replaced. Shapes of per-row nodes stay; nothing per element is above a reduction."""
    for node in toposort([root]):
        if id(node) not in replaced:
            src = tuple(replaced[id(s)] for s in node.src)
            replaced[id(node)] = Node(node.op, src, node.arg, node.shape, node.dtype)
    return replaced[id(root)]


def _pruned(problem: Problem, step: Step) -> Step:
    """`problem` without the inputs and scalars of `step` that its body does not use."""
    order = toposort(problem.body)
    inputs = sorted({n.arg for n in order if n.op in ("load", "gather")})
    scalars = sorted({n.arg for n in order if n.op == "scalar"})
    place = {"load": inputs, "gather": inputs, "scalar": scalars}
    made: dict[int, Node] = {}
    for n in order:
        arg = place[n.op].index(n.arg) if n.op in place else n.arg
        made[id(n)] = Node(n.op, tuple(made[id(s)] for s in n.src), arg, n.shape, n.dtype)
    smaller = Problem(
        problem.kind, problem.space, tuple(problem.inputs[k] for k in inputs), problem.outputs,
        tuple(made[id(n)] for n in problem.body), tuple(problem.scalars[k] for k in scalars), problem.parts,
    )  # fmt: skip
    return Step(smaller, tuple(step.inputs[k] for k in inputs), step.outputs, tuple(step.scalars[k] for k in scalars))
