"""A fused problem taken apart again: one op a piece, over buffers that lie in order.

Fused kernels are as many as the programs that people write, and each takes a compiler. Pieces are few: an op, its
dtype and which operands are scalars. So a small problem that is run a few times costs less in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from tilewright.backends.dtypes import DTYPES
from tilewright.kernels.node import Node, row_major
from tilewright.kernels.problem import Operand, Problem

_BITS = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}  # what is only moved needs no other dtypes


@dataclass(frozen=True, slots=True)
class Piece:
    """A problem with one op. Buffers are numbered: the whole's outputs, its inputs, then temporaries.

    `scalars` are the numbers that the piece's scalars have in the whole.
    """

    problem: Problem
    output: int
    inputs: tuple[int, ...]
    scalars: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Pieces:
    pieces: tuple[Piece, ...]
    temporaries: tuple[int, ...]
    """The bytes of each."""


def apart(problem: Problem) -> Pieces | None:
    """`problem` in pieces; None for other kinds, for a reduction in parts, and for what is one op as it is."""
    if problem.kind not in ("map", "reduce", "row") or problem.parts > 1:
        return None
    cutter = _Cutter(problem)
    for k, root in enumerate(problem.body):
        cutter.store(k, root)
    if len(cutter.pieces) == 1 and cutter.pieces[0].problem.body[0].op != "load":
        return None
    return Pieces(tuple(cutter.pieces), tuple(cutter.nbytes))


@dataclass(slots=True)
class _Cutter:
    """`values` are the nodes that lie in a buffer, in order over the space, or over its rows if they are of those."""

    problem: Problem
    pieces: list[Piece] = field(default_factory=list)
    nbytes: list[int] = field(default_factory=list)
    values: dict[tuple[int, bool], int] = field(default_factory=dict)  # (node, per row) -> buffer

    def space(self, per_row: bool) -> tuple[int, ...]:
        return self.problem.space[:-1] if per_row else self.problem.space

    def per_row(self, node: Node) -> bool:
        return self.problem.kind != "map" and len(node.shape) < len(self.problem.space)

    def temporary(self, dtype: str, size: int) -> int:
        self.nbytes.append(size * DTYPES[dtype].nbytes)
        return len(self.problem.outputs) + len(self.problem.inputs) + len(self.nbytes) - 1

    def store(self, k: int, root: Node) -> None:
        """Compute `root` into output `k`, directly where that lies in order."""
        output = self.problem.outputs[k]
        rows = self.per_row(root) or self.problem.kind == "reduce"
        space = self.space(rows)
        target = Operand(output.dtype, output.strides[: len(space)], output.offset, output.count)
        if root.op == "load":
            operand = self.problem.inputs[root.arg]
            number = len(self.problem.outputs) + root.arg
            self.move(number, operand.dtype, operand.strides[: len(space)], operand.offset, space, k, target)
            return
        if _plain(target, space) and (id(root), rows) not in self.values and self.per_row(root) in (rows, False):
            self.compute(root, k, rows)
            return
        self.move(self.value(root, rows), root.dtype, row_major(space), 0, space, k, target)

    def value(self, node: Node, rows: bool) -> int:
        """The buffer that holds `node`, spread over the last axis where it is wanted per element and is not."""
        found = self.values.get((id(node), rows))
        if found is not None:
            return found
        space = self.space(rows)
        if node.op == "load":
            operand = self.problem.inputs[node.arg]
            number = len(self.problem.outputs) + node.arg
            strides = operand.strides[: len(space)]
            if not _plain(Operand(operand.dtype, strides, operand.offset, operand.count), space):
                number = self.moved(number, operand.dtype, strides, operand.offset, space)
        elif node.op in ("scalar", "iota") or self.per_row(node) == rows:
            number = self.compute(node, None, rows)
        else:
            held = self.value(node, True)
            number = self.moved(held, node.dtype, (*row_major(space[:-1]), 0), 0, space)
        self.values[id(node), rows] = number
        return number

    def moved(self, source: int, dtype: str, strides: tuple[int, ...], offset: int, space: tuple[int, ...]) -> int:
        number = self.temporary(dtype, prod(space))
        self.move(source, dtype, strides, offset, space, number, Operand(dtype, row_major(space), 0, prod(space)))
        return number

    def move(
        self, source: int, dtype: str, strides: tuple[int, ...], offset: int, space: tuple[int, ...], target: int,
        into: Operand,
    ) -> None:  # fmt: skip
        """Elements from one buffer to another, as bits."""
        bits = _BITS.get(DTYPES[dtype].nbytes, dtype)
        read = Operand(bits, strides, offset, self.count(source, dtype))
        write = Operand(bits, into.strides, into.offset, into.count)
        whole = Problem("map", space, (read,), (write,), (Node("load", (), 0, space, bits),))
        self.pieces.append(Piece(whole, target, (source,)))

    def count(self, number: int, dtype: str) -> int:
        operands = (*self.problem.outputs, *self.problem.inputs)
        if number < len(operands):
            return operands[number].count
        return self.nbytes[number - len(operands)] // DTYPES[dtype].nbytes

    def compute(self, node: Node, output: int | None, rows: bool | None = None) -> int:
        """One op as a piece; its result goes to output number `output`, or a temporary."""
        rows = self.per_row(node) if rows is None else rows
        space = self.space(rows)
        size, extent = prod(space), self.problem.space[-1]
        kind, given = "map", rows
        over: tuple[int, ...] = (size,)
        written: tuple[int, ...] = (1,)
        read: tuple[int, ...] = (1,)
        if node.op == "reduce":
            kind, given, over, written, read = "reduce", False, (size, extent), (1, 0), (extent, 1)
        elif node.op == "iota":  # it names an axis
            over, written = space, row_major(space)
        inputs: list[int] = []
        operands: list[Operand] = []
        scalars: list[int] = []
        made = [self.argument(s, given, over, read, inputs, operands, scalars) for s in node.src]
        arg = node.arg
        if node.op == "gather":
            table = self.problem.inputs[node.arg]
            arg = len(inputs)
            inputs.append(len(self.problem.outputs) + node.arg)
            operands.append(Operand(table.dtype, (0,) * len(over), 0, table.count))
        elif node.op == "scalar":
            arg, scalars = 0, [node.arg]
        body = Node(node.op, tuple(made), arg, over[:-1] if kind == "reduce" else over, node.dtype)
        number = self.temporary(node.dtype, size) if output is None else output
        place = Operand(node.dtype, written, 0, size)
        values = tuple(self.problem.scalars[k] for k in scalars)
        piece = Problem(kind, over, tuple(operands), (place,), (body,), values)
        self.pieces.append(Piece(piece, number, tuple(inputs), tuple(scalars)))
        if output is None or self.problem.outputs[output].dtype == node.dtype:
            self.values[id(node), rows] = number
        return number

    def argument(
        self, node: Node, rows: bool, over: tuple[int, ...], strides: tuple[int, ...], inputs: list[int],
        operands: list[Operand], scalars: list[int],
    ) -> Node:  # fmt: skip
        """How a piece sees one source: a scalar, or a load of a buffer in order."""
        if node.op == "scalar" and len(over) == 1:
            if node.arg not in scalars:
                scalars.append(node.arg)
            return Node("scalar", (), scalars.index(node.arg), over, node.dtype)
        number = self.value(node, rows)
        if number not in inputs:
            inputs.append(number)
            operands.append(Operand(node.dtype, strides, 0, self.count(number, node.dtype)))
        return Node("load", (), inputs.index(number), over, node.dtype)


def _plain(operand: Operand, space: tuple[int, ...]) -> bool:
    """Whether an operand lies in order over `space`; an axis of extent 1 has no say."""
    walked = [(s, t) for s, t, e in zip(operand.strides, row_major(space), space, strict=True) if e != 1]
    return operand.offset == 0 and all(s == t for s, t in walked)
