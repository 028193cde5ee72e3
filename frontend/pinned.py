"""Pinned cells: memory that somebody outside sees too (NumPy, torch, a memoryview), and that is written in place.

Nothing stays recorded on a pinned cell, for its elements may change behind our back. Every look at its value is a new
leaf of depth PINNED, beyond the bound at which a graph is evaluated at once: the check that recording makes anyway.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any

import numpy as np

from tilewright.backends.protocol import Buffer, Device, Layout
from tilewright.dtypes import object_of
from tilewright.kernels.node import Node, View
from tilewright.leaf import Leaf, TracedValueError
from tilewright.operators import Cell
from tilewright.tracing import current
from tilewright.transfer import HostArray, Memory, copied, elements, read, settle, settled, strided
from tilewright.views import in_order, row_major, whole
from tilewright.write import check_writable, written

PINNED = 1 << 30
_lock = threading.RLock()  # held while a cell turns from one kind into the other
READ_ONLY = "this array shares memory that its owner made read-only; write to a copy of it"


def _somebody() -> Any:
    """Who cannot be asked whether they still look is taken to look."""
    return True


class PinnedLeaf(Leaf):
    """`outside()` is what keeps the others' arrays alive, None once they have let go of it, which only those tell to
    whom we have `lent` the memory. `writable`: its owner allows writing.

    `owner` keeps the memory alive where it is not ours. The buffer does not: a prepared launch holds on to the buffers
    of its last run, and must not hold on to what others wait to get back.
    """

    __slots__ = ("lent", "outside", "owner", "writable")
    buffer: Buffer

    def __init__(self, buffer: Buffer, device: Device, owner: Any = None, writable: bool = True) -> None:
        self.buffer, self.device, self.origin, self.shown = buffer, device, "", None  # super() would cost as much again
        self.owner, self.writable, self.lent = owner, writable, owner is None
        self.outside: Callable[[], Any] = _somebody


_stored: Any = Cell.__dict__["value"]  # the slot, behind the property below


class Pinned(Cell):
    """A Cell in memory that others see. Its slot holds the node of a PinnedLeaf.

    It has no slots of its own, so that a Cell can become one, and again a Cell when the others have let go.
    """

    __slots__ = ()

    @property
    def value(self) -> Node:
        """The elements as they are now: a leaf that nobody has seen before."""
        node: Node = _stored.__get__(self)
        if node.arg.outside() is None:
            with _lock:
                if node.arg.outside() is None:
                    self.__class__ = Cell  # type: ignore[assignment]
                    return node
        if current() is not None:  # jit captures what is there now
            return copied(node, node.arg.device)
        leaf = Node("buffer", (), node.arg, node.shape, node.dtype)
        leaf.depth = PINNED
        return leaf

    @value.setter
    def value(self, node: Node) -> None:
        self.replace(None, node, _stored.__get__(self).arg.device)

    def replace(self, view: View | None, value: Node, device: Device) -> None:
        """Write into the memory. Raises ValueError where its owner gave it for reading only."""
        old = self.value
        if type(self) is Cell:  # the others are gone
            return Cell.replace(self, view, value, device)
        leaf = old.arg
        if not leaf.writable:
            raise ValueError(READ_ONLY)
        view = view or whole(old.shape)
        check_writable(view)
        if view.size == 0:
            return None
        if leaf.buffer.host is None:
            made = settled(written(old, view, value, device), device)
            device.copy(made.arg.buffer, leaf.buffer, leaf.buffer.nbytes)
        else:
            data = read(value, device)  # before the target, for it may have to be computed from that
            dtype = object_of(old.dtype)
            target = elements(Memory(leaf, old.shape, dtype, writable=True), dtype)
            np.copyto(strided(target, view, writable=True), data)
        return None


def _counted(cell: Cell) -> tuple[Node, int]:
    """The cell's value, and how many references there are to it."""
    node = cell.value
    return node, getrefcount(node)


_ONE = _counted(Cell(Node("const", (), 0, (), "bool")))[1]  # as many as there are when only the cell has it


def pin(cell: Cell, device: Device) -> PinnedLeaf:
    """Make `cell` pinned, evaluated; for good, unless its leaf's `outside` is set.

    What was recorded on it, and NumPy arrays that show it, keep their values: where there are any, the cell moves to
    new memory first.
    """
    with _lock:
        if type(cell) is Pinned and cell.value.depth:
            found: PinnedLeaf = _stored.__get__(cell).arg
            return found
        node = None  # a name of ours for the node would be counted
        while node is None or node.op != "buffer":  # again where another thread writes meanwhile
            node = None
            if cell.value.op != "buffer":
                settle([cell.value], device)
            node, references = _counted(cell)
        if node.arg.buffer is None:
            raise TracedValueError()
        shown = node.arg.shown
        if references > _ONE or (shown is not None and shown() is not None):
            node = copied(node, device)
        leaf = PinnedLeaf(node.arg.buffer, device)
        cell.value = Node("buffer", (), leaf, node.shape, node.dtype)
        cell.__class__ = Pinned
        return leaf


def owned(node: Node, device: Device) -> Node:
    """`node`, or a copy of it where it shows memory that others write."""
    return settled(node, device) if node.depth >= PINNED else node


def check_written(targets: Sequence[Node], values: Sequence[Node]) -> None:
    """Raise ValueError where writing `targets` all at once, as jit does, differs from one write after the other.

    That is so where one of them shares others' memory with another of the `values`. Raises for read-only memory too.
    """
    pinned = [(node.arg.buffer.handle, node.arg.buffer.nbytes, node) for node in values if node.depth >= PINNED]
    for start, nbytes, node in pinned:
        if not any(node is target for target in targets):
            continue
        if not node.arg.writable:
            raise ValueError(READ_ONLY)
        if any(node is not other and start < at + more and at < start + nbytes for at, more, other in pinned):
            raise ValueError(
                "jit: the function writes to an argument that overlaps another one in memory of another library; pass "
                "one array, and take the other as a view of it inside the function"
            )


def exposed(cell: Cell, device: Device) -> Memory:
    """The memory of `cell`, which the host can address, for others to use: it is pinned for as long as they do."""
    with _lock:
        leaf = pin(cell, device)
        memory = leaf.outside()
        if type(memory) is not Memory:
            node: Node = _stored.__get__(cell)
            memory = Memory(leaf, node.shape, object_of(node.dtype), leaf.writable)
            if leaf.lent:
                leaf.outside = weakref.ref(memory)
        return memory


def adopted(layout: Layout, buffer: Buffer, owner: Any, writable: bool) -> tuple[Cell, View | None]:
    """A pinned cell on memory that `owner` keeps alive, and the view onto it that `layout` describes."""
    view = View(layout.shape, layout.strides, layout.offset)
    count = buffer.nbytes // object_of(layout.dtype).itemsize
    shape = layout.shape if in_order(view, (count,)) else (count,)
    cell = Cell(Node("buffer", (), PinnedLeaf(buffer, buffer.device, owner, writable), shape, layout.dtype))
    cell.__class__ = Pinned
    return cell, None if shape == layout.shape else view


class Bytes:
    """Memory at an address as NumPy takes it, kept alive by whoever uses it."""

    __slots__ = ("__array_interface__",)

    def __init__(self, address: int, nbytes: int, writable: bool) -> None:
        self.__array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "data": (address, not writable), "version": 3}


def host_buffer(data: HostArray, dtype: str, device: Device) -> tuple[Layout, Buffer] | None:
    """A Buffer on the very memory of `data`, which it does not keep alive, and how `data` lies in it.

    None where its layout does not allow that. The Buffer spans all elements from the lowest address to the highest, so
    strides may be of any sign.
    """
    size = data.itemsize
    kept = [s if e > 1 else 0 for e, s in zip(data.shape, data.strides, strict=True)]
    if data.size == 0 or not data.flags.aligned or not data.dtype.isnative or any(s % size for s in kept):
        return None
    reach = [(e - 1) * s for e, s in zip(data.shape, kept, strict=True)]
    low, high = sum(r for r in reach if r < 0), sum(r for r in reach if r > 0)
    nbytes, address = high - low + size, data.ctypes.data + low
    host = np.asarray(Bytes(address, nbytes, data.flags.writeable))
    strides = row_major(data.shape) if data.flags.c_contiguous else tuple(s // size for s in kept)
    return Layout(dtype, data.shape, strides, -low // size), Buffer(device, nbytes, address, host)
