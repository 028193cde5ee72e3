"""Creation of arrays. Filled and counted ones are nodes that take no memory until they are needed."""

from __future__ import annotations

from math import ceil, isfinite, prod
from typing import Any

import numpy as np

from tilewright import record
from tilewright.arguments import integer, integers, number, single
from tilewright.array import Array, wrap
from tilewright.backends.protocol import Device
from tilewright.devices import resolve
from tilewright.dlpack import host_array, imported, is_elsewhere, taken
from tilewright.dtypes import KINDS, default_float, default_int, name_of, narrow, object_of
from tilewright.elementwise import one
from tilewright.kernels.node import Node, View
from tilewright.transfer import numbers, upload

Shape = int | tuple[int, ...]
MOST = (1 << 63) - 1


def asarray(obj: Any, /, *, dtype: Any = None, device: str | None = None, copy: bool | None = None) -> Array:
    """An array of anything: numbers, nested lists, NumPy arrays, and what speaks __array__ or DLPack.

    An Array of that dtype and device is returned as it is unless `copy`. Python numbers get the default dtypes. Others'
    memory is copied, since arrays that share it cannot wait to be evaluated; with `copy=False`, on the CPU, it is
    shared, and both sides write in place. Raises TypeError for what is no array, ValueError where `copy=False` cannot
    be kept.
    """
    if isinstance(obj, Array):
        target = obj._device if device is None else resolve(device)
        name = obj._cell.value.dtype if dtype is None else name_of(dtype, target)
        _check_real(obj._cell.value.dtype, name, "asarray")
        if target is obj._device and name == obj._cell.value.dtype:
            return obj.__copy__() if copy else obj
        if copy is False:
            raise ValueError("asarray: another dtype or device needs a copy; leave out copy=False")
        moved = wrap(record.cast(obj.node(), name, obj._device), obj._device) if target is obj._device else obj
        return moved if target is obj._device else astype(moved.to_device(target.name), object_of(name))
    if is_elsewhere(obj):
        there = from_dlpack(obj, device=device, copy=copy is not False)
        return asarray(there, dtype=dtype, copy=False if copy is False else None)
    target = resolve(device)
    data = _host(obj, copy, None if dtype is None else name_of(dtype, target))
    wanted = _wanted(obj, data, dtype, target)
    if copy is not False:
        return wrap(upload(data, wanted, target), target)
    cell, view = taken(data, wanted, target, False, "asarray")
    return Array(cell, target, view)


def array(obj: Any, dtype: Any = None, *, copy: bool = True, ndmin: int = 0, device: str | None = None) -> Array:
    """A new array of anything that `asarray` takes, with axes of 1 in front until it has `ndmin`: NumPy's name."""
    x = asarray(obj, dtype=dtype, copy=copy or None, device=device)
    return x[(None,) * (ndmin - x.ndim)] if x.ndim < ndmin else x


def _host(obj: Any, copy: bool | None, dtype: str | None) -> np.ndarray[Any, Any]:
    if hasattr(obj, "__dlpack__") and (copy is False or not hasattr(obj, "__array__")) and type(obj) is not np.ndarray:
        return host_array(obj, copy)
    if copy is not False:
        return numbers(obj, "asarray", dtype)
    try:
        data = np.asarray(obj, copy=False)
    except ValueError:
        name = type(obj).__name__
        raise ValueError(f"asarray: {name} has no memory to share and needs a copy; leave out copy=False") from None
    if data.dtype.kind not in "biufc" and data.dtype.name != "bfloat16":
        raise TypeError(f"asarray: Unsupported dtype {data.dtype} of {type(obj).__name__}; arrays hold numbers")
    return data


def _wanted(obj: Any, data: np.ndarray[Any, Any], dtype: Any, device: Device) -> str:
    """The dtype asked for; else the data's own, which for Python numbers is the device's default."""
    if dtype is not None:
        return name_of(dtype, device)
    strong = hasattr(obj, "dtype") or hasattr(obj, "__array__")
    return name_of(data.dtype, device) if strong else narrow(data.dtype.name, device)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Array:
    """An array on the memory of anything that speaks DLPack, and on its device: both sides write in place.

    A copy where `copy`, or where another `device`, or a layout that kernels cannot take, needs one. Raises
    AttributeError for what does not speak DLPack, ValueError where `copy=False` cannot be kept, BufferError for memory
    that no device of ours reaches, and whatever `x` raises.
    """
    if isinstance(x, Array):
        return asarray(x, device=device, copy=copy)
    cell, target, view = imported(x, None if device is None else resolve(device), copy)
    return Array(cell, target, view)


def astype(x: Array, dtype: Any, /, *, copy: bool = True, device: str | None = None) -> Array:
    """`x` converted to `dtype`; `x` itself if that changes nothing and `copy` is False."""
    target = resolve(device) if device is not None else one(x, "astype")._device
    name = name_of(dtype, target)
    _check_real(x._cell.value.dtype, name, "astype")
    if target is not x._device:
        return astype(x.to_device(target.name), dtype, copy=False)
    if name == x._cell.value.dtype:
        return x.__copy__() if copy else x
    return wrap(record.cast(x.node(), name, target), target)


def _check_real(source: str, target: str, op: str) -> None:
    if KINDS[source] == "c" and KINDS[target] not in "c":
        raise TypeError(f"{op}: {source} does not convert to {target}; take real() or abs() first")


def shape_of(shape: Any, op: str) -> tuple[int, ...]:
    """A shape given as an integer or a sequence, as a tuple. Raises TypeError or ValueError."""
    result = integers(shape, op, "an extent")
    if any(s < 0 for s in result):
        raise ValueError(f"{op}: the shape {result} has a negative extent")
    if prod(result) > MOST:
        raise ValueError(f"{op}: the shape {result} has more elements than can be counted in 64 bits")
    return result


def full(shape: Shape, fill_value: Any, *, dtype: Any = None, device: str | None = None) -> Array:
    """`fill_value`, a Python scalar or a 0-dimensional array, everywhere."""
    target, extents = resolve(device), shape_of(shape, "full")
    if isinstance(fill_value, Array):
        value = fill_value if dtype is None else astype(fill_value, dtype)
        if record.broadcast_shapes([value.shape, extents], "full") != extents:
            raise ValueError(f"full: a fill value of shape {value.shape} does not broadcast to {extents}")
        return wrap(record.expand(value.node(), extents), value._device)
    if type(fill_value) not in record.SCALARS and numbers(fill_value, "full").shape:
        raise TypeError(f"full: the fill value must be a scalar or a tilewright array, not {fill_value!r}")
    name = _scalar_dtype(fill_value, target) if dtype is None else name_of(dtype, target)
    return wrap(record.filled(fill_value, extents, name, target), target)


def _scalar_dtype(value: Any, device: Device) -> str:
    return name_of(type(value) if type(value) in record.SCALARS else numbers(value, "full").dtype, device)


def _constant(shape: Shape, value: int, dtype: Any, device: str | None, op: str) -> Array:
    target = resolve(device)
    name = default_float(target) if dtype is None else name_of(dtype, target)
    return wrap(record.filled(value, shape_of(shape, op), name, target), target)


def zeros(shape: Shape, *, dtype: Any = None, device: str | None = None) -> Array:
    """Zeros, of the default float dtype unless told otherwise."""
    return _constant(shape, 0, dtype, device, "zeros")


def ones(shape: Shape, *, dtype: Any = None, device: str | None = None) -> Array:
    """Ones, of the default float dtype unless told otherwise."""
    return _constant(shape, 1, dtype, device, "ones")


def empty(shape: Shape, *, dtype: Any = None, device: str | None = None) -> Array:
    """An array to be written to; it holds zeros, which cost nothing until they are read."""
    return _constant(shape, 0, dtype, device, "empty")


def full_like(x: Array, /, fill_value: Any, *, dtype: Any = None, device: str | None = None) -> Array:
    """`fill_value` in the shape, and unless told otherwise the dtype and device, of `x`."""
    shape = one(x, "full_like").shape
    return full(shape, fill_value, dtype=dtype or x.dtype, device=device or x.device)


def zeros_like(x: Array, /, *, dtype: Any = None, device: str | None = None) -> Array:
    """Zeros like `x`."""
    return full_like(one(x, "zeros_like"), 0, dtype=dtype, device=device)


def ones_like(x: Array, /, *, dtype: Any = None, device: str | None = None) -> Array:
    """Ones like `x`."""
    return full_like(one(x, "ones_like"), 1, dtype=dtype, device=device)


def empty_like(x: Array, /, *, dtype: Any = None, device: str | None = None) -> Array:
    """An array like `x`, to be written to."""
    return full_like(one(x, "empty_like"), 0, dtype=dtype, device=device)


def iota(count: int, device: Device) -> Node:
    """0, 1, 2, ... of the device's default integer dtype."""
    return Node("iota", (), None, (count,), default_int(device))


def _line(count: int, start: Any, step: Any, dtype: str, device: Device) -> Node:
    """start + step * (0, 1, 2, ...) computed in `dtype`."""
    node = record.cast(iota(count, device), dtype, device)
    if step != 1:
        node = record.binary("mul", node, step, device)
    return record.binary("add", node, start, device) if start != 0 else node


def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None, device: str | None = None
) -> Array:
    """start, start + step, ... below `stop`; from 0 if only one bound is given. Raises ValueError for a step of 0."""
    target = resolve(device)
    given = (0, start, step) if stop is None else (start, stop, step)
    start, stop, step = (number(v, "arange", "a bound or step") for v in given)
    if step == 0:
        raise ValueError("arange: the step must not be 0")
    if not (isfinite(start) and isfinite(stop) and isfinite(step)):
        raise ValueError(f"arange: from {start} to {stop} in steps of {step} takes no finite number of steps")
    whole_numbers = all(isinstance(v, int) or hasattr(v, "__index__") for v in (start, stop, step))
    name = name_of(int if whole_numbers else float, target) if dtype is None else name_of(dtype, target)
    count = max(ceil((stop - start) / step), 0)
    if whole_numbers:
        count = len(range(int(start), int(stop), int(step)))
    if KINDS[name] == "c" or name == "bool":
        return asarray(np.arange(start, stop, step).astype(name), device=device)
    kind = int if KINDS[name] in "iu" else float
    first = object_of(name).type(start)
    gap = step if kind is int else float(object_of(name).type(start + step) - first)  # as NumPy: second less first
    return wrap(_line(count, kind(start), kind(gap), name, target), target)


def linspace(
    start: float, stop: float, /, num: int, *, dtype: Any = None, device: str | None = None, endpoint: bool = True
) -> Array:
    """`num` evenly spaced numbers from `start` to `stop`, which is left out unless `endpoint`."""
    target = resolve(device)
    if integer(num, "linspace", "the number of samples") < 0:
        raise ValueError(f"linspace: the number of samples, {num}, must not be negative")
    start, stop = (single(v) for v in (start, stop))
    name = default_float(target) if dtype is None else name_of(dtype, target)
    if dtype is None and (isinstance(start, complex) or isinstance(stop, complex)):
        name = "complex128"
    if KINDS[name] != "f":
        return asarray(np.linspace(start, stop, num, dtype=name, endpoint=endpoint), device=device)
    pieces = num - 1 if endpoint else num
    wide = "float32" if object_of(name).itemsize == 2 else name
    node = _line(num, start, (stop - start) / pieces if pieces > 0 else 0.0, wide, target)
    if endpoint and num > 1:  # rounding must not move the end
        last = record.binary("eq", iota(num, target), num - 1, target)
        node = record.where(last, float(stop), node, target)
    return wrap(record.cast(node, name, target), target)


def _grid(shape: tuple[int, ...], device: Device) -> tuple[Node, Node]:
    """Row and column numbers over a matrix."""
    rows, columns = (iota(extent, device) for extent in shape)
    return record.window(rows, View(shape, (1, 0), 0)), record.window(columns, View(shape, (0, 1), 0))


def _diagonal(k: int, shape: tuple[int, ...]) -> int:
    """The number `k` of a diagonal; what lies outside the matrix, however far, as the first outside."""
    return max(-shape[0], min(k, shape[1]))


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: str | None = None
) -> Array:
    """Ones on the `k`-th diagonal, zeros elsewhere."""
    target = resolve(device)
    name = default_float(target) if dtype is None else name_of(dtype, target)
    shape = shape_of((n_rows, n_rows if n_cols is None else n_cols), "eye")
    k = integer(k, "eye", "the diagonal")
    row, column = _grid(shape, target)
    node = record.binary("eq", record.binary("add", row, _diagonal(k, shape), target), column, target)
    return wrap(record.cast(node, name, target), target)


def _triangle(x: Array, op: str, k: int, name: str) -> Array:
    if one(x, name).ndim < 2:
        raise ValueError(f"{name}: a matrix needs at least 2 axes, the shape is {x.shape}")
    device, k = x._device, integer(k, name, "the diagonal")
    row, column = _grid(x.shape[-2:], device)
    kept = record.binary(op, column, record.binary("add", row, _diagonal(k, x.shape[-2:]), device), device)
    zero = False if x._cell.value.dtype == "bool" else 0
    return wrap(record.where(kept, x.node(), zero, device), device)


def tril(x: Array, /, *, k: int = 0) -> Array:
    """The lower triangle of each matrix, up to the `k`-th diagonal; zeros above."""
    return _triangle(x, "le", k, "tril")


def triu(x: Array, /, *, k: int = 0) -> Array:
    """The upper triangle of each matrix, from the `k`-th diagonal; zeros below."""
    return _triangle(x, "ge", k, "triu")


def meshgrid(*arrays: Array, indexing: str = "xy") -> tuple[Array, ...]:
    """Coordinate arrays over the grid of 1-dimensional `arrays`, of equal shape."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing is 'xy' or 'ij', not {indexing!r}")
    if any(one(x, "meshgrid").ndim > 1 for x in arrays):
        raise ValueError(f"meshgrid: arrays of one axis are needed, the shapes are {[x.shape for x in arrays]}")
    order = [1, 0, *range(2, len(arrays))] if indexing == "xy" and len(arrays) > 1 else list(range(len(arrays)))
    shape = tuple(arrays[k].size for k in order)
    result = []
    for k, x in enumerate(arrays):
        line = x[None] if x.ndim == 0 else x
        lined = line[tuple(slice(None) if axis == k else None for axis in order)]
        result.append(wrap(record.expand(lined.node(), shape), x._device))
    return tuple(result)
