"""What the frontend's tests share: comparing arrays with NumPy's result, on devices of any precision."""

from __future__ import annotations

from typing import Any

import numpy as np

import tilewright as tw
from tilewright.backends.protocol import Device

DIGITS = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 2e-5, "complex64": 2e-5}


def narrowed(dtype: np.dtype[Any], device: Device) -> np.dtype[Any]:
    """The dtype that stands for NumPy's on a device without 64-bit numbers."""
    if dtype.kind == "c" or dtype.name in device.limits.dtypes:
        return dtype
    return np.dtype({"float64": "float32", "int64": "int32", "uint64": "uint32"}[dtype.name])


def agree(result: tw.Array, expected: Any, device: Device, digits: float | None = None) -> None:
    """Same dtype (as far as the device has it), shape and values, NaN equal to NaN."""
    expected = np.asarray(expected)
    wanted = narrowed(expected.dtype, device)
    assert result.device == device.name
    assert result.dtype == wanted, f"{result.dtype} instead of {wanted}"
    assert result.shape == expected.shape
    tolerance = digits or DIGITS.get(wanted.name, 1e-11 if wanted.kind in "fc" else 0)
    if wanted.kind in "biu":
        np.testing.assert_array_equal(np.asarray(result), expected)
    else:
        wide = np.complex128 if wanted.kind == "c" else np.float64
        np.testing.assert_allclose(np.asarray(result).astype(wide), expected.astype(wide), tolerance, tolerance)


def sample(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> np.ndarray[Any, Any]:
    """Small numbers of either sign, where the dtype has one."""
    values = np.random.default_rng(seed).integers(-40, 40, shape)
    if dtype == "bool":
        return values > 0
    if dtype.startswith("uint"):
        return abs(values).astype(dtype)
    if dtype.startswith("int"):
        return values.astype(dtype)
    return (values / 16).astype(dtype)
