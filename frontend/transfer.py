"""Between nodes and NumPy: evaluate and read, upload, and run a NumPy function on the host for a device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from math import prod
from time import perf_counter
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.fallback import count
from tilewright.backends.protocol import Arrays, Device
from tilewright.dtypes import narrow, object_of, supported
from tilewright.kernels.node import Node, View
from tilewright.kernels.oracle import evaluate
from tilewright.leaf import Leaf
from tilewright.realize import realize
from tilewright.views import row_major

HostArray = np.ndarray[Any, Any]
_REFUSALS = (np.linalg.LinAlgError, IndexError, OverflowError, ZeroDivisionError, ValueError, TypeError)


class Memory:
    """A leaf's elements as NumPy takes them: keeps them alive for as long as an array looks at them."""

    __slots__ = ("__array_interface__", "__weakref__", "leaf")

    def __init__(self, leaf: Leaf, shape: tuple[int, ...], dtype: np.dtype[Any], writable: bool = False) -> None:
        assert leaf.buffer is not None
        self.leaf = leaf
        data = (leaf.buffer.address, not writable)
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": data}


def numbers(obj: Any, op: str, dtype: str | None = None) -> HostArray:
    """Numbers, nested lists of them or anything with NumPy's array protocol as a NumPy array, of `dtype` if given.

    Raises TypeError for what is not numeric, ValueError for ragged lists, OverflowError for a Python integer that
    `dtype` cannot hold.
    """
    try:
        data = np.asarray(obj)
        if data.dtype.kind in "biufc" and dtype is not None and not hasattr(obj, "dtype"):
            data = np.asarray(obj, dtype=object_of(dtype))
    except (ValueError, TypeError, OverflowError) as error:
        raise type(error)(f"{op}: {error}") from None
    if data.dtype == object and data.size and all(isinstance(v, int) for v in data.flat):
        raise OverflowError(f"{op}: a Python integer does not fit {dtype or '64 bits'}")
    if data.dtype.kind not in "biufc" and data.dtype.name != "bfloat16":
        raise TypeError(f"{op}: {type(obj).__name__} of dtype {data.dtype} is not numeric: Unsupported dtype")
    return data


def upload(data: HostArray, dtype: str, device: Device, origin: str = "") -> Node:
    """A leaf on `device` with the elements of `data` as `dtype`."""
    data = np.asarray(data, dtype=object_of(dtype), order="C")
    buffer = device.allocate(data.nbytes)
    if data.nbytes:
        device.write(buffer, data.reshape(-1).view(np.uint8))
    return Node("buffer", (), Leaf(buffer, device, origin), data.shape, dtype)


def element(value: Node, view: View, device: Device) -> Node | None:
    """The one element that `view` shows of evaluated memory which the host sees, as a leaf of its own; else None.

    Loops over elements look at each in turn: as views they would differ in their offset, and each have its own plan.
    """
    if value.op != "buffer" or value.arg.buffer is None or value.arg.buffer.host is None:
        return None
    return upload(read(value, device, view), value.dtype, device)


def settle(nodes: Sequence[Node], device: Device) -> None:
    """Turn every node into a leaf."""
    realize(nodes, device)


def settled(node: Node, device: Device) -> Node:
    """`node` as a leaf of our own: evaluated, or copied where it is the value of a pinned cell, which others write."""
    if node.op == "buffer" and node.depth:
        return copied(node, device)
    settle([node], device)
    return node


def copied(leaf: Node, device: Device) -> Node:
    """A leaf in memory of its own, with the elements of another."""
    source = leaf.arg.buffer
    buffer = device.allocate(source.nbytes)
    device.copy(source, buffer, source.nbytes)
    return Node("buffer", (), Leaf(buffer, device), leaf.shape, leaf.dtype)


_EXACT = frozenset((
    "complex", "add", "sub", "mul", "neg", "abs", "max", "min", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor",
    "not",
))  # fmt: skip
"""Ops that give the same bits everywhere."""


def _known(node: Node, depth: int = 8) -> bool:
    """Whether a scalar is made of constants alone, by few ops that give the same bits on the host."""
    if node.op == "const":
        return True
    return node.op in _EXACT and depth > 0 and all([s.shape == () and _known(s, depth - 1) for s in node.src])


def _no_leaf(node: Node) -> HostArray:
    raise ValueError(f"{node.op} is no constant")


def read(node: Node, device: Device, view: View | None = None) -> HostArray:
    """The elements of `node`, or of a view onto them, evaluated if need be. Read-only; may share memory."""
    if node.shape == () and node.op != "buffer" and view is None and _known(node):
        (data,) = evaluate([node], _no_leaf)
        return data
    settle([node], device)
    if view is None or node.arg.buffer.host is not None:
        data = _whole(node, device)
        return data if view is None else _window(data, view)
    dtype = DTYPES[node.dtype]
    if view.strides == row_major(view.shape):
        raw = device.read(node.arg.buffer, view.size * dtype.nbytes, view.offset * dtype.nbytes)
        return np.frombuffer(raw, object_of(node.dtype), count=view.size).reshape(view.shape)
    if view.size * 2 >= prod(node.shape):
        return _window(_whole(node, device), view)
    return read(Node("view", (node,), view, view.shape, node.dtype), device)


def _whole(node: Node, device: Device) -> HostArray:
    dtype, shape, buffer = object_of(node.dtype), node.shape, node.arg.buffer
    size = prod(shape)
    if buffer.host is not None and size:
        device.synchronize()
        leaf: Leaf = node.arg
        memory: Memory | None = None if leaf.shown is None else leaf.shown()
        if memory is None:  # one for all who look at it, so that it is known whether there are any
            memory = Memory(leaf, shape, dtype)
            leaf.shown = weakref.ref(memory)
        return elements(memory, dtype)
    raw = device.read(buffer, size * dtype.itemsize) if size else b""
    return np.frombuffer(raw, dtype, count=size).reshape(shape)


def elements(memory: Memory, dtype: np.dtype[Any]) -> HostArray:
    """What `memory` shows, as an array of `dtype`."""
    data = np.asarray(memory)
    return data if data.dtype is dtype else data.view(dtype)  # NumPy reads bfloat16's name as raw bytes


def _window(data: HostArray, view: View) -> HostArray:
    return strided(data, view, writable=False)


def strided(data: HostArray, view: View, writable: bool) -> HostArray:
    """`view` onto C-contiguous `data`, in the same memory."""
    if view.size == 0:
        return np.empty(view.shape, data.dtype)
    start = np.ascontiguousarray(data).reshape(-1)[view.offset :]  # a broadcast reshapes to a line of one element
    strides = tuple(s * data.itemsize for s in view.strides)
    return np.lib.stride_tricks.as_strided(start, view.shape, strides, writeable=writable)


def host(name: str, function: Callable[..., Any], nodes: Sequence[Node], device: Device) -> Any:
    """`function`, of NumPy's functions, of the values of `nodes`; its arrays come as nodes, a tuple of them as a tuple.

    By the device's own library where it has one that can; else by NumPy on the host, counted under `name`.
    """
    settle(nodes, device)
    if isinstance(device, Arrays):
        from tilewright.library import by_library  # late: most devices have no library of arrays

        found = by_library(name, function, nodes, device)
        if found is not None:
            return found
    begin = perf_counter()
    arrays = [read(node, device) for node in nodes]
    try:
        with np.errstate(all="ignore"):
            result = function(*arrays)
    except _REFUSALS as error:
        kind = next(k for k in _REFUSALS if isinstance(error, k))  # NumPy's own subclasses take other arguments
        operands = ", ".join(f"{n.dtype}{list(n.shape)}" for n in nodes)
        raise kind(f"{name}: {error} (for {operands} on {device.name})") from error
    moved = sum(a.nbytes for a in arrays)
    parts = [np.asarray(part) for part in result] if isinstance(result, tuple) else [np.asarray(result)]
    moved += sum(p.nbytes for p in parts)
    back = tuple(upload(p, _name(p, device), device, name) for p in parts)
    count(name, moved, perf_counter() - begin)
    return back if isinstance(result, tuple) else back[0]


def _name(data: HostArray, device: Device) -> str:
    name = data.dtype.name
    return name if supported(name, device) else narrow(name, device)
