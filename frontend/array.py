"""Array: a view onto a cell whose current value is a node; operators record, reading evaluates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, final

import numpy as np

from tilewright import indexing
from tilewright.backends.protocol import Device
from tilewright.devices import resolve
from tilewright.dtypes import KINDS, name_of
from tilewright.interop import Interop
from tilewright.kernels.node import Node, View
from tilewright.methods import Methods
from tilewright.operators import Cell, operand, stored_as
from tilewright.record import DEPTH, const
from tilewright.scatter import scatter
from tilewright.transfer import HostArray, numbers, settled, upload
from tilewright.views import in_order, whole
from tilewright.write import check_writable, fitted

CHUNK = 4096  # elements that iteration brings to the host at a time


@final
class Array(Interop, Methods):
    """An array of the array API standard, on one device, evaluated when it is read.

    Basic slices, transposes and reshapes share its memory and write through. Made by `tilewright.asarray` and the
    other creation functions, never directly.
    """

    __slots__ = ()

    @property
    def T(self) -> Array:
        return permuted(self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self) -> Array:
        axes = tuple(range(self.ndim))
        if len(axes) < 2:
            raise ValueError(f"mT: a matrix needs at least 2 axes, the shape is {self.shape}")
        return permuted(self, (*axes[:-2], axes[-1], axes[-2]))

    def __getitem__(self, key: Any) -> Array:
        parts = indexing.items(key, self.ndim, self._plain)
        view = indexing.basic(layout(self), parts)
        if view is not None:
            return viewed(self, view)
        return wrap(indexing.gather(self._cell.value, layout(self), parts, self._device), self._device)

    def __setitem__(self, key: Any, value: Any) -> None:
        dtype = self._cell.value.dtype
        data = operand(value, self._device, "setitem")
        if data is None:
            data = upload(numbers(value, "setitem", dtype), dtype, self._device)
        parts = indexing.items(key, self.ndim, self._plain)
        check_writable(layout(self))
        view = indexing.basic(layout(self), parts)
        if view is not None:
            viewed(self, view)._assign(fitted(data, view.shape, dtype, self._device))
            return
        node = indexing.masked(self.node(), parts, data, self._device)
        if node is not None:
            self._assign(node)
            return
        old = self._cell.value
        self._cell.replace(None, scatter(old, layout(self), parts, data, self._device), self._device)

    def _plain(self, item: Any) -> Any:
        """Arrays in an index become nodes, which is all that the indexing module knows."""
        return operand(item, self._device, "getitem") if type(item) is Array else item

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-dimensional array")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        if not self.shape:
            raise TypeError("iteration over a 0-dimensional array")
        return self._elements() if len(self.shape) == 1 else (self[k] for k in range(self.shape[0]))

    def _elements(self) -> Iterator[Array]:
        """The elements one by one; those of evaluated memory as numbers that the host knows, as NumPy's are: what is
        then asked of one of them needs neither a launch nor a transfer."""
        seen, data = None, np.empty(0)
        for k in range(self.shape[0]):
            value = self._cell.value
            if value.op != "buffer" or value.arg.buffer is None:  # recorded only, or traced
                yield self[k]
                continue
            if value is not seen or k % CHUNK == 0:
                start = k - k % CHUNK
                seen, data = value, self[start : start + CHUNK]._read()
            yield wrap(const(data[k % CHUNK].item(), value.dtype, "iter"), self._device)

    def __contains__(self, value: Any) -> bool:
        return bool((self._read() == np.asarray(value)).any())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth value of an array of shape {self.shape} is ambiguous; use any() or all()")
        return bool(self._read().item())

    def item(self) -> Any:
        """The only element, as a Python scalar. Raises ValueError if there are more or none."""
        if self.size != 1:
            raise ValueError(f"item: an array of shape {self.shape} has {self.size} elements, not one")
        return self._read().item()

    def _scalar(self, kind: str) -> Any:
        if self.shape:
            raise TypeError(f"only a 0-dimensional array converts to {kind}; the shape is {self.shape}")
        return self._read().item()

    def __int__(self) -> int:
        return int(self._scalar("int"))

    def __float__(self) -> float:
        return float(self._scalar("float"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex"))

    def __index__(self) -> int:
        if KINDS[self._cell.value.dtype] not in "iu":
            raise TypeError(f"only an integer array can be an index; the dtype is {self._cell.value.dtype}")
        return int(self._scalar("an index"))

    def tolist(self) -> Any:
        """The elements as nested lists of Python scalars."""
        return self._read().tolist()

    def __repr__(self) -> str:
        values = np.array2string(self._read(), separator=", ", prefix="Array(")
        return f"Array({values}, dtype={self._cell.value.dtype}, device='{self.device}')"

    def __str__(self) -> str:
        return str(self._read())

    def __format__(self, spec: str) -> str:
        if self.shape and spec:
            raise TypeError(f"format: an array of shape {self.shape} takes no format {spec!r}; format its elements")
        return str(self) if self.shape else format(self.item(), spec)

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:
        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12", "2025.12"):
            raise ValueError(f"array API version {api_version!r} is not supported; 2025.12 is")
        return sys.modules["tilewright"]

    def to_device(self, device: str, /, *, stream: Any = None) -> Array:
        """The same values on another device; this array itself if it is there already."""
        if stream is not None:
            raise ValueError("to_device: streams are not supported; leave `stream` out")
        target = resolve(device)
        if target is self._device:
            return self
        dtype = self._cell.value.dtype
        name_of(dtype, target)
        return Array(Cell(upload(self._read(), dtype, target)), target)

    def __reduce__(self) -> Any:
        return restore, (self._read().copy(), self._device.name)

    def __copy__(self) -> Array:
        return wrap(self.node(), self._device)

    def __deepcopy__(self, memo: Any) -> Array:
        return self.__copy__()


def restore(data: HostArray, device: str) -> Array:
    """What unpickling calls: the array on the device it was on."""
    target = resolve(device)
    return Array(Cell(upload(data, name_of(data.dtype, target), target)), target)


def wrap(node: Node, device: Device) -> Array:
    """A new array with its own memory that holds `node`; a graph beyond the depth bound is evaluated at once."""
    value, view = stored_as(node)
    if value.depth > DEPTH:
        value = settled(value, device)
    return Array(Cell(value), device, view)


def layout(x: Array) -> View:
    """How `x` looks onto its cell."""
    return x._view or whole(x._cell.value.shape)


def viewed(x: Array, view: View) -> Array:
    """Another array on the memory of `x`; `view` is onto its cell."""
    shape = x._cell.value.shape
    if view.shape == shape and in_order(view, shape):
        return Array(x._cell, x._device)
    return Array(x._cell, x._device, view)


def permuted(x: Array, axes: tuple[int, ...]) -> Array:
    """A view with its axes in another order."""
    shape, strides, offset = layout(x)
    return viewed(x, View(tuple(shape[a] for a in axes), tuple(strides[a] for a in axes), offset))
