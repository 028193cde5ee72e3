"""photo: filters against independent ones, and tilewright's against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
from PIL import Image
from scipy import ndimage

from benchmarks import photo


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A piece of the photograph that is small, not square and not a multiple of anything."""
    return photo.photograph()[150:203, 200:277]


@pytest.fixture(scope="module")
def wanted(pixels) -> dict[str, np.ndarray]:
    return photo.apply(photo.namespace("numpy"), "cpu", pixels)


def test_the_photograph_is_the_whole_one():
    assert photo.photograph().shape == (427, 640, 3)


@pytest.mark.parametrize("name", photo.FILTERS)
def test_tilewright_equals_numpy(name, pixels, wanted):
    xp = photo.namespace("tilewright")
    result = np.asarray(photo.FILTERS[name](xp, xp.asarray(pixels, device="cpu")))
    assert photo.compare({name: result}, wanted)[name] <= photo.TOLERANCE


@pytest.mark.parametrize("size", photo.GAUSSIANS)
def test_gaussians_equal_scipy(size, pixels, wanted):
    weights = photo.gaussian_weights(size)
    assert sum(weights) == pytest.approx(1)
    expected = pixels / 255
    for axis in (0, 1):
        expected = ndimage.correlate1d(expected, weights, axis=axis, mode="nearest")
    np.testing.assert_allclose(wanted[f"Gaussian {size}x{size}"], expected, atol=1e-6)


def test_edges_equal_scipy(pixels, wanted):
    grey = pixels / 255 @ [0.299, 0.587, 0.114]
    slopes = [ndimage.sobel(grey, axis, mode="nearest") / 8 for axis in (0, 1)]
    expected = np.clip(2 * np.hypot(*slopes), 0, 1)
    np.testing.assert_allclose(wanted["Sobel edges"], np.broadcast_to(expected[..., None], pixels.shape), atol=1e-6)


def test_equalisation_equals_counting(pixels, wanted):
    grey = pixels.astype(int) @ [299, 587, 114] // 1000
    below = np.cumsum(np.bincount(grey.ravel(), minlength=256))
    first = below[below > 0].min()
    table = np.maximum(255 * (below - first) // (grey.size - first), 0)
    assert np.array_equal(np.round(wanted["histogram equalisation"] * 255), table[pixels])


def test_a_flat_picture_does_not_divide_by_zero(pixels):
    result = photo.equalised(photo.namespace("numpy"), np.full_like(pixels, 7))
    assert np.isfinite(result).all()


def test_compare_finds_what_is_wrong(wanted):
    broken = {name: image.copy() for name, image in wanted.items()}
    broken["gamma 1/2.2"][3, 4, 1] += 0.01
    broken["Sobel edges"][0, 0, 0] = np.nan
    differences = photo.compare(broken, wanted)
    assert differences["gamma 1/2.2"] == pytest.approx(0.01, rel=1e-3) and differences["Sobel edges"] == np.inf
    assert differences["original"] == 0


def test_the_sheet_shows_every_picture(wanted, tmp_path):
    path = tmp_path / "new" / "sheet.png"
    photo.contact_sheet(wanted, path, columns=4, width=60)
    with Image.open(path) as sheet:
        data = np.asarray(sheet)
    assert data.shape[1] == 12 + 4 * (60 + 12)
    rows, height = 3, (data.shape[0] - 12) // 3
    for k in range(len(wanted)):
        top, left = 12 + k // 4 * height, 12 + k % 4 * 72
        assert data[top + 30 : top + height - 12, left : left + 60].std() > 0, k
    assert len(wanted) == rows * 4
