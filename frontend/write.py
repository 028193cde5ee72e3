"""Writing into a cell: the new value of the memory as a node, so that every alias sees it."""

from __future__ import annotations

from tilewright.backends.protocol import Device
from tilewright.dtypes import KINDS
from tilewright.kernels.node import Node, View
from tilewright.record import Operand, broadcast_shapes, cast, expand, filled, window
from tilewright.views import Shape, in_order, overlaps, whole


def written(old: Node, view: View | None, value: Node, device: Device) -> Node:
    """`old` with the elements of `view` replaced by `value`, of the view's shape and the old dtype.

    Raises ValueError for a view that shows one element at several places.
    """
    if view is None:
        return value
    if view.size == 0:
        return old
    check_writable(view)
    if in_order(view, old.shape):
        return window(value, whole(old.shape))
    return Node("write", (old, value), view, old.shape, old.dtype)


def check_writable(view: View) -> None:
    """Raise ValueError for a broadcast view: a write to one of its elements would change others."""
    if overlaps(view):
        raise ValueError("this array is a broadcast view, which is read-only; write to a copy of it")


def fitted(value: Operand, shape: Shape, dtype: str, device: Device) -> Node:
    """A value to be assigned, in the target's dtype and shape. Raises ValueError where it does not broadcast."""
    if not isinstance(value, Node):
        return filled(value, shape, dtype, device, "setitem")
    if KINDS[value.dtype] == "c" and KINDS[dtype] != "c":
        raise TypeError(f"setitem: complex values do not fit into {dtype}; assign real() of them")
    extra = len(value.shape) - len(shape)
    if extra > 0 and all(e == 1 for e in value.shape[:extra]):  # as NumPy, leading ones may be too many
        value = window(value, whole(value.shape[extra:]))
    if len(value.shape) > len(shape) or broadcast_shapes([value.shape, shape], "setitem") != shape:
        raise ValueError(f"setitem: a value of shape {value.shape} cannot be broadcast to {shape}")
    return expand(cast(value, dtype, device), shape)
