"""NumPy's functions on our arrays: the namespace's function of the same meaning, else NumPy on the host, counted."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from tilewright.hosting import array_of, assigned, mapped, on_host, one_like
from tilewright.operators import Recorded

_SAME = """
    concat stack sum prod max min mean std var any all argmax argmin count_nonzero cumulative_sum cumulative_prod
    where reshape permute_dims matrix_transpose moveaxis expand_dims squeeze flip roll tile repeat diff unstack
    broadcast_to clip sort argsort searchsorted nonzero take take_along_axis unique_all unique_counts
    unique_inverse unique_values tril triu tensordot vecdot zeros_like ones_like full_like empty_like astype
    real imag isin allclose append array_equal array_split average column_stack copy cov diag diagonal dot dsplit
    dstack ediff1d fix fliplr flipud hsplit hstack inner isclose isneginf isposinf kron nan_to_num nanmax nanmean nanmin
    nanprod nanstd nansum nanvar ndim outer pad ptp ravel rot90 select shape size split swapaxes trace transpose vander
    vdot vsplit vstack
    linalg.cholesky linalg.cross linalg.det linalg.diagonal linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh
    linalg.inv linalg.matmul linalg.matrix_norm linalg.matrix_power linalg.matrix_rank linalg.matrix_transpose
    linalg.outer linalg.pinv linalg.qr linalg.slogdet linalg.solve linalg.svd linalg.svdvals linalg.tensordot
    linalg.trace linalg.vecdot linalg.vector_norm
    fft.fft fft.ifft fft.fftn fft.ifftn fft.rfft fft.irfft fft.rfftn fft.irfftn fft.hfft fft.ihfft fft.fftshift
    fft.ifftshift
"""
_NAMES = {name: name for name in _SAME.split()} | {
    "concatenate": "concat", "amax": "max", "amin": "min", "cumsum": "cumsum", "cumprod": "cumprod",
    "round": "around",
}  # fmt: skip
"""NumPy's name of each function that the namespace has, and the namespace's."""

_PARAMETERS = {
    "a": "x", "arr": "x", "ary": "x", "A": "x", "m": "x", "v": "x2", "b": "x2", "y": "x2", "val": "x", "array": "x",
    "tup": "arrays", "prototype": "x", "element": "x1", "test_elements": "x2", "ddof": "correction", "a_min": "min",
    "a_max": "max", "newshape": "shape", "reps": "repetitions",
}  # fmt: skip
"""NumPy's names of parameters that are called otherwise in the standard; there the first array is `x`, or `x1`."""

_WRITING = ("copyto", "put", "place", "putmask", "put_along_axis", "fill_diagonal")
_OF_ONE: dict[str, Callable[[Any, Any], Any]] = {
    "asarray": lambda xp, a: a, "linalg.norm": lambda xp, a: xp.linalg.vector_norm(a),
    "squeeze": lambda xp, a: xp.squeeze(a, tuple(k for k, extent in enumerate(a.shape) if extent == 1)),
}  # fmt: skip
"""What NumPy's functions do with one array and nothing else given, where that is another case for the standard."""

_AS_THEY_ARE = ("result_type", "broadcast_arrays", "meshgrid", "einsum", "atleast_1d", "atleast_2d", "atleast_3d")
"""Functions of any number of arrays, which NumPy and the namespace call in the same way."""


def array_function(function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `__array_function__` returns. Raises ValueError for arrays on several devices."""
    if not all(issubclass(kind, (Recorded, np.ndarray, np.generic)) for kind in types):
        return NotImplemented
    name, bridge = _known(function)
    like = one_like(name, args, kwargs)
    xp: Any = sys.modules["tilewright"]
    if like is None:  # NumPy asks us for the sake of `like=` alone
        return xp.asarray(function(*args, **kwargs))
    if name in _OF_ONE and len(args) == 1 and not kwargs and isinstance(args[0], Recorded):
        return _OF_ONE[name](xp, args[0])
    if name in _WRITING:
        return _written(name, function, args, kwargs, like)
    out = kwargs.get("out")
    if out is not None:
        kwargs = {**kwargs, "out": None}
    found = bridge(args, kwargs, like) if bridge is not None else NotImplemented
    if found is NotImplemented:
        found = on_host(name, function, args, kwargs, like)
    return found if out is None else assigned(out, found, "same_kind")


def _written(name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], like: Recorded) -> None:
    """A function that writes into its first argument: done to a copy on the host, which then is assigned."""
    if not args:  # the first of these names that it knows
        args = (kwargs.pop(next(k for k in ("dst", "a", "arr") if k in kwargs)),)
    target = args[0]

    def copied(data: Any, *others: Any, **options: Any) -> Any:
        copy = np.array(data)
        function(copy, *others, **options)
        return copy

    result = on_host(name, copied, args, kwargs, like)
    target[...] = result if isinstance(target, Recorded) else np.asarray(result)


class _Bridge:
    """Calls one of our functions as NumPy's is called; NotImplemented for what ours does not do."""

    def __init__(self, theirs: Callable[..., Any], ours: Callable[..., Any]) -> None:
        self.ours = ours
        parameters = inspect.signature(theirs).parameters
        self.order = [k for k, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
        self.defaults = {k: p.default for k, p in parameters.items()}
        kinds = inspect.signature(ours).parameters
        self.names = {k: _renamed(k, kinds) for k in parameters}
        self.needed = {k for k, p in kinds.items() if p.default is p.empty}
        self.positional = [k for k, p in kinds.items() if p.kind is p.POSITIONAL_ONLY]

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any], like: Recorded) -> Any:
        given: dict[str, Any] = {}
        for name, value in (*zip(self.order, args, strict=False), *kwargs.items()):
            default = self.defaults.get(name, self)
            if value is default or (type(value) in (bool, int, str) and value == default):
                continue
            ours = self.names.get(name)
            if ours is None or ours in given:
                return NotImplemented
            given[ours] = value
        if len(args) > len(self.order) or not self.needed <= given.keys():
            return NotImplemented
        return _tried(self.ours, [given.pop(name) for name in self.positional if name in given], given, like)


def _renamed(theirs: str, ours: Mapping[str, Any]) -> str | None:
    """Our name for a parameter of NumPy's; None where we have none."""
    for name in (theirs, _PARAMETERS.get(theirs, theirs)):
        if name in ours:
            return name
        if name == "x" and "x1" in ours:
            return "x1"
    return None


def _tried(ours: Callable[..., Any], args: Any, kwargs: Any, like: Recorded) -> Any:
    """Our function with NumPy's arrays brought to the device of `like`; NotImplemented for what it refuses.

    NumPy then takes it, since it allows more than the standard, or raises the error that its users know.
    """
    try:
        args, kwargs = mapped((args, kwargs), np.ndarray, lambda data: array_of(data, like))
        return ours(*args, **kwargs)
    except (TypeError, ValueError, IndexError):
        return NotImplemented


@cache
def _known(function: Any) -> tuple[str, Callable[..., Any] | None]:
    """The name of a function of NumPy's, and the way from it to ours if there is one."""
    name = f"{function.__module__}.{function.__name__}".removeprefix("numpy.")
    return name, _bridge(function, name)


def _bridge(function: Any, name: str) -> Callable[..., Any] | None:
    xp: Any = sys.modules["tilewright"]
    if name in _AS_THEY_ARE:
        return partial(_tried, getattr(xp, name))
    ours = xp
    if name not in _NAMES:
        return None
    for part in _NAMES[name].split("."):
        ours = getattr(ours, part)
    try:
        return _Bridge(function, ours)
    except ValueError:  # NumPy before 2.4 does not tell the signatures of functions written in C
        return None
