"""Steps that index, assign and change shapes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tilewright as tw
from tests.frontend.differential.drawing import (
    DTYPES,
    SCALARS,
    SEEDS,
    Draw,
    castable,
    data,
    partner,
    pick,
    together,
    written,
)
from tests.frontend.differential.keys import basic_keys, mixed_keys, on
from tests.frontend.differential.machine import Machine


def getitem(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    key = draw(basic_keys(x.theirs.shape))
    m.make(f"{x.name}[{key!r}]", lambda xp, a: a[_viewing(xp, key)], x)


def _viewing(xp: Any, key: Any) -> Any:
    """NumPy gives scalars, not views, where all axes are named, unless there are dots."""
    return key if xp is tw or Ellipsis in key else (*key, Ellipsis)


def gather(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    key = draw(mixed_keys(x.theirs.shape))
    m.make(f"{x.name}[{key!r}]", lambda xp, a: a[on(xp, key, m.device)], x)


def setitem(m: Machine, draw: Draw) -> None:
    x = written(m, draw)
    keys = basic_keys if draw(st.integers(0, 2)) else mixed_keys
    key = draw(keys(x.theirs.shape))
    key = key if keys is mixed_keys or Ellipsis in key else (*key, Ellipsis)  # NumPy's elements take no arrays of one
    try:
        target = np.shape(x.theirs[key])
    except IndexError:
        target = ()
    if draw(st.booleans()):
        scalar = draw(
            SCALARS.filter(lambda s: x.theirs.dtype.kind not in "iu" or castable(np.asarray(s), x.theirs.dtype.name))
        )
        if x.theirs.dtype.kind != "c" and isinstance(scalar, complex):
            return
        m.make(f"{x.name}[{key!r}] = {scalar!r}", lambda xp, a: operator.setitem(a, on(xp, key, m.device), scalar), x)
        return
    y = pick(m, draw)
    if not together(y.theirs.shape, target) or y.theirs.ndim > len(target):
        shape = tuple(e if draw(st.booleans()) else 1 for e in target)
        y = m.put(data(draw, draw(st.sampled_from([x.theirs.dtype.name, *DTYPES])), shape))
    if castable(y.theirs, x.theirs.dtype.name):
        m.make(
            f"{x.name}[{key!r}] = {y.name}",
            lambda xp, a, b: operator.setitem(a, on(xp, key, m.device), b),
            x,
            y,
            strict=False,
        )


def take(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    if not x.theirs.ndim:
        return
    axis = draw(st.integers(-x.theirs.ndim, x.theirs.ndim - 1))
    extent = x.theirs.shape[axis]
    if not x.theirs.size:
        return  # NumPy does not check indices where there is nothing to take
    at = draw(st.lists(st.integers(-extent, extent), max_size=4))
    key = np.asarray(at, "int64")
    m.make(f"xp.take({x.name}, {at}, axis={axis})", lambda xp, a: xp.take(a, on(xp, key, m.device), axis=axis), x)


def take_along(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    if not x.theirs.ndim:
        return
    axis = draw(st.integers(-x.theirs.ndim, x.theirs.ndim - 1))
    shape = list(x.theirs.shape)
    extent, shape[axis] = shape[axis], draw(st.integers(0, 3))
    if not extent:
        return
    key = np.random.default_rng(draw(SEEDS)).integers(-extent, extent, shape)
    m.make(
        f"xp.take_along_axis({x.name}, {key.tolist()}, axis={axis})",
        lambda xp, a: xp.take_along_axis(a, on(xp, key, m.device), axis=axis),
        x,
    )


def reshape(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    size = x.theirs.size
    options: list[Any] = [
        (-1,),
        (size,),
        (1, -1),
        (-1, 1),
        (2, -1),
        (3, -1),
        (size, 1, 1),
        (-1, 2),
        (2, 2, -1),
        (5, 0),
        (),
    ]
    shape = draw(st.sampled_from(options))
    copy = draw(st.sampled_from([None, None, True]))
    m.make(f"xp.reshape({x.name}, {shape}, copy={copy})", lambda xp, a: xp.reshape(a, shape, copy=copy), x)


def rearrange(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    ndim = x.theirs.ndim
    axis = draw(st.integers(-ndim - 1, ndim)) if ndim else 1  # NumPy lets 0-dimensional ones have an axis 0
    order = draw(st.permutations(range(ndim)))
    other = draw(st.integers(-ndim - 1, ndim))
    functions: dict[str, Callable[[Any, Any], Any]] = {
        f"xp.permute_dims({x.name}, {order})": lambda xp, a: xp.permute_dims(a, tuple(order)),
        f"xp.expand_dims({x.name}, axis={axis})": lambda xp, a: xp.expand_dims(a, axis=axis),
        f"xp.squeeze({x.name}, axis={axis})": lambda xp, a: xp.squeeze(a, axis=axis),
        f"xp.flip({x.name}, axis={axis})": lambda xp, a: xp.flip(a, axis=axis),
        f"xp.flip({x.name})": lambda xp, a: xp.flip(a) if a.ndim else a[...],  # NumPy makes a scalar of an element
        f"xp.moveaxis({x.name}, {axis}, {other})": lambda xp, a: xp.moveaxis(a, axis, other),
        f"{x.name}.T": lambda xp, a: a.T,
        f"xp.unstack({x.name}, axis={axis})": lambda xp, a: _views(xp, a, axis),
        f"xp.tril({x.name}, k={axis})": lambda xp, a: _copied(xp, "tril", a, k=axis),
        f"xp.triu({x.name}, k={axis})": lambda xp, a: _copied(xp, "triu", a, k=axis),
        f"xp.roll({x.name}, {other}, axis={axis})": lambda xp, a: xp.roll(a, other, axis=axis),
        f"xp.roll({x.name}, {other})": lambda xp, a: xp.roll(a, other),
        f"xp.tile({x.name}, ({ndim}, 2))": lambda xp, a: xp.tile(a, (ndim, 2)),
        f"xp.repeat({x.name}, 2, axis={axis})": lambda xp, a: xp.repeat(a, 2, axis=axis),
        f"xp.diff({x.name}, axis={axis})": lambda xp, a: xp.diff(a, axis=axis),
        f"xp.linalg.diagonal({x.name}, offset={axis})": lambda xp, a: _copied(xp, "diagonal", a, offset=axis),
        f"{x.name}.mT": lambda xp, a: a.mT,
    }  # fmt: skip
    text = draw(st.sampled_from(sorted(functions)))
    if "tri" in text and ndim < 2:
        return  # NumPy makes a matrix of a line, the standard does not
    m.make(text, functions[text], x)


def _views(xp: Any, x: Any, axis: int) -> Any:
    if xp is tw or not x.ndim:
        return xp.unstack(x, axis=axis)
    return [np.moveaxis(x, axis, 0)[k, ...] for k in range(x.shape[axis])]  # of one axis NumPy gives scalars


def _copied(xp: Any, name: str, x: Any, **options: Any) -> Any:
    """A copy on both sides: NumPy's diagonal is read-only."""
    function = getattr(xp.linalg if name == "diagonal" else xp, name)
    return xp.asarray(function(x, **options), copy=True)


def broadcast(m: Machine, draw: Draw) -> None:
    x, extra = pick(m, draw), draw(st.sampled_from([(), (2,), (0,), (3, 1)]))
    shape = (*extra, *(3 if e == 1 and draw(st.booleans()) else e for e in x.theirs.shape))
    m.make(f"xp.broadcast_to({x.name}, {shape})", lambda xp, a: xp.broadcast_to(a, shape), x)


def join(m: Machine, draw: Draw) -> None:
    x = pick(m, draw)
    y = partner(m, draw, x)
    axis = draw(st.integers(-x.theirs.ndim - 1, x.theirs.ndim) | st.none())
    if axis is None or draw(st.booleans()):
        m.make(f"xp.concat([{x.name}, {y.name}], axis={axis})", lambda xp, a, b: xp.concat([a, b], axis=axis), x, y)
    else:
        m.make(f"xp.stack([{x.name}, {y.name}], axis={axis})", lambda xp, a, b: xp.stack([a, b], axis=axis), x, y)


def grid(m: Machine, draw: Draw) -> None:
    x, y = pick(m, draw), pick(m, draw)
    if x.theirs.ndim > 1 or y.theirs.ndim > 1:
        return
    way = draw(st.sampled_from(["xy", "ij"]))
    m.make(
        f"xp.meshgrid({x.name}, {y.name}, indexing='{way}')",
        lambda xp, a, b: tuple(xp.meshgrid(a, b, indexing=way)),
        x,
        y,
    )
