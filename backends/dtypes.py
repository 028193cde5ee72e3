"""The element types a buffer may hold, by their NumPy names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """One element type: `name` as NumPy spells it, `c` as our kernels spell it, size in bytes and kind.

    `kind` is "b" bool, "i" signed, "u" unsigned, "f" float, "c" complex. `compute` is the dtype a kernel
    calculates in: 16-bit floats are storage only and are widened to float32 on load.
    """

    name: str
    c: str
    nbytes: int
    kind: str
    compute: str


_ROWS = [
    ("bool", "b8", 1, "b"), ("int8", "i8", 1, "i"), ("int16", "i16", 2, "i"), ("int32", "i32", 4, "i"),
    ("int64", "i64", 8, "i"), ("uint8", "u8", 1, "u"), ("uint16", "u16", 2, "u"), ("uint32", "u32", 4, "u"),
    ("uint64", "u64", 8, "u"), ("float16", "f16", 2, "f"), ("bfloat16", "bf16", 2, "f"),
    ("float32", "f32", 4, "f"), ("float64", "f64", 8, "f"),
    ("complex64", "c64", 8, "c"), ("complex128", "c128", 16, "c"),
]  # fmt: skip

DTYPES: dict[str, DType] = {
    name: DType(name, c, nbytes, kind, "float32" if name in ("float16", "bfloat16") else name)
    for name, c, nbytes, kind in _ROWS
}

PARTS: dict[str, str] = {"complex64": "float32", "complex128": "float64"}
"""The dtype of a complex number's real and imaginary part."""


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype of that name; bfloat16 comes from ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes  # late: a third of a tenth of a second that float32 users need not pay

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)
