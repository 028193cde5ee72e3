"""Methods that NumPy's arrays have and the standard's have not: SciPy, dask and others call them on what they get.

Each is the namespace's function of that name, with NumPy's order of arguments.
"""

from __future__ import annotations

import sys
from typing import Any

from tilewright.operators import Recorded

Axis = int | tuple[int, ...] | None


def _namespace() -> Any:
    """Our own package, which by the time a method is called is imported whole."""
    return sys.modules["tilewright"]


class Methods(Recorded):
    """NumPy's methods, as far as software probes for them."""

    __slots__ = ()

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    @property
    def real(self) -> Any:
        """The real part: a copy, not a view."""
        return _namespace().real(self)

    @property
    def imag(self) -> Any:
        """The imaginary part: a copy, not a view."""
        return _namespace().imag(self)

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        """The elements converted to `dtype`."""
        return _namespace().astype(self, dtype, copy=copy)

    def reshape(self, *shape: Any, copy: bool | None = None) -> Any:
        """In another shape, given as one tuple or as integers."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return _namespace().reshape(self, wanted, copy=copy)

    def ravel(self) -> Any:
        """With one axis; a view where strides can say it."""
        return _namespace().reshape(self, (-1,))

    def flatten(self) -> Any:
        """A copy with one axis."""
        return _namespace().reshape(self, (-1,), copy=True)

    def copy(self) -> Any:
        """An array of its own with the same elements."""
        return self.__copy__()  # type: ignore[attr-defined]  # of Array, the only one who has these methods

    def transpose(self, *axes: Any) -> Any:
        """A view with the axes in another order, given as one tuple or as integers; reversed where none is given."""
        wanted = axes[0] if len(axes) == 1 and not hasattr(axes[0], "__index__") else axes
        return _namespace().permute_dims(self, wanted or tuple(reversed(range(self.ndim))))

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        """A view with two axes exchanged."""
        return _namespace().swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Axis = None) -> Any:
        """A view without those axes of extent 1, or without all such axes."""
        gone = tuple(k for k, extent in enumerate(self.shape) if extent == 1) if axis is None else axis
        return _namespace().squeeze(self, gone)

    def sum(self, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
        """The namespace's `sum`."""
        return _namespace().sum(self, axis=axis, dtype=dtype, keepdims=keepdims)

    def prod(self, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Any:
        """The namespace's `prod`."""
        return _namespace().prod(self, axis=axis, dtype=dtype, keepdims=keepdims)

    def mean(self, axis: Axis = None, *, keepdims: bool = False) -> Any:
        """The namespace's `mean`."""
        return _namespace().mean(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
        """The namespace's `var`, with NumPy's name of the correction."""
        return _namespace().var(self, axis=axis, correction=ddof, keepdims=keepdims)

    def std(self, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
        """The namespace's `std`, with NumPy's name of the correction."""
        return _namespace().std(self, axis=axis, correction=ddof, keepdims=keepdims)

    def min(self, axis: Axis = None, *, keepdims: bool = False) -> Any:
        """The namespace's `min`."""
        return _namespace().min(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Axis = None, *, keepdims: bool = False) -> Any:
        """The namespace's `max`."""
        return _namespace().max(self, axis=axis, keepdims=keepdims)

    def any(self, axis: Axis = None, *, keepdims: bool = False) -> Any:
        """The namespace's `any`."""
        return _namespace().any(self, axis=axis, keepdims=keepdims)

    def all(self, axis: Axis = None, *, keepdims: bool = False) -> Any:
        """The namespace's `all`."""
        return _namespace().all(self, axis=axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Any:
        """The namespace's `argmin`."""
        return _namespace().argmin(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Any:
        """The namespace's `argmax`."""
        return _namespace().argmax(self, axis=axis, keepdims=keepdims)

    def clip(self, min: Any = None, max: Any = None) -> Any:
        """The namespace's `clip`."""
        return _namespace().clip(self, min, max)

    def conj(self) -> Any:
        """The namespace's `conj`."""
        return _namespace().conj(self)

    conjugate = conj

    def cumsum(self, axis: int | None = None, dtype: Any = None) -> Any:
        """The namespace's `cumsum`: of the flattened array where `axis` is None."""
        return _namespace().cumsum(self, axis, dtype)

    def cumprod(self, axis: int | None = None, dtype: Any = None) -> Any:
        """The namespace's `cumprod`: of the flattened array where `axis` is None."""
        return _namespace().cumprod(self, axis, dtype)

    def round(self, decimals: int = 0) -> Any:
        """The namespace's `around`."""
        return _namespace().around(self, decimals)

    def dot(self, b: Any) -> Any:
        """The namespace's `dot`."""
        return _namespace().dot(self, b)

    def take(self, indices: Any, axis: int | None = None) -> Any:
        """The namespace's `take`; from the flattened array where `axis` is None."""
        x, along = (self.ravel(), 0) if axis is None else (self, axis)
        indices = _namespace().asarray(indices, device=self.device)
        taken = _namespace().take(x, indices.ravel(), axis=along)
        along %= x.ndim
        return taken.reshape(x.shape[:along] + indices.shape + x.shape[along + 1 :])

    def repeat(self, repeats: Any, axis: int | None = None) -> Any:
        """The namespace's `repeat`."""
        return _namespace().repeat(self, repeats, axis=axis)

    def nonzero(self) -> Any:
        """The namespace's `nonzero`."""
        return _namespace().nonzero(self)

    def argsort(self, axis: int = -1, *, stable: bool = True) -> Any:
        """The namespace's `argsort`."""
        return _namespace().argsort(self, axis=axis, stable=stable)

    def sort(self, axis: int = -1, *, stable: bool = True) -> None:
        """Sort in place, as NumPy's method does; the namespace's `sort` makes a new array."""
        self[...] = _namespace().sort(self, axis=axis, stable=stable)  # type: ignore[index]

    def searchsorted(self, v: Any, side: str = "left") -> Any:
        """The namespace's `searchsorted`."""
        return _namespace().searchsorted(self, v, side=side)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
        """The namespace's `diagonal`, a view."""
        return _namespace().diagonal(self, offset, axis1, axis2)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
        """The namespace's `trace`."""
        return _namespace().trace(self, offset, axis1, axis2)

    def fill(self, value: Any) -> None:
        """`value` everywhere, in place."""
        self[...] = value  # type: ignore[index]

    def tobytes(self) -> bytes:
        """The elements' bytes in row-major order."""
        return self._read().tobytes()  # type: ignore[attr-defined, no-any-return]
