"""Recording matrix products: NumPy's rules for one axis and for batches, as nodes."""

from __future__ import annotations

import numpy as np

from tilewright.backends.protocol import Device
from tilewright.dtypes import KINDS, narrow, promote
from tilewright.kernels.node import Node
from tilewright.record import broadcast_shapes, cast, const, expand, window
from tilewright.transfer import host
from tilewright.views import whole


def matmul(a: Node, b: Node, device: Device) -> Node:
    """(..., m, k) @ (..., k, n); an operand of one axis is a row, or a column, that is dropped again.

    Raises ValueError where the shapes do not fit.
    """
    if not a.shape or not b.shape:
        raise ValueError(f"matmul: operands need at least 1 axis, the shapes are {a.shape} and {b.shape}")
    dtype = narrow(promote(a.dtype, b.dtype), device)
    if KINDS[dtype] == "c":
        _check(a, b)
        return host("matmul", np.matmul, [a, b], device)
    if dtype == "bool":  # any of and: counted, then compared
        counted = matmul(cast(a, "int32", device), cast(b, "int32", device), device)
        return Node("ne", (counted, const(0, "int32")), None, counted.shape, "bool")
    _check(a, b)
    row, column = len(a.shape) == 1, len(b.shape) == 1
    a, b = cast(a, dtype, device), cast(b, dtype, device)
    a = window(a, whole((1, *a.shape))) if row else a
    b = window(b, whole((*b.shape, 1))) if column else b
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]], "matmul")
    m, n = a.shape[-2], b.shape[-1]
    a, b = expand(a, (*batch, *a.shape[-2:])), expand(b, (*batch, *b.shape[-2:]))
    result = Node("matmul", (a, b), None, (*batch, m, n), dtype)
    if not (row or column):
        return result
    return window(result, whole((*batch, *(() if row else (m,)), *(() if column else (n,)))))


def _check(a: Node, b: Node) -> None:
    k = b.shape[-2] if len(b.shape) > 1 else b.shape[0]
    if a.shape[-1] != k:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit: {a.shape[-1]} columns against {k} rows")
