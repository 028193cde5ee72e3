"""Data types: NumPy dtype objects for users, their names inside; promotion and default types."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import floor, log10
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES, numpy_dtype
from tilewright.backends.protocol import Device

_OBJECTS: dict[str, np.dtype[Any]] = {name: numpy_dtype(name) for name in DTYPES if name != "bfloat16"}
_NAMES: dict[Any, str] = {}
for _name, _dtype in _OBJECTS.items():
    _NAMES[_name] = _NAMES[_dtype] = _NAMES[_dtype.type] = _name

_NARROW = {"float64": "float32", "int64": "int32", "uint64": "uint32"}
_WEAK = {int: "int64", float: "float64", complex: "complex128"}

KINDS: dict[str, str] = {name: d.kind for name, d in DTYPES.items()}
"""The kind of each dtype name: b, i, u, f or c."""

HALVES = ("float16", "bfloat16")
"""Floats of 16 bits: kernels compute in float32 and round what they store; sums are float32's until they end."""


def object_of(name: str) -> np.dtype[Any]:
    """The NumPy dtype object of that name."""
    found = _OBJECTS.get(name)
    if found is None:
        found = _OBJECTS[name] = numpy_dtype(name)
        _NAMES[found] = _NAMES[found.type] = name
    return found


def supported(name: str, device: Device) -> bool:
    """Whether arrays of that dtype may live on `device`; complex ones may on all: the host computes if need be."""
    return KINDS[name] == "c" or name in device.limits.dtypes


def name_of(dtype: Any, device: Device | None = None) -> str:
    """The name of a dtype given as an object, a string, or a Python or NumPy type.

    Python's int, float and complex mean the default dtype of `device`. Raises TypeError for what is no dtype of ours,
    or what `device` has not.
    """
    if dtype in _WEAK:
        return _WEAK[dtype] if device is None else narrow(_WEAK[dtype], device)
    if dtype is bool:
        return "bool"
    name = _NAMES.get(dtype)
    if name is None:
        if dtype is None:  # NumPy's name for float64
            raise TypeError("None is not a dtype; name one, such as float32")
        try:
            name = "bfloat16" if dtype == "bfloat16" else np.dtype(dtype).name
        except TypeError:
            name = ""
        if name not in DTYPES:
            raise TypeError(f"{dtype!r} is not a dtype that tilewright has; it has {', '.join(DTYPES)}")
    if device is not None and not supported(name, device):
        instead = f"; use {_NARROW[name]}" if name in _NARROW else ""
        raise TypeError(f"device {device.name} has no {name}{instead}")
    return name


def narrow(name: str, device: Device) -> str:
    """`name`, or its 32-bit relative where `device` has no 64-bit ones."""
    return name if supported(name, device) else _NARROW.get(name, name)


def default_float(device: Device) -> str:
    """float64 where the device has it, as NumPy, else float32."""
    return narrow("float64", device)


def default_int(device: Device) -> str:
    """int64 where the device has it, as NumPy, else int32."""
    return narrow("int64", device)


@cache
def promote(a: str, b: str) -> str:
    """The dtype name both convert to, by NumPy 2's table; bfloat16 stands where float16 stands."""
    if a == b:
        return a
    if "bfloat16" in (a, b):
        other = b if a == "bfloat16" else a
        if other == "float16":
            return "float32"
        joined = np.promote_types("float16", other).name
        return "bfloat16" if joined == "float16" else joined
    return np.promote_types(a, b).name


def weak(dtype: str, scalar: type, device: Device) -> str:
    """The dtype of an op between an array of `dtype` and a Python scalar of type `scalar` (NEP 50)."""
    kind = KINDS[dtype]
    if scalar is bool or (scalar is int and kind != "b") or (scalar is float and kind in "fc"):
        return dtype
    if scalar is int:
        return default_int(device)
    if scalar is float:
        return default_float(device)
    if kind == "c":
        return dtype
    return "complex64" if dtype in ("float16", "bfloat16", "float32") else "complex128"


def floating(dtype: str, device: Device) -> str:
    """The dtype in which a float function of a `dtype` array is computed: NumPy's smallest that holds it."""
    if KINDS[dtype] in "fc":
        return dtype
    return narrow({1: "float16", 2: "float32"}.get(DTYPES[dtype].nbytes, "float64"), device)


def can_cast_names(source: str, target: str, casting: str = "safe") -> bool:
    """NumPy's can_cast on names, with bfloat16 between float16 and float32."""
    if "bfloat16" not in (source, target):
        return np.can_cast(source, target, casting=casting)  # type: ignore[arg-type]
    if casting == "same_kind":
        return KINDS[source] not in "c" and KINDS[target] in "fc"
    return promote(source, target) == target


_GROUPS = {
    "bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "f",
    "complex floating": "c", "numeric": "iufc",
}  # fmt: skip


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether `dtype` is of `kind`: a dtype, one of the standard's kind names, or a tuple of those."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    name = name_of(dtype)
    if isinstance(kind, str):
        if kind not in _GROUPS:
            raise ValueError(f"isdtype: unknown kind {kind!r}; kinds are {', '.join(_GROUPS)}")
        return KINDS[name] in _GROUPS[kind]
    return name == name_of(kind)


@dataclass(frozen=True, slots=True)
class FloatLimits:
    """What `finfo` returns, in Python numbers; of a complex dtype, the limits of its parts."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype[Any]

    @property
    def tiny(self) -> float:
        """NumPy's name of `smallest_normal`."""
        return self.smallest_normal

    @property
    def resolution(self) -> float:
        """The decimal precision, as NumPy's: ten to the power of minus the number of sure digits."""
        return 10.0 ** -floor(-log10(self.eps))


@cache
def _float_limits(name: str) -> FloatLimits:
    if name == "bfloat16":
        import ml_dtypes  # late: only bfloat16 needs it

        limits: Any = ml_dtypes.finfo(object_of(name))
    else:
        limits = np.finfo(name)
    eps, most, least, normal = (float(v) for v in (limits.eps, limits.max, limits.min, limits.smallest_normal))
    return FloatLimits(limits.bits, eps, most, least, normal, limits.dtype)


def finfo(of: Any, /) -> FloatLimits:
    """Machine limits of a floating dtype, or of an array's. Raises TypeError for others."""
    name = name_of(of if isinstance(of, type) else getattr(of, "dtype", of))
    if KINDS[name] not in "fc":
        raise TypeError(f"finfo: {name} is not a floating dtype; use iinfo")
    return _float_limits(name)


def iinfo(of: Any, /) -> Any:
    """Machine limits of an integer dtype, or of an array's. Raises TypeError for others."""
    name = name_of(of if isinstance(of, type) else getattr(of, "dtype", of))
    if KINDS[name] not in "iu":
        raise TypeError(f"iinfo: {name} is not an integer dtype; use finfo")
    return np.iinfo(name)
