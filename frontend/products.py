"""Recording matrix products: NumPy's rules for one axis and for batches, as nodes."""

from __future__ import annotations

from math import prod

import numpy as np

from tilewright.backends.protocol import Device
from tilewright.dtypes import KINDS, narrow, promote
from tilewright.kernels.node import Node
from tilewright.record import binary, broadcast_shapes, cast, const, expand, window
from tilewright.transfer import host
from tilewright.views import turned, whole

SMALL = 1 << 16  # elements of a matrix


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
    if _is_sum(prod(batch), m, n, a.shape[-1], dtype):
        result = _summed(a, b, (*batch, m, n), device)
    else:
        a, b = expand(a, (*batch, *a.shape[-2:])), expand(b, (*batch, *b.shape[-2:]))
        result = Node("matmul", (a, b), None, (*batch, m, n), dtype)
    if not (row or column):
        return result
    return window(result, whole((*batch, *(() if row else (m,)), *(() if column else (n,)))))


def _is_sum(batch: int, m: int, n: int, k: int, dtype: str) -> bool:
    """Whether a product by a vector is done as a sum of elementwise products: two vectors, many small matrices, or one.

    What a reduction starts with costs less than a call of a library, and is shared by all threads. Of a large matrix
    both read every element once. Narrow floats and integers have sums of their own in a product.
    """
    small = batch > 1 or m * n == 1 or m * n * k <= SMALL
    return min(m, n) == 1 and small and k > 0 and dtype in ("float32", "float64")


def _summed(a: Node, b: Node, shape: tuple[int, ...], device: Device) -> Node:
    *batch, m, n = shape
    if n == 1:  # along the last axis of both
        over, axis = (*batch, m, a.shape[-1]), len(batch) + 1
        b = _turned(b)
    else:  # down the columns of b
        over, axis = (*batch, a.shape[-1], n), len(batch)
        a = _turned(a)
    product = binary("mul", expand(a, over), expand(b, over), device)
    kept = (*over[:axis], *over[axis + 1 :])
    return window(Node("reduce", (product,), ("sum", axis), kept, a.dtype), whole(shape))


def _turned(node: Node) -> Node:
    """A matrix, or a batch of them, with its last two axes exchanged."""
    rank = len(node.shape)
    return window(node, turned(whole(node.shape), (*range(rank - 2), rank - 1, rank - 2)))


def _check(a: Node, b: Node) -> None:
    k = b.shape[-2] if len(b.shape) > 1 else b.shape[0]
    if a.shape[-1] != k:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit: {a.shape[-1]} columns against {k} rows")
