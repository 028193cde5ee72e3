"""jit: record a function once per signature, then replay prebound launches.

A signature is, per argument: shape, dtype, device, how it lies on its cell, and which arguments share a cell; anything
that is not an array counts by value. The function runs once with arguments that have no values yet; the graph that
comes out becomes one plan whose temporaries are allocated once. What it returns is new at every call. Arrays that the
function finds outside its arguments are captured as they are at the first call; random draws go on at every call.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from tilewright import tuner
from tilewright.array import Array, Cell
from tilewright.backends.protocol import Buffer, Device
from tilewright.kernels.emit import scalar_argument
from tilewright.kernels.node import Node
from tilewright.leaf import Leaf
from tilewright.pinned import check_written, owned
from tilewright.plan import HostPlan, Place, Plan, make_plan
from tilewright.quick import MOST, Quick, never, quick_call
from tilewright.realize import Graph, realize
from tilewright.tracing import tracing

CONTAINERS = (tuple, list, dict)


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that does the same with one replay per call. Arguments and results: arrays, and nests of them in
    tuples (named ones too), lists and dicts; every other argument must be hashable and is part of the signature.

    Writing into an argument inside the function writes into the caller's array. Raises TracedValueError where the
    function needs an array's value (bool(), float(), a mask, an operation that the host must do).
    """
    if not callable(function):
        raise TypeError(f"jit: a function is needed, not {type(function).__name__}")
    recordings: dict[Any, _Recording] = {}
    plain: dict[Any, _Recording] = {}  # the same, for arguments that are all arrays with memory of their own
    lock = threading.RLock()
    quick: Quick = never  # of the last recording

    def any_call(args: Any, kwargs: Any, plain_key: Any) -> Any:
        arrays: list[Array] = []
        key = (_signature(args, arrays), _signature(kwargs, arrays), _cells(arrays), tuner.generation)
        with lock:
            recording = recordings.get(key)
            if recording is None:
                recording = recordings[key] = _Recording(function, args, kwargs, arrays)
            if plain_key is not None:
                plain[plain_key] = recording
        return recording.call([arrays[k]._cell for k in recording.cell_of])

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        # This is the launch path of every jit program: no calls that can be spared.
        nonlocal quick
        if kwargs:
            return any_call(args, kwargs, None)
        result = quick(args)
        if result is not None:
            return result
        parts: list[Any] = [tuner.generation]
        cells = []
        for x in args:
            if type(x) is not Array:
                return any_call(args, kwargs, None)
            cell = x._cell
            value = cell.value
            parts += (value.shape, value.dtype, x._view, x._device)
            cells.append(cell)
        if len(cells) > 1 and len(set(cells)) < len(cells):
            return any_call(args, kwargs, None)
        key = tuple(parts)
        recording = plain.get(key)
        if recording is None:
            return any_call(args, kwargs, key)
        quick = recording.quick or recording.make_quick(args)
        return recording.call(cells)

    return call


def _signature(value: Any, arrays: list[Array]) -> Any:
    """A hashable description of an argument; arrays in it are appended to `arrays` in order."""
    kind = type(value)
    if kind is Array:
        arrays.append(value)
        cell = value._cell.value
        return (cell.shape, cell.dtype, value._view)
    if kind is tuple or kind is list or hasattr(kind, "_fields"):
        return (kind, *[_signature(item, arrays) for item in value])
    if kind is dict:
        return (dict, *[(name, _signature(item, arrays)) for name, item in value.items()])
    return (kind, value)


def _cells(arrays: list[Array]) -> Any:
    """Which arrays share a cell, and the device."""
    if len(arrays) == 1:
        return arrays[0]._device
    first: dict[int, int] = {}
    return tuple([(first.setdefault(id(x._cell), k), x._device) for k, x in enumerate(arrays)])


def _map(value: Any, change: Callable[[Array], Any]) -> Any:
    """`value` with every array in it replaced."""
    if type(value) is Array:
        return change(value)
    if isinstance(value, dict):
        return {name: _map(item, change) for name, item in value.items()}
    if hasattr(type(value), "_fields"):  # a NamedTuple
        return type(value)(*[_map(item, change) for item in value])
    if type(value) in CONTAINERS:
        return type(value)(_map(item, change) for item in value)
    return value


class _Recording:
    """One function at one signature."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, arrays: list[Array]) -> None:
        self.lock = threading.Lock()
        self.device = _one_device(arrays)
        cells: dict[int, Cell] = {}
        self.cell_of: list[int] = []  # per distinct cell: an argument that has it
        for k, x in enumerate(arrays):
            if id(x._cell) not in cells:
                value = x._cell.value
                cells[id(x._cell)] = Cell(Node("buffer", (), Leaf(None, x._device), value.shape, value.dtype))
                self.cell_of.append(k)
        inputs = [(cell, cell.value) for cell in cells.values()]
        traced = lambda x: Array(cells[id(x._cell)], x._device, x._view)  # noqa: E731
        with tracing() as trace:
            result = function(*_map(args, traced), **_map(kwargs, traced))
        self.draws = trace.draws
        self.drawn = True  # the first call takes the draws of the tracing
        outputs: list[Array] = []
        _map(result, outputs.append)
        device = self.device = self.device or _one_device(outputs)
        self.result = result
        self.given = [node for _, node in inputs]
        self.nodes = [owned(x.node(), x._device) for x in outputs]
        self.written = [(k, cell.value) for k, (cell, node) in enumerate(inputs) if cell.value is not node]
        self.plan: Plan | HostPlan | None = None
        self.single = False  # the result is one array that was computed, and nothing else happens
        self.quick: Quick | None = None
        if device is not None:
            self._bind(device)

    def _bind(self, device: Device) -> None:
        self.graph = Graph([*self.nodes, *(node for _, node in self.written)])
        self.position = {id(root): k for k, root in enumerate(self.graph.roots)}
        self.single = type(self.result) is Array and not self.written and self.nodes == self.graph.roots
        number = {id(node): k for k, node in enumerate(self.given)}
        self.sources = [number.get(id(leaf), -1) for leaf in self.graph.leaves]
        self.plan = make_plan(self.graph, device)
        self.redraws = [(redraw, *self._scalars(nodes)) for redraw, nodes in self.draws]
        self.outputs: list[tuple[int, list[Place]]] = []
        self.temporaries: list[Buffer] = []
        self.places: list[tuple[int, list[Place]]] = []
        self.replay: Callable[[], None] | None = None
        if isinstance(self.plan, Plan):
            self._preallocate(self.plan, device)

    def _scalars(self, nodes: tuple[Node, ...]) -> tuple[tuple[Node, ...], list[list[tuple[Any, int, str]]]]:
        """Const nodes, and where each stands in the plan's launches; nowhere for one that nothing needs."""
        places = self.plan.consts if isinstance(self.plan, Plan) else [[] for _ in self.graph.consts]
        fields = {id(const): found for const, found in zip(self.graph.consts, places, strict=True)}
        return nodes, [fields.get(id(node), []) for node in nodes]

    def _draw(self) -> None:
        """The next numbers from the generators that the function draws from."""
        if self.drawn:
            self.drawn = False
            return
        for redraw, nodes, fields in self.redraws:
            for word, node, places in zip(redraw(), nodes, fields, strict=True):
                node.arg = word
                for put, index, dtype in places:
                    put(index, scalar_argument(dtype, word))

    def _preallocate(self, plan: Plan, device: Device) -> None:
        """Give every temporary its buffer for good; one that is free again serves the next of its size."""
        fresh = {slot: k for k, (slot, _) in enumerate(plan.roots)}
        self.outputs = [(nbytes, []) for _, nbytes in plan.roots]
        held: dict[int, Buffer] = {}
        idle: dict[int, list[Buffer]] = {}
        for stage in plan.stages:
            for slot, nbytes, places in stage.allocations:
                if slot in fresh:
                    self.outputs[fresh[slot]][1].extend(places)
                    continue
                free = idle.get(nbytes)
                buffer = held[slot] = free.pop() if free else device.allocate(nbytes)
                for put, index in places:
                    put(index, buffer)
            for slot in stage.frees:
                idle.setdefault(held[slot].nbytes, []).append(held[slot])
        self.temporaries = list(held.values())
        self.places = [
            (source, places) for source, places in zip(self.sources, plan.leaves, strict=True) if source >= 0
        ]
        self.replay = device.capture([launch for stage in plan.stages for launch in stage.launches])

    def call(self, cells: list[Cell]) -> Any:
        """Run with the arguments' distinct cells, in the order in which the recording met them."""
        device = self.device
        if device is None:
            return self.result
        values = [cell.value for cell in cells]
        for node in values:
            if node.op != "buffer" or node.arg.buffer is None:
                realize(values, device)
                break
        if self.written:
            check_written([values[k] for k, _ in self.written], values)
        with self.lock:
            if self.draws:
                self._draw()
            results = self._run(values)
        return self.give(results, cells, values)

    def make_quick(self, arrays: tuple[Array, ...]) -> Quick:
        """What calls with arguments like `arrays`, which are on cells of their own."""
        self.quick = never
        if isinstance(self.plan, Plan) and 0 < len(arrays) <= MOST and not (self.draws or self.written):
            places = dict(self.places)
            self.quick = quick_call(self, arrays, [places.get(k, []) for k in range(len(arrays))], self.outputs)
        return self.quick

    def give(self, results: list[Buffer], cells: list[Cell], values: list[Node]) -> Any:
        """What the function returns, from what was computed; arguments that it writes get their values."""
        device, roots = self.device, self.graph.roots
        assert device is not None
        if self.single:
            return Array(Cell(Node("buffer", (), Leaf(results[0], device), roots[0].shape, roots[0].dtype)), device)
        nodes = [Node("buffer", (), Leaf(b, device), r.shape, r.dtype) for b, r in zip(results, roots, strict=True)]
        made = [owned(self._output(node, nodes, values), device) for node in self.nodes]
        written = [owned(self._output(node, nodes, values), device) for _, node in self.written]
        for (k, _), value in zip(self.written, written, strict=True):  # a pinned cell is written in place: not before
            cells[k].value = value
        found = iter(made)
        return _map(self.result, lambda _: Array(Cell(next(found)), device))

    def _output(self, node: Node, nodes: list[Node], values: list[Node]) -> Node:
        """The value of a returned node: computed, or an argument or captured array as it came."""
        at = self.position.get(id(node))
        if at is not None:
            return nodes[at]
        for given, value in zip(self.given, values, strict=True):
            if node is given:
                return value
        return node

    def _run(self, values: list[Node]) -> list[Buffer]:
        assert self.plan is not None and self.device is not None
        if self.replay is None or tuner.observing is not None:
            return self._run_plan(values)
        for source, places in self.places:
            buffer = values[source].arg.buffer
            for put, index in places:
                put(index, buffer)
        allocate = self.device.allocate
        results = []
        for nbytes, places in self.outputs:
            buffer = allocate(nbytes)
            for put, index in places:
                put(index, buffer)
            results.append(buffer)
        self.replay()
        return results

    def _run_plan(self, values: list[Node]) -> list[Buffer]:
        """Stage by stage: for a plan on the host, and while somebody observes each launch."""
        leaves = [values[s] if s >= 0 else leaf for s, leaf in zip(self.sources, self.graph.leaves, strict=True)]
        assert self.plan is not None and self.device is not None
        results = self.plan.run([leaf.arg.buffer for leaf in leaves], self.graph.consts)
        if isinstance(self.plan, Plan):
            self._preallocate(self.plan, self.device)  # the run has put temporaries of its own into the launches
        return results


def _one_device(arrays: list[Array]) -> Device | None:
    devices = {x._device.name: x._device for x in arrays}
    if len(devices) > 1:
        raise ValueError(f"jit: arrays on different devices: {', '.join(sorted(devices))}; move them with to_device")
    return next(iter(devices.values()), None)
