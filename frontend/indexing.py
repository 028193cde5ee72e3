"""Indices: basic ones become a View, arrays of integers and masks a gather. Nodes and views in, nodes and views out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from operator import index as to_int
from time import perf_counter
from types import EllipsisType
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from tilewright.backends.fallback import count
from tilewright.backends.protocol import Device
from tilewright.dtypes import KINDS
from tilewright.kernels.node import Node, View
from tilewright.leaf import is_traced
from tilewright.record import binary, broadcast_shapes, cast, const, expand, where, window
from tilewright.transfer import HostArray, read, settle, upload
from tilewright.views import Shape, whole
from tilewright.write import fitted

Item = int | slice | EllipsisType | None | Node | HostArray


def items(key: Any, ndim: int, plain: Callable[[Any], Any]) -> tuple[Item, ...]:
    """An index as items that together name all `ndim` axes; the ellipsis is written out. Raises IndexError.

    An ellipsis of no axes stays where it keeps two arrays apart, which decides where their axes go.
    `plain` turns the caller's own array type into nodes.
    """
    listed = [_item(plain(k)) for k in (key if isinstance(key, tuple) else (key,))]
    used = sum(_consumed(k) for k in listed if k is not Ellipsis)
    dots = [k for k, item in enumerate(listed) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can have only one ellipsis ('...')")
    if used > ndim:
        raise IndexError(f"too many indices: the array has {ndim} axes, the index names {used}")
    at = dots[0] if dots else len(listed)
    before, after = listed[:at], listed[at + 1 :]
    if used == ndim and _placed(before) and _placed(after) and any(isinstance(k, (Node, np.ndarray)) for k in listed):
        return (*before, Ellipsis, *after)
    return (*before, *(slice(None),) * (ndim - used), *after)


def _item(item: Any) -> Any:
    if item is None or item is Ellipsis or type(item) in (int, slice, Node):
        if type(item) is Node and KINDS[item.dtype] not in "biu":
            raise IndexError(f"an array used as an index must be of integers or booleans, not {item.dtype}")
        return item
    if isinstance(item, (list, tuple, bool, np.bool_)) or (hasattr(item, "__array__") and not np.isscalar(item)):
        array = np.asarray(item)
        if array.size == 0 and isinstance(item, (list, tuple)):
            array = array.astype(np.int64)
        if array.dtype.kind not in "biu":
            raise IndexError(f"an array used as an index must be of integers or booleans, not {array.dtype}")
        return array if array.dtype.kind == "b" else array.astype(np.int64)
    try:
        return to_int(item)
    except TypeError:
        raise IndexError(f"{item!r} is not an index; use integers, slices, ..., None or arrays of them") from None


def _consumed(item: Any) -> int:
    """How many axes an item names."""
    if item is None or item is Ellipsis:
        return 0
    return len(item.shape) if isinstance(item, (Node, np.ndarray)) and _is_mask(item) else 1


def _placed(key: Sequence[Item]) -> bool:
    """Whether there is an array, or an integer that counts as one beside others."""
    return any(isinstance(k, (int, Node, np.ndarray)) for k in key)


def _is_mask(item: Any) -> TypeGuard[Node | HostArray]:
    return isinstance(item, (Node, np.ndarray)) and item.dtype == "bool"


def basic(view: View, key: Sequence[Item]) -> View | None:
    """The view that integers, slices and None make of `view`; None if there are arrays in the key."""
    shape, strides, offset, axis = [], [], view.offset, 0
    for item in key:
        if item is None:
            shape.append(1)
            strides.append(0)
            continue
        if type(item) is int:
            offset += _wrapped(item, view.shape[axis], axis) * view.strides[axis]
        elif type(item) is slice:
            start, count, step = _range(item, view.shape[axis])
            offset += start * view.strides[axis] if count else 0
            shape.append(count)
            strides.append(step * view.strides[axis])
        else:
            return None
        axis += 1
    return View(tuple(shape), tuple(strides), offset)


def _wrapped(index: int, extent: int, axis: int) -> int:
    if not -extent <= index < extent:
        raise IndexError(f"index {index} is out of bounds for axis {axis} with size {extent}")
    return index % extent


def _range(item: slice, extent: int) -> tuple[int, int, int]:
    start, stop, step = item.indices(extent)
    return start, len(range(start, stop, step)), step


def _expanded(key: Sequence[Item], view: View, device: Device) -> list[tuple[Item, int]]:
    """Items and how many axes each names; masks become the integer arrays of their true places, one per axis.

    How many places there are only the values tell, so a mask on the device is evaluated.
    """
    result: list[tuple[Item, int]] = []
    axis = 0
    for item in key:
        if not _is_mask(item):
            result.append((item, _consumed(item)))
            axis += _consumed(item)
            continue
        covered = view.shape[axis : axis + len(item.shape)]
        if len(item.shape) != len(covered) or any(m not in (e, 0) for m, e in zip(item.shape, covered, strict=True)):
            raise IndexError(f"a boolean index of shape {item.shape} does not fit axes of shape {covered}")
        if isinstance(item, Node):
            settle([item], device)
        begin = perf_counter()
        mask = read(item, device) if isinstance(item, Node) else item
        if item.shape:
            places = np.nonzero(mask)
            if isinstance(item, Node):
                count("nonzero", mask.nbytes + sum(p.nbytes for p in places), perf_counter() - begin)
            result.extend((p, 1) for p in places)
        else:  # a single truth adds an axis of 1, or of 0, and names none
            result.append((np.zeros(int(mask), np.int64), 0))
        axis += len(item.shape)
    return result


class Located(NamedTuple):
    """Where the elements of a key with arrays lie in a flat value: offset + arrays + steps along the slices.

    `slices`: (extent, stride) of the axes that stay; `arrays`: places, one array per axis that they name, which
    broadcast to `shape`; their axes stand before slice number `front`. `distinct`: no place is there twice.
    """

    offset: int
    slices: list[tuple[int, int]]
    front: int
    arrays: list[Node | HostArray]
    shape: Shape
    distinct: bool

    @property
    def result(self) -> Shape:
        extents = [e for e, _ in self.slices]
        return (*extents[: self.front], *self.shape, *extents[self.front :])


def gather(value: Node, view: View, key: Sequence[Item], device: Device) -> Node:
    """The elements of `view` onto `value` at a key with arrays in it, as NumPy orders them.

    Integers beside arrays count as arrays. The result is one gather at computed places. Raises IndexError.
    """
    located = locate(view, key, device)
    return Node("gather", (value, places(located, device)), None, located.result, value.dtype)


def locate(view: View, key: Sequence[Item], device: Device, clamped: bool = False) -> Located:
    """Where the elements of `view` at a key with arrays in it lie. Raises IndexError.

    `clamped`: an index that is only known when a kernel runs becomes the nearest that exists along its axis.
    """
    offset, axis = view.offset, 0
    slices: list[tuple[int, int]] = []
    arrays: list[Node | HostArray] = []
    order: list[bool] = []  # whether each item of the key is an array
    for item, named in _expanded(key, view, device):
        extent, stride = (view.shape[axis], view.strides[axis]) if named else (1, 0)
        if item is None:
            slices.append((1, 0))
        elif type(item) is slice:
            start, count, step = _range(item, extent)
            offset += start * stride if count else 0
            slices.append((count, step * stride))
        elif item is not Ellipsis:
            arrays.append(_places(item, extent, stride, axis, device, clamped))
        order.append(not (item is None or item is Ellipsis or type(item) is slice))
        axis += named
    shape = _joint([a.shape for a in arrays])
    first, last = order.index(True), len(order) - 1 - order[::-1].index(True)
    front = first if all(order[first : last + 1]) else 0  # arrays apart from each other: their axes come first
    distinct = sum(map(_is_mask, key)) == 1 and not any(_placed([k]) and not _is_mask(k) for k in key)
    return Located(offset, slices, front, arrays, shape, distinct)


def _joint(shapes: list[Shape]) -> Shape:
    """The shape to which the arrays of a key broadcast. Raises IndexError, as NumPy does for keys."""
    try:
        return broadcast_shapes(shapes, "getitem")
    except ValueError as error:
        raise IndexError(str(error)) from None


def places(located: Located, device: Device) -> Node:
    """The flat places of `located`, in its shape."""
    offset, slices, front, arrays, shape, _ = located
    result, after = located.result, len(slices) - front
    fixed = np.full((), offset, np.int64)
    for array in arrays:
        if not isinstance(array, Node):
            fixed = fixed + array if fixed.any() else array
    terms = [upload(fixed, "int64", device) if fixed.shape else const(int(fixed), "int64")]
    terms = [t if t.op == "const" else _spread(t, after) for t in terms]
    terms += [_spread(a, after) for a in arrays if isinstance(a, Node)]
    for k, (extent, stride) in enumerate(slices):
        if extent > 1 and stride:
            position = k if k < front else k + len(shape)
            steps = Node("iota", (), None, (extent,), "int64")
            lined = window(steps, View(result, tuple(int(d == position) for d in range(len(result))), 0))
            terms.append(binary("mul", lined, stride, device) if stride != 1 else lined)  # the kernel then sees rows
    total = terms[0]
    for term in terms[1:]:
        total = binary("add", total, term, device)
    return window(total, View(result, (0,) * len(result), 0)) if total.op == "const" else expand(total, result)


def _spread(node: Node, after: int) -> Node:
    """`node` with `after` axes of 1 behind its own."""
    return window(node, whole((*node.shape, *(1,) * after))) if after and node.shape else node


def _places(item: Any, extent: int, stride: int, axis: int, device: Device, clamped: bool) -> Node | HostArray:
    """Indices along an axis as steps in the flat value: checked, wrapped and times the stride."""
    if not isinstance(item, Node):
        array = np.asarray(item, dtype=np.int64)
        least, most = (array.min(), array.max()) if array.size else (0, -1)
        if not (-extent <= least and most < extent):
            wrong = array[(array < -extent) | (array >= extent)].flat[0]
            raise IndexError(f"index {wrong} is out of bounds for axis {axis} with size {extent}")
        array = np.where(array < 0, array + extent, array) if least < 0 else array
        return array * stride if stride != 1 else array
    check_range(item, extent, axis, device)
    wrapped = cast(item, "int64", device)
    if KINDS[item.dtype] != "u":
        wrapped = where(binary("lt", wrapped, 0, device), binary("add", wrapped, extent, device), wrapped, device)
    if clamped and is_traced(item):
        wrapped = binary("max", binary("min", wrapped, extent - 1, device), 0, device)
    return binary("mul", wrapped, stride, device)


def check_range(node: Node, extent: int, axis: int, device: Device) -> None:
    """Raise IndexError if an index on the device is out of range, which is found out by evaluating it.

    Inside `jit` there is nothing to evaluate yet: the kernel then takes the nearest element that exists.
    """
    size = prod(node.shape)
    if size == 0 or is_traced(node):
        return
    wide = cast(node, "int64", device)
    beyond = binary("or", binary("lt", wide, -extent, device), binary("ge", wide, extent, device), device)
    flat = window(beyond, View((size,), (1,), 0))
    if read(Node("reduce", (flat,), ("max", 0), (), "bool"), device):
        data = read(node, device)
        wrong = data[(data < -extent) | (data >= extent)].flat[0]
        raise IndexError(f"index {wrong} is out of bounds for axis {axis} with size {extent}")


def masked(node: Node, key: Sequence[Item], value: Any, device: Device) -> Node | None:
    """`node` with `value`, one element, where a mask of its own shape is true; None where the key is another."""
    mask = key[0] if len(key) == 1 else None
    if not _is_mask(mask) or mask.shape != node.shape:
        return None
    if isinstance(value, Node) and value.shape != ():
        return None
    chosen = mask if isinstance(mask, Node) else upload(mask, "bool", device)
    return expand(where(chosen, fitted(value, (), node.dtype, device), node, device), node.shape)
