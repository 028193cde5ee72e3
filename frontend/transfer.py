"""Between nodes and NumPy: evaluate and read, upload, and run a NumPy function on the host for a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Buffer, Device
from tilewright.dtypes import KINDS, narrow, object_of, supported
from tilewright.fallback import count
from tilewright.kernels.node import Node, View
from tilewright.leaf import Leaf
from tilewright.realize import become_leaf, realize
from tilewright.views import row_major

HostArray = np.ndarray[Any, Any]


class _Shared:
    """Keeps a Buffer alive for as long as a NumPy array looks at its memory, read-only."""

    __slots__ = ("__array_interface__", "buffer")

    def __init__(self, buffer: Buffer, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.buffer = buffer
        data = (buffer.host.__array_interface__["data"][0], True)
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": data}


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
    """Turn every node into a leaf. Complex ones, which no kernel takes, are views of leaves: the host copies them."""
    realize([n for n in nodes if n.op == "buffer" or KINDS[n.dtype] != "c"], device)
    for node in nodes:
        if node.op != "buffer":
            leaf = upload(read(node, device), node.dtype, device, "copy")
            become_leaf(node, leaf.arg.buffer, device)


def read(node: Node, device: Device, view: View | None = None) -> HostArray:
    """The elements of `node`, or of a view onto them, evaluated if need be. Read-only; may share memory."""
    if KINDS[node.dtype] == "c" and node.op != "buffer":
        return _window(read(node.src[0], device), node.arg) if view is None else _window(read(node, device), view)
    settle([node], device)
    if view is None or node.arg.buffer.host is not None:
        data = _whole(node, device)
        return data if view is None else _window(data, view)
    dtype = DTYPES[node.dtype]
    if view.strides == row_major(view.shape):
        raw = device.read(node.arg.buffer, view.size * dtype.nbytes, view.offset * dtype.nbytes)
        return np.frombuffer(raw, object_of(node.dtype), count=view.size).reshape(view.shape)
    if dtype.kind == "c" or view.size * 2 >= prod(node.shape):
        return _window(_whole(node, device), view)
    return read(Node("view", (node,), view, view.shape, node.dtype), device)


def _whole(node: Node, device: Device) -> HostArray:
    dtype, shape, buffer = object_of(node.dtype), node.shape, node.arg.buffer
    size = prod(shape)
    if buffer.host is not None and size:
        device.synchronize()
        data = np.asarray(_Shared(buffer, shape, dtype))
        return data if data.dtype is dtype else data.view(dtype)  # NumPy reads bfloat16's name as raw bytes
    raw = device.read(buffer, size * dtype.itemsize) if size else b""
    return np.frombuffer(raw, dtype, count=size).reshape(shape)


def _window(data: HostArray, view: View) -> HostArray:
    if view.size == 0:
        return np.empty(view.shape, data.dtype)
    start = np.ascontiguousarray(data).reshape(-1)[view.offset :]  # `data` may be a window itself, turned around
    strides = tuple(s * data.itemsize for s in view.strides)
    return np.lib.stride_tricks.as_strided(start, view.shape, strides, writeable=False)


def host(name: str, function: Callable[..., Any], nodes: Sequence[Node], device: Device) -> Any:
    """`function` of the NumPy values of `nodes`, its arrays brought back to `device` as nodes. Counted under `name`.

    A tuple of arrays gives a tuple of nodes.
    """
    arrays = [read(node, device) for node in nodes]
    with np.errstate(all="ignore"):
        result = function(*arrays)
    moved = sum(a.nbytes for a in arrays)
    parts = [np.asarray(part) for part in result] if isinstance(result, tuple) else [np.asarray(result)]
    moved += sum(p.nbytes for p in parts)
    count(name, moved)
    back = tuple(upload(p, _name(p, device), device, name) for p in parts)
    return back if isinstance(result, tuple) else back[0]


def _name(data: HostArray, device: Device) -> str:
    name = data.dtype.name
    return name if supported(name, device) else narrow(name, device)
