"""A device that shares its memory with other libraries, but not with the host, as CUDA does through CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import sample
from tilewright import dlpack
from tilewright.backends import registry
from tilewright.backends.protocol import Buffer, Layout
from tilewright.pinned import Bytes, host_buffer


class Kept:
    """A block of the CPU's pool, in a Buffer that does not show it to the host."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer

    def release(self) -> None:
        self.buffer = None  # type: ignore[assignment]


class Library:
    """An array of the library that works on the device: it exports with a stream, as CuPy's do."""

    def __init__(self, data: Any, keep: Any = None) -> None:
        self.data, self.keep = data, keep

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 7)

    def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
        return self.data.__dlpack__(**options)


class Host(Library):
    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


class Apart:
    """The CPU, posing as the eighth device of CUDA."""

    name, dlpack_device = "cuda:7", (2, 7)

    def __init__(self, cpu: Any) -> None:
        self._cpu = cpu

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cpu, name)

    def allocate(self, nbytes: int) -> Buffer:
        own = self._cpu.allocate(nbytes)
        return Buffer(self, nbytes, own.handle, None, Kept(own))  # type: ignore[arg-type]

    def _seen(self, buffer: Buffer) -> Any:
        return np.asarray(Bytes(buffer.handle, buffer.nbytes, True)) if buffer.nbytes else np.empty(0, np.uint8)

    def write(self, buffer: Buffer, data: Any, offset: int = 0) -> None:
        view = np.frombuffer(memoryview(data), np.uint8)
        self._seen(buffer)[offset : offset + view.size] = view

    def read(self, buffer: Buffer, nbytes: int, offset: int = 0) -> bytearray:
        return bytearray(self._seen(buffer)[offset : offset + nbytes])

    def copy(self, source: Buffer, target: Buffer, nbytes: int) -> None:
        self._seen(target)[:nbytes] = self._seen(source)[:nbytes]

    def vendor(self, call: Any) -> None:
        return None

    def view(self, layout: Layout, buffer: Buffer) -> Library:
        start = self._seen(buffer).view(layout.dtype)[layout.offset :]
        strides = [s * start.itemsize for s in layout.strides]
        return Library(np.lib.stride_tricks.as_strided(start, layout.shape, strides), buffer)

    def adopt(self, exporter: Any) -> tuple[Layout, Buffer, Any]:
        data = np.from_dlpack(Host(exporter))
        found = host_buffer(data, data.dtype.name, self)  # type: ignore[arg-type]
        assert found is not None
        return found[0], Buffer(self, found[1].nbytes, found[1].handle), data  # type: ignore[arg-type]


@pytest.fixture
def apart(cpu: Any, monkeypatch: pytest.MonkeyPatch) -> Apart:
    device, find = Apart(cpu), registry.get_device
    monkeypatch.setattr(registry, "get_device", lambda name: device if name == "cuda:7" else find(name))
    return device


def test_import_and_write_in_place(apart):
    base = sample((4, 6))
    x = tw.from_dlpack(Library(base[::2, 1:]))
    assert x.device == "cuda:7" and x.__dlpack_device__() == (2, 7)
    y = x + 1
    x[0, 0] = 50
    x[:, 1] *= 2
    expected = sample((4, 6))
    expected[0, 1] = 50
    expected[::2, 2] *= 2
    np.testing.assert_array_equal(base, expected)
    base[2, 5] = -50
    assert float(x[1, 4]) == -50
    np.testing.assert_array_equal(np.asarray(y), sample((4, 6))[::2, 1:] + 1)
    copies = [tw.asarray(Library(base[::2, 1:])), tw.from_dlpack(Library(base[::2, 1:]), copy=True)]
    kept = base[::2, 1:].copy()
    base[0] = -1
    for copy in copies:
        assert copy.device == "cuda:7"
        np.testing.assert_array_equal(np.asarray(copy), kept)
    shared = tw.asarray(Library(base), copy=False)
    shared[3] = 11
    assert (base[3] == 11).all()
    with pytest.raises(ValueError, match="needs a copy"):
        tw.from_dlpack(Library(base), device="cpu", copy=False)
    np.testing.assert_array_equal(np.asarray(tw.from_dlpack(Library(base), device="cpu")), base)


def test_export(apart):
    x = tw.asarray(sample((3, 4)), device="cuda:7") * 2
    before = x + 1
    there = np.from_dlpack(Host(_Passing(x, stream=5)))
    there[0] = 9
    x[1] = 8
    expected = sample((3, 4)) * 2
    np.testing.assert_array_equal(np.asarray(before), expected + 1)
    expected[0], expected[1] = 9, 8
    np.testing.assert_array_equal(np.asarray(x), expected)
    np.testing.assert_array_equal(there, expected)
    copied = np.from_dlpack(Host(_Passing(x[::-1])))
    copied[...] = 0
    host = np.from_dlpack(x, device="cpu")
    np.testing.assert_array_equal(host, expected)
    with pytest.raises(BufferError, match="negative"):
        x[::-1].__dlpack__(copy=False, stream=1)
    half = tw.ones(3, dtype=tw.bfloat16, device="cuda:7")
    again = tw.from_dlpack(_Passing(half, device=(2, 7)))
    again[1] = 4
    assert half.tolist() == [1, 4, 1] and again.dtype == tw.bfloat16


class _Passing:
    """Asks an exporter with options of its own."""

    def __init__(self, exporter: Any, device: tuple[int, int] = (1, 0), **options: Any) -> None:
        self.exporter, self.device, self.options = exporter, device, options

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **options: Any) -> Any:
        options.pop("stream", None)
        return self.exporter.__dlpack__(**{**options, **self.options})


def test_cuda_array_interface(apart):
    x = tw.asarray(sample((3, 4)), device="cuda:7")
    found = x.T.__cuda_array_interface__
    address, read_only = found["data"]
    assert (found["shape"], found["typestr"], found["strides"], read_only) == ((4, 3), "<f4", (4, 16), False)
    seen = np.asarray(Bytes(address, 48, True)).view(np.float32)
    seen[1] = 60
    assert float(x[0, 1]) == 60
    x[2, 3] = 70
    assert seen[11] == 70
    assert dlpack.host_sees(apart) is False
