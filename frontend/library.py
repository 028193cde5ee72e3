"""NumPy's functions on a device's own arrays: what no kernel of ours does, its library does there (see `Arrays`).

The functions are written with NumPy's names. On a stand-in for the library's array NumPy hands each call on
(`__array_function__`), and it goes to the library's function of that name. Where there is none, or the library refuses,
the host does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Device, Layout
from tilewright.backends.windows import dtype_name
from tilewright.dtypes import supported
from tilewright.kernels.node import Node
from tilewright.leaf import Leaf
from tilewright.views import row_major

_SINGLE = {"float64": "float32", "complex128": "complex64"}

_lacking: set[tuple[Device, str, tuple[str, ...]]] = set()
"""What a device's library was seen not to have: the name of what was to be done, and of which dtypes."""


class Lacking(TypeError):
    """The library has no such function, or gives what is no array."""


class Routed:
    """Stands for an array of the library `namespace` in calls of NumPy's functions."""

    __slots__ = ("array", "namespace")

    def __init__(self, array: Any, namespace: Any) -> None:
        self.array, self.namespace = array, namespace

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __rsub__(self, other: int) -> Routed:
        return Routed(other - self.array, self.namespace)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        folder = function.__module__.removeprefix("numpy").removeprefix(".")
        found = getattr(getattr(self.namespace, folder, None) if folder else self.namespace, function.__name__, None)
        if found is None:
            raise Lacking(f"{self.namespace.__name__} has no {function.__name__}")
        result = _called(found, _unrouted(args), _unrouted(kwargs))
        if isinstance(result, tuple):
            return tuple(Routed(part, self.namespace) for part in result)
        return Routed(result, self.namespace)


def _called(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """Called so, or where `stable` is not known with NumPy's older word for it, as CuPy has it."""
    try:
        return function(*args, **kwargs)
    except TypeError:
        if "stable" not in kwargs:
            raise
        kind = {"kind": "stable"} if kwargs["stable"] else {}
        return function(*args, **{k: v for k, v in kwargs.items() if k != "stable"}, **kind)


def _unrouted(value: Any) -> Any:
    if isinstance(value, Routed):
        return value.array
    if isinstance(value, dict):
        return {key: _unrouted(item) for key, item in value.items()}
    return type(value)(map(_unrouted, value)) if type(value) in (tuple, list) else value


def by_library(name: str, function: Callable[..., Any], nodes: Sequence[Node], device: Any) -> Any:
    """`function` of the evaluated `nodes` by the device's library, as a node or a tuple of them; None where it cannot.

    What the library refuses for its values (a singular matrix) is None too: NumPy then says what is wrong.
    """
    key = (device, name, tuple(node.dtype for node in nodes))
    if key in _lacking or name in getattr(device, "on_host", ()):
        return None
    try:
        with device.scope():
            given = [Routed(_array(device, node), device.namespace) for node in nodes]
            result = function(*given)
            narrow = _is_single({node.dtype for node in nodes})
            kept = _kept(name, result, device, narrow)
            device.synchronize()  # a lazy library finds out only now that it cannot
            return kept
    except (AttributeError, TypeError, NotImplementedError):
        _lacking.add(key)
        return None
    except Exception:  # each library has errors of its own, and what is wrong NumPy says in its
        return None


def _is_single(dtypes: set[str]) -> bool:
    """Whether the widest floats among these have 32 bits."""
    return bool(dtypes & set(_SINGLE.values())) and not dtypes & _SINGLE.keys()


def _array(device: Any, node: Node) -> Any:
    return device.view(Layout(node.dtype, node.shape, row_major(node.shape)), node.arg.buffer)


_PLACES = ("searchsorted", "argsort", "nonzero")
"""What gives places in an array: int64, though some libraries are content with 32 bits."""


def _kept(name: str, result: Any, device: Any, narrow: bool) -> Any:
    """What the library gave, in the device's memory; where it went over to 64 bits of its own accord, in 32."""
    if isinstance(result, tuple):
        return tuple(_kept(name, part, device, narrow) for part in result)
    if not isinstance(result, Routed):
        raise Lacking(f"{name} gave a {type(result).__name__}")
    dtype, shape = dtype_name(result.array), result.shape
    dtype = _SINGLE.get(dtype, dtype) if narrow else dtype
    dtype = "int64" if name in _PLACES and dtype == "int32" else dtype
    if dtype not in DTYPES or not supported(dtype, device):
        raise Lacking(f"{name} gave {dtype}")
    buffer = device.allocate(prod(shape) * DTYPES[dtype].nbytes)
    device.store(Layout(dtype, shape, row_major(shape)), buffer, result.array)
    return Node("buffer", (), Leaf(buffer, device, f"vendor {name}"), shape, dtype)
