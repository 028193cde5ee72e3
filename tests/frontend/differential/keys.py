"""Indices of every form, for arrays of a given shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import tilewright as tw

SLICES = st.builds(
    slice,
    st.none() | st.integers(-5, 5),
    st.none() | st.integers(-5, 5),
    st.sampled_from([None, None, 1, 2, -1, -2, -3]),
)


@st.composite
def basic_keys(draw: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Integers, slices, newaxis and at most one ellipsis; rarely an integer that is out of bounds."""
    key: list[Any] = []
    for extent in shape:
        if not draw(st.integers(0, 5)):
            break
        if not draw(st.integers(0, 7)):
            key.append(None)
        if draw(st.integers(0, 3)) or not extent:
            key.append(draw(SLICES))
        else:
            beyond = not draw(st.integers(0, 29))
            key.append(draw(st.integers(-extent, extent - 1 + beyond)))
    if not draw(st.integers(0, 4)):
        key.insert(draw(st.integers(0, len(key))), Ellipsis)
    return tuple(key)


@st.composite
def mixed_keys(draw: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """A key with arrays in it: integers that broadcast with each other, masks over one or more axes, lists."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    joint = draw(st.sampled_from([(2,), (3,), (), (1,), (2, 3), (0,), (2, 1)]))
    key: list[Any] = []
    axis = 0
    while axis < len(shape):
        form = draw(st.sampled_from(["array", "array", "slice", "int", "mask", "new", "stop", "list"]))
        if form == "stop":
            break
        if form == "new":
            key.append(None)
            continue
        if form == "mask":
            covered = draw(st.integers(1, len(shape) - axis))
            key.append(rng.integers(0, 2, shape[axis : axis + covered]).astype(bool))
            axis += covered
            continue
        extent = shape[axis]
        if form == "slice":
            key.append(draw(SLICES))
        elif form == "int" and extent:
            key.append(draw(st.integers(-extent, extent - 1)))
        elif form == "list" and extent:
            key.append(rng.integers(-extent, extent, joint[-1:]).tolist())
        else:
            fits = joint if extent else (0,)
            beyond = not draw(st.integers(0, 29))
            dtype = draw(st.sampled_from(["int64", "int32", "int8", "uint8"]))
            low = 0 if dtype[0] == "u" else -extent
            key.append(rng.integers(low, max(extent + beyond, 1), fits).astype(dtype))
        axis += 1
    if not any(isinstance(k, (np.ndarray, list)) for k in key):
        key.append(np.asarray(bool(draw(st.booleans()))))
    if not draw(st.integers(0, 5)):
        key.insert(draw(st.integers(0, len(key))), Ellipsis)
    return tuple(key)


def on(xp: Any, key: Any, device: str) -> Any:
    """The key with its arrays on the device, for tilewright; as it is for NumPy."""
    if xp is not tw:
        return key
    if isinstance(key, tuple):
        return tuple(on(xp, k, device) for k in key)
    return tw.asarray(key, device=device) if isinstance(key, np.ndarray) else key
