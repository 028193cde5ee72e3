"""DLPack both ways. NumPy makes and reads the capsules of host memory, CuPy those of CUDA's.

bfloat16, which NumPy's capsules lack, travels as uint16 with its type code written over.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np

from tilewright.backends.protocol import Buffer, Device, Layout, Sharing
from tilewright.devices import resolve
from tilewright.dtypes import name_of, object_of
from tilewright.kernels.node import View
from tilewright.operators import Cell, Recorded
from tilewright.pinned import adopted, exposed, host_buffer, pin
from tilewright.record import window
from tilewright.transfer import HostArray, elements, read, settle, settled, strided, upload
from tilewright.views import overlaps, whole

HOST, CUDA = (1, 0), 2
_HOST_KINDS = (1, 3, 11, 13)  # the CPU, pinned by CUDA or ROCm, managed by CUDA: the host can address them
_UINT, _BFLOAT = (1, 16), (4, 16)  # type code and bits
_TYPE_AT = {b"dltensor": 20, b"dltensor_versioned": 52}  # where the type stands, by the capsule's name


def home_of(device: Device) -> tuple[int, int]:
    """DLPack's type and number of the device from which arrays are exported: the host where others cannot reach it."""
    return device.dlpack_device if isinstance(device, Sharing) else HOST


def capsule_of(x: Recorded, stream: Any, max_version: tuple[int, int] | None, dl_device: Any, copy: bool | None) -> Any:
    """A DLPack capsule of `x`. Raises BufferError where the request cannot be met, ValueError for a wrong stream."""
    home = home_of(x._device)
    target = home if dl_device is None else tuple(int(getattr(part, "value", part)) for part in dl_device)
    if target == HOST:
        if stream is not None:
            raise ValueError(f"__dlpack__: host memory has no streams, so `stream` must be None, not {stream!r}")
        return _host_capsule(x, max_version, copy)
    if target != home:
        raise BufferError(f"__dlpack__: an array on {x.device} goes to DLPack device {home} or {HOST}, not to {target}")
    return _device_capsule(x, stream, max_version, copy)


def _host_capsule(x: Recorded, max_version: tuple[int, int] | None, copy: bool | None) -> Any:
    reason = "" if host_sees(x._device) else f"the memory of {x.device} is not the host's"
    copy = _copies(copy, reason or _needs_copy(x, max_version))
    data = read(x._cell.value, x._device, x._view) if copy else shared(x)
    bfloat16 = data.dtype.name == "bfloat16"
    options = {"copy": True} if copy else {}  # then NumPy sets the capsule's flag that says so
    capsule = (data.view(np.uint16) if bfloat16 else data).__dlpack__(max_version=max_version, **options)  # type: ignore[arg-type]
    return _as_bfloat16(capsule) if bfloat16 else capsule


def _device_capsule(x: Recorded, stream: Any, max_version: tuple[int, int] | None, copy: bool | None) -> Any:
    view, device = x._view or whole(x.shape), x._device
    assert isinstance(device, Sharing)
    copy = _copies(copy, _needs_copy(x, max_version))
    if copy:
        settle([x._cell.value], device)
        buffer = x._cell.value.arg.buffer
    else:
        leaf = pin(x._cell, device)
        leaf.lent = False  # the library's arrays do not tell when the last of them is gone
        buffer = leaf.buffer
    dtype = x._cell.value.dtype
    layout = Layout("uint16" if dtype == "bfloat16" else dtype, view.shape, view.strides, view.offset)
    capsule = device.view(layout, buffer).__dlpack__(stream=stream, max_version=max_version, copy=copy)
    return _as_bfloat16(capsule) if dtype == "bfloat16" else capsule


def _copies(copy: bool | None, reason: str) -> bool:
    """Whether to copy, for that reason or because it is asked for. Raises BufferError where it is forbidden."""
    if copy is False and reason:
        raise BufferError(f"__dlpack__: {reason}, so a copy is needed; leave out copy=False")
    return bool(copy or reason)


def _needs_copy(x: Recorded, max_version: tuple[int, int] | None) -> str:
    """Why the memory of `x` cannot be handed out as it lies; "" where it can, or where there is none."""
    view = x._view or whole(x.shape)
    if view.size == 0:
        return ""
    if overlaps(view):
        return "a broadcast view is read-only"
    if any(stride < 0 for stride in view.strides):
        return "strides are negative, which others do not take"
    versioned = max_version is not None and max_version[0] >= 1
    if not versioned and not getattr(x._cell.value.arg, "writable", True):
        return "the memory is read-only, which capsules before DLPack 1.0 cannot say"
    return ""


_seen: dict[Any, bool] = {}  # by device: every export asks


def host_sees(device: Device) -> bool:
    """Whether the host can address the device's memory."""
    found = _seen.get(device)
    if found is None:
        found = _seen[device] = device.allocate(0).host is not None
    return found


def shared(x: Recorded) -> HostArray:
    """The elements of `x` in the memory of `x` itself, which is pinned for as long as the array lives.

    Writable unless the memory was given to us read-only. Raises BufferError where the host cannot address it.
    """
    view, device = x._view, x._device
    if x.size == 0:
        return np.empty(x.shape, x.dtype)
    if not host_sees(device):
        raise BufferError(f"the memory of {x.device} is not the host's; take a copy with numpy.asarray")
    whole_cell = elements(exposed(x._cell, device), x.dtype)
    device.synchronize()
    if view is None:
        return whole_cell
    return strided(whole_cell, view, writable=whole_cell.flags.writeable and not overlaps(view))


class _Relabelled:
    """An exporter whose bfloat16 capsules say uint16, for NumPy to take them. `bfloat16`: whether there was one."""

    def __init__(self, exporter: Any) -> None:
        self.exporter, self.bfloat16 = exporter, False

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.exporter.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self.exporter.__dlpack__(**options)
        code = _type_of(capsule)
        self.bfloat16 = tuple(code) == _BFLOAT
        if self.bfloat16:
            code[:] = _UINT
        return capsule


def _as_bfloat16(capsule: Any) -> Any:
    """A capsule of uint16 that says bfloat16 instead."""
    _type_of(capsule)[:] = _BFLOAT
    return capsule


def _type_of(capsule: Any) -> Any:
    """The type code and bits of a capsule's elements, as two bytes in place."""
    python = ctypes.pythonapi
    python.PyCapsule_GetName.restype, python.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = python.PyCapsule_GetName(capsule)
    return (ctypes.c_uint8 * 2).from_address(python.PyCapsule_GetPointer(capsule, name) + _TYPE_AT[name])


def is_elsewhere(exporter: Any) -> bool:
    """Whether it speaks DLPack, of memory that the host cannot address."""
    return hasattr(exporter, "__dlpack_device__") and exporter.__dlpack_device__()[0] not in _HOST_KINDS


def host_array(exporter: Any, copy: bool | None = None) -> HostArray:
    """What speaks DLPack as a NumPy array, in its own memory where that is the host's, else copied by the exporter."""
    relabelled = _Relabelled(exporter)
    there = exporter.__dlpack_device__()[0] in _HOST_KINDS
    data = np.from_dlpack(relabelled, copy=copy) if there else np.from_dlpack(relabelled, device="cpu", copy=copy)  # type: ignore[arg-type]
    return data.view(object_of("bfloat16")) if relabelled.bfloat16 else data


def imported(exporter: Any, device: Device | None, copy: bool | None) -> tuple[Cell, Device, View | None]:
    """What speaks DLPack as a cell, the device it is on, and a view onto it: shared where it can be, else copied.

    Raises AttributeError for what does not speak it, ValueError where `copy=False` cannot be kept, BufferError for
    memory of a kind that we have no device for, and what the exporter raises.
    """
    if not hasattr(exporter, "__dlpack__") or not hasattr(exporter, "__dlpack_device__"):
        name = type(exporter).__name__
        raise AttributeError(f"from_dlpack: {name} has no __dlpack__ and __dlpack_device__; use asarray")
    kind, number = exporter.__dlpack_device__()
    if kind not in (*_HOST_KINDS, CUDA):
        raise BufferError(f"from_dlpack: there is no device for memory of DLPack type {int(kind)}; copy it to the host")
    home = resolve("cpu" if kind in _HOST_KINDS else f"cuda:{number}")
    target = device or home
    if kind == CUDA and target is home and isinstance(home, Sharing):
        relabelled = _Relabelled(exporter)
        layout, buffer, owner = home.adopt(relabelled)
        if relabelled.bfloat16:
            layout = replace(layout, dtype="bfloat16")
        cell, view = adopted(layout, buffer, owner, writable=True)
        if copy:
            cell, view = Cell(settled(cell.value if view is None else window(cell.value, view), home)), None
        return cell, target, view
    if copy is False and kind == CUDA:
        raise ValueError(f"from_dlpack: from {home.name} to {target.name} needs a copy; leave out copy=False")
    cell, view = taken(host_array(exporter), None, target, copy, "from_dlpack")
    return cell, target, view


def taken(data: HostArray, dtype: str | None, device: Device, copy: bool | None, name: str) -> tuple[Cell, View | None]:
    """`data` as a cell of `device`: shared unless `copy`, copied where that cannot be.

    Raises ValueError where `copy` is False and it cannot be.
    """
    own = name_of(data.dtype, device)
    found: tuple[Layout, Buffer] | None = None
    if copy:
        reason = ""
    elif dtype is not None and dtype != own:
        reason = f"{own} as {dtype}"
    elif not host_sees(device):
        reason = f"host memory on {device.name}"
    else:
        found = host_buffer(data, own, device)
        reason = "" if found or data.size == 0 else "memory that is not aligned, of another byte order, or of a record"
    if copy is False and reason:
        raise ValueError(f"{name}: {reason} needs a copy; leave out copy=False")
    if found is not None:
        return adopted(*found, owner=data, writable=data.flags.writeable)
    return Cell(upload(data, dtype or own, device)), None
