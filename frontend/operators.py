"""Recorded: what an Array is made of, and its operators, which record a node each."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Self

import numpy as np

from tilewright import record
from tilewright.backends.protocol import Device
from tilewright.devices import Device as Place
from tilewright.dtypes import KINDS, can_cast_names, name_of, narrow, object_of, supported
from tilewright.kernels.node import Node, View
from tilewright.kernels.ops import OPS
from tilewright.products import matmul
from tilewright.record import DEPTH, FAST, SCALARS, Operand
from tilewright.transfer import element, settle, settled, upload
from tilewright.views import shows_all
from tilewright.write import written


class Cell:
    """What aliases share: the current value of a piece of memory, C-contiguous. A write replaces `value`."""

    __slots__ = ("value",)

    def __init__(self, value: Node) -> None:
        self.value = value

    def replace(self, view: View | None, value: Node, device: Device) -> None:
        """Write `value`, of that shape and dtype, where `view` looks: everywhere if it is None."""
        node = written(self.value, view, value, device)
        self.value = settled(node, device) if node.depth > DEPTH else node


def stored_as(node: Node) -> tuple[Node, View | None]:
    """How a new array keeps `node`: an op recorded in its operands' transposed order stays so, under a view."""
    if node.op == "view":
        source, view = record.source_of(node)
        if (source.op in OPS or source.op == "cast") and view is not None and shows_all(view, source.shape):
            return source, view
    return node, None


def overrides_ufuncs(x: Any) -> bool:
    """Whether `x` has a way of its own with operators and ufuncs, as dask's and xarray's arrays have, and is asked."""
    own = getattr(type(x), "__array_ufunc__", np.ndarray.__array_ufunc__)
    return own is not np.ndarray.__array_ufunc__ and not isinstance(x, Recorded)


def keeps_its_type(x: Any) -> bool:
    """Whether `x` is one of NumPy's arrays that hold more than elements, such as a masked one."""
    return isinstance(x, np.ndarray) and x.__array_priority__ > 0


def operand(x: Any, device: Device, op: str) -> Operand | None:
    """What `x` is to an op on `device`: a node, a Python scalar, or None for what is no operand."""
    if isinstance(x, Recorded):
        if x._device is not device:
            there = f"one operand is on {x.device}, another on {device.name}"
            raise ValueError(f"{record.title(op)}: {there}; bring them together with to_device")
        return x.node()
    if type(x) in SCALARS:
        return x
    if hasattr(x, "__array__") and not (overrides_ufuncs(x) or keeps_its_type(x)):
        data = np.asarray(x)
        name = name_of(data.dtype)
        return upload(data, name if supported(name, device) else narrow(name, device), device)
    return None


def apply(op: str, x: Any, y: Any, device: Device) -> Node | None:
    """A binary op of the table, or matmul, of any two operands; None where one is no operand."""
    a, b = operand(x, device, op), operand(y, device, op)
    if a is None or b is None:
        return None
    if op == "matmul":
        return matmul(a, b, device) if isinstance(a, Node) and isinstance(b, Node) else None
    return record.binary(op, a, b, device)


_NUMBERS = frozenset({int, float})
_PLAIN = frozenset({"float32", "float64"})  # what Python numbers are weak against, and need no rounding for
_LARGE = 3e38


def _operators(op: str) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """x op y, y op x and x op= y. Equal shapes and dtypes, the usual case, are told apart first: that must be fast."""
    fast = FAST.get(op, {})

    def forward(self: Recorded, other: Any) -> Any:
        kind, device, given = self.__class__, self._device, type(other)
        if given is kind and other._device is device:
            a = self._cell.value if self._view is None else self.node()
            b = other._cell.value if other._view is None else other.node()
            dtype, shape = a.dtype, a.shape
            if dtype == b.dtype and shape == b.shape:
                result = fast.get(dtype)
                if result is not None and (a.op != "view" or b.op != "view"):  # two views may lie transposed
                    node = Node(op, (a, b), None, shape, result)
                    if node.depth > DEPTH:
                        settle([node], device)
                    return kind(Cell(node), device)
        elif given in _NUMBERS:
            a = self._cell.value if self._view is None else self.node()
            dtype = a.dtype
            if dtype in _PLAIN and -_LARGE < other < _LARGE:
                result = fast.get(dtype)
                if result is not None:
                    fixed = Node("const", (), float(other), (), dtype)
                    return self._new(record.elementwise(op, (a, fixed), a.shape, result))
        made = apply(op, self, other, device)
        return NotImplemented if made is None else self._new(made)

    def reflected(self: Recorded, other: Any) -> Any:
        made = apply(op, other, self, self._device)
        return NotImplemented if made is None else self._new(made)

    def inplace(self: Recorded, other: Any) -> Any:
        result = forward(self, other)
        return result if result is NotImplemented else self._replaced(result.node(), op)

    return forward, reflected, inplace


def _unary(op: str) -> Callable[[Any], Any]:
    def forward(self: Recorded) -> Any:
        return self._new(record.unary(op, self.node(), self._device))

    return forward


_pow, _rpow, _ = _operators("pow")


class Recorded:
    """A view onto a cell on a device. The cell's value changes with every write through any alias."""

    __slots__ = ("__weakref__", "_cached", "_cell", "_device", "_view")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, cell: Cell, device: Device, view: View | None = None) -> None:
        self._cell, self._device, self._view = cell, device, view  # no view: the whole cell, in its own shape
        if view is not None:
            self._cached: tuple[Node | None, Node | None] = (None, None)

    def node(self) -> Node:
        """The current value: the cell's own node, or a view of it that is kept while that stays the same."""
        value, view = self._cell.value, self._view
        if view is None:
            return value
        base, node = self._cached
        if base is not value or node is None:
            node = (element(value, view, self._device) if view.size == 1 else None) or record.window(value, view)
            self._cached = (value, node)
        return node

    def _new(self, node: Node) -> Self:
        """An array with its own memory that holds `node`; a graph beyond the depth bound is evaluated at once."""
        value, view = stored_as(node)
        if value.depth > DEPTH:
            value = settled(value, self._device)
        return self.__class__(Cell(value), self._device, view)

    def _assign(self, value: Node) -> None:
        """Write `value`, of this shape and dtype, where every alias sees it."""
        self._cell.replace(self._view, value, self._device)

    def _replaced(self, value: Node, op: str) -> Self:
        """Take the value that an in-place op made, if shape and dtype allow."""
        name, dtype = record.title(op), self._cell.value.dtype
        if value.shape != self.shape:
            raise ValueError(f"{name}: a result of shape {value.shape} does not fit in place of {self.shape}")
        if not can_cast_names(value.dtype, dtype, "same_kind"):
            raise TypeError(f"{name}: a {value.dtype} result does not fit in place of {dtype}; assign it to a new name")
        self._assign(record.cast(value, dtype, self._device))
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        return self._cell.value.shape if self._view is None else self._view.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return object_of(self._cell.value.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def device(self) -> Place:
        """Where the elements are: a name such as `cpu`, equal to the string "cpu"."""
        return Place(self._device.name)

    __add__, __radd__, __iadd__ = _operators("add")
    __sub__, __rsub__, __isub__ = _operators("sub")
    __mul__, __rmul__, __imul__ = _operators("mul")
    __truediv__, __rtruediv__, __itruediv__ = _operators("div")
    __floordiv__, __rfloordiv__, __ifloordiv__ = _operators("floordiv")
    __mod__, __rmod__, __imod__ = _operators("mod")
    __matmul__, __rmatmul__, __imatmul__ = _operators("matmul")
    __and__, __rand__, __iand__ = _operators("and")
    __or__, __ror__, __ior__ = _operators("or")
    __xor__, __rxor__, __ixor__ = _operators("xor")
    __lshift__, __rlshift__, __ilshift__ = _operators("shl")
    __rshift__, __rrshift__, __irshift__ = _operators("shr")
    __rpow__ = _rpow
    __eq__, __ne__ = _operators("eq")[0], _operators("ne")[0]
    __lt__, __le__ = _operators("lt")[0], _operators("le")[0]
    __gt__, __ge__ = _operators("gt")[0], _operators("ge")[0]
    __neg__, __abs__, __invert__ = _unary("neg"), _unary("abs"), _unary("invert")

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def __pos__(self) -> Self:
        if self._cell.value.dtype == "bool":
            raise TypeError("positive: not defined for dtype bool")
        return self._new(self.node())

    def __pow__(self, other: Any) -> Any:
        if type(other) is int or type(other) is float:  # the cheap powers: NumPy's, and the cube
            kind = KINDS[self._cell.value.dtype]
            if type(other) is int and kind in "iufc" and 2 <= other <= 3:
                return self * self if other == 2 else self * self * self
            if other == 0.5 and kind == "f":
                return self._new(record.unary("sqrt", self.node(), self._device))
            if other == -1 and kind == "f":
                return 1 / self
            if type(other) is int and other < 0 and kind in "biu":
                raise ValueError("pow: integers to negative integer powers are not allowed; convert to a float dtype")
        return _pow(self, other)

    def __ipow__(self, other: Any) -> Any:
        result = self.__pow__(other)
        return result if result is NotImplemented else self._replaced(result.node(), "pow")
