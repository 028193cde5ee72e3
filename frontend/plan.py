"""A plan: the launches that compute one structure of graph, prebound, with the places where its buffers go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright import tuner
from tilewright.backends.dtypes import DTYPES, numpy_dtype
from tilewright.backends.protocol import Buffer, Device, Launch, Unsupported
from tilewright.kernels.emit import scalar_argument
from tilewright.kernels.fuse import fuse
from tilewright.kernels.node import Node
from tilewright.kernels.oracle import evaluate
from tilewright.kernels.step import Step

if TYPE_CHECKING:
    from tilewright.realize import Graph

Place = tuple[Any, int]  # a Launch's bound `set`, and the argument's index


class Stage:
    """One problem of a plan: what to allocate before it, its launches, and which slots are free after it."""

    __slots__ = ("allocations", "choice", "frees", "launches", "problem", "whole")

    def __init__(self, step: Step, choice: Any, launches: tuple[Launch, ...]) -> None:
        self.problem, self.whole, self.choice, self.launches = step.problem, step.whole, choice, launches
        self.allocations: list[tuple[int, int, list[Place]]] = []  # slot, nbytes, places
        self.frees: list[int] = []


class Plan:
    """Runs with any buffers of the right shapes. `stages` are in order; slots are the stored nodes."""

    def __init__(
        self, device: Device, stages: list[Stage], leaves: list[list[Place]], consts: list[list[tuple[Any, int, str]]],
        roots: list[tuple[int, int]], slots: int,
    ) -> None:  # fmt: skip
        self.device, self.stages, self.leaves, self.consts = device, stages, leaves, consts
        self._places = [(number, put, index) for number, places in enumerate(leaves) for put, index in places]
        self._fields = [(number, *field) for number, fields in enumerate(consts) for field in fields]
        self.roots, self.slots = roots, slots
        self.patient: tuple[Any, ...] = ()  # names of what runs in pieces until compiling it pays
        self.between: dict[int, int] = {}  # which nodes, by place in the graph, are stored though no root: their slots

    def run(self, buffers: Sequence[Buffer], consts: Sequence[Node], keep: Sequence[int] = ()) -> list[Buffer]:
        """Launch everything; the results, one new buffer per root, then the buffers of the slots to `keep`.

        Not safe for two threads at once.
        """
        for number, put, index in self._places:
            put(index, buffers[number])
        for number, put, index, dtype in self._fields:
            put(index, scalar_argument(dtype, consts[number].arg))
        held: list[Buffer | None] = [None] * self.slots
        allocate = self.device.allocate
        observer = tuner.observing
        for stage in self.stages:
            for slot, nbytes, places in stage.allocations:
                buffer = held[slot] = allocate(nbytes)
                for put, index in places:
                    put(index, buffer)
            if observer is not None:
                self._observed(stage, observer)
            else:
                for launch in stage.launches:
                    launch()
            for slot in stage.frees:
                if slot not in keep:
                    held[slot] = None
        results = []
        for slot, nbytes in self.roots:
            found = held[slot] if slot >= 0 else allocate(nbytes)
            assert found is not None
            results.append(found)
        for slot in keep:
            found = held[slot]
            assert found is not None
            results.append(found)
        return results

    def _observed(self, stage: Stage, observer: Any) -> None:
        self.device.synchronize()
        begin = time.perf_counter()
        for launch in stage.launches:
            launch()
        self.device.synchronize()
        observer.launched(stage.problem, self.device, time.perf_counter() - begin)


class HostPlan:
    """A graph that the device has no native way for: NumPy computes it, and it is counted as a fallback."""

    stages: tuple[Stage, ...] = ()
    patient: tuple[Any, ...] = ()

    def __init__(self, graph: Graph, device: Device, reason: str) -> None:
        self.device, self.reason = device, reason
        self.between: dict[int, int] = {}
        self.rows = graph.key
        self.ops = sorted({n.op for n in graph.order if n.op not in ("buffer", "const", "view")})

    def run(self, buffers: Sequence[Buffer], consts: Sequence[Node], keep: Sequence[int] = ()) -> list[Buffer]:
        """The same as Plan.run, through the host, where nothing is stored between."""
        from tilewright.backends.fallback import count  # the one place where a plan meets the counter

        begin = time.perf_counter()
        nodes, leaves = self._nodes(consts)
        data = {
            id(node): np.frombuffer(self.device.read(b, _nbytes(node)), numpy_dtype(node.dtype)).reshape(node.shape)
            for node, b in zip(leaves, buffers, strict=True)
        }
        roots = [nodes[k] for k in self.rows[-1]]
        results = []
        moved = sum(d.nbytes for d in data.values())
        for value in evaluate(roots, lambda node: data[id(node)]):
            value = np.ascontiguousarray(value)
            buffer = self.device.allocate(value.nbytes)
            if value.nbytes:
                self.device.write(buffer, value.reshape(-1).view(np.uint8))  # bfloat16 has no buffer protocol
            moved += value.nbytes
            results.append(buffer)
        count("+".join(self.ops), moved, time.perf_counter() - begin)
        return results

    def _nodes(self, consts: Sequence[Node]) -> tuple[list[Node], list[Node]]:
        """The graph again, from its key: a plan outlives the nodes that it was made for."""
        nodes: list[Node] = []
        leaves: list[Node] = []
        values = iter(consts)
        for row in self.rows[:-1]:
            if isinstance(row, str):
                nodes.append(next(values))
            elif isinstance(row[0], tuple):
                nodes.append(Node("buffer", (), None, row[0], row[1]))
                leaves.append(nodes[-1])
            else:
                op, arg, shape, dtype, *src = row
                nodes.append(Node(op, tuple(nodes[s] for s in src), arg, shape, dtype))
        return nodes, leaves


def make_plan(graph: Graph, device: Device, patient: bool = False) -> Plan | HostPlan:
    """Fuse the graph, choose a way for each problem, and bind. What the device does not support goes to the host.

    `patient`: a kernel that is not compiled yet may wait for that until it has run a number of times in pieces.
    """
    try:
        return _native_plan(graph, device, patient)
    except Unsupported as error:
        return HostPlan(graph, device, str(error))


def _nbytes(node: Node) -> int:
    return prod(node.shape) * DTYPES[node.dtype].nbytes


def _native_plan(graph: Graph, device: Device, patient: bool) -> Plan:
    _check_dtypes(graph, device)
    steps = fuse(graph.roots, device.limits)
    leaf_number = {id(node): k for k, node in enumerate(graph.leaves)}
    const_number = {id(node): k for k, node in enumerate(graph.consts)}
    slot: dict[int, int] = {}
    leaves: list[list[Place]] = [[] for _ in graph.leaves]
    consts: list[list[tuple[Any, int, str]]] = [[] for _ in graph.consts]
    stages: list[Stage] = []
    last_use: dict[int, int] = {}
    placed: dict[int, list[Place]] = {}
    born: dict[int, tuple[int, int]] = {}
    waiting: list[Any] = []
    examples: dict[int, Buffer] = {}  # until everything is bound
    for step in steps:
        if step.takeover:
            slot[id(step.outputs[0])] = slot[id(step.inputs[0])]
            continue
        number = len(stages)
        choice = tuner.choose(step.problem, device)
        if patient:
            prepared, waits = tuner.prepare_soon(step.problem, choice.candidate, device)
            if waits:
                choice = replace(choice, origin="in pieces")
                waiting.append(tuner.name_of(step.problem, device))
        else:
            prepared = tuner.prepare(step.problem, choice.candidate, device)
        for node in (*step.outputs, *step.inputs):
            if id(node) not in examples:
                given = node.arg.buffer if node.op == "buffer" else None
                examples[id(node)] = given or device.allocate(_nbytes(node))
        bound = prepared.bind([examples[id(n)] for n in step.outputs], [examples[id(n)] for n in step.inputs])
        stages.append(Stage(step, choice, bound.launches))
        for node, places in zip(step.outputs, bound.outputs, strict=True):
            if id(node) not in slot:
                slot[id(node)] = len(slot)
                born[slot[id(node)]] = (number, _nbytes(node))
            placed.setdefault(slot[id(node)], []).extend((launch.set, k) for launch, k in places)
        for node, places in zip(step.inputs, bound.inputs, strict=True):
            found = [(launch.set, k) for launch, k in places]
            if node.op == "buffer":
                leaves[leaf_number[id(node)]].extend(found)
            else:
                placed[slot[id(node)]].extend(found)
                last_use[slot[id(node)]] = number
        for const, (dtype, _), places in zip(step.scalars, step.problem.scalars, bound.scalars, strict=True):
            if const is not None:
                consts[const_number[id(const)]].extend((launch.set, k, dtype) for launch, k in places)
    for index, (number, nbytes) in born.items():
        stages[number].allocations.append((index, nbytes, placed[index]))
    kept = {slot[id(root)] for root in graph.roots if id(root) in slot}
    for index, number in last_use.items():
        if index not in kept:
            stages[number].frees.append(index)
    roots = [(slot.get(id(root), -1), _nbytes(root)) for root in graph.roots]
    plan = Plan(device, stages, leaves, consts, roots, len(slot))
    plan.patient = tuple(waiting)
    if len(slot) > len(graph.roots):
        last = {index: key for key, index in slot.items() if index not in kept}  # a slot taken over holds the last
        plan.between = {graph.number[key]: index for index, key in last.items() if key in graph.number}
    return plan


def _check_dtypes(graph: Graph, device: Device) -> None:
    missing = {node.dtype for node in graph.order} - device.limits.dtypes
    if missing:
        raise Unsupported(f"{device.name} has no {', '.join(sorted(missing))}")
