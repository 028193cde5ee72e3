"""Tall singular value decompositions, which the device does most of: as accurate as LAPACK's, or left to it."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tilewright import tall


def _columns(dtype: str, condition: float) -> np.ndarray:
    noise = np.random.default_rng(7).standard_normal((tall.ROWS, 12))
    return (noise * np.logspace(0, -np.log10(condition), 12)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("condition", [1, 1e4])
def test_tall_svd_is_as_good_as_lapacks(device, dtype, condition):
    a = _columns(dtype, condition)
    exact = np.linalg.svdvals(a.astype(np.float64))
    bound = tall.ROWS**0.5 * np.finfo(dtype).eps  # a sum of m rounded terms is off by sqrt(m) ulp, as a random walk
    x = tw.asarray(a, device=device.name)
    assert tall.svd(x, vectors=False) is not None
    u, s, vh = (np.asarray(part).astype(np.float64) for part in tw.linalg.svd(x, full_matrices=False))
    assert np.abs(s - exact).max() <= bound * exact[0]
    assert np.abs(u.T @ u - np.eye(12)).max() <= bound
    assert np.abs((u * s) @ vh - a).max() <= bound * exact[0]
    np.testing.assert_allclose(np.asarray(tw.linalg.svdvals(x)), s, rtol=0, atol=bound * exact[0])


@pytest.mark.parametrize("matrix", ["dependent", "ill-conditioned", "wide", "complex", "infinite"])
def test_what_products_cannot_decompose_is_left_to_lapack(device, matrix):
    a = _columns("float64", 1e12 if matrix == "ill-conditioned" else 1)
    if matrix == "dependent":
        a[:, 3] = a[:, 2]
    if matrix == "infinite":
        a[5, 5] = np.inf
    a = a.T.copy() if matrix == "wide" else a + 1j if matrix == "complex" else a
    x = tw.asarray(a, device=device.name)
    assert tall.svd(x, vectors=True) is None
    if matrix != "infinite":
        np.testing.assert_allclose(np.asarray(tw.linalg.svdvals(x)), np.linalg.svdvals(a), rtol=1e-9, atol=1e-12)


def test_eigenvalues_of_a_real_matrix_are_conjugate_pairs(device):
    a = np.random.default_rng(4).standard_normal((9, 9)).astype(np.float32)
    values = np.asarray(tw.linalg.eigvals(tw.asarray(a, device=device.name)))
    assert values.dtype == np.complex64
    np.testing.assert_array_equal(np.sort(values), np.sort(values.conj()))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_products_of_deep_factors_with_few_results(device, dtype):
    if dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {dtype}")
    rng = np.random.default_rng(3)
    x, y = ((9 * rng.standard_normal((9000, n))).astype(dtype) for n in (19, 17))
    bias = np.arange(17).astype(dtype)
    got = tw.asarray(x, device=device.name).T @ tw.asarray(y, device=device.name) - tw.asarray(bias, device=device.name)
    bound = 1e-12 if dtype == "float64" else 1e-5
    wide = x.astype(np.float64).T @ y.astype(np.float64) - bias
    assert np.abs(np.asarray(got) - wide).max() <= bound * (np.abs(x).T @ np.abs(y).astype(np.float64)).max()
