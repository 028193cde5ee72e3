"""Shape functions, creation and linear algebra against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, narrowed, sample


@pytest.fixture
def pair(device):
    a = sample((3, 4, 5))
    return a, tw.asarray(a, device=device.name)


def test_joining(device, pair):
    a, x = pair
    agree(tw.concat([x, x[:1] * 2, x[:0]]), np.concat([a, a[:1] * 2, a[:0]]), device)
    agree(tw.concat([x, x[:, :, :1]], axis=-1), np.concat([a, a[:, :, :1]], axis=-1), device)
    agree(tw.concat([x, x[0]], axis=None), np.concat([a, a[0]], axis=None), device)
    agree(tw.concat([x, tw.astype(x, "int8")]), np.concat([a, a.astype("int8")]), device)
    agree(tw.stack([x, x + 1], axis=1), np.stack([a, a + 1], axis=1), device)
    agree(tw.stack([x[0, 0, 0], x[1, 1, 1]]), np.stack([a[0, 0, 0], a[1, 1, 1]]), device)


def test_repeating_and_moving(device, pair):
    a, x = pair
    agree(tw.tile(x, (2, 1, 3)), np.tile(a, (2, 1, 3)), device)
    agree(tw.tile(x[0, 0], (2, 2)), np.tile(a[0, 0], (2, 2)), device)
    agree(tw.repeat(x, 2, axis=1), np.repeat(a, 2, axis=1), device)
    agree(tw.repeat(x[0], 3), np.repeat(a[0], 3), device)
    counts = np.array([2, 0, 1])
    agree(tw.repeat(x, tw.asarray(counts, device=device.name), axis=0), np.repeat(a, counts, axis=0), device)
    for shift, axis in ((2, None), (-1, 0), ((1, 7), (0, 2)), (0, 1)):
        agree(tw.roll(x, shift, axis=axis), np.roll(a, shift, axis=axis), device)
    agree(tw.diff(x, axis=1, n=2), np.diff(a, axis=1, n=2), device)
    agree(tw.diff(x, prepend=x[..., :1], append=x[..., :2]), np.diff(a, prepend=a[..., :1], append=a[..., :2]), device)
    agree(tw.flip(x), np.flip(a), device)


def test_broadcasting_functions(device, pair):
    a, x = pair
    agree(tw.broadcast_to(x[0, :, :1], (2, 4, 5)), np.broadcast_to(a[0, :, :1], (2, 4, 5)), device)
    ones = tw.broadcast_arrays(x, x[:, :1, 0, None])
    for ours, theirs in zip(ones, np.broadcast_arrays(a, a[:, :1, 0, None]), strict=True):
        agree(ours, theirs, device)
    assert tw.broadcast_shapes((3, 1), (4,)) == (3, 4)
    with pytest.raises(ValueError, match="cannot be broadcast together"):  # the words that NumPy's callers look for
        tw.broadcast_arrays(x, x[0, :3])


def test_shape_errors(device, pair):
    _, x = pair
    wrong = {
        "reshape": lambda: tw.reshape(x, (7, 9)), "permute_dims": lambda: tw.permute_dims(x, (0, 1)),
        "squeeze": lambda: tw.squeeze(x, axis=0), "broadcast_to": lambda: tw.broadcast_to(x, (4, 5)),
        "concat": lambda: tw.concat([x, x[0]]), "stack": lambda: tw.stack([x, x[0]]),
        "expand_dims": lambda: tw.expand_dims(x, axis=9),
        "moveaxis": lambda: tw.moveaxis(x, (0, 1), 2), "matmul": lambda: x @ x, "add": lambda: x + x[:, :3],
        "tensordot": lambda: tw.tensordot(x, x, axes=1),
        "full": lambda: tw.full((-1,), 0), "trace": lambda: tw.linalg.trace(x[0, 0]),
        "inv": lambda: tw.linalg.inv(x[0]),
    }  # fmt: skip
    for name, call in wrong.items():
        with pytest.raises(ValueError, match=r"diagonal" if name == "trace" else name):
            call()


def test_creation(device):
    name = device.name
    floats = narrowed(np.dtype("float64"), device)
    for ours, theirs in (
        (tw.zeros((2, 3), device=name), np.zeros((2, 3))), (tw.ones(3, dtype="int8", device=name), np.ones(3, "int8")),
        (tw.full((2,), 2.5, device=name), np.full(2, 2.5)), (tw.full((2,), True, device=name), np.full(2, True)),
        (tw.full((2, 2), 7, device=name), np.full((2, 2), 7)),
        (tw.arange(5, device=name), np.arange(5)),
        (tw.arange(2, 9, 3, device=name), np.arange(2, 9, 3)),
        (tw.arange(5, 0, -2, device=name), np.arange(5, 0, -2)),
        (tw.arange(0, 1, 0.1, device=name), np.arange(0, 1, 0.1, floats)),
        (tw.arange(3, 0, device=name), np.arange(3, 0)),
        (tw.linspace(0, 1, 7, device=name), np.linspace(0, 1, 7)),
        (tw.linspace(2, 2, 1, device=name), np.linspace(2, 2, 1)),
        (tw.linspace(-1, 4, 5, endpoint=False, device=name), np.linspace(-1, 4, 5, endpoint=False)),
        (tw.eye(3, 4, k=1, device=name), np.eye(3, 4, 1)),
        (tw.eye(3, k=-2, dtype="bool", device=name), np.eye(3, k=-2, dtype=bool)),
        (tw.empty((0, 3), dtype="float32", device=name), np.empty((0, 3), "float32")),
    ):  # fmt: skip
        agree(ours, theirs, device, 1e-5)
    a = sample((3, 4, 4))
    x = tw.asarray(a, device=name)
    for k in (-1, 0, 2):
        agree(tw.tril(x, k=k), np.tril(a, k), device)
        agree(tw.triu(x, k=k), np.triu(a, k), device)
    agree(tw.ones_like(x), np.ones_like(a), device)
    agree(tw.full_like(x, 3, dtype="int32"), np.full_like(a, 3, dtype="int32"), device)
    for indexing in ("xy", "ij"):
        ours = tw.meshgrid(x[0, 0], x[0, 0, :3], x[0, 0, :2], indexing=indexing)
        for one, other in zip(ours, np.meshgrid(a[0, 0], a[0, 0, :3], a[0, 0, :2], indexing=indexing), strict=True):
            agree(one, other, device)
    with pytest.raises(ValueError, match="step"):
        tw.arange(0, 1, 0)


@pytest.mark.parametrize(
    "m, n",
    [
        ((4,), (4,)),
        ((3, 4), (4,)),
        ((4,), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((3, 1, 2, 4), (2, 4, 5)),
        ((0, 4), (4, 2)),
        ((2, 0), (0, 3)),
    ],
)
def test_matmul(device, m, n):
    a, b = sample(m), sample(n, seed=1)
    x, y = tw.asarray(a, device=device.name), tw.asarray(b, device=device.name)
    agree(x @ y, a @ b, device, 1e-4)


def test_matmul_of_views_and_dtypes(device):
    a, b = sample((6, 4)), sample((6, 5), seed=1)
    x, y = tw.asarray(a, device=device.name), tw.asarray(b, device=device.name)
    agree(x.T @ y + 1, a.T @ b + 1, device, 1e-4)
    agree(x[::2, ::-1].T @ y[1::2], a[::2, ::-1].T @ b[1::2], device, 1e-4)
    whole, flags = sample((3, 3), "int32"), sample((3, 3), "bool")
    agree(tw.asarray(whole, device=device.name) @ tw.asarray(whole, device=device.name), whole @ whole, device)
    agree(tw.asarray(flags, device=device.name) @ tw.asarray(flags, device=device.name), flags @ flags, device)


def test_linear_algebra(device):
    a, b = sample((2, 4, 4)) + 5 * np.eye(4, dtype=np.float32), sample((2, 4, 3), seed=1)
    x, y, la = tw.asarray(a, device=device.name), tw.asarray(b, device=device.name), tw.linalg
    agree(tw.vecdot(x, x[0]), np.vecdot(a, a[0]), device, 1e-4)
    agree(tw.tensordot(x, y, axes=((0, 1), (0, 1))), np.tensordot(a, b, ((0, 1), (0, 1))), device, 1e-4)
    agree(la.outer(x[0, 0], y[0, 0]), np.outer(a[0, 0], b[0, 0]), device)
    agree(la.trace(x, offset=1), np.trace(a, 1, -2, -1), device, 1e-4)
    for order in (2, 1, 0, 3, np.inf, -np.inf):
        agree(la.vector_norm(x, axis=1, ord=order), np.linalg.vector_norm(a, axis=1, ord=order), device, 1e-4)
    for order in ("fro", 1, -1, np.inf, -np.inf, 2, "nuc"):
        agree(la.matrix_norm(y, ord=order), np.linalg.matrix_norm(b, ord=order), device, 1e-4)
    agree(la.matrix_power(x, 3), np.linalg.matrix_power(a, 3), device, 1e-3)
    tw.fallbacks(reset=True)
    agree(la.inv(x), np.linalg.inv(a), device, 1e-4)
    agree(la.solve(x, y), np.linalg.solve(a, b), device, 1e-4)
    agree(la.det(x), np.linalg.det(a), device, 1e-4)
    agree(la.svd(y, full_matrices=False).S, np.linalg.svdvals(b), device, 1e-4)
    q, r = la.qr(y)
    agree(q @ r, b, device, 1e-3)
    symmetric = x + x.mT
    agree(la.eigvalsh(symmetric), np.linalg.eigvalsh(a + a.mT), device, 1e-4)
    agree(la.cholesky(x @ x.mT), np.linalg.cholesky(a @ a.mT), device, 1e-3)
    agree(la.cross(x[..., :3], y[:, :, :3]), np.cross(a[..., :3], b), device, 1e-4)
    assert {"inv", "solve", "det", "svd", "qr", "eigvalsh", "cholesky", "cross"} <= set(tw.fallbacks())


def test_searching_sorting_and_sets(device):
    a = np.round(sample((4, 6)))
    x = tw.asarray(a, device=device.name)
    agree(tw.sort(x, axis=0), np.sort(a, axis=0), device)
    agree(tw.sort(x, descending=True), -np.sort(-a), device)
    agree(tw.argsort(x), np.argsort(a, stable=True), device)
    agree(tw.argsort(x, descending=True), np.argsort(-a, stable=True), device)
    for ours, theirs in zip(tw.nonzero(x), np.nonzero(a), strict=True):
        agree(ours, theirs, device)
    edges = np.sort(a[0])
    agree(
        tw.searchsorted(tw.asarray(edges, device=device.name), x, side="right"),
        np.searchsorted(edges, a, "right"),
        device,
    )
    for ours, theirs in zip(tw.unique_all(x), np.unique_all(a), strict=True):
        agree(ours, theirs, device)
    agree(tw.unique_values(x), np.unique(a), device)
    agree(tw.unique_counts(x).counts, np.unique_counts(a).counts, device)
    agree(tw.unique_inverse(x).inverse_indices, np.unique_inverse(a).inverse_indices, device)


def test_top_k(device):
    a = np.array([[3, np.nan, 1, 3], [-0.0, 0.0, -np.inf, 2]], np.float32)
    x = tw.asarray(a, device=device.name)
    tw.fallbacks(reset=True)
    values, indices = tw.top_k(x, 3)
    agree(indices, np.array([[1, 0, 3], [3, 0, 1]]), device)
    agree(values, np.array([[np.nan, 3, 3], [2, 0, 0]], np.float32), device)
    agree(tw.top_k(x, 1, axis=0, largest=False).indices, np.argsort(a, axis=0, kind="stable")[:1], device)
    agree(tw.jit(lambda x: tw.top_k(x, 3))(x).indices, np.array([[1, 0, 3], [3, 0, 1]]), device)
    assert tw.top_k(x, 0).values.shape == (2, 0)
    big = sample((1, 5000))
    agree(tw.top_k(tw.asarray(big, device=device.name), 40).values, -np.sort(-big)[:, :40], device)
    assert not tw.fallbacks()
    for k, error in ((5, ValueError), (-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error):
            tw.top_k(x, k)
    with pytest.raises(TypeError, match="no order"):
        tw.top_k(tw.zeros((3,), dtype="complex64"), 1)


def test_fourier(device):
    a = sample((4, 6))
    x = tw.asarray(a, device=device.name)
    agree(tw.fft.rfft(x), np.fft.rfft(a), device, 1e-4)
    agree(tw.real(tw.fft.ifftn(tw.fft.fftn(x))), a, device, 1e-4)
    agree(tw.fft.fftshift(x, axes=1), np.fft.fftshift(a, axes=1), device)
    agree(
        tw.fft.fftfreq(7, d=0.5, dtype="float32", device=device.name), np.fft.fftfreq(7, 0.5).astype("float32"), device
    )
