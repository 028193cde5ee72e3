"""Reductions against NumPy: every axis set, NaN, nothing at all, dtypes."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, narrowed, sample
from tilewright.dtypes import KINDS, supported

AXES = [None, 0, 1, -1, (0, 1), (1, 2), (0, 2), (2, 0, 1), ()]
REDUCTIONS = ["sum", "prod", "max", "min", "mean", "var", "std", "any", "all", "count_nonzero"]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_axes(device, name, axis):
    a = sample((2, 3, 4))
    x = tw.asarray(a, device=device.name)
    for keepdims in (False, True):
        expected = getattr(np, name)(a, axis=axis, keepdims=keepdims)
        if name == "count_nonzero" and axis == ():
            expected = (a != 0).astype(np.int64)
        agree(getattr(tw, name)(x, axis=axis, keepdims=keepdims), expected, device, 1e-4)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_dtypes(device, name):
    for dtype in KINDS:
        if dtype == "bfloat16" or KINDS[dtype] == "c" or not supported(dtype, device):
            continue
        a = sample((4, 3), dtype)
        if name in ("max", "min") or dtype != "float16":
            expected = getattr(np, name)(a, axis=0).dtype
            x = tw.asarray(a, device=device.name)
            assert getattr(tw, name)(x, axis=0).dtype == narrowed(expected, device), dtype


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "float16"])
def test_sum_widens_small_numbers(device, dtype):
    a = np.full((300,), 100).astype(dtype)
    agree(tw.sum(tw.asarray(a, device=device.name)), a.sum(), device)
    agree(tw.mean(tw.asarray(a, device=device.name)), a.mean(), device)


def test_nan_and_infinity(device):
    a = np.array([[1, np.nan, 2], [np.inf, -np.inf, 3], [-np.inf, 5, 4]], np.float32)
    x = tw.asarray(a, device=device.name)
    with np.errstate(invalid="ignore"):
        for name in ("sum", "max", "min", "mean", "var", "argmax", "argmin", "any"):
            agree(getattr(tw, name)(x, axis=1), getattr(np, name)(a, axis=1), device)


def test_views_and_expressions(device):
    a = sample((5, 6, 4))
    x = tw.asarray(a, device=device.name)
    agree(tw.sum(x.T), a.T.sum(), device, 1e-4)
    agree(tw.max(x[::2, ::-1].T, axis=(0, 1)), a[::2, ::-1].T.max(axis=(0, 1)), device)
    agree(tw.sum(tw.broadcast_to(x[0], (3, 6, 4)), axis=(0, 2)), np.broadcast_to(a[0], (3, 6, 4)).sum((0, 2)), device)
    agree(tw.mean((x - 1) * x[:1], axis=(0, 1)), ((a - 1) * a[:1]).mean((0, 1)), device, 1e-4)


def test_softmax_and_layer_norm(device):
    a = sample((6, 33))
    x = tw.asarray(a, device=device.name)
    e = tw.exp(x - tw.max(x, axis=-1, keepdims=True))
    t = np.exp(a - a.max(-1, keepdims=True))
    agree(e / tw.sum(e, axis=-1, keepdims=True), t / t.sum(-1, keepdims=True), device)
    y = (x - tw.mean(x, axis=-1, keepdims=True)) / tw.sqrt(tw.var(x, axis=-1, keepdims=True) + 1e-5)
    agree(y, (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + np.float32(1e-5)), device, 1e-4)


def test_nothing(device):
    a = np.zeros((0, 3), np.float32)
    x = tw.asarray(a, device=device.name)
    for name in ("sum", "prod", "any", "all"):
        agree(getattr(tw, name)(x, axis=0), getattr(np, name)(a, axis=0), device)
        agree(getattr(tw, name)(x, axis=1), getattr(np, name)(a, axis=1), device)
    agree(tw.max(x, axis=1), a.max(axis=1), device)
    assert np.isnan(np.asarray(tw.mean(x, axis=0))).all()
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ValueError, match=name):
            getattr(tw, name)(x, axis=0)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_arguments_of_extremes(device, axis):
    a = np.round(sample((4, 5)))  # with ties: the first counts
    x = tw.asarray(a, device=device.name)
    for name in ("argmax", "argmin"):
        agree(getattr(tw, name)(x, axis=axis), getattr(np, name)(a, axis=axis), device)
        agree(getattr(tw, name)(x, axis=axis, keepdims=True), getattr(np, name)(a, axis=axis, keepdims=True), device)


def test_variance_with_correction(device):
    a = sample((4, 5))
    x = tw.asarray(a, device=device.name)
    agree(tw.var(x, axis=1, correction=1), a.var(axis=1, ddof=1), device, 1e-4)
    agree(tw.std(x, correction=2, keepdims=True), a.std(ddof=2, keepdims=True), device, 1e-4)
    assert not np.isfinite(np.asarray(tw.var(x[:1], axis=0, correction=1))).any()


def test_sum_takes_a_dtype(device):
    a = sample((4, 5), "int32")
    x = tw.asarray(a, device=device.name)
    agree(tw.sum(x, dtype="float32"), a.sum(dtype=np.float32), device)
    agree(tw.prod(x[0, :2], dtype="int8"), a[0, :2].prod(dtype=np.int8), device)


@pytest.mark.parametrize("shape", [(3, 20000), (20000, 3), (6, 5, 40, 7)])
def test_variance_beside_a_large_mean(device, shape):
    """float32 keeps its digits: two passes would be wrong by a hundredth, and sums of squares altogether."""
    a = (1e6 + np.random.default_rng(3).standard_normal(shape)).astype(np.float32)
    x = tw.asarray(a, device=device.name)
    for axis in (None, 0, 1, -1, (0, -1)):
        np.testing.assert_allclose(np.asarray(tw.var(x, axis=axis)), np.var(a, axis=axis, dtype=np.float64), rtol=5e-6)
    a[-1, ..., -1] = np.inf
    result = np.asarray(tw.std(tw.asarray(a, device=device.name), axis=0))
    assert np.isnan(result[..., -1]).all() and np.isfinite(result[..., 0]).all()


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_in_long_lines(device, name):
    """Ties go to the first, NaN before all; also where the blocks of a line are looked at one by one, and a prime."""
    a = np.random.default_rng(4).integers(-9, 9, (2, 1 << 15)).astype(np.float32)
    for planted in ({}, {(1, 40): np.nan, (1, 30000): np.nan}, {(0, 32767): np.inf, (1, 5): -np.inf}):
        for place, value in planted.items():
            a[place] = value
        x = tw.asarray(a, device=device.name)
        ours, numpys = getattr(tw, name), getattr(np, name)
        for axis in (None, 1):
            agree(ours(x, axis=axis, keepdims=True), numpys(a, axis=axis, keepdims=True), device)
        agree(ours(x[1, :32749]), numpys(a[1, :32749]), device)


def test_cumulative(device):
    a = sample((4, 5), "int32")
    x = tw.asarray(a, device=device.name)
    tw.fallbacks(reset=True)
    agree(tw.cumulative_sum(x, axis=1), np.cumulative_sum(a, axis=1), device)
    agree(tw.cumulative_sum(x[0], include_initial=True), np.cumulative_sum(a[0], include_initial=True), device)
    agree(tw.cumulative_prod(x[:, :2], axis=-1), np.cumulative_prod(a[:, :2], axis=-1), device)
    agree(tw.cumulative_sum(x > 0, axis=0), np.cumulative_sum(a > 0, axis=0), device)
    agree(tw.cumulative_sum(x, axis=0, dtype="bool"), np.cumulative_sum(a, axis=0, dtype=bool), device)
    agree(tw.cumulative_prod(x[:0], axis=0, include_initial=True), np.ones((1, 5), np.int64), device)
    half = tw.full((3000,), 1, dtype="float16", device=device.name)
    assert tw.cumulative_sum(half)[-1] == 3000  # adding up in float16 would stop at 2048
    assert not tw.fallbacks()


@pytest.mark.parametrize("name", REDUCTIONS)
def test_bad_axes(device, name):
    x = tw.asarray(sample((4, 5)), device=device.name)
    with pytest.raises(ValueError, match=f"{name}: axis 2"):
        getattr(tw, name)(x, axis=2)
    with pytest.raises(ValueError, match="twice"):
        getattr(tw, name)(x, axis=(0, -2))
