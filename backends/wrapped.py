"""A device made of an array library: `wrap` a namespace that speaks the array API or NumPy, and nothing is compiled.

A buffer holds one flat array of the library. Arrays are never written in place, so that libraries without writing
(JAX), lazy ones (dask) and eager ones (NumPy, PyTorch) are all the same here: a store makes a new flat array.
"""

from __future__ import annotations

import platform
import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from time import perf_counter
from typing import Any

import numpy as np

from tilewright.backends import host
from tilewright.backends.dtypes import DTYPES, numpy_dtype
from tilewright.backends.fallback import count
from tilewright.backends.launching import SequentialReplay, check_range
from tilewright.backends.protocol import (
    Buffer,
    Fingerprint,
    Launch,
    Layout,
    Limits,
    OutOfMemory,
    Program,
    Source,
    Unsupported,
    VendorCall,
)
from tilewright.backends.windows import as_dtype, element_numbers, in_order, reach, window

Library = Any
"""An array of the wrapped library."""


NEEDED = ("asarray", "reshape", "broadcast_to")


class Cell:
    """What a buffer holds: `array`, flat, of `dtype` and `count` elements, and the bytes behind it; or bytes alone.

    Bytes behind what is used stay bytes: a library may know one True only, or one NaN, and change others.
    """

    __slots__ = ("__weakref__", "array", "count", "dtype", "tail")

    def __init__(self) -> None:
        self.array: Library = None
        self.dtype, self.count = "", 0
        self.tail = b""  # all bytes while `dtype` is ""


class WrappedDevice:
    """See `wrap`."""

    def __init__(
        self, namespace: Any, name: str, device: Any, dtypes: Iterable[str], to_numpy: Callable[[Library], Any],
        finish: Callable[[Library], Library] | None, on_host: Iterable[str], version: str, subnormals: bool,
    ) -> None:  # fmt: skip
        self.namespace, self.name, self.on_host = namespace, name, frozenset(on_host)
        self._library = getattr(namespace, "__name__", type(namespace).__name__)
        self._options = {} if device is None else {"device": device}
        self._to_numpy, self._finish = to_numpy, finish
        self._unfinished: list[weakref.ref[Cell]] = []
        claimed = frozenset(d for d in dtypes if self._has(d))
        self.limits = _limits(claimed, subnormals)
        place = platform.machine() if device is None else str(device)
        versions = (("library", f"{self._library} {version}".strip()), ("numpy", np.__version__))
        self.fingerprint = Fingerprint(
            name.partition(":")[0], host.cpu_vendor(), host.cpu_model(), place, host.isa(), host.threads(), "", "", "",
            versions,
        )  # fmt: skip

    def _has(self, dtype: str) -> bool:
        """Whether the library keeps elements of that dtype as they are."""
        if not hasattr(self.namespace, dtype):
            return False
        given = np.arange(3).astype(numpy_dtype(dtype))
        try:
            back = np.asarray(self._to_numpy(self._array(given)))
        except Exception:  # a library says in errors of its own what it lacks
            return False
        return back.dtype == given.dtype and back.tobytes() == given.tobytes()

    def _array(self, data: np.ndarray[Any, Any]) -> Library:
        return self.namespace.asarray(data, **self._options)

    def allocate(self, nbytes: int) -> Buffer:
        if 0 <= (free := host.available_nbytes()) < nbytes:
            raise OutOfMemory(self.name, nbytes, free)
        return Buffer(self, nbytes, Cell())

    def write(self, buffer: Buffer, data: Any, offset: int = 0) -> None:
        given = memoryview(data).cast("B") if memoryview(data).nbytes else b""
        check_range(buffer, len(given), offset)
        cell: Cell = buffer.handle
        whole = bytes(given)
        if len(given) != buffer.nbytes:
            old = self._bytes(buffer)
            whole = old[:offset] + whole + old[offset + len(given) :]
        cell.array, cell.dtype, cell.count, cell.tail = None, "", 0, whole

    def read(self, buffer: Buffer, nbytes: int, offset: int = 0) -> bytearray:
        check_range(buffer, nbytes, offset)
        return bytearray(self._bytes(buffer)[offset : offset + nbytes])

    def copy(self, source: Buffer, target: Buffer, nbytes: int, source_offset: int = 0, target_offset: int = 0) -> None:
        check_range(source, nbytes, source_offset)
        check_range(target, nbytes, target_offset)
        if nbytes == source.nbytes == target.nbytes:
            given, taken = source.handle, target.handle
            taken.array, taken.dtype, taken.count, taken.tail = given.array, given.dtype, given.count, given.tail
        else:
            self.write(target, self.read(source, nbytes, source_offset), target_offset)

    def _bytes(self, buffer: Buffer) -> bytes:
        cell: Cell = buffer.handle
        if cell.dtype:
            return np.ascontiguousarray(self._to_numpy(cell.array)).tobytes() + cell.tail
        return cell.tail or bytes(buffer.nbytes)

    def _typed(self, buffer: Buffer, layout: Layout) -> Library:
        """The buffer's flat array, which covers the layout; in a dtype other than it was stored in by way of bytes."""
        cell: Cell = buffer.handle
        dtype, width = layout.dtype, DTYPES[layout.dtype].nbytes
        count = min(reach(layout), buffer.nbytes // width)
        if cell.dtype != dtype or cell.count < count:
            raw = bytearray(self._bytes(buffer))
            count = buffer.nbytes // width if cell.dtype else count  # used otherwise than before: not once more
            cell.array = self._array(np.frombuffer(raw, numpy_dtype(dtype), count))
            cell.dtype, cell.count, cell.tail = dtype, count, bytes(raw[count * width :])
        return cell.array

    def view(self, layout: Layout, buffer: Buffer) -> Library:
        """The elements of `buffer` in that layout; an axis of stride 0 may have any extent."""
        flat = self._typed(buffer, layout)
        try:
            return window(self.namespace, flat, layout, self._array)
        except Exception:  # each library has errors of its own for what it lacks
            begin, data = perf_counter(), np.ascontiguousarray(self._to_numpy(flat))
            result = self._array(np.ascontiguousarray(window(np, data, layout, np.asarray)).reshape(layout.shape))
            count("view", data.nbytes, perf_counter() - begin)
            return result

    def store(self, layout: Layout, buffer: Buffer, array: Library) -> None:
        """Put an array, broadcast and cast as need be, where `layout` says; the rest of `buffer` stays."""
        xp, cell = self.namespace, buffer.handle
        values = xp.reshape(xp.broadcast_to(as_dtype(xp, array, layout.dtype), layout.shape), (-1,))
        size = buffer.nbytes // DTYPES[layout.dtype].nbytes
        if in_order(layout) and prod(layout.shape) == size:
            rest = buffer.nbytes - size * DTYPES[layout.dtype].nbytes
            cell.tail = self._bytes(buffer)[-rest:] if rest else b""
            cell.array, cell.dtype, cell.count = values, layout.dtype, size
        elif prod(layout.shape):
            old = self._typed(buffer, layout)
            cell.array = self._merged(old, values, *element_numbers(layout, cell.count))
        if self._finish is not None:
            self._unfinished.append(weakref.ref(cell))

    def _merged(self, old: Library, values: Library, hit: Any, number: Any) -> Library:
        """`old` with `values[number]` where `hit`."""
        try:
            taken = self.namespace.take(values, self._array(number), axis=0)
            return self.namespace.where(self._array(hit), taken, old)
        except Exception:  # as above
            begin = perf_counter()
            new, data = (np.asarray(self._to_numpy(x)) for x in (values, old))
            result = self._array(np.where(hit, new[number], data))
            count("store", data.nbytes + new.nbytes, perf_counter() - begin)
            return result

    def scope(self) -> AbstractContextManager[Any]:
        """Nothing to set up: every array says where it is."""
        return nullcontext()

    def build(self, source: Source) -> bytes:
        raise Unsupported(f"{self.name} computes with arrays of {self._library} and compiles nothing")

    def load(self, binary: bytes, source: Source) -> Program:
        raise Unsupported(f"{self.name} computes with arrays of {self._library} and compiles nothing")

    def vendor(self, call: VendorCall) -> None:
        """Its library does everything already."""

    def capture(self, launches: Sequence[Launch]) -> SequentialReplay:
        return SequentialReplay(launches)

    def time(self, launch: Launch, repeats: int) -> list[float]:
        """By the wall clock, until the values are there."""
        self.synchronize()
        times = []
        for _ in range(repeats):
            start = perf_counter()
            launch()
            self.synchronize()
            times.append(perf_counter() - start)
        return times

    def synchronize(self) -> None:
        cells, self._unfinished = self._unfinished, []
        for cell in dict.fromkeys(ref() for ref in cells):
            if cell is not None and cell.dtype and self._finish is not None:
                cell.array = self._finish(cell.array)


def _limits(dtypes: frozenset[str], subnormals: bool) -> Limits:
    memory = host.memory_nbytes()
    return Limits(
        threads_per_group=1, shared_nbytes=0, registers=0, compute_units=1, subgroup=1, vector_nbytes=0,
        cache_nbytes=host.cache_nbytes(), memory_nbytes=memory, allocation_nbytes=memory, dtypes=dtypes, compiles=False,
        subnormals=subnormals,
    )  # fmt: skip


def wrap(
    namespace: Any, *, name: str, device: Any = None, dtypes: Iterable[str] = tuple(DTYPES),
    to_numpy: Callable[[Library], Any] = np.asarray, finish: Callable[[Library], Library] | None = None,
    on_host: Iterable[str] = (), version: str = "", subnormals: bool = True,
) -> WrappedDevice:  # fmt: skip
    """A device, called `name`, of a library whose `namespace` has the array API's functions or NumPy's.

    Every op runs by the library's function of that name; what it lacks or refuses runs on the host, and is counted.
    `device` goes to the library's asarray. Of `dtypes` those are claimed that the library keeps as they are.
    `to_numpy(array)` brings elements to the host. `finish(array)` is for libraries that compute later: it waits for the
    values, or asks for them, and returns the array that has them. `on_host` names ops ("mod", or "mod float32" for one
    dtype) and functions ("cholesky") for which the library's answers are not the array API's: `tilewright certify`
    tells which. `subnormals=False` is for a library that takes numbers below the smallest normal one for 0.

    Raises Unsupported where the namespace lacks one of NEEDED.
    """
    missing = [function for function in NEEDED if not hasattr(namespace, function)]
    if missing:
        raise Unsupported(f"wrap: {name} has no {', '.join(missing)}; without these a library cannot be a device")
    root = getattr(namespace, "__name__", "").partition(".")[0]
    version = version or str(getattr(sys.modules.get(root), "__version__", ""))
    return WrappedDevice(namespace, name, device, dtypes, to_numpy, finish, on_host, version, subnormals)
