"""Random numbers, made inside the kernel that uses them: the same on every device for a seed.

    rng = tw.random.default_rng(7)
    x = rng.normal(size=(1000, 1000), dtype=tw.float32, device="opencl:0")

Element i of a generator's n-th draw takes the words that Philox4x32-10 gives for the counter (i, n) and the key, which
is the seed; so a draw is an expression like any other, lazy, fused, and the same when it is computed twice. Bits,
uniforms and integers are the same on all devices, and so are normals where floats are IEEE 754's.

Inside `tw.jit` a generator from outside goes on at every replay, as it would in the plain function; one that is made
inside starts anew, as it would there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from tilewright import record
from tilewright.arguments import integer
from tilewright.array import Array, wrap
from tilewright.backends.protocol import Device
from tilewright.creation import asarray, astype, shape_of
from tilewright.devices import resolve
from tilewright.dtypes import KINDS, default_float, default_int, name_of, object_of
from tilewright.elementwise import minimum, node_of, one
from tilewright.kernels.node import Node
from tilewright.manipulation import axis_of
from tilewright.searching import argsort, searchsorted, take
from tilewright.statistical import cumulative_sum
from tilewright.tracing import current
from tilewright.views import whole

__all__ = [
    "Generator", "choice", "default_rng", "integers", "normal", "permutation", "random", "seed", "shuffle",
    "standard_normal", "uniform",
]  # fmt: skip

Size = int | Sequence[int] | None
_UNIT = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}  # bits that a number below 1 can have
_WORD = 1 << 32


class Generator:
    """A stream of random numbers. Methods as NumPy's generators have them, with `dtype` and `device` for what they
    make; `size` is the shape, () where it is left out. Safe to use from several threads; can be pickled.
    """

    def __init__(self, seed: int | None = None) -> None:
        """`seed` is below 2**64; the system's entropy if it is left out. Raises ValueError, TypeError."""
        self._lock = threading.Lock()
        self._trace = current()
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Start anew with another seed, or the same."""
        if seed is not None and not hasattr(seed, "__index__"):
            raise TypeError(f"random: a seed is an integer, not {seed!r}")
        key = int.from_bytes(os.urandom(8), "little") if seed is None else seed.__index__()
        if not 0 <= key < 1 << 64:
            raise ValueError(f"random: the seed {seed} must be at least 0 and below 2**64")
        with self._lock:
            self._seed, self._drawn = key, 0

    def __getstate__(self) -> tuple[int, int]:
        return self._seed, self._drawn

    def __setstate__(self, state: tuple[int, int]) -> None:
        self.__init__(state[0])  # type: ignore[misc]
        self._drawn = state[1]

    def __repr__(self) -> str:
        return f"Generator(Philox4x32-10, seed={self._seed}, draws={self._drawn})"

    def _next(self) -> tuple[int, ...]:
        """The words of the next draw's number and of the key."""
        with self._lock:
            number, self._drawn = self._drawn, self._drawn + 1
            return number % _WORD, number // _WORD, self._seed % _WORD, self._seed // _WORD

    def _words(self, shape: tuple[int, ...], count: int) -> list[Node]:
        """`count` random words for every element, at most four."""
        draw = tuple(Node("const", (), word, (), "uint32") for word in self._next())
        trace = current()
        if trace is not None and trace is not self._trace:
            trace.draws.append((self._next, draw))
        size = prod(shape)
        places = [_counted(size, "uint32", shape), Node("const", (), 0, (), "uint32")]
        if size > _WORD:
            shift = Node("const", (), 32, (), "int64")
            wide = Node("shr", (_counted(size, "int64", shape), shift), None, shape, "int64")
            places[1] = Node("cast", (wide,), None, shape, "uint32")
        return [Node(f"philox{k}", (*places, *draw), None, shape, "uint32") for k in range(count)]

    def _unit(self, shape: tuple[int, ...], name: str, device: Device) -> Array:
        """Multiples of 2**-24 (float64: 2**-53, float16: 2**-11, bfloat16: 2**-8) in [0, 1), all equally likely."""
        bits = _UNIT[name]
        first, *rest = self._words(shape, 1 if bits <= 32 else 2)
        if not rest:
            whole_number = record.cast(record.binary("shr", first, 32 - bits, device), "float32", device)
            return wrap(record.cast(_times(whole_number, 2.0**-bits, device), name, device), device)
        high = record.cast(record.binary("shr", first, 5, device), name, device)
        low = record.cast(record.binary("shr", rest[0], 6, device), name, device)
        return wrap(_times(record.binary("add", _times(high, 2.0**26, device), low, device), 2.0**-53, device), device)

    def random(self, size: Size = None, dtype: Any = None, *, device: str | None = None) -> Array:
        """Uniform in [0, 1): multiples of 2**-24 in float32, of 2**-53 in float64, the default where there is one."""
        target = resolve(device)
        return self._unit(_shape(size), _float(dtype, target, "random"), target)

    def uniform(
        self, low: Any = 0.0, high: Any = 1.0, size: Size = None, dtype: Any = None, *, device: str | None = None
    ) -> Array:
        """Uniform in [low, high), scalars or arrays, which `size` (left out: their shape) must be able to hold.

        Between arrays, rounding may give `high` itself, as in NumPy.
        """
        target, shape = _place("uniform", (low, high), size, device)
        name = _float(dtype, target, "uniform", low, high)
        unit = self._unit(shape, name, target)
        if isinstance(low, Array) or isinstance(high, Array):
            return astype(low + unit * (high - low), object_of(name), copy=False)
        if (low, high) == (0, 1):
            return unit
        top = _below(float(high), name) if low < high else None
        scaled = unit * float(high - low) + float(low)
        return scaled if top is None else minimum(scaled, top)

    def standard_normal(self, size: Size = None, dtype: Any = None, *, device: str | None = None) -> Array:
        """Normal deviates of mean 0 and deviation 1, by inversion: 32 bits each in float32, 53 in float64.

        None is farther from 0 than 6.4 in float32, 8.3 in float64.
        """
        target = resolve(device)
        return self._normal(_shape(size), _float(dtype, target, "standard_normal"), target)

    def _normal(self, shape: tuple[int, ...], name: str, device: Device) -> Array:
        if name == "float64":
            words = self._words(shape, 2)
            return wrap(Node("normal64", tuple(words), None, shape, name), device)
        node = Node("normal32", tuple(self._words(shape, 1)), None, shape, "float32")
        return wrap(record.cast(node, name, device), device)

    def normal(
        self, loc: Any = 0.0, scale: Any = 1.0, size: Size = None, dtype: Any = None, *, device: str | None = None
    ) -> Array:
        """Normal deviates of mean `loc` and deviation `scale`, scalars or arrays, which `size` must be able to hold."""
        target, shape = _place("normal", (loc, scale), size, device)
        if not isinstance(scale, Array) and scale < 0:
            raise ValueError(f"normal: the deviation {scale} must not be negative")
        name = _float(dtype, target, "normal", loc, scale)
        result = self._normal(shape, name, target)
        if isinstance(scale, Array) or scale != 1:
            result = result * scale
        if isinstance(loc, Array) or loc != 0:
            result = result + loc
        return astype(result, object_of(name), copy=False)

    def integers(
        self, low: int, high: int | None = None, size: Size = None, dtype: Any = None, *, endpoint: bool = False,
        device: str | None = None,
    ) -> Array:  # fmt: skip
        """Integers in [low, high), or [0, low) where `high` is left out; `endpoint` includes the upper bound.

        Each has its probability up to 2**-64. Raises ValueError for an empty range or one that `dtype` cannot hold.
        """
        target = resolve(device)
        start, stop = (integer(v, "integers", "a bound") for v in ((0, low) if high is None else (low, high)))
        stop += endpoint
        name = default_int(target) if dtype is None else name_of(dtype, target)
        if KINDS[name] not in "iu":
            raise TypeError(f"integers: {name} is not an integer dtype")
        if start >= stop or record.beyond(start, name) or record.beyond(stop - 1, name):
            raise ValueError(f"integers: the range from {start} to {stop - 1} is empty or does not fit {name}")
        shape, span = _shape(size), stop - start
        bound = [Node("const", (), span >> 32 * k & _WORD - 1, (), "uint32") for k in range(2)]
        if span <= _WORD:
            words = self._words(shape, 2)
            node = record.cast(Node("below32", (*words, bound[0]), None, shape, "uint32"), name, target)
        else:
            words = self._words(shape, 4)
            low_word, high_word = (Node(f"below64_{k}", (*words, *bound), None, shape, "uint32") for k in range(2))
            upper = record.binary("shl", record.cast(high_word, name, target), 32, target)
            node = record.binary("or", upper, record.cast(low_word, name, target), target)
        return wrap(record.binary("add", node, start, target) if start else node, target)

    def _order(self, count: int, device: Device) -> Array:
        """A permutation of 0 .. count-1: the order of random keys of 64 bits, so ties are rarer than 2**-64 a pair."""
        first, second = (wrap(word, device) for word in self._words((count,), 2))
        order = argsort(second, stable=True)
        return order[argsort(first[order], stable=True)]

    def permutation(self, x: int | Array, /, *, axis: int = 0, device: str | None = None) -> Array:
        """The numbers below `x`, or a copy of the array `x`, in random order along `axis`. It sorts random keys."""
        if not isinstance(x, Array):
            if not hasattr(x, "__index__") or x < 0:
                raise TypeError(f"permutation: an array or a number of elements is needed, not {x!r}")
            return self._order(x.__index__(), resolve(device))
        along = axis_of(axis, x.ndim, "permutation")
        return take(x, self._order(x.shape[along], x._device), axis=along)

    def shuffle(self, x: Array, /, *, axis: int = 0) -> None:
        """Bring `x` into random order along `axis`, in place."""
        one(x, "shuffle")
        x[...] = self.permutation(x, axis=axis)

    def choice(
        self, a: int | Array, size: Size = None, replace: bool = True, p: Any = None, *, axis: int = 0,
        device: str | None = None,
    ) -> Array:  # fmt: skip
        """Elements of the array `a` along `axis`, or numbers below `a`; with probabilities `p` (they add up to 1), or
        each as likely. Raises ValueError where there are too few, or where `p` is given without `replace`.
        """
        target = a._device if isinstance(a, Array) else resolve(device)
        shape = _shape(size)
        count = a.shape[axis_of(axis, a.ndim, "choice")] if isinstance(a, Array) else integer(a, "choice", "a number")
        if count < 1 or (not replace and prod(shape) > count):
            raise ValueError(f"choice: {prod(shape)} cannot be drawn from {count}; with replace=True from any but none")
        if p is not None:
            if not replace:
                raise ValueError("choice: probabilities `p` need replace=True")
            places = self._weighted(asarray(p, device=target.name), count, shape, target)
        elif replace:
            places = self.integers(0, count, shape, device=target.name)
        else:
            places = self._order(count, target)[: prod(shape)]
            places = wrap(record.window(places.node(), whole(shape)), target)
        return take(a, places, axis=axis) if isinstance(a, Array) else places

    def _weighted(self, p: Array, count: int, shape: tuple[int, ...], device: Device) -> Array:
        if p.shape != (count,):
            raise ValueError(f"choice: {count} probabilities are needed, not an array of shape {p.shape}")
        edges = cumulative_sum(p)
        found = searchsorted(edges, self._unit(shape, p._cell.value.dtype, device) * edges[-1], side="right")
        return minimum(found, count - 1)


def _shape(size: Size) -> tuple[int, ...]:
    return () if size is None else shape_of(size, "random")


def _counted(size: int, dtype: str, shape: tuple[int, ...]) -> Node:
    """Each element's number in row-major order."""
    line = Node("iota", (), None, (size,), dtype)
    return line if shape == (size,) else record.window(line, whole(shape))


def _times(node: Node, factor: float, device: Device) -> Node:
    return record.binary("mul", node, factor, device)


def _float(dtype: Any, device: Device, op: str, *parameters: Any) -> str:
    """The dtype asked for, which must be a real float; else that of the parameters that are arrays, or the default."""
    if dtype is None:
        arrays = [x for x in parameters if isinstance(x, Array) and KINDS[x._cell.value.dtype] == "f"]
        return arrays[0]._cell.value.dtype if arrays else default_float(device)
    name = name_of(dtype, device)
    if name not in _UNIT:
        raise TypeError(f"{op}: {name} is not a real floating dtype")
    return name


def _place(op: str, parameters: tuple[Any, ...], size: Size, device: str | None) -> tuple[Device, tuple[int, ...]]:
    """Device and shape of a draw with these parameters. Raises ValueError where they do not fit."""
    arrays = [x for x in parameters if isinstance(x, Array)]
    target = arrays[0]._device if arrays and device is None else resolve(device)
    for x in arrays:
        node_of(x, target, op)  # refuses another device's
    joined = record.broadcast_shapes([x.shape for x in arrays] or [()], op)
    if size is None:
        return target, joined
    shape = _shape(size)
    if record.broadcast_shapes([shape, joined], op) != shape:
        raise ValueError(f"{op}: parameters of shape {joined} do not fit into size {shape}")
    return target, shape


def _below(value: float, name: str) -> float:
    """The next number of that dtype below `value`."""
    dtype = object_of(name)
    return float(np.nextafter(dtype.type(value), dtype.type(-np.inf)))


_default = Generator()


def default_rng(seed: int | Generator | None = None) -> Generator:
    """A generator of its own for `seed`, an integer below 2**64; the system's entropy if it is left out."""
    return seed if isinstance(seed, Generator) else Generator(seed)


seed = _default.reset
random, uniform, normal, standard_normal = _default.random, _default.uniform, _default.normal, _default.standard_normal
integers, permutation = _default.integers, _default.permutation
shuffle, choice = _default.shuffle, _default.choice
