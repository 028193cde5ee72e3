"""Programs of every kind, as users write them, on every device: the whole road against NumPy."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample


@pytest.fixture
def arrays(every_device):
    a, b = sample((6, 8)), sample((8, 5), seed=1)
    return every_device, a, tw.asarray(a, device=every_device.name), b, tw.asarray(b, device=every_device.name)


def test_elementwise(arrays):
    device, a, x, _, _ = arrays
    agree(tw.where(x > 0, tw.tanh(x * 0.5), -x) + x[:, :1], np.where(a > 0, np.tanh(a * 0.5), -a) + a[:, :1], device)


def test_integers_and_booleans(arrays):
    device, a, x, _, _ = arrays
    n, whole = tw.astype(x * 16, "int32"), (a * 16).astype(np.int32)
    agree((n // 3) % 5 + (n << 1), (whole // 3) % 5 + (whole << 1), device)
    agree(tw.any(n > 30, axis=0), (whole > 30).any(0), device)


def test_complex_numbers(arrays):
    device, a, x, _, _ = arrays
    z, w = x[:3] + 1j * x[3:], a[:3] + 1j * a[3:]
    tw.fallbacks(reset=True)
    agree(tw.sum(z / (tw.conj(z).T[:, :1].T - 2), axis=0), (w / (w.conj().T[:, :1].T - 2)).sum(0), device, 1e-4)
    z[:, ::2] = tw.abs(z)[:, ::2]
    w[:, ::2] = abs(w)[:, ::2]
    agree(z[[2, 0]], w[[2, 0]], device)
    assert tw.fallbacks() == {}


def test_rows(arrays):
    device, a, x, _, _ = arrays
    e, t = tw.exp(x - tw.max(x, axis=-1, keepdims=True)), np.exp(a - a.max(-1, keepdims=True))
    agree(e / tw.sum(e, axis=-1, keepdims=True), t / t.sum(-1, keepdims=True), device)
    agree(tw.argmax(x, axis=1), a.argmax(1), device)


def test_products(arrays):
    device, a, x, b, y = arrays
    agree(tw.maximum(x @ y + 1, 0), np.maximum(a @ b + 1, 0), device, 1e-4)
    agree(y.T @ x.T, b.T @ a.T, device, 1e-4)
    agree(x @ y[:, 0], a @ b[:, 0], device, 1e-4)


def test_views_and_writes(arrays):
    device, a, x, _, _ = arrays
    view, theirs = x[1::2, ::-1], a[1::2, ::-1]
    x[:, 2:] = x[:, :-2] * 2
    a[:, 2:] = a[:, :-2].copy() * 2
    view += 1
    theirs += 1
    x[x > 3] = 0
    a[a > 3] = 0
    agree(x, a, device)
    agree(tw.concat([view.T, x.T[:, :1]], axis=1), np.concat([theirs.T, a.T[:, :1]], axis=1), device)


def test_gathers(arrays):
    device, a, x, _, _ = arrays
    at = np.array([3, -1, 3])
    agree((x * 2)[tw.asarray(at, device=device.name), 1:4], (a * 2)[at, 1:4], device)
    with pytest.raises(IndexError, match="index 9"):
        x[tw.asarray([0, 9], device=device.name)]


def test_half_precision_and_nothing(arrays):
    device, a, x, _, _ = arrays
    agree(tw.astype(x, "float16") * 2, a.astype(np.float16) * 2, device)
    agree(tw.sum(x[:0], axis=0) + 1, np.ones(8, np.float32), device)
    agree(tw.full((), 2, device=device.name) ** 3 + tw.arange(3, device=device.name), 8 + np.arange(3), device)


def test_host_does_the_rest(arrays):
    device, a, x, _, _ = arrays
    tw.fallbacks(reset=True)
    agree(tw.unique_values(x + 0), np.unique(a), device)
    found = tw.fallbacks()["unique_values"]
    assert (found.count, found.nbytes) == (1, a.nbytes + np.unique(a).nbytes)


def test_replay(arrays):
    device, a, x, b, y = arrays
    step = tw.jit(lambda x, y: tw.tanh(x @ y) + x[:, :1])
    for k in range(3):
        agree(step(x + k, y), np.tanh((a + k) @ b) + (a + k)[:, :1], device, 1e-4)


def test_reading_a_part(arrays):
    device, a, x, *_ = arrays
    y = x + 0
    assert float(y[2, 3]) == a[2, 3]
    agree(y[1:3], a[1:3], device)
    agree(y[::3, 1], a[::3, 1], device)
    agree(y.T, a.T, device)


def test_several_threads(arrays):
    _, a, x, *_ = arrays
    shared = x * 2 + 1
    results, errors = [], []

    def work(k):
        try:
            results.append((k, np.asarray(shared * k + shared)))
        except Exception as error:  # a thread's error would be lost
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(results) == 6
    for k, result in results:
        np.testing.assert_allclose(result, (a * 2 + 1) * (k + 1), rtol=1e-4, atol=1e-4)
