"""Filter a real photograph, written against the array API namespace only, and compare with NumPy.

    python benchmarks/photo.py --xp numpy|torch|tilewright --device cpu|opencl:0|cuda:0 --out FOLDER

The photograph is china.jpg, bundled with scikit-learn (427x640, RGB). Every filter must equal the NumPy result to
1e-4 of full brightness; the exit status is 1 if one does not. All results are saved as one PNG contact sheet.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from functools import partial
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
from array_api_compat import to_device

TOLERANCE = 1e-4
GAUSSIANS = (3, 5, 7, 9, 11, 13, 15)
Filter = Callable[[Any, Any], Any]  # (namespace, bytes of shape (height, width, 3)) -> floats of that shape in 0..1


def namespace(name: str) -> Any:
    """The array API namespace of that name. tilewright is one by itself, the others through array_api_compat."""
    return importlib.import_module(name if name == "tilewright" else f"array_api_compat.{name}")


def photograph() -> np.ndarray:
    """China.jpg as uint8 of shape (427, 640, 3)."""
    from sklearn.datasets import load_sample_image  # late: takes a second, and --help needs none of it

    return np.array(load_sample_image("china.jpg"))


def floats(xp: Any, image: Any) -> Any:
    return xp.astype(image, xp.float32) / 255


def along(xp: Any, image: Any, weights: Sequence[float], axis: int) -> Any:
    """Correlate with `weights` along an axis; beyond the border the outermost pixel goes on."""
    radius, extent = len(weights) // 2, image.shape[axis]
    places = xp.arange(-radius, extent + radius, device=image.device)
    padded = xp.take(image, xp.clip(places, 0, extent - 1), axis=axis)
    window = (slice(None),) * axis
    terms = [w * padded[(*window, slice(k, k + extent))] for k, w in enumerate(weights) if w]
    return sum(terms[1:], terms[0])


def gaussian_weights(size: int) -> list[float]:
    """`size` weights that sum to 1, with the usual standard deviation for that many: 0.3 (size / 2 - 1) + 0.8."""
    sigma, radius = 0.3 * ((size - 1) / 2 - 1) + 0.8, size // 2
    weights = [exp(-(k * k) / (2 * sigma * sigma)) for k in range(-radius, radius + 1)]
    return [w / sum(weights) for w in weights]


def blurred(xp: Any, image: Any, size: int) -> Any:
    weights = gaussian_weights(size)
    return along(xp, along(xp, image, weights, 0), weights, 1)


def gaussian(xp: Any, pixels: Any, size: int) -> Any:
    return blurred(xp, floats(xp, pixels), size)


def unsharp_mask(xp: Any, pixels: Any) -> Any:
    """What a blur takes away is added once more."""
    image = floats(xp, pixels)
    return xp.clip(image + 1.5 * (image - blurred(xp, image, 9)), 0.0, 1.0)


def sobel(xp: Any, pixels: Any) -> Any:
    """Length of the brightness gradient; grey, in all three channels."""
    image = floats(xp, pixels)
    grey = 0.299 * image[:, :, 0] + 0.587 * image[:, :, 1] + 0.114 * image[:, :, 2]
    smooth, slope = (0.25, 0.5, 0.25), (-0.5, 0.0, 0.5)
    down = along(xp, along(xp, grey, slope, 0), smooth, 1)
    right = along(xp, along(xp, grey, smooth, 0), slope, 1)
    edges = xp.clip(2 * xp.sqrt(down * down + right * right), 0.0, 1.0)
    return xp.broadcast_to(edges[:, :, None], pixels.shape)


def gamma(xp: Any, pixels: Any) -> Any:
    return floats(xp, pixels) ** (1 / 2.2)


def equalised(xp: Any, pixels: Any) -> Any:
    """Histogram equalisation of the brightness, in integers from the first byte to the last.

    A rounding error anywhere would move whole bins, so every step is exact. The histogram is a matrix product: of the
    upper by the lower four bits, each pixel a one in its row and column; float32 counts exactly up to 2^24 pixels.
    """
    height, width, _ = pixels.shape
    wide = xp.astype(pixels, xp.int32)
    grey = xp.reshape((299 * wide[:, :, 0] + 587 * wide[:, :, 1] + 114 * wide[:, :, 2]) // 1000, (-1, 1))
    digits = xp.reshape(xp.arange(16, dtype=xp.int32, device=pixels.device), (1, 16))
    upper = xp.astype(grey // 16 == digits, xp.float32)
    lower = xp.astype(grey % 16 == digits, xp.float32)
    histogram = xp.astype(xp.reshape(upper.T @ lower, (256,)), xp.int32)
    below = xp.cumulative_sum(histogram, dtype=xp.int32)
    total = height * width
    first = xp.min(xp.where(below > 0, below, total * xp.ones_like(below)))
    levels = (255 * (below - first)) // xp.clip(total - first, 1)
    table = xp.where(levels > 0, levels, xp.zeros_like(levels))  # levels that no pixel has may be below the first
    return floats(xp, xp.reshape(xp.take(table, xp.reshape(wide, (-1,)), axis=0), pixels.shape))


FILTERS: dict[str, Filter] = {
    "original": floats,
    "unsharp mask": unsharp_mask,
    "Sobel edges": sobel,
    "gamma 1/2.2": gamma,
    **{f"Gaussian {size}x{size}": partial(gaussian, size=size) for size in GAUSSIANS},
    "histogram equalisation": equalised,
}


def apply(xp: Any, device: str, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Every filter's result, by name, as NumPy arrays of the photograph's shape in 0..1."""
    image = xp.asarray(pixels, device=device)
    return {name: np.asarray(to_device(function(xp, image), "cpu")) for name, function in FILTERS.items()}


def contact_sheet(images: dict[str, np.ndarray], path: Path, columns: int = 4, width: int = 480) -> None:
    """Save the images, scaled to `width` pixels, as one PNG, each under its name."""
    from PIL import Image, ImageDraw, ImageFont

    gap, title = 12, 30
    height = round(width * next(iter(images.values())).shape[0] / next(iter(images.values())).shape[1])
    rows = -(-len(images) // columns)
    size = (gap + columns * (width + gap), gap + rows * (title + height + gap))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(20)
    for k, (name, image) in enumerate(images.items()):
        x, y = gap + k % columns * (width + gap), gap + k // columns * (title + height + gap)
        draw.text((x, y), name, "black", font)
        picture = Image.fromarray(np.round(image * 255).astype(np.uint8))
        sheet.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (x, y + title))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def compare(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> dict[str, float]:
    """Per filter the largest difference, infinite where shapes differ or a value is no number."""
    differences = {}
    for name, image in found.items():
        same = image.shape == wanted[name].shape and bool(np.isfinite(image).all())
        differences[name] = float(np.abs(image - wanted[name]).max()) if same else float("inf")
    return differences


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="photo.py", description="Filter a photograph and compare with NumPy.")
    parser.add_argument("--xp", choices=("numpy", "torch", "tilewright"), default="tilewright", help="array namespace")
    parser.add_argument("--device", default="cpu", help="such as cpu, opencl:0, cuda:0 (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where the PNG goes (default: here)")
    options = parser.parse_args(arguments)
    try:
        xp = namespace(options.xp)
    except ImportError as error:
        parser.error(f"--xp {options.xp} needs {error.name}, which is not installed: pip install {error.name}")
    try:
        xp.asarray(0.0, dtype=xp.float32, device=options.device)
    except Exception as error:  # every namespace has its own type for a device that it does not have
        parser.error(f"--device {options.device}: {options.xp} cannot use it: {error}")
    pixels = photograph()
    found = apply(xp, options.device, pixels)
    differences = compare(found, apply(namespace("numpy"), "cpu", pixels))
    for name, difference in differences.items():
        print(f"{'PASS' if difference <= TOLERANCE else 'FAIL'}  {name:24} differs from NumPy by {difference:.1e}")
    path = options.out / f"photo-{options.xp}-{options.device.replace(':', '-')}.png"
    contact_sheet(found, path)
    print(f"saved {path}")
    return int(any(difference > TOLERANCE for difference in differences.values()))


if __name__ == "__main__":
    raise SystemExit(main())
