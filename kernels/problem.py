"""Problem: a fused group of nodes with its sizes, the unit that is tuned; Kernel: one way to run such problems."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Protocol

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source, Value
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.space import Config, Space

SUMMED: dict[str, int] = {
    "map": 0, "reduce": 1, "row": 1, "matmul": 1, "attention": 2, "conv": 3,
    "scan": 1, "sort": 1, "select": 1, "merge": 1, "raw": 0, "scatter": 0,
}  # fmt: skip
"""How many trailing axes of its space a kind sums over; what has no strides there is computed once for them all."""
SUMS = frozenset(("reduce", "matmul", "attention", "conv"))
"""Kinds of which nothing is stored for the elements of those axes."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A buffer as a problem reads or writes it: element (i0, i1, ...) of the space lies at offset + sum(i * stride).

    `count` is the number of elements in the buffer. A gather's table has strides 0: it is indexed by value.
    """

    dtype: str
    strides: tuple[int, ...]
    offset: int
    count: int


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be computed over every index of `space`, and stored.

    kind "map":    outputs[k][index] = body[k](index)
    kind "reduce": the last axis of the space is reduced; every output has stride 0 there
    kind "row":    as reduce, but some outputs are stored for every element of the last axis
    kind "scan":   as row; body is one "scan" node (arg: reduction name), stored for every element of the last axis
    kind "sort":   each tile of the last axis in order: body holds "sort" and "argsort" nodes (arg: the tile's length,
                   negative where the order is descending; src: the key), one per output
    kind "select": of each of `parts` pieces of the last axis the first few in order, side by side along the outputs'
                   last axis; such nodes again, but arg is how many
    kind "merge":  such nodes with src (keys, [places for "argsort",] width, keep, have): of the `have` elements that
                   the inputs hold along the last axis runs of `width` are in order; the first `keep` of each merged
                   pair are stored one behind the other along the last axis
    kind "scatter": body holds one "scatter" node with src (place, value): each value is stored at its place, in order,
                   in an output that holds what is at others already; places outside are left out. Where arg is true
                   all inside are distinct. The output has strides 0: it is indexed by value
    kind "matmul": space (batch, m, n, k) where body holds one "dot" node with src (a, b): sum over k of a * b
    kinds "attention" and "conv": space and node as in products.py, the node's name being the kind's
    `parts` (reduce, scan): the last axis is cut into so many pieces and outputs have one more element axis, of that
    extent and stride 1, for the partial results. A scan in parts reads such an output of a reduction: the scan node's
    second source is the load of it.

    Body nodes are the op table's, cast, iota (arg: axis of the space), load (arg: index into inputs), gather
    (arg: index into inputs of the table; src: the index value), reduce (arg: reduction name), scan and dot; every
    node's shape is the space's where it varies along the axes that are summed over (SUMMED) and without those where
    not.
    Scalars are run-time values: one binary serves them all.
    """

    kind: str
    space: tuple[int, ...]
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    body: tuple[Node, ...]
    scalars: tuple[tuple[str, int | float | bool], ...] = ()  # (dtype, value)
    parts: int = 1

    @cached_property
    def lines(self) -> tuple[tuple[Any, ...], ...]:
        """The body as rows (op, arg, dtype, per_row, sources' rows...), sources first: its structure without sizes."""
        order = toposort(self.body)
        number = {id(node): k for k, node in enumerate(order)}
        rows = [(n.op, n.arg, n.dtype, len(n.shape) < len(self.space), *(number[id(s)] for s in n.src)) for n in order]
        return (*rows, ("store", None, "", False, *(number[id(n)] for n in self.body)))

    @cached_property
    def layout(self) -> tuple[str, ...]:
        """Per operand (outputs, then inputs) what its strides are like, as kernels' text may depend on it.

        One letter an axis: "0" broadcast, "1" unit stride, "s" any other, and "+" behind where the offset is not 0.
        """
        return tuple(
            "".join("0" if s == 0 else "1" if s == 1 else "s" for s in o.strides) + ("+" if o.offset else "")
            for o in (*self.outputs, *self.inputs)
        )

    @cached_property
    def stored(self) -> int:
        """The extent of the last axis of what is stored along it: a selection's is shorter than the space's."""
        extent = self.space[-1]
        if self.kind != "select":
            return extent
        chunk, keep = -(-extent // self.parts), abs(self.body[0].arg)
        return extent // chunk * min(chunk, keep) + min(extent % chunk, keep)

    @cached_property
    def family(self) -> str:
        """A name for the structure: kind, body, dtypes and layout, without sizes. Twelve hexadecimal digits."""
        dtypes = [o.dtype for o in (*self.outputs, *self.inputs)]
        data = [self.kind, self.lines, dtypes, self.layout, [d for d, _ in self.scalars], self.parts > 1]
        return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:12]

    @cached_property
    def key(self) -> str:
        """Family and sizes: the identity under which records are kept."""
        return f"{self.family}:{'x'.join(map(str, self.space))}"

    def stored_shape(self, k: int) -> tuple[int, ...]:
        """The axes over which output `k` varies."""
        per_element = self.kind not in SUMS and len(self.body[k].shape) == len(self.space)
        if per_element:
            return (*self.space[:-1], self.stored)
        kept = self.space[: len(self.space) - SUMMED[self.kind]]
        return (*kept, self.parts) if self.parts > 1 else kept

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.key)

    def to_json(self) -> dict[str, Any]:
        """Plain data from which `from_json` makes an equal problem; what a worker process is sent."""
        return {
            "kind": self.kind,
            "space": list(self.space),
            "inputs": [[o.dtype, list(o.strides), o.offset, o.count] for o in self.inputs],
            "outputs": [[o.dtype, list(o.strides), o.offset, o.count] for o in self.outputs],
            "body": [list(row) for row in self.lines],
            "scalars": [list(s) for s in self.scalars],
            "parts": self.parts,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Problem:
        space = tuple(data["space"])
        nodes: list[Node] = []
        for op, arg, dtype, per_row, *sources in data["body"][:-1]:
            shape = space[: len(space) - SUMMED[data["kind"]]] if per_row else space
            arg = tuple(arg) if isinstance(arg, list) else arg
            nodes.append(Node(op, tuple(nodes[s] for s in sources), arg, shape, dtype))

        def operands(rows: list[Any]) -> tuple[Operand, ...]:
            return tuple(Operand(d, tuple(s), o, c) for d, s, o, c in rows)

        return Problem(
            data["kind"], space, operands(data["inputs"]), operands(data["outputs"]),
            tuple(nodes[k] for k in data["body"][-1][4:]), tuple((d, v) for d, v in data["scalars"]), data["parts"],
        )  # fmt: skip

    @cached_property
    def title(self) -> str:
        """A short name for people, such as "matmul 512x512x512 float32" or "row sum,max 8192x2048 float32"."""
        silent = ("scatter", "load", "scalar", "cast", "iota", "complex")
        rows = [row for row in self.lines[:-1] if row[0] not in silent]
        ops = [row[1] if row[0] in ("reduce", "scan") else row[0] for row in rows]
        names = [n for n in dict.fromkeys(ops) if n not in ("dot", "conv", "attention")]
        plain = "" if self.kind in ("matmul", "conv", "attention", "scatter") else " copy"
        what = " " + ",".join(names) if names else plain
        if len(what) > 40:
            what = what[:37] + "..."
        return f"{self.kind}{what} {'x'.join(map(str, self.space))} {self.outputs[0].dtype}"

    @property
    def operations(self) -> int:
        """Arithmetic operations: one per op per element it is computed for; a dot's step is two."""
        every, row = prod(self.space), prod(self.space[: len(self.space) - SUMMED[self.kind]])
        weight = {"scatter": 0, "load": 0, "scalar": 0, "cast": 0, "iota": 0, "complex": 0, "dot": 2, "conv": 2}
        weight |= {"reduce spread": 4, "reduce offset": 0}  # the latter comes with the former
        total = 0
        for op, arg, _dtype, per_row, *_ in self.lines[:-1]:
            if op == "attention":  # two products and a softmax of the scores, of which causal queries see half
                e, n, d = self.space[-3:]
                total += row // max(e, 1) * n * (2 * d + 2 * e + 4) // (2 if arg else 1)
                continue
            per_element = op in ("dot", "conv", "reduce") or not per_row
            op = f"{op} {arg}" if op == "reduce" else op
            total += weight.get(op, 1) * (every if per_element else row)
        return total

    @property
    def nbytes(self) -> int:
        """Bytes that must move at least: each operand's touched elements, once."""
        total = 0
        for o in (*self.inputs, *self.outputs):
            touched = prod(e for e, s in zip(self.space, o.strides, strict=False) if s != 0)
            if self.kind == "scatter" and o in self.outputs:
                touched = prod(self.space)
            total += min(touched, o.count) * DTYPES[o.dtype].nbytes
        return total


class Kernel(Protocol):
    """One way to run the problems of a kind. Pure: no device is touched.

    The rendered source's parameters are the problem's outputs, its inputs, then the values of `values`. A kernel may
    have `leads(problem, limits)`, which says whether its default was measured to be ahead of vendors' on such devices,
    so that it is what runs until this device has been tuned.
    """

    @property
    def name(self) -> str: ...

    def space(self, problem: Problem, limits: Limits) -> Space:
        """The valid configs; empty where this kernel does not apply to the problem or the device."""

    def default(self, problem: Problem, limits: Limits) -> Config:
        """A config that is good without measuring. Only asked where `space` is not empty."""

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        """The text in the language of the device's limits."""

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]: ...

    def values(self, problem: Problem, config: Config) -> tuple[Value, ...]: ...


def merge_sizes(problem: Problem) -> tuple[int, int, int]:
    """width, keep and have of a merge: see Problem."""
    width, keep, have = (int(problem.scalars[s.arg][1]) for s in problem.body[0].src[-3:])
    return width, keep, have
