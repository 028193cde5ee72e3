"""The ways by which memory is shared: DLPack, asarray without a copy, the buffer protocol; and where they must copy."""

from __future__ import annotations

import array
import sys

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample

DTYPES = ("bool", "int8", "uint64", "float16", "float32", "complex64", "complex128")


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_ways_in_every_dtype(device, dtype):
    a = sample((3, 4), dtype)
    x = tw.from_dlpack(a)
    b = np.from_dlpack(x)
    assert b.ctypes.data == a.ctypes.data and x.dtype == b.dtype == a.dtype
    for shape in ((), (0, 3), (2, 0)):
        agree(tw.from_dlpack(np.ones(shape, dtype)), np.ones(shape, dtype), device)
        there = np.from_dlpack(tw.ones(shape, dtype=dtype, device="cpu"))
        assert there.shape == shape and there.dtype == dtype and there.all()


def test_read_only_memory(device):
    a = sample((3,))
    a.flags.writeable = False
    for x in (tw.from_dlpack(a), tw.asarray(a, copy=False, device="cpu")):
        for write in (lambda x=x: x.__setitem__(0, 1), lambda x=x: x.__iadd__(1), lambda x=x: tw.jit(_double)(x)):
            with pytest.raises(ValueError, match="read-only"):
                write()
        assert not np.from_dlpack(x).flags.writeable
        x.__dlpack__()  # a capsule that cannot say so gets a copy
        with pytest.raises(BufferError, match="read-only"):
            x.__dlpack__(copy=False)
        agree(x + 1, a + 1, device)


def _double(x):
    x *= 2


def test_what_needs_a_copy(device):
    x = tw.asarray(sample((4, 3)), device="cpu")
    for odd in (x[::-1], tw.broadcast_to(x[0], (2, 3))):
        with pytest.raises(BufferError, match="copy=False"):
            odd.__dlpack__(copy=False, max_version=(1, 0))
        there = np.from_dlpack(odd)
        np.testing.assert_array_equal(there, np.asarray(odd))
        there[...] = 77
    copied = np.from_dlpack(x, copy=True)
    copied[...] = 77
    agree(x, sample((4, 3)), device)
    a = sample((4,))
    y = tw.from_dlpack(a, copy=True)
    a[0] = 77
    agree(y, sample((4,)), device)
    assert "versioned" in repr(x.__dlpack__(max_version=(1, 0))) and "versioned" not in repr(x.__dlpack__())
    for wrong in ({"dl_device": (2, 0)}, {"dl_device": (4, 0)}):
        with pytest.raises(BufferError, match="DLPack device"):
            x.__dlpack__(**wrong)
    with pytest.raises(ValueError, match="stream"):
        x.__dlpack__(stream=1)
    with pytest.raises(AttributeError, match="__dlpack__"):
        tw.from_dlpack([1, 2])


def test_asarray_shares_only_when_told(device):
    a = sample((4,))
    assert tw.asarray(a, device="cpu") + 0 is not None
    x = tw.asarray(a, device="cpu")
    a[0] = 99
    assert float(x[0]) == sample((4,))[0]
    numbers = array.array("d", [1, 2, 3])
    shared = tw.asarray(numbers, copy=False, device="cpu")
    numbers[1] = 9
    shared[0] = 8
    assert shared.tolist() == [8, 9, 3] == list(numbers)
    record = np.zeros(3, [("a", "i1"), ("b", "<f4")])
    for impossible in (3, [1, 2], a.astype(">f4"), record["b"], np.frombuffer(bytes(9), np.int8)[1:].view("<i4")):
        with pytest.raises(ValueError, match="copy=False"):
            tw.asarray(impossible, copy=False, device="cpu")
    with pytest.raises(ValueError, match="float32 as float64 needs a copy"):
        tw.asarray(a, dtype="float64", copy=False, device="cpu")


def test_buffer_protocol(device):
    x = tw.asarray(sample((2, 3)), device="cpu") + 0
    snapshot, shared = x.__buffer__(0), x.__buffer__(1)
    assert snapshot.readonly and not shared.readonly and shared.shape == (2, 3) and shared.format == "f"
    shared[1, 2] = 50
    assert float(x[1, 2]) == 50 and snapshot.tolist() == sample((2, 3)).tolist()
    with pytest.raises(BufferError, match="bfloat16"):
        tw.ones(3, dtype=tw.bfloat16, device="cpu").__buffer__(0)
    with pytest.raises(BufferError, match="read-only"):
        tw.broadcast_to(x[0], (2, 3)).__buffer__(1)
    if sys.version_info >= (3, 12):
        assert memoryview(x).readonly and memoryview(x).tolist() == x.tolist()
    assert not hasattr(x, "__cuda_array_interface__")


def test_other_devices_copy(every_device):
    name = every_device.name
    a = sample((3, 4))
    x = tw.from_dlpack(a, device=name)
    agree(x, a, every_device)
    if every_device.allocate(0).host is not None:
        return
    assert x.__dlpack_device__() == (1, 0) or name.startswith("cuda")
    there = np.from_dlpack(x, device="cpu")
    there[...] = 0
    agree(x, a, every_device)
    for refused in (lambda: tw.asarray(a, device=name, copy=False), lambda: tw.from_dlpack(a, device=name, copy=False),
                    lambda: np.asarray(x, copy=False)):  # fmt: skip
        with pytest.raises(ValueError, match="copy"):
            refused()
    with pytest.raises(BufferError, match="copy=False"):
        x.__dlpack__(copy=False, dl_device=(1, 0))
    with pytest.raises(BufferError, match="host memory"):
        x.__buffer__(0)


def test_torch(device):
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.bfloat16, torch.bool, torch.complex64):
        t = torch.arange(6).reshape(2, 3).to(dtype)
        x = tw.from_dlpack(t.T)
        t[0, 1] = 0
        x[2, 1] = 1
        assert x[1, 0] == 0 and t[1, 2] == 1 and x.dtype == str(dtype).removeprefix("torch.")
        y = x + x if dtype != torch.bool else x | x
        back = torch.from_dlpack(y)
        assert back.dtype == dtype and torch.equal(back, t.T + t.T)
        back[0, 0] = 1
        y[1, 0] = 1
        assert y[0, 0] == 1 and back[1, 0] == 1
    backwards = torch.from_dlpack(tw.asarray(sample((4,)), device="cpu")[::-1])
    assert backwards.tolist() == sample((4,))[::-1].tolist()
