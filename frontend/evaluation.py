"""Evaluation on request, and questions about the dtypes of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.array import Array
from tilewright.backends.protocol import Device
from tilewright.devices import resolve
from tilewright.dtypes import can_cast_names, name_of, narrow, object_of, promote, weak
from tilewright.kernels.node import Node
from tilewright.record import SCALARS
from tilewright.transfer import settle


def eval(*arrays: Array) -> None:
    """Compute all `arrays` now, together, so that what they share is computed once. Raises TypeError for others."""
    together: dict[Device, list[Node]] = {}
    for x in arrays:
        if type(x) is not Array:
            raise TypeError(f"eval: {type(x).__name__} is no tilewright array")
        together.setdefault(x._device, []).append(x._cell.value)
    for device, nodes in together.items():
        settle(nodes, device)


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype to which arrays, dtypes and Python scalars, which are weak, promote together."""
    device, strong, scalars = resolve(), [], []
    for x in arrays_and_dtypes:
        if type(x) is Array:
            device = x._device
            strong.append(x._cell.value.dtype)
        elif type(x) in SCALARS:
            scalars.append(type(x))
        else:
            strong.append(name_of(getattr(x, "dtype", x) if not isinstance(x, type) else x))
    if not strong:
        if not scalars:
            raise ValueError("result_type: at least one array or dtype is needed")
        strong = [name_of(scalars[0], device)]
    result = strong[0]
    for name in strong[1:]:
        result = promote(result, name)
    for kind in scalars:
        result = weak(result, kind, device)
    return object_of(narrow(result, device) if any(type(x) is Array for x in arrays_and_dtypes) else result)


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether a dtype, or the dtype of an array, converts to another without loss."""
    return can_cast_names(name_of(from_.dtype if type(from_) is Array else from_), name_of(to))
