"""Strided views in a library's own words, against NumPy's as_strided; and stores through them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.backends import wrap
from tilewright.backends.protocol import Layout
from tilewright.backends.windows import window

DEVICE = wrap(np, name="numpied")


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, int]:
    """A slice, transpose, flip or broadcast of an array in order, or any strides at all; and the elements behind."""
    rank = draw(st.integers(0, 4))
    shape = tuple(draw(st.lists(st.integers(0, 5), min_size=rank, max_size=rank)))
    if draw(st.booleans()):
        strides = tuple(draw(st.lists(st.integers(-7, 7), min_size=rank, max_size=rank)))
        low = sum(min(s, 0) * max(e - 1, 0) for s, e in zip(strides, shape, strict=True))
        offset = -low + draw(st.integers(0, 3))
    else:
        whole = tuple(e + draw(st.integers(0, 3)) for e in shape)
        order = draw(st.permutations(range(rank)))
        base = np.empty([max(whole[a], 1) for a in order], np.uint8)
        view = base.transpose(np.argsort(order))
        starts = [draw(st.integers(0, w - e)) for w, e in zip(whole, shape, strict=True)]
        view = view[(*(slice(s, s + e) for s, e in zip(starts, shape, strict=True)), ...)]
        flips = tuple(a for a in range(rank) if draw(st.booleans()))
        view = np.flip(view, flips) if flips else view
        strides = view.strides
        offset = view.ctypes.data - base.ctypes.data if view.size else 0
    high = offset + sum(max(s, 0) * (e - 1) for s, e in zip(strides, shape, strict=True) if e)
    return Layout("float32", shape, strides, offset), high + 1 + draw(st.integers(0, 4))


def strided(flat: np.ndarray, layout: Layout) -> np.ndarray:
    if 0 in layout.shape:
        return np.empty(layout.shape, flat.dtype)
    steps = tuple(4 * s for s in layout.strides)
    return np.lib.stride_tricks.as_strided(flat[layout.offset :], layout.shape, steps)


@settings(max_examples=300, deadline=None)
@given(layouts())
def test_a_window_shows_what_its_strides_say(case: tuple[Layout, int]) -> None:
    layout, count = case
    flat = np.arange(count, dtype=np.float32)
    np.testing.assert_array_equal(window(np, flat, layout, np.asarray), strided(flat, layout))


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_a_store_reaches_its_elements_and_no_others(case: tuple[Layout, int]) -> None:
    layout, count = case
    places = strided(np.arange(count, dtype=np.float32), layout).astype(np.int64)
    if np.unique(places).size != places.size:
        return  # nobody stores two values in one place
    values = np.random.default_rng(0).random(layout.shape, np.float32)
    buffer = DEVICE.allocate(4 * count + 3)
    before = np.random.default_rng(1).integers(0, 256, 4 * count + 3, np.uint8)
    DEVICE.write(buffer, before)
    DEVICE.store(layout, buffer, values)
    expected = before.copy()
    expected[: 4 * count].view(np.float32)[places] = values
    assert bytes(DEVICE.read(buffer, buffer.nbytes)) == expected.tobytes()
