"""Fourier transforms of the array API standard, done by NumPy on the host and counted as fallbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tilewright.arguments import integer, number
from tilewright.array import Array
from tilewright.creation import asarray
from tilewright.devices import resolve
from tilewright.dtypes import default_float, name_of
from tilewright.elementwise import one
from tilewright.manipulation import axes_of, axis_of, roll
from tilewright.searching import on_host

_NORMS = ("backward", "ortho", "forward")


def _line(name: str) -> Callable[..., Array]:
    def function(x: Array, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Array:
        _check(norm, name)
        along, count = axis_of(axis, one(x, name).ndim, name), None if n is None else _samples(n, name)
        return on_host(name, lambda d: getattr(np.fft, name)(d, n=count, axis=along, norm=norm), x)

    return _named(function, name, "along one axis")


def _space(name: str) -> Callable[..., Array]:
    def function(
        x: Array, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward"
    ) -> Array:
        _check(norm, name)
        ndim = one(x, name).ndim
        counts = None if s is None else tuple([n if n == -1 else _samples(n, name) for n in s])  # -1: as many as are
        over = tuple(range(ndim))[-len(counts) :] if axes is None and counts is not None else axes
        chosen = None if over is None else tuple([axis_of(a, ndim, name) for a in over])
        if counts is not None and chosen is not None and len(counts) != len(chosen):
            raise ValueError(f"{name}: {len(counts)} lengths do not fit {len(chosen)} axes of shape {x.shape}")
        return on_host(name, lambda d: getattr(np.fft, name)(d, s=counts, axes=chosen, norm=norm), x)

    return _named(function, name, "along several axes")


def _named(function: Callable[..., Array], name: str, what: str) -> Callable[..., Array]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The transform `{name}` of the array API standard, {what}; on the host."
    return function


def _check(norm: str, name: str) -> None:
    if norm not in _NORMS:
        raise ValueError(f"{name}: norm is one of {', '.join(_NORMS)}, not {norm!r}")


def _samples(n: Any, name: str) -> int:
    if integer(n, name, "the number of samples") < 1:
        raise ValueError(f"{name}: the number of samples, {n}, must be at least 1")
    return integer(n, name, "the number of samples")


fft, ifft, rfft, irfft = _line("fft"), _line("ifft"), _line("rfft"), _line("irfft")
hfft, ihfft = _line("hfft"), _line("ihfft")
fftn, ifftn, rfftn, irfftn = _space("fftn"), _space("ifftn"), _space("rfftn"), _space("irfftn")


def _spacing(d: Any, name: str) -> None:
    if number(d, name, "the spacing") == 0:
        raise ValueError(f"{name}: the spacing of the samples must not be 0")


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | None = None) -> Array:
    """The frequencies of the bins of `fft` for `n` samples `d` apart."""
    name = default_float(resolve(device)) if dtype is None else name_of(dtype, resolve(device))
    _spacing(d, "fftfreq")
    return asarray(np.fft.fftfreq(_samples(n, "fftfreq"), d), dtype=name, device=device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: str | None = None) -> Array:
    """The frequencies of the bins of `rfft` for `n` samples `d` apart."""
    name = default_float(resolve(device)) if dtype is None else name_of(dtype, resolve(device))
    _spacing(d, "rfftfreq")
    return asarray(np.fft.rfftfreq(_samples(n, "rfftfreq"), d), dtype=name, device=device)


def fftshift(x: Array, /, *, axes: int | tuple[int, ...] | None = None) -> Array:
    """The zero frequency moved to the middle."""
    over = axes_of(axes, one(x, "fftshift").ndim, "fftshift")
    return roll(x, [x.shape[a] // 2 for a in over], axis=over)


def ifftshift(x: Array, /, *, axes: int | tuple[int, ...] | None = None) -> Array:
    """The inverse of `fftshift`."""
    over = axes_of(axes, one(x, "ifftshift").ndim, "ifftshift")
    return roll(x, [-(x.shape[a] // 2) for a in over], axis=over)
