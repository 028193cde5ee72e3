"""Memory shared with others: both sides write in place, and what was computed before keeps its values."""

from __future__ import annotations

import gc
import threading
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
    copy, pending, snapshot, view = +x, x + 1, np.asarray(x.__buffer__(0)), x[::2]
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
    captured = tw.jit(lambda y: x + y)
    for _ in range(2):
        agree(captured(tw.ones(5, dtype="float32", device="cpu")), np.full(5, 2, np.float32), device)
        a[...] = 7  # what jit captured stays as it was
    with pytest.raises(TypeError, match="value while it traces"):
        tw.jit(lambda y: np.from_dlpack(y))(tw.ones(5, dtype="float32", device="cpu"))


def test_exports_and_writes_from_several_threads(device):
    x = tw.zeros((64,), dtype="float32", device="cpu") + 0
    errors: list[BaseException] = []

    def export() -> None:
        for _ in range(50):
            part = np.from_dlpack(x)[5:]
            assert (part >= 0).all()

    def write() -> None:
        for k in range(50):
            x[k] = k
            assert float((x + 1)[63]) == 1

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (export, write, export, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    there = np.from_dlpack(x)
    there[0], x[1] = 70, 80
    assert float(x[0]) == 70 and there[1] == 80
