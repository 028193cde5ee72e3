"""Assignment at integer arrays and masks: what NumPy does, in order and where threads have none."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample
from tests.frontend.test_indexing import ADVANCED, on
from tilewright import scatter

RNG = np.random.default_rng(3)
DTYPES = ["bool", "int8", "uint16", "int64", "float16", "float32", "float64", "complex64", "complex128", "bfloat16"]


@pytest.fixture(params=["in order", "sorted"])
def way(request, monkeypatch):
    """As devices do it whose threads store in order, and as those do it whose threads do not."""
    if request.param == "sorted":
        monkeypatch.setattr(scatter, "serial", lambda limits: False)
    return request.param


@pytest.mark.parametrize("key", ADVANCED, ids=str)
def test_keys_views_and_values(way, key, device):
    for order in ((0, 1, 2), (2, 0, 1)):
        for shape in ("all", "last", "one"):
            a = sample((4, 4, 5))
            x = tw.asarray(a.copy(), device=device.name)
            base, view = a, x
            a, x = np.transpose(a, order)[:4, ::-1], tw.permute_dims(x, order)[:4, ::-1]
            value = sample(a[key].shape if shape == "all" else a[key].shape[-1:] if shape == "last" else (1, 1), seed=2)
            value = value[0] if shape == "one" and a[key].ndim < 2 else value
            tw.fallbacks(reset=True)
            x[on(device, key)] = tw.asarray(value, device=device.name)
            a[key] = value
            agree(x, a, device)
            agree(view, base, device)
            assert tw.fallbacks() == {}


@pytest.mark.parametrize("n", [1, 7, 3000])
@pytest.mark.parametrize("on_device", [False, True])
def test_the_last_of_repeated_places_wins(way, n, on_device, device):
    a = sample((n, 3))
    x = tw.asarray(a.copy(), device=device.name)
    at = RNG.integers(-n, n, 4 * n)
    for key in (np.s_[at], np.s_[at, 1], np.s_[at, at % 3], np.s_[:, at % 3], np.s_[at[:, None], at[:4] % 3]):
        value = RNG.random(a[key].shape, dtype=np.float32)
        x[on(device, key) if on_device else key] = value
        a[key] = value
        agree(x, a, device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(way, dtype, device):
    a = sample((9, 4), "float32")
    x, y = (
        tw.astype(tw.asarray(a, device=device.name), getattr(tw, dtype)),
        a.astype(np.dtype(tw.bfloat16)) if (dtype == "bfloat16") else a.astype(dtype),
    )
    at, value = np.array([3, 3, -1, 0, 3]), sample((5, 4), "float32", 5)
    x[at] = tw.astype(tw.asarray(value, device=device.name), getattr(tw, dtype))
    y[at] = value.astype(y.dtype)
    agree(x, y, device)
    x[at[:2], 1] = 1
    y[at[:2], 1] = 1
    agree(x, y, device)


def test_masks_take_values_in_order(way, device):
    a = sample((6, 50))
    x = tw.asarray(a.copy(), device=device.name)
    for mask in (a > 3, a > 1000, a[:, 0] > 0):
        value = RNG.random(a[mask].shape, dtype=np.float32)
        x[tw.asarray(mask, device=device.name)] = value
        a[mask] = value
        agree(x, a, device)
    with pytest.raises(ValueError, match="broadcast"):
        x[a > 3] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="broadcast"):
        x[np.array([0, 1])] = np.zeros((3, 50), np.float32)
    for wrong in (6, -7):
        with pytest.raises(IndexError):
            x[np.array([0, wrong])] = 1
        with pytest.raises(IndexError):
            x[tw.asarray(np.array([0, wrong]), device=device.name)] = 1
    agree(x, a, device)


def test_values_read_from_the_target(way, device):
    a = sample((30,))
    x, at = tw.asarray(a.copy(), device=device.name), RNG.integers(0, 30, 30)
    x[at] = x[::-1] * 2
    a[at] = a[::-1].copy() * 2
    x[x.astype("int64") % 30 if hasattr(x, "astype") else at] = x
    a[a.astype("int64") % 30] = a.copy()
    agree(x, a, device)


def test_inside_jit(way, device):
    def placed(x, at, value):
        y = x * 2
        y[at, 1:] = value
        return y

    run = tw.jit(placed)
    a = sample((10, 4))
    x = tw.asarray(a, device=device.name)
    tw.fallbacks(reset=True)
    for _ in range(3):
        at, value = RNG.integers(-10, 10, 12), RNG.random((12, 3), dtype=np.float32)
        expected = a * 2
        expected[at, 1:] = value
        agree(run(x, *on(device, (at, value))), expected, device)
    assert tw.fallbacks() == {}
    beyond, value = np.array([0, 99, -99, 1, 2, 3, 4, 5, 6, 7, 99, 4]), RNG.random((12, 3), dtype=np.float32)
    expected = a * 2
    expected[np.clip(beyond, 0, 9), 1:] = value  # the nearest that exists
    agree(run(x, *on(device, (beyond, value))), expected, device)


def test_on_every_device(every_device):
    a, at = sample((40, 6)), RNG.integers(-40, 40, 100)
    x, value = tw.asarray(a.copy(), device=every_device.name), RNG.random((100, 6), dtype=np.float32)
    tw.fallbacks(reset=True)
    x[at] = value
    a[at] = value
    x[at, 2] = 1
    a[at, 2] = 1
    agree(x, a, every_device)
    assert tw.fallbacks() == {}
