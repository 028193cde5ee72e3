"""Linear algebra. Products, norms and traces are recorded; decompositions and solvers run on the host, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np

from tilewright import elementwise as ew
from tilewright import statistical as st
from tilewright import tall
from tilewright.arguments import integer
from tilewright.array import Array, layout, viewed, wrap
from tilewright.creation import astype
from tilewright.dtypes import HALVES, KINDS, floating, object_of, promote
from tilewright.elementwise import device_of, one
from tilewright.kernels.node import View
from tilewright.manipulation import axes_of, axis_of, matrix_transpose, moveaxis, permute_dims, reshape
from tilewright.operators import apply
from tilewright.searching import on_host
from tilewright.transfer import numbers

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matmul", "matrix_norm",
    "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals",
    "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip


class EigResult(NamedTuple):
    """What `eig` returns."""

    eigenvalues: Array
    eigenvectors: Array


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: Array
    S: Array
    Vh: Array


def matmul(x1: Array, x2: Array, /) -> Array:
    """(..., m, k) @ (..., k, n); an operand of one axis is a row or column that is dropped again."""
    node = apply("matmul", one(x1, "matmul"), one(x2, "matmul"), x1._device)
    assert node is not None  # both are arrays
    return wrap(node, x1._device)


def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Sums of products along `axis`, which both must have in the same length; the first operand is conjugated."""
    device = device_of("vecdot", x1, x2)
    along = [axis_of(axis, one(x, "vecdot").ndim, "vecdot") for x in (x1, x2)]
    if x1.shape[along[0]] != x2.shape[along[1]]:
        raise ValueError(f"vecdot: shapes {x1.shape} and {x2.shape} differ along axis {axis}")
    dtype = object_of(promote(x1._cell.value.dtype, x2._cell.value.dtype))
    a, b = (moveaxis(x, k, -1) for x, k in zip((x1, x2), along, strict=True))
    if dtype.name in HALVES:  # whose products float32 holds exactly
        a = astype(a, "float32")
    product = ew.conj(a) * b if KINDS[x1._cell.value.dtype] == "c" else ew.multiply(a, b)
    return st.sum(product, axis=-1, dtype=dtype if dtype.name in device.limits.dtypes else None)


def tensordot(x1: Array, x2: Array, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Array:
    """Sum of products over pairs of axes: the last and first `axes`, or the pairs named. One matmul."""
    one(x1, "tensordot"), one(x2, "tensordot")
    if not isinstance(axes, (tuple, list)):
        if not 0 <= integer(axes, "tensordot", "the number of axes") <= min(x1.ndim, x2.ndim):
            raise ValueError(f"tensordot: shapes {x1.shape} and {x2.shape} have no {axes} axes to sum over")
        first, second = tuple(range(x1.ndim - axes, x1.ndim)), tuple(range(axes))
    else:
        first = tuple(axis_of(a, x1.ndim, "tensordot") for a in axes[0])
        second = tuple(axis_of(a, x2.ndim, "tensordot") for a in axes[1])
        if len(set(first)) < len(first) or len(set(second)) < len(second):
            raise ValueError(f"tensordot: axes {axes} name one axis twice")
    if [x1.shape[a] for a in first] != [x2.shape[a] for a in second]:
        raise ValueError(f"tensordot: shapes {x1.shape} and {x2.shape} do not fit along {first} and {second}")
    left = tuple(a for a in range(x1.ndim) if a not in first)
    right = tuple(a for a in range(x2.ndim) if a not in second)
    k = prod(x1.shape[a] for a in first)
    rows, columns = [x1.shape[a] for a in left], [x2.shape[a] for a in right]
    a = reshape(permute_dims(x1, (*left, *first)), (prod(rows), k))
    b = reshape(permute_dims(x2, (*second, *right)), (k, prod(columns)))
    return reshape(matmul(a, b), (*rows, *columns))


def outer(x1: Array, x2: Array, /) -> Array:
    """All products of the elements of two 1-dimensional arrays."""
    if one(x1, "outer").ndim != 1 or one(x2, "outer").ndim != 1:
        raise ValueError(f"outer: 1-dimensional arrays are needed, the shapes are {x1.shape} and {x2.shape}")
    return x1[:, None] * x2[None, :]


def diagonal(x: Array, /, *, offset: int = 0) -> Array:
    """The `offset`-th diagonals of a stack of matrices: a view."""
    _matrices(x, "diagonal")
    offset = integer(offset, "diagonal", "the offset")
    shape, strides, start = layout(x)
    rows, columns = shape[-2:]
    down, right = strides[-2:]
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    first = start + (max(offset, 0) * right + max(-offset, 0) * down if count else 0)
    return viewed(x, View((*shape[:-2], count), (*strides[:-2], down + right), first))


def trace(x: Array, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """Sums of the `offset`-th diagonals."""
    return st.sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def _matrices(x: Array, name: str, square: bool = False) -> None:
    if one(x, name).ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise ValueError(f"{name}: {'square ' if square else ''}matrices are needed, the shape is {x.shape}")


def _floats(x: Array) -> Array:
    """`x`, with integers as floats."""
    name = x._cell.value.dtype
    return x if KINDS[name] in "fc" else astype(x, object_of(floating(name, x._device)))


def vector_norm(
    x: Array, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: float = 2
) -> Array:
    """The norm of order `ord` over `axis`: inf and -inf the extremes, 0 the number of non-zeros."""
    axes = axes_of(axis, one(x, "vector_norm").ndim, "vector_norm")
    if x._cell.value.dtype in HALVES:  # squares of large ones are beyond them
        return astype(vector_norm(astype(x, "float32"), axis=axis, keepdims=keepdims, ord=ord), x.dtype)
    size = ew.abs(_floats(x))
    if not isinstance(ord, (int, float)):
        raise ValueError(f"vector_norm: there is no norm of order {ord!r}")
    if ord == inf:
        return st.max(size, axis=axes, keepdims=keepdims)
    if ord == -inf:
        return st.min(size, axis=axes, keepdims=keepdims)
    if ord == 0:
        return astype(st.count_nonzero(size, axis=axes, keepdims=keepdims), size.dtype)
    if ord == 1:
        return st.sum(size, axis=axes, keepdims=keepdims)
    if ord == 2:
        return ew.sqrt(st.sum(size * size, axis=axes, keepdims=keepdims))
    return st.sum(size ** float(ord), axis=axes, keepdims=keepdims) ** (1.0 / ord)


def matrix_norm(x: Array, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """A norm of each matrix: "fro", 1, -1, inf and -inf are recorded; 2, -2 and "nuc" need singular values."""
    _matrices(x, "matrix_norm")
    x = _floats(x)
    if ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in (1, -1, inf, -inf):
        sums = st.sum(ew.abs(x), axis=-2 if ord in (1, -1) else -1, keepdims=True)
        result = (st.max if ord > 0 else st.min)(sums, axis=(-2, -1), keepdims=True)
        return result if keepdims else result[..., 0, 0]
    if ord not in (2, -2, "nuc"):
        raise ValueError(f"matrix_norm: there is no norm of order {ord!r}")
    return on_host("matrix_norm", lambda d: np.linalg.matrix_norm(d, keepdims=keepdims, ord=ord), x)


def matrix_power(x: Array, n: int, /) -> Array:
    """Each square matrix multiplied by itself `n` times; its inverse where `n` is negative."""
    _matrices(x, "matrix_power", square=True)
    if integer(n, "matrix_power", "the power") <= 0:
        return on_host("matrix_power", lambda d: np.linalg.matrix_power(d, n), x)
    result, square = None, x
    while n:
        if n & 1:
            result = square if result is None else matmul(result, square)
        n >>= 1
        square = matmul(square, square) if n else square
    return result.__copy__() if result is x else result  # type: ignore[union-attr,return-value]


def _hosted(name: str, function: Callable[..., Any], square: bool, x: Array) -> Any:
    """A function of matrices on the host. A matrix that NumPy refuses raises its LinAlgError."""
    _matrices(x, name, square)
    wide = astype(x, "float32") if x._cell.value.dtype in HALVES else _floats(x)
    return on_host(name, function, wide)


def cholesky(x: Array, /, *, upper: bool = False) -> Array:
    """The lower (or upper) factor of each symmetric positive-definite matrix."""
    return _hosted("cholesky", lambda d: np.linalg.cholesky(d, upper=upper), True, x)


def det(x: Array, /) -> Array:
    """The determinant of each square matrix."""
    return _hosted("det", np.linalg.det, True, x)


def slogdet(x: Array, /) -> SlogdetResult:
    """Sign and logarithm of the determinant of each square matrix."""
    return SlogdetResult(*_hosted("slogdet", lambda d: tuple(np.linalg.slogdet(d)), True, x))


def _complex(values: Any) -> Any:
    """`values` in the complex dtype of their precision: NumPy gives real ones where no eigenvalue is complex."""
    return values.astype(np.result_type(values.dtype, np.complex64), copy=False)


def eig(x: Array, /) -> EigResult:
    """Eigenvalues and right eigenvectors, always complex, of each square matrix."""
    return EigResult(*_hosted("eig", lambda d: tuple(_complex(part) for part in np.linalg.eig(d)), True, x))


def eigvals(x: Array, /) -> Array:
    """Eigenvalues, always complex, of each square matrix; a real one's are real or exactly conjugate pairs."""
    return _hosted("eigvals", lambda d: _complex(np.linalg.eigvals(d)), True, x)


def eigh(x: Array, /) -> EighResult:
    """Eigenvalues, ascending, and eigenvectors of each symmetric matrix."""
    return EighResult(*_hosted("eigh", lambda d: tuple(np.linalg.eigh(d)), True, x))


def eigvalsh(x: Array, /) -> Array:
    """Eigenvalues, ascending, of each symmetric matrix."""
    return _hosted("eigvalsh", np.linalg.eigvalsh, True, x)


def inv(x: Array, /) -> Array:
    """The inverse of each square matrix."""
    return _hosted("inv", np.linalg.inv, True, x)


def pinv(x: Array, /, *, rtol: Any = None) -> Array:
    """The pseudo-inverse of each matrix; singular values below `rtol` times the largest count as 0."""
    limit: Any = None if rtol is None else numbers(rtol, "pinv")
    return _hosted("pinv", lambda d: np.linalg.pinv(d, rtol=limit), False, x)


def matrix_rank(x: Array, /, *, rtol: Any = None) -> Array:
    """The number of singular values above `rtol` times the largest, of each matrix."""
    limit: Any = None if rtol is None else numbers(rtol, "matrix_rank")
    return _hosted("matrix_rank", lambda d: np.asarray(np.linalg.matrix_rank(d, rtol=limit)), False, x)


def qr(x: Array, /, *, mode: str = "reduced") -> QRResult:
    """An orthonormal and an upper triangular factor of each matrix; `mode` is "reduced" or "complete"."""
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode is 'reduced' or 'complete', not {mode!r}")
    factors: Callable[..., Any] = np.linalg.qr
    return QRResult(*_hosted("qr", lambda d: tuple(factors(d, mode=mode)), False, x))


def svd(x: Array, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular value decomposition of each matrix; of tall ones most of the work is done on the device."""
    _matrices(x, "svd")
    if not full_matrices:
        found = tall.svd(x, vectors=True)
        if found is not None:
            return SVDResult(*found)
    function = lambda d: tuple(np.linalg.svd(d, full_matrices=full_matrices))  # noqa: E731
    return SVDResult(*_hosted("svd", function, False, x))


def svdvals(x: Array, /) -> Array:
    """Singular values, descending, of each matrix."""
    _matrices(x, "svdvals")
    found = tall.svd(x, vectors=False)
    return _hosted("svdvals", np.linalg.svdvals, False, x) if found is None else found[1]


def solve(x1: Array, x2: Array, /) -> Array:
    """The solution of x1 @ x = x2 for each square matrix; a 1-dimensional `x2` is one right side."""
    _matrices(x1, "solve", square=True)
    if one(x2, "solve").ndim == 0 or x2.shape[-2 if x2.ndim > 1 else 0] != x1.shape[-1]:
        raise ValueError(f"solve: shapes {x1.shape} and {x2.shape} do not fit: {x1.shape[-1]} unknowns")
    return on_host("solve", np.linalg.solve, _floats(x1), _floats(one(x2, "solve")))


def cross(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Cross products of the vectors of 3 elements along `axis`."""
    if any(one(x, "cross").shape[axis_of(axis, x.ndim, "cross")] != 3 for x in (x1, x2)):
        raise ValueError(f"cross: axis {axis} must have 3 elements, the shapes are {x1.shape} and {x2.shape}")
    return on_host("cross", lambda a, b: np.linalg.cross(a, b, axis=axis), x1, x2)
