"""Arrays to and from Python, NumPy, torch, pickle and the array API's own helpers."""

from __future__ import annotations

import pickle

import array_api_compat
import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample
from tilewright.backends.registry import usable_names


def test_asarray_of_python_objects(device):
    for value in (3, 2.5, True, [1, 2], [[1.0], [2.0]], (), [np.float32(1)], range(3)):
        agree(tw.asarray(value, device=device.name), np.asarray(value), device)
    x = tw.asarray([1, 2], device=device.name)
    agree(tw.asarray([x, x + 1], device=device.name), np.array([[1, 2], [2, 3]]), device)
    agree(tw.asarray(x, dtype="float32"), np.array([1, 2], np.float32), device)
    for wrong in ("text", ["a"], object(), [[1], [2, 3]]):
        with pytest.raises((TypeError, ValueError)):
            tw.asarray(wrong, device=device.name)
    with pytest.raises(TypeError, match="no_such"):
        tw.zeros(3, dtype="no_such", device=device.name)


def test_numpy_array_shares_the_memory_both_ways(device):
    x = tw.asarray(sample((4, 3)), device=device.name) + 0
    before = x * 2
    shared, view = np.asarray(x), np.asarray(x[1:, ::2])
    x += 1
    x[0] = 9
    expected = sample((4, 3)) + 1
    expected[0] = 9
    np.testing.assert_array_equal(shared, expected)
    np.testing.assert_array_equal(view, expected[1:, ::2])
    shared[3] = -1
    assert x[3].tolist() == [-1, -1, -1]
    agree(before, sample((4, 3)) * 2, device)
    assert not np.asarray(tw.broadcast_to(x[0], (4, 3))).flags.writeable
    copied = np.array(x)
    copied[...] = 0
    assert float(x[0, 0]) == 9
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, dtype=np.int8, copy=False)


def test_shared_memory_outlives_the_array(device):
    kept = np.asarray(tw.asarray(sample((1000,)), device=device.name) * 1)
    for _ in range(5):  # the pool would hand out the same block again
        tw.eval(tw.asarray(sample((1000,)), device=device.name) * 0)
    np.testing.assert_array_equal(kept, sample((1000,)))


def test_scalars(device):
    x = tw.asarray([1.5, -2.0], dtype="float32", device=device.name)
    n = tw.asarray([3, 0], device=device.name)
    assert float(x[0]) == 1.5 and int(x[1]) == -2 and complex(x[0]) == 1.5 and bool(n[0]) and not n[1]
    assert [10, 20, 30, 40][n[0]] == 40 and x[0].item() == 1.5 and x.tolist() == [1.5, -2.0]
    assert len(x) == 2 and [float(v) for v in x] == [1.5, -2.0] and 1.5 in x and 7 not in x
    assert f"{x[0]:.3f}" == "1.500" and str(x) == "[ 1.5 -2. ]"
    assert repr(x) == f"Array([ 1.5, -2. ], dtype=float32, device='{device.name}')"
    for wrong in (lambda: float(x), lambda: len(x[0]), lambda: iter(x[0]), lambda: hash(x), lambda: [1, 2][x[0]]):
        with pytest.raises(TypeError):
            wrong()
    for wrong in (lambda: bool(x), lambda: x.item()):
        with pytest.raises(ValueError, match=r"\(2,\)"):
            wrong()


def test_attributes(device):
    x = tw.zeros((2, 3, 4), dtype="int16", device=device.name)
    assert (x.shape, x.ndim, x.size, x.dtype, x.device) == ((2, 3, 4), 3, 24, np.dtype("int16"), device.name)
    assert x.T.shape == (4, 3, 2) and x.mT.shape == (2, 4, 3)
    with pytest.raises(ValueError, match="mT"):
        _ = x[0, 0].mT


def test_pickle(device):
    x = tw.asarray(sample((3, 4)), device=device.name)
    agree(pickle.loads(pickle.dumps(x.T)), sample((3, 4)).T, device)


def test_bfloat16(device):
    x = tw.asarray([1.0, 2.5], dtype=tw.bfloat16, device=device.name)
    assert x.dtype == tw.bfloat16 and (x + 1).tolist() == [2.0, 3.5]
    assert (x + tw.ones(2, dtype="float32", device=device.name)).dtype == tw.float32
    assert tw.finfo(tw.bfloat16).bits == 16 and tw.isdtype(tw.bfloat16, "real floating")
    agree(tw.astype(x, "float32"), np.array([1, 2.5], np.float32), device)
    assert pickle.loads(pickle.dumps(x)).dtype == tw.bfloat16


def test_to_device(device):
    x = tw.asarray(sample((3, 4)), device=device.name)
    assert x.to_device(device.name) is x
    for name in usable_names():
        moved = x.T.to_device(name)
        assert moved.device == name
        np.testing.assert_array_equal(np.asarray(moved), sample((3, 4)).T)
        if name != device.name:
            with pytest.raises(ValueError, match="to_device"):
                _ = moved + x.T
    with pytest.raises(ValueError, match="no device 'nowhere'"):
        x.to_device("nowhere")
    with pytest.raises(TypeError, match="string"):
        tw.zeros(3, device=0)


def test_array_api_compat(device):
    x = tw.asarray(sample((3, 4)), device=device.name)
    xp = array_api_compat.array_namespace(x, x + 1)
    assert xp is tw
    assert array_api_compat.device(x) == device.name and array_api_compat.size(x) == 12
    assert array_api_compat.to_device(x, device.name) is x
