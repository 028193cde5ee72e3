"""Assignment at a key with arrays in it: one scatter at computed places. Nodes and views in, a node out."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from tilewright.backends.protocol import Device
from tilewright.indexing import Item, Located, locate, places
from tilewright.kernels.node import Node, View, row_major
from tilewright.kernels.scatter import last_of_each
from tilewright.kernels.space import serial
from tilewright.record import binary, expand, window
from tilewright.transfer import HostArray
from tilewright.views import turned, whole
from tilewright.write import fitted


def scatter(old: Node, view: View, key: Sequence[Item], value: Any, device: Device) -> Node:
    """`old` with `value` at a key, with arrays in it, of `view` onto it; of places named twice the last value stays.

    Inside `jit`, where nothing can be refused, an index beyond its axis becomes the nearest that exists. Raises
    IndexError, ValueError for a value that does not broadcast, TypeError for a complex one where `old` is real.
    """
    located = locate(view, key, device, clamped=True)
    values = fitted(value, located.result, old.dtype, device)
    if not prod(located.result):
        return old
    flat = located._replace(arrays=_flat(located), shape=(prod(located.shape),), front=0)
    values = _arrays_first(values, located, flat.result)
    ordered = serial(device.limits) or not device.limits.compiles  # places are stored one after the other
    if not ordered and not located.distinct and flat.shape != (1,):
        flat, values = _distinct(flat, values, prod(old.shape), device)
    distinct = located.distinct or not ordered
    return Node("scatter", (old, places(flat, device), values), distinct, old.shape, old.dtype)


def _flat(located: Located) -> list[Node | HostArray]:
    """The arrays of a key, each with all of their joint elements along one axis."""
    size, found = prod(located.shape), list[Node | HostArray]()
    for array in located.arrays:
        if isinstance(array, Node):
            found.append(window(expand(array, located.shape), whole((size,))))
        else:
            found.append(np.broadcast_to(array, located.shape).reshape(size) if array.shape else array)
    return found


def _arrays_first(values: Node, located: Located, shape: tuple[int, ...]) -> Node:
    """`values` in `shape`: the arrays' axes as one, then the slices'."""
    front, count = located.front, len(located.shape)
    order = (*range(front, front + count), *range(front), *range(front + count, len(values.shape)))
    if order != tuple(range(len(order))):
        values = window(values, turned(whole(values.shape), order))
    return values if values.shape == shape else window(values, whole(shape))


def _distinct(flat: Located, values: Node, count: int, device: Device) -> tuple[Located, Node]:
    """The same for a device whose threads store in no order: of rows that are named twice all but the last dropped.

    What arrays name is sorted, not every element of the rows.
    """
    rows = places(flat._replace(slices=[], offset=0), device)
    rows, order = last_of_each(rows, -3 * count - 1)  # below 0, whatever the offset and the slices add
    steps = row_major(values.shape)
    index: list[Node | HostArray] = [_stepped(order, steps[0], device)]
    slices = [(extent, step) for extent, step in zip(values.shape[1:], steps[1:], strict=True)]
    taken = places(Located(0, slices, 0, index, order.shape, False), device)
    values = Node("gather", (values, taken), None, values.shape, values.dtype)
    return flat._replace(arrays=[rows]), values


def _stepped(order: Node, step: int, device: Device) -> Node:
    return order if step == 1 else binary("mul", order, step, device)
