"""From a finished group of nodes to its Problem: merged axes, operands, scalars, and a body without shapes."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from tilewright.backends.protocol import Limits
from tilewright.kernels.node import Node, View, whole
from tilewright.kernels.parts import product_in_parts, reduce_in_parts
from tilewright.kernels.problem import SUMMED, Operand, Problem
from tilewright.kernels.products import PRODUCTS, respaced
from tilewright.kernels.step import Step, scan_in_parts, sort_steps

NEUTRAL: dict[str, int] = {"sum": 0, "prod": 1, "max": 0, "min": 1, "spread": 0}
"""Of an empty axis; max and min only of booleans."""


@dataclass(eq=False, slots=True)
class Group:
    """A problem in the making. `space` ends with the axes that are summed over once `kind` is no longer "map".

    `root` is the node that is stored, `value` what is computed for it (they differ for a write), `target` the place
    over the space without those axes. `before` is the shape that space had until a product gave it its own. `inlined`
    maps (node, view) to the node and how its sources are read. `turned`: the order of the root's axes in the space,
    where that is not theirs.
    """

    root: Node
    value: Node
    kind: str
    space: tuple[int, ...]
    target: View
    inlined: dict[tuple[int, View], tuple[Node, list[tuple[Node, View]]]] = field(default_factory=dict)
    reads: set[tuple[int, View]] = field(default_factory=set)
    scalars: int = 0  # Python's numbers among what is inlined
    before: tuple[int, ...] | None = None
    turned: tuple[int, ...] = ()

    def turn(self, order: tuple[int, ...]) -> None:
        """Take the axes in that order, as long as nothing but the root has been seen."""
        self.turned, self.target = order, _turned(self.target, order)
        self.space = self.target.shape

    def turn_back(self) -> None:
        """Nothing became of the reductions for which the axes were turned: a map walks in the order of its result."""
        order, first = (
            tuple(sorted(range(len(self.turned)), key=self.turned.__getitem__)),
            (id(self.value), whole(self.space)),
        )
        self.turned, self.target = (), _turned(self.target, order)
        self.space = self.target.shape
        self.reads = {(key, _turned(view, order)) for key, view in self.reads}
        self.inlined = {
            (id(node), whole(self.space) if (key, view) == first else _turned(view, order)): (
                node, [(s, _turned(v, order)) for s, v in reads],
            )
            for (key, view), (node, reads) in self.inlined.items()
        }  # fmt: skip

    def widen(self, view: View) -> View:
        """A view made before the group had axes to sum over, over the space as it is now."""
        if view.shape == self.before:
            found = respaced(view, self.target.shape)
            assert found is not None  # checked when the group took that shape
            view = found
        elif len(view.shape) == len(self.space):
            return view
        return View(self.space, (*view.strides, *(0,) * (len(self.space) - len(view.strides))), view.offset)

    def views(self) -> set[View]:
        """Everything that depends on the index so far."""
        found = {view for _, view in self.inlined} | {v for _, reads in self.inlined.values() for _, v in reads}
        return found | {self.target, whole(self.space)}

    def become(self, kind: str, space: tuple[int, ...], shape: tuple[int, ...] | None = None) -> None:
        """Take on axes to sum over; whatever was seen so far does not vary along them. `shape` is the others', where
        they change as well.
        """
        self.kind = kind
        if space == self.space:
            return
        if shape is not None and shape != self.space:
            target = respaced(self.target, shape)
            assert target is not None, "the fusion has tried all views"
            self.before, self.target = self.space, target
        self.space = space
        self.reads = {(key, self.widen(view)) for key, view in self.reads}
        self.inlined = {
            (key, self.widen(view)): (node, [(s, self.widen(v)) for s, v in reads])
            for (key, view), (node, reads) in self.inlined.items()
        }


def _turned(view: View, order: tuple[int, ...]) -> View:
    return View(tuple(view.shape[a] for a in order), tuple(view.strides[a] for a in order), view.offset)


def finish(group: Group, stored: set[int], alone: set[int], limits: Limits) -> list[Step]:
    """The group's steps: a write is preceded by a copy of what it replaces, a long reduction is done in two.

    `alone` are the nodes that a write replaces and nobody else reads.
    """
    steps: list[Step] = []
    if group.turned and group.kind == "map":
        group.turn_back()
    if group.root.op in ("write", "scatter"):
        old = group.root.src[0]
        size = prod(old.shape)
        operand = Operand(old.dtype, (1,), 0, size)
        copy = Problem("map", (size,), (operand,), (operand,), (Node("load", (), 0, (size,), old.dtype),))
        steps.append(Step(copy, (old,), (group.root,), takeover=id(old) in alone))
        if not prod(group.space):
            return steps
    body = _Body(group, stored)
    start = group.widen(whole(group.target.shape))
    root = body.expression(group.value, start)
    target = group.widen(group.target)
    strides = body.merge(target) if group.kind != "scatter" else (0,) * len(body.space)
    output = Operand(group.value.dtype, strides, target.offset, prod(group.root.shape))
    if group.kind == "reduce" and output.strides[-1] and len(root.shape) < len(body.space):
        root = Node("cast", (root,), None, body.space, root.dtype)  # 1 / sum(ones): per row, wanted for each element
    kind = "row" if group.kind == "reduce" and len(root.shape) == len(body.space) else group.kind
    problem = Problem(kind, body.space, tuple(body.operands), (output,), (root,), tuple(body.scalars))
    step = Step(problem, tuple(body.inputs), (group.root,), tuple(body.constants))
    several = {"matmul": product_in_parts, "scan": scan_in_parts, "sort": sort_steps}.get(kind, reduce_in_parts)
    steps.extend(several(step, limits))
    return steps


class _Body:
    """The body under construction, with the operands and scalars found so far."""

    def __init__(self, group: Group, stored: set[int]) -> None:
        self.group, self.stored = group, stored
        self.inputs: list[Node] = []
        self.operands: list[Operand] = []
        self.scalars: list[tuple[str, int | float | bool]] = []
        self.constants: list[Node | None] = []
        self._loads: dict[tuple[int, View | None], int] = {}
        self._made: dict[tuple[int, View], Node] = {}
        kept = {"map": 0, "scatter": 0, "matmul": 3, "attention": 4, "conv": 7}
        fixed = kept.get(group.kind, 1)  # they keep their meaning
        split = len(group.space) - fixed
        self.axes = _mergeable(group.space[:split], [v.strides[:split] for v in self._views()])
        self.axes += [(axis,) for axis in range(split, len(group.space))]
        self.space = tuple(prod(group.space[a] for a in axes) for axes in self.axes)
        self.summed = SUMMED[group.kind]
        self.rows = self.space[: len(self.space) - self.summed]

    def merge(self, view: View) -> tuple[int, ...]:
        """Strides of a view of the group's space, over the merged axes."""
        alone = int(self.group.kind in ("map", "scatter"))  # one element: it lies in order, and is no kernel of its own
        return tuple(view.strides[axes[-1]] if axes else alone for axes in self.axes)

    def _views(self) -> list[View]:
        """All that depends on the index: axes are merged only where every one of these agrees."""
        group = self.group
        found = [group.widen(group.target), group.widen(whole(group.target.shape))]
        for (_, view), (node, reads) in group.inlined.items():
            if node.op == "iota":
                found.append(view)
            found.extend(v for s, v in reads if s.op == "buffer" or id(s) in self.stored)
        return found

    def expression(self, node: Node, view: View) -> Node:
        """The body node that computes `node` at `view`."""
        key = (id(node), view)
        if key in self._made:
            return self._made[key]
        inlined = self.group.inlined.get(key)
        made = self._load(node, view) if inlined is None else self._inline(node, view, inlined[1])
        self._made[key] = made
        return made

    def _inline(self, node: Node, view: View, reads: list[tuple[Node, View]]) -> Node:
        if node.op == "view":
            return self.expression(*reads[0])
        if node.op == "const":
            return self._scalar(node.dtype, node.arg, node)
        if node.op == "iota":
            return self._iota(node.dtype, self.merge(view), view.offset)
        if node.op == "reduce" or node.op in PRODUCTS:
            if not reads:
                return self._scalar(node.dtype, NEUTRAL[node.arg[0]] if node.op == "reduce" else 0, None)
            return self._sum(node, tuple(self.expression(*read) for read in reads))
        src = tuple(self.expression(*read) for read in reads)
        if self.group.kind in ("scan", "sort") and node is self.group.value:
            return Node(node.op, src, node.arg[0] if node.op == "scan" else node.arg[1:], self.space, node.dtype)
        if node.op == "scatter":
            return Node(node.op, src, node.arg, self.space, node.dtype)
        shape = self.space if any(len(s.shape) == len(self.space) for s in src) else self.rows
        if node.op == "gather":
            return Node("gather", src, self._operand(node.src[0], None), shape, node.dtype)
        return Node(node.op, src, node.arg, shape, node.dtype)

    def _sum(self, node: Node, src: tuple[Node, ...]) -> Node:
        """A reduction or a sum of products; a convolution also needs to know the input's height and width."""
        if node.op == "reduce":
            return Node("reduce", src, node.arg[0], self.rows, node.dtype)
        if node.op == "matmul":
            return Node("dot", src, None, self.rows, node.dtype)
        if node.op == "conv":
            first = 3 if node.arg[0] == "NCHW" else 1
            extents = node.src[0].shape[first : first + 2]
            src += tuple(self._scalar("int64", extent, None) for extent in extents)
        return Node(node.op, src, node.arg, self.rows, node.dtype)

    def _load(self, node: Node, view: View) -> Node:
        varies = not self.summed or any(view.strides[-self.summed :])
        return Node("load", (), self._operand(node, view), self.space if varies else self.rows, node.dtype)

    def _operand(self, node: Node, view: View | None) -> int:
        """The index of the operand that reads `node` at `view`; None is a gather's table, indexed by value."""
        key = (id(node), view)
        if key not in self._loads:
            self._loads[key] = len(self.inputs)
            strides = self.merge(view) if view else (0,) * len(self.space)
            self.inputs.append(node)
            self.operands.append(Operand(node.dtype, strides, view.offset if view else 0, prod(node.shape)))
        return self._loads[key]

    def _scalar(self, dtype: str, value: int | float | bool, origin: Node | None) -> Node:
        self.scalars.append((dtype, value))
        self.constants.append(origin)
        return Node("scalar", (), len(self.scalars) - 1, self.rows, dtype)

    def _iota(self, dtype: str, strides: tuple[int, ...], offset: int) -> Node:
        """offset + sum of index * stride, in int64, then in `dtype`."""
        total = self._scalar("int64", offset, None) if offset else None
        for axis, stride in enumerate(strides):
            if stride == 0:
                continue
            shape = self.space if axis >= len(self.rows) or not self.summed else self.rows
            term = Node("iota", (), axis, shape, "int64")
            if stride != 1:
                term = Node("mul", (term, self._scalar("int64", stride, None)), None, shape, "int64")
            if total is not None:
                shape = max(shape, total.shape, key=len)
                term = Node("add", (total, term), None, shape, "int64")
            total = term
        if total is None:
            total = self._scalar("int64", 0, None)
        return total if dtype == "int64" else Node("cast", (total,), None, total.shape, dtype)


def _mergeable(shape: tuple[int, ...], strides: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Which axes of `shape` every stride set walks as one, outermost first; () stands for one axis of extent 1."""
    groups: list[list[int]] = []
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        if groups and all(s[groups[-1][-1]] == s[axis] * extent for s in strides):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return [tuple(g) for g in groups] or [()]
