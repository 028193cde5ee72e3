"""Interop: what makes an Array look like an array to NumPy, DLPack, CUDA libraries and the buffer protocol."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright import dlpack
from tilewright.backends.protocol import Sharing
from tilewright.functions import array_function
from tilewright.operators import Recorded
from tilewright.pinned import pin
from tilewright.transfer import HostArray, read
from tilewright.ufuncs import array_ufunc
from tilewright.views import row_major, whole

_WRITABLE = 1  # PyBUF_WRITABLE


class Interop(Recorded):
    """The protocols by which other libraries take arrays.

    What they get shares memory where it can: both sides write it in place from then on, until the other side lets go of
    it. An array that shares memory is evaluated as it is recorded, since it may change at any time.
    """

    __slots__ = ()

    def _read(self) -> HostArray:
        """The elements as a NumPy array, read-only where they share memory."""
        return read(self._cell.value, self._device, self._view)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> HostArray:
        """The elements as a NumPy array: on the CPU in this array's own memory, as torch's, unless `copy`.

        Raises ValueError where `copy` is False and another dtype, or a device that is not the host, needs a copy.
        """
        if dtype is not None and np.dtype(dtype) != self.dtype:
            if copy is False:
                raise ValueError(f"{self.dtype} as {np.dtype(dtype)} needs a copy")
            return self._read().astype(dtype)
        if copy:
            return self._read().copy()
        if dlpack.host_sees(self._device):
            return dlpack.shared(self)
        if copy is False and self.size:
            raise ValueError(f"an array on {self.device} needs a copy to be NumPy's; leave out copy=False")
        return self._read()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy's ufuncs and their methods, on this array's device where we have the op, else on the host, counted."""
        return array_ufunc(type(self), ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """NumPy's functions, on this array's device where we have the function, else on the host, counted."""
        return array_function(function, types, args, kwargs)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A DLPack capsule on this array's memory, which both sides then write in place; on a copy in host memory where
        the device's cannot be shared (OpenCL), the host's is asked for, the layout does not allow it, or `copy`.

        Raises BufferError where `copy` is False and one is needed, and for a `dl_device` that is neither this array's
        nor the host; ValueError for a stream on the host.
        """
        return dlpack.capsule_of(self, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's type and number of the device that `__dlpack__` exports from: (1, 0), the host, or (2, n), CUDA."""
        return dlpack.home_of(self._device)

    def __buffer__(self, flags: int, /) -> memoryview:
        """The buffer protocol, for `memoryview(x)` from Python 3.12 on; before, only C can offer it: use
        `numpy.asarray(x).data`, or `numpy.from_dlpack(x).data` to write.

        Read-only and unchanged by later writes, unless the caller wants to write: then in this array's own memory.
        Raises BufferError for another device than the CPU, and for bfloat16, which has no format there.
        """
        if not dlpack.host_sees(self._device):
            raise BufferError(f"an array on {self.device} has no host memory; take a copy with numpy.asarray")
        if self._cell.value.dtype == "bfloat16":
            raise BufferError("bfloat16 has no format in the buffer protocol; use astype")
        if not flags & _WRITABLE:
            return self._read().data
        data = dlpack.shared(self)
        if not data.flags.writeable:
            raise BufferError("this array's memory is read-only; write to a copy of it")
        return data.data

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """CUDA libraries' view of this array's memory, version 3; AttributeError on devices other than CUDA's."""
        device = self._device
        there = isinstance(device, Sharing) and device.dlpack_device[0] == dlpack.CUDA
        if not there or self._cell.value.dtype == "bfloat16":
            raise AttributeError(f"a {self.dtype} array on {self.device} has no __cuda_array_interface__")
        leaf = pin(self._cell, device)
        leaf.lent = False  # it is not told when it has been used
        dtype, view = self.dtype, self._view or whole(self.shape)
        strides = None if view.strides == row_major(view.shape) else tuple(s * dtype.itemsize for s in view.strides)
        address = leaf.buffer.handle + view.offset * dtype.itemsize if view.size else 0
        return {
            "shape": view.shape, "typestr": dtype.str, "strides": strides, "version": 3, "stream": 1,
            "data": (address, not leaf.writable),
        }  # fmt: skip
