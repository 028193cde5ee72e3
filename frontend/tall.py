"""Singular values of a tall matrix: products on the device, and decompositions of small square matrices on the host.

CholeskyQR2 (Yamamoto, Nakatsukasa, Yanagisawa, Fukaya, "Roundoff error analysis of the CholeskyQR2 algorithm", ETNA 44,
2015): the triangle R of x = QR comes from the Cholesky factor of x.T @ x, once for x and once more for the Q it gave.
In double precision that is as accurate as Householder's way while the condition number of x is below 1e7 or so; beyond
that, or where the device has no float64, the caller decomposes x itself.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from tilewright.array import Array, wrap
from tilewright.backends.fallback import count
from tilewright.creation import asarray, astype
from tilewright.dtypes import KINDS, object_of
from tilewright.operators import apply
from tilewright.transfer import HostArray

TALL = 8  # rows per column from which the products cost less than a decomposition with its panels
ROWS = 1024
MAX_CONDITION = 1e6


def svd(x: Array, vectors: bool) -> tuple[Any, Array, Array] | None:
    """U (m, n), singular values (n,) and Vh (n, n) of a real `x` (m, n), U only if `vectors`; None if it is not tall,
    not finite, of too high a condition, or on a device without float64.
    """
    if x.ndim != 2 or x.shape[0] < ROWS or x.shape[0] < TALL * x.shape[1] or not x.shape[1]:
        return None
    name, device = x._cell.value.dtype, x._device
    if KINDS[name] != "f" or "float64" not in device.limits.dtypes:
        return None
    wide = astype(x, object_of("float64"), copy=False)
    first = _triangle(wide)
    if first is None:
        return None
    q = _times(wide, np.linalg.inv(first))
    second = _triangle(q)
    if second is None:
        return None
    begin = perf_counter()
    left, values, right = np.linalg.svd(second @ first)
    count("svd", 3 * left.nbytes, perf_counter() - begin)
    u = astype(_times(q, np.linalg.solve(second, left)), object_of(name), copy=False) if vectors else None
    dtype = object_of(name)
    s, vh = (asarray(part.astype(dtype), device=device.name) for part in (values, right))
    return u, s, vh


def _triangle(x: Array) -> HostArray | None:
    """R of x = QR with Q orthonormal, as far as Cholesky's x.T @ x = R.T @ R can say; None where it cannot."""
    try:
        r = np.linalg.cholesky(np.asarray(_product(x.T, x))).T
        return r if np.linalg.cond(r) < MAX_CONDITION else None
    except np.linalg.LinAlgError:  # not positive definite: x has dependent columns
        return None


def _times(x: Array, small: HostArray) -> Array:
    return _product(x, asarray(small, device=x._device.name))


def _product(a: Array, b: Array) -> Array:
    node = apply("matmul", a, b, a._device)
    assert node is not None  # both are arrays
    return wrap(node, a._device)
