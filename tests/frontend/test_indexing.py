"""Indices that are arrays: gathers and assignments against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample

AT, DOWN = np.array([2, 0, -1]), np.array([[1], [3]])
ADVANCED = [
    np.s_[AT], np.s_[[1, -2]], np.s_[:, AT], np.s_[AT, 1], np.s_[AT, DOWN], np.s_[1:, DOWN, ::2], np.s_[AT, :, DOWN],
    np.s_[..., AT],
    np.s_[None, AT], np.s_[AT, ..., 0], np.s_[[]], np.s_[1, DOWN, AT], np.s_[::-1, :, AT], np.s_[np.array(2)],
]  # fmt: skip


def on(device, key):
    """The key with its arrays on the device."""
    parts = key if isinstance(key, tuple) else (key,)
    return tuple(tw.asarray(p, device=device.name) if isinstance(p, np.ndarray) else p for p in parts)


@pytest.mark.parametrize("key", ADVANCED, ids=str)
def test_integer_arrays(device, key):
    a = sample((4, 4, 5))
    x = tw.asarray(a, device=device.name)
    agree(x[key], a[key], device)
    agree(x[on(device, key)], a[key], device)
    agree(tw.permute_dims(x, (2, 0, 1))[:4][key], np.transpose(a, (2, 0, 1))[:4][key], device)


@pytest.mark.parametrize("key", [np.s_[AT], np.s_[:, AT], np.s_[AT, DOWN], np.s_[AT, :, 1]], ids=str)
def test_assignment_at_integer_arrays(device, key):
    a = sample((4, 4, 5))
    x = tw.asarray(a, device=device.name)
    view = x[1]
    tw.fallbacks(reset=True)
    x[on(device, key)] = 5
    a[key] = 5
    agree(x, a, device)
    agree(view, a[1], device)
    assert tw.fallbacks() == {}


def test_masks(device):
    a = sample((4, 5))
    x = tw.asarray(a, device=device.name)
    rows = np.array([True, False, True, False])
    agree(x[x > 0], a[a > 0], device)
    agree(x[a > 0], a[a > 0], device)
    agree(x[rows], a[rows], device)
    agree(x[tw.asarray(rows, device=device.name), 1:], a[rows, 1:], device)
    agree(x[:, np.ones(5, bool)], a, device)
    agree(x[a > 1000], a[a > 1000], device)
    agree(x[1, 2][np.bool_(True)], a[1, 2][True], device)
    view = x[:, 1]
    x[x > 0] = -1
    a[a > 0] = -1
    agree(view, a[:, 1], device)
    x[rows] = 3
    a[rows] = 3
    agree(x, a, device)
    x[x == 3] = tw.arange(10, dtype="float32", device=device.name)
    a[a == 3] = np.arange(10)
    agree(x, a, device)


def test_finding_the_places_of_a_mask_is_counted(device):
    x = tw.asarray(sample((4, 5)), device=device.name)
    tw.fallbacks(reset=True)
    found = x[x > 0]
    assert tw.fallbacks()["nonzero"].nbytes == 20 + 2 * 8 * found.size


def test_a_mask_of_the_whole_shape_is_written_natively(device):
    x = tw.asarray(sample((4, 5)), device=device.name)
    mask = x > 0
    tw.fallbacks(reset=True)
    x[mask] = 0
    tw.eval(x)
    assert tw.fallbacks() == {}


@pytest.mark.parametrize("axis", [0, 1])
def test_few_elements_of_an_operation_are_taken_before_it(device, axis):
    """The same elements and errors, and the operation's other elements are never stored."""
    a, at = sample((40, 50)), np.array([[3], [0], [-1]] * 14)[:40] if axis else np.array([[3, 0, -1] * 17])[:, :50]
    x, i = tw.asarray(a, device=device.name), tw.asarray(at, device=device.name)
    least = tw.min(x, axis=axis, keepdims=True)
    found = tw.take_along_axis(2 * (x - least), i, axis=axis)
    assert not any("40x50" in group.title and group.title.startswith("map") for group in tw.explain(found))
    agree(found, np.take_along_axis(2 * (a - a.min(axis=axis, keepdims=True)), at, axis=axis), device)
    with pytest.raises(IndexError):
        np.asarray(tw.take_along_axis(x - least, tw.asarray(at + 60, device=device.name), axis=axis))
    whole = tw.take_along_axis(x - x, tw.asarray(np.argsort(a, axis=axis), device=device.name), axis=axis)
    agree(whole, np.zeros_like(a), device)


def test_take(device):
    a, at = sample((4, 5)), np.array([3, 0, 3])
    x, i = tw.asarray(a, device=device.name), tw.asarray(at, device=device.name)
    agree(tw.take(x, i, axis=1), np.take(a, at, axis=1), device)
    agree(tw.take(x[0], i), a[0][at], device)
    order = np.argsort(a, axis=1)
    agree(tw.take_along_axis(x, tw.asarray(order, device=device.name), axis=1), np.sort(a, axis=1), device)
    narrow = tw.asarray(at.astype(np.uint8), device=device.name)
    agree(x[narrow], a[at], device)


def test_take_of_computed_values_fuses_into_a_gather(device):
    a = sample((6, 3))
    x = tw.asarray(a, device=device.name)
    agree((x * 2 + 1)[AT] - x[AT], (a * 2 + 1)[AT] - a[AT], device)


@pytest.mark.parametrize(
    "key, message",
    [
        (4, "index 4 is out of bounds for axis 0 with size 4"),
        ((0, -6), "index -6 is out of bounds for axis 1 with size 5"),
        ((0, 0, 0), "too many indices"),
        ((..., 0, ...), "one ellipsis"),
        (1.5, "1.5 is not an index"),
        ("a", "'a' is not an index"),
        (np.array([1.0]), "float64"),
        (np.array([0, 7]), "index 7 is out of bounds for axis 0 with size 4"),
        (np.array([True, False]), r"\(2,\).*\(4,\)"),
    ],
    ids=str,
)
def test_bad_indices(device, key, message):
    x = tw.asarray(sample((4, 5)), device=device.name)
    with pytest.raises(IndexError, match=message):
        x[key]
    if isinstance(key, np.ndarray):
        with pytest.raises(IndexError):
            x[tw.asarray(key.astype("float32") if key.dtype.kind == "f" else key, device=device.name)]
    agree(x, sample((4, 5)), device)


@pytest.mark.parametrize(("shape", "mask"), [((5,), (0,)), ((3, 4), (0, 4)), ((3, 4), (3, 0)), ((3, 4), (0,))])
def test_a_mask_without_elements_chooses_nothing(device, shape, mask):
    a, nothing = sample(shape), np.zeros(mask, bool)
    for key in (nothing, tw.asarray(nothing, device=device.name)):
        x = tw.asarray(a, device=device.name)
        assert np.asarray(x[key]).shape == a[nothing].shape
        x[key] = 7
        agree(x, a, device)
