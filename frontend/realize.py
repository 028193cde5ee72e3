"""Evaluation: a graph of nodes becomes a plan, once per structure, and a plan runs with any buffers.

The plan's key is the graph's structure with shapes and dtypes; buffers and Python scalars are filled in at each run,
so that a loop that does the same thing again pays for one walk over its graph, a dict lookup and the launches.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Sequence
from sys import getrefcount
from typing import Any

from tilewright import tuner
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Buffer, Device
from tilewright.kernels.node import Node
from tilewright.leaf import Leaf, TracedValueError
from tilewright.plan import HostPlan, Plan, make_plan

_PASSING = frozenset(("view", "const", "iota", "buffer", "complex"))  # cheaper to see again than to store
_lock = threading.RLock()
_plans: dict[tuple[Any, ...], Plan | HostPlan] = {}
_short_plans: dict[tuple[Any, ...], Plan] = {}  # of `_plans`, those of one op of leaves and scalars, by a shorter key
_generation = -1
MAX_PLANS = 4096
_SOURCES = 4  # where the places of a node's sources begin in its row
_OWN_REFERENCES = 2  # a graph's `order`, and the argument of getrefcount


class Graph:
    """A graph in a line: `key` is its structure, `leaves` and `consts` what varies, `roots` what must be stored."""

    __slots__ = ("consts", "key", "leaves", "number", "order", "roots")

    def __init__(self, roots: Sequence[Node]) -> None:
        number: dict[int, int] = {}
        rows: list[Any] = []
        order: list[Node] = []
        leaves: list[Node] = []
        consts: list[Node] = []
        wanted = list(roots)
        stack = list(wanted)
        while stack:  # sources first; those without sources are taken on the way, which this loop's speed hangs on
            node = stack[-1]
            key = id(node)
            if key in number:
                stack.pop()
                continue
            places = []
            waiting = False
            for s in node.src:
                place = number.get(id(s))
                if place is None:
                    if s.src:
                        stack.append(s)
                        waiting = True
                        continue
                    place = number[id(s)] = len(rows)
                    order.append(s)
                    rows.append(_end_row(s, leaves, consts))
                places.append(place)
            if waiting:
                continue
            stack.pop()
            if not node.seen:
                for s in node.src:
                    if s.seen and s.op not in _PASSING:
                        wanted.append(s)
            number[key] = len(rows)
            order.append(node)
            row = (node.op, node.arg, node.shape, node.dtype, *places)
            rows.append(row if places else _end_row(node, leaves, consts))
        self.order, self.leaves, self.consts, self.number = order, leaves, consts, number
        single = len(wanted) == 1 and wanted[0].op != "buffer"
        self.roots = wanted if single else [n for n in dict.fromkeys(wanted) if n.op != "buffer"]
        rows.append(tuple([number[id(n)] for n in self.roots]))
        self.key = tuple(rows)


def _end_row(node: Node, leaves: list[Node], consts: list[Node]) -> Any:
    """The row of a node without sources, which is also noted among `leaves` or `consts` if it is one."""
    op = node.op
    if op == "buffer":
        leaves.append(node)
        return node.shape, node.dtype
    if op == "const":
        consts.append(node)
        return node.dtype
    return op, node.arg, node.shape, node.dtype


def realize(nodes: Sequence[Node], device: Device) -> None:
    """Compute `nodes`, all of one device, and turn each in place into a leaf that holds its elements.

    Raises TracedValueError inside a function being traced, and whatever the device raises; then nothing has changed.
    """
    if len(nodes) == 1 and nodes[0].depth == 1 and _eager(nodes[0], device):
        return
    pending = [node for node in nodes if node.op != "buffer"]
    if len(pending) < len(nodes) and any([n.op == "buffer" and n.arg.buffer is None for n in nodes]):
        raise TracedValueError()
    if not pending:
        return
    with _lock:
        graph = Graph([node for node in pending if node.op != "buffer"])  # another thread may have been first
        if not graph.roots:
            return
        plan = plan_for(graph, device)
        buffers = []
        for leaf in graph.leaves:
            if leaf.arg.buffer is None:
                raise TracedValueError(pinned=any([n.depth for n in graph.leaves]))
            buffers.append(leaf.arg.buffer)
        held = _held(graph, plan.between) if plan.between else []
        results = plan.run(buffers, graph.consts, [plan.between[place] for place in held])
        for node in graph.order:
            node.seen = True
        for node, buffer in zip(graph.roots + [graph.order[place] for place in held], results, strict=True):
            become_leaf(node, buffer, device)


def _eager(node: Node, device: Device) -> bool:
    """Compute one op of leaves and scalars without a Graph, as eager code has it evaluated; False where it is not that.

    The first time, the usual way makes the plan.
    """
    with _lock:
        source = node.src
        if not 0 < len(source) < 3 or (source[0] is source[-1] and len(source) == 2):
            return False
        key: list[Any] = [device, node.op, node.arg, node.shape, node.dtype]
        buffers, consts = [], []
        for s in source:
            if s.op == "buffer" and s.arg.buffer is not None:
                buffers.append(s.arg.buffer)
                key.append(s.shape)
            elif s.op == "const":
                consts.append(s)
            else:
                return False
            key.append(s.dtype)
        short = tuple(key)
        plan = _short_plans.get(short)
        if plan is None or _generation != tuner.generation:
            found = plan_for(Graph([node]), device)
            if not isinstance(found, Plan) or found.patient or found.between:
                return False
            plan = _short_plans[short] = found
        become_leaf(node, plan.run(buffers, consts)[0], device)
        return True


def _held(graph: Graph, between: Container[int]) -> list[int]:
    """Which of the nodes that a plan stores on the way are needed once more, by what somebody outside still holds.

    They stay, as they would in an eager library, instead of being computed again when that is asked for. Who holds a
    node is told by its reference count; where that counts more than CPython's would, more memory is kept, no more.
    """
    rows, order = graph.key, graph.order
    inside = [0] * len(order)
    for row in rows[:-1]:
        if type(row) is tuple and len(row) > _SOURCES:
            for place in row[_SOURCES:]:
                inside[place] += 1
    roots = set(rows[-1])
    needed: set[int] = set()
    held: list[int] = []
    for place in range(len(order) - 1, -1, -1):
        if place in roots or len(rows[place]) <= _SOURCES:
            continue
        if place in needed or getrefcount(order[place]) - inside[place] > _OWN_REFERENCES:
            if place in between:
                held.append(place)
            else:
                needed.update(rows[place][_SOURCES:])
    return held


def become_leaf(node: Node, buffer: Buffer, device: Device) -> None:
    """Turn an evaluated node into a leaf; its sources are let go."""
    node.arg = Leaf(buffer, device)
    node.op = "buffer"
    node.src = ()
    node.depth = 0


def plan_for(graph: Graph, device: Device) -> Plan | HostPlan:
    """The plan for a graph's structure on a device, made where there is none since the records last changed."""
    global _generation
    if _generation != tuner.generation:
        _plans.clear()
        _short_plans.clear()
        _generation = tuner.generation
    key = (device, graph.key)
    plan = _plans.get(key)
    if plan is None or (plan.patient and (tuner.observing is not None or tuner.ran(plan.patient))):
        if len(_plans) >= MAX_PLANS:
            for old in list(_plans)[: MAX_PLANS // 4]:
                del _plans[old]
            _short_plans.clear()
        plan = _plans[key] = make_plan(graph, device, patient=tuner.observing is None)
    return plan


def new_leaf(data: Any, shape: tuple[int, ...], dtype: str, device: Device) -> Node:
    """A leaf with a copy of host bytes: `data` is C-contiguous and holds prod(shape) elements of `dtype`."""
    nbytes = DTYPES[dtype].nbytes
    for extent in shape:
        nbytes *= extent
    buffer = device.allocate(nbytes)
    if nbytes:
        device.write(buffer, data)
    return Node("buffer", (), Leaf(buffer, device), shape, dtype)
