"""What `__array_namespace_info__` returns: capabilities, default dtypes and devices, as the standard asks."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.devices import Device, devices, get_default_device, resolve
from tilewright.dtypes import KINDS, default_float, default_int, isdtype, object_of, supported


class _Devices(tuple[Device, ...]):
    """A tuple to which a list can be added: before 2025.12 this was a list, and SciPy adds to it."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return [*self, *other] if isinstance(other, list) else tuple(self) + other


class Info:
    """Inspection of the namespace; every method answers for the device named, or for the default one."""

    def capabilities(self) -> dict[str, Any]:
        """Masks and data-dependent shapes work (they evaluate); there is no bound on the number of axes but NumPy's."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """The device on which arrays are created."""
        return get_default_device()

    def default_dtypes(self, *, device: str | None = None) -> dict[str, np.dtype[Any]]:
        """The dtypes that Python numbers get."""
        target = resolve(device)
        floats, integers = default_float(target), default_int(target)
        pair = "complex128" if floats == "float64" else "complex64"
        names = {"real floating": floats, "complex floating": pair, "integral": integers, "indexing": integers}
        return {kind: object_of(name) for kind, name in names.items()}

    def dtypes(self, *, device: str | None = None, kind: Any = None) -> dict[str, np.dtype[Any]]:
        """The standard's dtypes that arrays on the device may have, of one kind if that is given."""
        target = resolve(device)
        found = {n: object_of(n) for n in KINDS if n not in ("float16", "bfloat16") and supported(n, target)}
        return found if kind is None else {n: d for n, d in found.items() if isdtype(d, kind)}

    def devices(self) -> tuple[Device, ...]:
        """All usable devices."""
        return _Devices(devices())


def __array_namespace_info__() -> Info:
    """The namespace's inspection object."""
    return Info()
