"""Memory shared with NumPy, torch and whoever speaks DLPack or the buffer protocol: written in place by both sides."""

from __future__ import annotations

import array
import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample

LAYOUTS = {
    "plain": lambda a: a, "transposed": lambda a: a.T, "steps": lambda a: a[1:, ::2], "backwards": lambda a: a[::-1],
    "both": lambda a: a[::-2, ::-1], "axes": lambda a: a[None, :, None, 1], "element": lambda a: a[2, 1:2].reshape(()),
}  # fmt: skip
DTYPES = ("bool", "int8", "uint64", "float16", "float32", "complex64", "complex128")


def shared(a: Any) -> tw.Array:
    return tw.asarray(a, copy=False, device="cpu")


@pytest.mark.parametrize("take", [tw.from_dlpack, shared], ids=["from_dlpack", "asarray"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_import_shares(device, layout, take):
    base = sample((5, 4))
    a = LAYOUTS[layout](base)
    x = take(a)
    agree(x, a, device)
    a[...] = a + 1
    agree(x, a, device)
    x[...] = 9
    x += 1
    expected = sample((5, 4)) + 0
    LAYOUTS[layout](expected)[...] = 10
    np.testing.assert_array_equal(base, expected)


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


@pytest.mark.parametrize("view", [np.s_[...], np.s_[1:, ::2], np.s_[2], np.s_[:, None, 1], np.s_[1, 1]], ids=str)
def test_export_shares(device, view):
    x, expected = tw.asarray(sample((4, 3)), device="cpu") * 2, sample((4, 3)) * 2
    b = np.from_dlpack(x[view])
    b[...] = 50
    expected[view] = 50
    agree(x, expected, device)
    x[1] = 7
    expected[1] = 7
    np.testing.assert_array_equal(b, expected[view])
    assert np.from_dlpack(x).ctypes.data == np.from_dlpack(x).ctypes.data


def test_export_does_not_copy_what_nobody_else_holds(device):
    x = tw.asarray(sample((100,)), device="cpu") * 2
    tw.eval(x)
    address = np.asarray(x).ctypes.data  # looked at, and let go
    assert np.from_dlpack(x).ctypes.data == address


def test_what_was_there_before_keeps_its_values(device):
    a = sample((6,))
    x = tw.asarray(a, device="cpu") * 2
    copy, pending, snapshot, view = +x, x + 1, np.asarray(x), x[::2]
    after_view = view * 3
    shared = np.from_dlpack(x)
    shared[...] = -1
    x[0] = -2
    agree(copy, a * 2, device)
    agree(pending, a * 2 + 1, device)
    agree(after_view, a[::2] * 6, device)
    np.testing.assert_array_equal(snapshot, a * 2)
    agree(view, np.array([-2, -1, -1], np.float32), device)
    later = [x + 1, tw.sum(x), abs(x), x[np.array([0, 1])], tw.asarray(x, copy=True), tw.concat([x])]
    expected = [np.asarray(y).copy() for y in later]
    shared[...] = 100
    for y, e in zip(later, expected, strict=True):
        agree(y, e, device)
    assert float(x[3]) == 100


def test_an_export_ends_with_its_last_holder(device):
    x = tw.asarray(sample((8,)), device="cpu") + 0
    there = np.from_dlpack(x)[2:]
    there[0] = 5
    pinned = type(x._cell)
    del there
    gc.collect()
    y = x + 1  # recorded, as on any other array
    assert y._cell.value.op == "add" and type(x._cell) is not pinned
    x[2] = 6
    assert float(y[2]) == 6 and float(x[2]) == 6
    again = np.from_dlpack(x)
    again[2] = 8
    assert float(x[2]) == 8


def test_lifetimes(device):
    a = sample((1000,))
    gone = weakref.ref(a)
    x = tw.from_dlpack(a)
    view, result = x[10:], x * 2
    tw.eval(result)
    del a, x
    gc.collect()
    assert gone() is not None
    agree(view[0], sample((1000,))[10], device)
    del view
    gc.collect()
    assert gone() is None  # although a prepared launch has seen the memory
    agree(result, sample((1000,)) * 2, device)

    x = tw.asarray(sample((1000,)), device="cpu") * 1
    there = np.from_dlpack(x)
    buffer = weakref.ref(x._cell.value.arg.buffer)
    del x
    for _ in range(4):  # the pool must not hand out the block meanwhile
        tw.eval(tw.asarray(sample((1000,)), device="cpu") * 0)
    np.testing.assert_array_equal(there, sample((1000,)))
    del there
    gc.collect()
    tw.eval(tw.asarray(sample((1000,)), device="cpu") * 1)  # the launch lets go of the last run's
    assert buffer() is None


@pytest.mark.parametrize("seed", range(12))
def test_programs_of_writes_from_both_sides(device, seed):
    """Ours, imported, against NumPy's own aliasing; what was computed in between must stay what it was."""
    rng = np.random.default_rng(seed)
    theirs, plain = sample((4, 6)), sample((4, 6))
    x = tw.from_dlpack(theirs)
    keys = [np.s_[...], np.s_[1:, ::2], np.s_[::-1], np.s_[2], np.s_[:, 1], np.s_[1:3, 2:5]]
    aliases = [(x[key], theirs[key], plain[key]) for key in keys]
    kept: list[tuple[Any, Any]] = []
    for step in range(20):
        ours, outside, mirror = aliases[rng.integers(len(aliases))]
        value = float(rng.integers(1, 9))
        match rng.integers(6):
            case 0:
                ours[...] = value
                mirror[...] = value
            case 1:
                outside[...] += value
                mirror[...] += value
            case 2:
                ours += value
                mirror += value
            case 3:
                kept.append((ours + value, mirror + np.float32(value)))
            case 4:
                kept.append((tw.sum(ours), mirror.sum()))
                ours[..., 0] = ours[..., -1]
                mirror[..., 0] = mirror[..., -1]
            case 5:
                ours[ours > value] = value
                mirror[mirror > value] = value
        np.testing.assert_array_equal(theirs, plain, err_msg=f"step {step}")
    for result, expected in kept:
        agree(result, expected, device)


def test_jit_with_shared_memory(device):
    a = sample((5,))
    x = tw.from_dlpack(a)

    @tw.jit
    def step(x):
        old = +x
        x *= 2
        return old, x

    for _ in range(3):
        before = a.copy()
        old, new = step(x)
        np.testing.assert_array_equal(a, before * 2)
        a[0] = 1
        agree(old, before, device)
        agree(new, before * 2, device)

    @tw.jit
    def swap(x, y):
        x[...] = y
        y[...] = x * 0 + 3

    b = np.ones(5, np.float32)
    swap(x, tw.from_dlpack(b))
    assert (a == 1).all() and (b == 3).all()
    with pytest.raises(ValueError, match="overlaps another"):
        swap(tw.from_dlpack(a), tw.from_dlpack(a[::-1]))
    with pytest.raises(TypeError, match="pass it as an argument"):
        tw.jit(lambda y: x + y)(tw.ones(5, dtype="float32", device="cpu"))


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
