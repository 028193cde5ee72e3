"""Shape and order of arrays. What only moves or repeats strides is a view that shares memory, as in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from tilewright import record
from tilewright.arguments import integer, integers, sequence
from tilewright.array import Array, layout, permuted, viewed, wrap
from tilewright.creation import astype, shape_of
from tilewright.dtypes import KINDS, narrow, object_of, promote
from tilewright.elementwise import one
from tilewright.kernels.node import View
from tilewright.views import compose, stretch, whole
from tilewright.write import written


def axis_of(axis: int, ndim: int, op: str) -> int:
    """`axis` counted from the front. Raises AxisError (a ValueError, an IndexError) if there is none, TypeError."""
    number = axis if type(axis) is int else integer(axis, op, "an axis")
    if not -ndim <= number < ndim:
        raise np.exceptions.AxisError(f"{op}: axis {number} is out of bounds for array of dimension {ndim}")
    return number % ndim


def axes_of(axis: int | Sequence[int] | None, ndim: int, op: str) -> tuple[int, ...]:
    """One or several axes, or None for all, sorted from the front. Raises ValueError for a repeated one."""
    if axis is None:
        return tuple(range(ndim))
    listed = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    found = sorted(axis_of(a, ndim, op) for a in listed)  # type: ignore[arg-type]
    if len(set(found)) < len(found):
        raise ValueError(f"{op}: axis {axis} names one axis twice")
    return tuple(found)


def reshape(x: Array, /, shape: Any, *, copy: bool | None = None) -> Array:
    """The same elements, in row-major order, in another shape; one extent may be -1.

    A view where strides can say it (and `copy` is not True), else a copy. Raises ValueError where the sizes differ.
    """
    size = one(x, "reshape").size
    wanted = integers(shape, "reshape", "an extent")
    if wanted.count(-1) == 1:
        rest = prod(s for s in wanted if s != -1)
        filled = size // rest if rest and size % rest == 0 else -2
        wanted = tuple(filled if s == -1 else s for s in wanted)
    if any(s < 0 for s in wanted) or prod(wanted) != size:
        raise ValueError(f"reshape: an array of shape {x.shape} cannot take the shape {shape}")
    view = None if copy else compose(layout(x), whole(wanted))
    if view is not None:
        return viewed(x, view)
    if copy is False:
        raise ValueError(f"reshape: strides cannot show {x.shape} as {wanted}, so it needs a copy")
    return wrap(record.window(x.node(), whole(wanted)), x._device)


def permute_dims(x: Array, /, axes: Sequence[int]) -> Array:
    """A view with axis k taken from axis `axes[k]` of `x`."""
    ndim = one(x, "permute_dims").ndim
    order = tuple(axis_of(a, ndim, "permute_dims") for a in integers(axes, "permute_dims", "an axis"))
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"permute_dims: axes {axes} are no permutation of {x.ndim} axes")
    return permuted(x, order)


def matrix_transpose(x: Array, /) -> Array:
    """A view with the last two axes swapped."""
    return one(x, "matrix_transpose").mT


def moveaxis(x: Array, source: Any, destination: Any, /) -> Array:
    """A view with axes moved to new places, the others in order."""
    ndim = one(x, "moveaxis").ndim
    lists = [a if isinstance(a, (tuple, list)) else (a,) for a in (source, destination)]
    origin, target = ([axis_of(a, ndim, "moveaxis") for a in axes] for axes in lists)
    if len(origin) != len(target) or len(set(origin)) < len(origin) or len(set(target)) < len(target):
        raise ValueError(f"moveaxis: source {source} and destination {destination} must name as many different axes")
    order = [a for a in range(ndim) if a not in origin]
    for place, axis in sorted(zip(target, origin, strict=True)):
        order.insert(place, axis)
    return permuted(x, tuple(order))


def expand_dims(x: Array, /, axis: int | tuple[int, ...] = 0) -> Array:
    """A view with axes of extent 1 at the given places of the result."""
    places = axis if isinstance(axis, tuple) else (axis,)
    ndim = one(x, "expand_dims").ndim + len(places)
    new = axes_of(places, ndim, "expand_dims")
    return x[tuple(None if a in new else slice(None) for a in range(ndim))]


def squeeze(x: Array, /, axis: int | tuple[int, ...]) -> Array:
    """A view without the given axes, which must have extent 1."""
    gone = axes_of(axis, one(x, "squeeze").ndim, "squeeze")
    if any(x.shape[a] != 1 for a in gone):
        raise ValueError(f"squeeze: axis {axis} of shape {x.shape} has an extent other than 1")
    return x[tuple(0 if a in gone else slice(None) for a in range(x.ndim))]


def flip(x: Array, /, *, axis: int | tuple[int, ...] | None = None) -> Array:
    """A view with the order along the given axes, or all, reversed."""
    turned = axes_of(axis, one(x, "flip").ndim, "flip")
    return x[tuple(slice(None, None, -1) if a in turned else slice(None) for a in range(x.ndim))]


def broadcast_to(x: Array, /, shape: Any) -> Array:
    """A read-only view of `x` in a shape it broadcasts to."""
    target = shape_of(shape, "broadcast_to")
    shapes = [one(x, "broadcast_to").shape, target]
    if x.ndim > len(target) or record.broadcast_shapes(shapes, "broadcast_to") != target:
        raise ValueError(f"broadcast_to: shape {x.shape} cannot be broadcast to {target}")
    return viewed(x, stretch(layout(x), target))


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which all of `shapes` broadcast. Raises ValueError."""
    return record.broadcast_shapes([shape_of(s, "broadcast_shapes") for s in shapes] or [()], "broadcast_shapes")


def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """Read-only views of all arrays in the shape they broadcast to together."""
    shape = record.broadcast_shapes([one(x, "broadcast_arrays").shape for x in arrays], "broadcast_arrays")
    return tuple(broadcast_to(x, shape) for x in arrays)


def concat(arrays: Sequence[Array], /, *, axis: int | None = 0) -> Array:
    """The arrays one after the other along `axis`, or all flattened where it is None. Dtypes promote."""
    parts = [one(x, "concat") for x in sequence(arrays, "concat")]
    if not parts:
        raise ValueError("concat: at least one array is needed")
    if axis is None:
        parts, axis = [reshape(x, (-1,)) for x in parts], 0
    first, device = parts[0], parts[0]._device
    along = axis_of(axis, first.ndim, "concat")
    rest = (*first.shape[:along], *first.shape[along + 1 :])
    dtype = first._cell.value.dtype
    for x in parts:
        if x._device is not device:
            raise ValueError(f"concat: arrays are on {first.device} and on {x.device}; use to_device")
        if x.ndim != first.ndim or (*x.shape[:along], *x.shape[along + 1 :]) != rest:
            shapes = ", ".join(str(p.shape) for p in parts)
            raise ValueError(f"concat: shapes {shapes} differ beside axis {along}")
        dtype = narrow(promote(dtype, x._cell.value.dtype), device)
    total = sum(x.shape[along] for x in parts)
    shape = (*first.shape[:along], total, *first.shape[along + 1 :])
    node, start, steps = record.filled(0, shape, dtype, device), 0, whole(shape).strides
    for x in parts:
        place = View(x.shape, steps, start * steps[along])
        node = written(node, place, record.cast(x.node(), dtype, device), device)
        start += x.shape[along]
    return wrap(node, device)


def stack(arrays: Sequence[Array], /, *, axis: int = 0) -> Array:
    """The arrays, all of one shape, along a new axis."""
    parts = [one(x, "stack") for x in sequence(arrays, "stack")]
    if not parts or any(x.shape != parts[0].shape for x in parts):
        shapes = ", ".join(str(x.shape) for x in parts)
        raise ValueError(f"stack: arrays of one shape are needed, not {shapes or 'none'}")
    along = axis_of(axis, parts[0].ndim + 1, "stack")
    return concat([expand_dims(x, along) for x in parts], axis=along)


def unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    """Views of `x` at each index of `axis`."""
    along = axis_of(axis, one(x, "unstack").ndim, "unstack")
    before = (slice(None),) * along
    return tuple(x[(*before, k)] for k in range(x.shape[along]))


def tile(x: Array, repetitions: tuple[int, ...], /) -> Array:
    """`x` repeated so many times along each axis."""
    times = shape_of(repetitions, "tile")
    ndim = max(len(times), one(x, "tile").ndim)
    times = (1,) * (ndim - len(times)) + times
    shape = (1,) * (ndim - x.ndim) + x.shape
    spread = reshape(x, [e for extent in shape for e in (1, extent)])
    wide = broadcast_to(spread, tuple(e for pair in zip(times, shape, strict=True) for e in pair))
    return reshape(wide, tuple(t * e for t, e in zip(times, shape, strict=True)), copy=True)


def repeat(x: Array, repeats: int | Array, /, *, axis: int | None = None) -> Array:
    """Each element along `axis` (of the flattened array where it is None) so many times.

    An array of counts is evaluated, since the result's shape depends on it.
    """
    flat = reshape(one(x, "repeat"), (-1,)) if axis is None else x
    along = axis_of(axis or 0, flat.ndim, "repeat")
    before, extent, after = flat.shape[:along], flat.shape[along], flat.shape[along + 1 :]
    if isinstance(repeats, int):  # one count for all
        if repeats < 0:
            raise ValueError(f"repeat: the count {repeats} must not be negative")
        wide = broadcast_to(expand_dims(flat, along + 1), (*before, extent, repeats, *after))
        return reshape(wide, (*before, extent * repeats, *after), copy=True)
    counts = np.asarray(repeats)
    if counts.dtype.kind not in "iu":
        raise TypeError(f"repeat: counts must be integers, not {counts.dtype}")
    if counts.ndim > 1 or counts.size not in (1, extent) or (counts < 0).any():
        raise ValueError(f"repeat: counts {counts.tolist()} do not fit {extent} elements; one each, not negative")
    places = np.repeat(np.arange(extent), counts)
    return flat[(*(slice(None),) * along, places)]


def roll(x: Array, /, shift: Any, *, axis: Any = None) -> Array:
    """Elements moved on by `shift` along the axes (of the flattened array where None); what falls off comes back."""
    if axis is None:
        if isinstance(shift, (tuple, list)):
            raise ValueError("roll: several shifts need as many axes")
        return reshape(roll(reshape(one(x, "roll"), (-1,)), shift, axis=0), x.shape)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    steps = integers(shift, "roll", "a shift")
    shifts = steps if isinstance(shift, (tuple, list)) else steps * len(axes)
    if len(axes) != len(shifts):
        raise ValueError(f"roll: {len(shifts)} shifts do not fit {len(axes)} axes")
    result = one(x, "roll")
    for step, a in zip(shifts, axes, strict=True):
        along = axis_of(a, x.ndim, "roll")
        cut = -step % x.shape[along] if x.shape[along] else 0
        before = (slice(None),) * along
        if cut:
            result = concat([result[(*before, slice(cut, None))], result[(*before, slice(None, cut))]], axis=along)
    return result.__copy__() if result is x else result


def diff(x: Array, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Array:
    """The `n`-th difference of neighbours along `axis`, after arrays are put in front or behind."""
    along = axis_of(axis, one(x, "diff").ndim, "diff")
    if integer(n, "diff", "the order") < 0:
        raise ValueError(f"diff: the order {n} must not be negative")
    parts = [one(p, "diff") for p in (prepend, x, append) if p is not None]
    if any(p.ndim != x.ndim for p in parts):
        raise ValueError(f"diff: prepend and append need the {x.ndim} axes of the array")
    result = concat(parts, axis=along) if len(parts) > 1 else x
    before = (slice(None),) * along
    for _ in range(n):
        late, early = result[(*before, slice(1, None))], result[(*before, slice(None, -1))]
        result = late != early if KINDS[result._cell.value.dtype] == "b" else late - early
    return astype(result, object_of(result._cell.value.dtype)) if result is x else result
