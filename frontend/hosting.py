"""NumPy on the host for arrays of a device: values out, results back, and counted as a fallback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.fallback import count
from tilewright.backends.protocol import Device
from tilewright.dtypes import can_cast_names, name_of, narrow, supported
from tilewright.operators import Cell, Recorded, keeps_its_type
from tilewright.transfer import read, settle, upload

_NESTS = (tuple, list, dict)


def arrays_in(value: Any) -> Iterator[Recorded]:
    """Every Array in nests of tuples, lists and dicts."""
    if isinstance(value, Recorded):
        yield value
    elif isinstance(value, _NESTS):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(item)


def one_like(name: str, *values: Any) -> Recorded | None:
    """Any of the Arrays in `values`, which are on one device. Raises ValueError where they are on several."""
    first = None
    for x in arrays_in(values):
        if first is None:
            first = x
        elif x._device is not first._device:
            there = f"one operand is on {first.device}, another on {x.device}"
            raise ValueError(f"{name}: {there}; bring them together with to_device")
    return first


def mapped(value: Any, kind: type | tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    """`value` with everything of type `kind` in nests of tuples, lists and dicts replaced."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(item, kind, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(mapped(item, kind, change) for item in value)  # type: ignore[attr-defined]
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(item, kind, change) for item in value)
    return value


def on_host(name: str, function: Callable[..., Any], args: Any, kwargs: Any, like: Recorded) -> Any:
    """`function` of NumPy's arrays, computed on the host; counted under `name`.

    What it returns comes back as Arrays like `like`, where their dtype is one of ours; the rest as it is.
    """
    settle([x._cell.value for x in arrays_in((args, kwargs))], like._device)
    moved, begin = 0, perf_counter()

    def fetched(x: Recorded) -> Any:
        nonlocal moved
        data = read(x._cell.value, x._device, x._view)
        moved += data.nbytes
        return data

    def back(data: Any) -> Any:
        nonlocal moved
        if data.dtype.name not in DTYPES or keeps_its_type(data):
            return data
        moved += data.nbytes
        return array_of(np.asarray(data), like)

    args, kwargs = mapped(args, Recorded, fetched), mapped(kwargs, Recorded, fetched)
    with np.errstate(all="ignore"):
        result = mapped(function(*args, **kwargs), (np.ndarray, np.generic), back)
    count(name, moved, perf_counter() - begin)
    return result


def array_of(data: np.ndarray[Any, Any], like: Recorded) -> Any:
    """`data` as an Array on the device of `like`, in the nearest dtype that it has. Raises TypeError if it has none."""
    device: Device = like._device
    name = name_of(data.dtype)
    name = name if supported(name, device) else narrow(name, device)
    return like.__class__(Cell(upload(data, name, device)), device)


def assigned(out: Any, result: Any, casting: str, where: Any = True) -> Any:
    """NumPy's `out=`: `result` written into an Array, or an ndarray, where `where` is true. Returns `out`.

    Raises TypeError where the dtypes do not cast, ValueError where the shapes do not fit.
    """
    if not isinstance(out, Recorded):
        np.copyto(out, np.asarray(result), casting=casting, where=np.asarray(where))  # type: ignore[arg-type]
        return out
    target: Any = out
    if casting != "unsafe" and not can_cast_names(result.dtype.name, out.dtype.name, casting):
        raise TypeError(f"out: {result.dtype} does not cast to {out.dtype} by {casting!r}; cast it, or leave out `out`")
    if where is not True:
        xp: Any = sys.modules["tilewright"]
        mask = where if isinstance(where, Recorded) else array_of(np.asarray(where, bool), out)
        result = xp.where(mask, xp.astype(result, out.dtype), target)
    target[...] = result
    return out
