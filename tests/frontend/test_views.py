"""Views share their base's memory: what is written through one alias is seen through all, as in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample
from tilewright.array import layout

BASIC = [
    np.s_[1], np.s_[-1], np.s_[1:3], np.s_[::-1], np.s_[3:0:-2], np.s_[..., 0], np.s_[:, None, 1],
    np.s_[None, ..., None],
    np.s_[1, 2, 3], np.s_[()], np.s_[...], np.s_[2:2], np.s_[:, ::-2, 1:], np.s_[0, ..., ::3], np.s_[5:, :],
    np.s_[-9:9],
]  # fmt: skip


@pytest.mark.parametrize("key", BASIC, ids=str)
def test_basic_index_reads_and_writes(device, key):
    a = sample((4, 3, 5))
    x = tw.asarray(a, device=device.name)
    agree(x[key], a[key], device)
    x[key] = 7
    a[key] = 7
    agree(x, a, device)
    x[key] += 1.5
    a[key] += 1.5
    agree(x, a, device)


def test_a_view_sees_later_writes_and_the_base_sees_the_views(device):
    a = sample((4, 6))
    x = tw.asarray(a, device=device.name)
    row, column, corner = x[1], x[:, 2], x[1:3, 2:4]
    deep = corner.T[::-1]
    x += 1
    row *= 2
    column[...] = -column
    deep[0, 0] = 99
    ra, ca, da = a[1], a[:, 2], a[1:3, 2:4].T[::-1]
    a += 1
    ra *= 2
    ca[...] = -ca
    da[0, 0] = 99
    for ours, theirs in ((x, a), (row, ra), (column, ca), (deep, da)):
        agree(ours, theirs, device)


def test_what_was_recorded_before_a_write_keeps_the_old_values(device):
    x = tw.zeros((3,), dtype="float32", device=device.name)
    before = x + 1
    view = x[1:]
    kept = view * 2
    x[...] = 10
    agree(before, np.ones(3, np.float32), device)
    agree(kept, np.zeros(2, np.float32), device)
    agree(view, np.full(2, 10, np.float32), device)


@pytest.mark.parametrize("target, source", [(np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:]), (np.s_[:], np.s_[::-1])])
def test_overlapping_writes(device, target, source):
    a = sample((7,))
    x = tw.asarray(a, device=device.name)
    x[target] = x[source]
    a[target] = a[source].copy()
    agree(x, a, device)
    x[target] += x[source]
    a[target] += a[source].copy()
    agree(x, a, device)


def test_reshape_is_a_view_where_strides_can_say_it(device):
    a = sample((4, 6))
    x = tw.asarray(a, device=device.name)
    flat = tw.reshape(x, (-1,))
    halves = tw.reshape(x[:, :4], (4, 2, 2))
    flat[0] = 50
    halves[1, 1, 1] = 60
    assert float(x[0, 0]) == 50 and float(x[1, 3]) == 60
    copy = tw.reshape(x.T, (24,))
    copy[...] = 0
    assert float(x[0, 0]) == 50
    agree(tw.reshape(x.T, (3, 8)), np.asarray(x).T.reshape(3, 8), device)
    flat += 1  # the whole memory in another shape
    agree(x[2], a[2] + 1, device)
    with pytest.raises(ValueError, match="needs a copy"):
        tw.reshape(x.T, (24,), copy=False)
    assert float(tw.reshape(x, (24,), copy=True)[0]) == 51


def test_other_views_write_through(device):
    a = sample((2, 3, 4))
    x = tw.asarray(a, device=device.name)
    views = [
        (tw.permute_dims(x, (2, 0, 1)), np.transpose(a, (2, 0, 1))), (tw.flip(x, axis=1), np.flip(a, 1)),
        (tw.moveaxis(x, 0, -1), np.moveaxis(a, 0, -1)), (tw.expand_dims(x, axis=1), a[:, None]),
        (tw.squeeze(x[:1], axis=0), a[0]), (x.mT, a.mT), (x.T, a.T), (tw.unstack(x, axis=1)[2], a[:, 2]),
        (tw.linalg.diagonal(x, offset=1), np.diagonal(a, 1, -2, -1)),
    ]  # fmt: skip
    for k, (ours, theirs) in enumerate(views):
        agree(ours, theirs, device)
        ours[..., 0] = k + 100
        theirs.setflags(write=True)
        theirs[..., 0] = k + 100
        agree(x, a, device)


def test_a_broadcast_is_read_only(device):
    x = tw.broadcast_to(tw.ones((3,), device=device.name), (2, 3))
    for write in (lambda: x.__setitem__(0, 1), lambda: x.__iadd__(1), lambda: x[:, :2].__setitem__(..., 0)):
        with pytest.raises(ValueError, match="read-only"):
            write()


def test_in_place_operators(device):
    a = sample((5,), "int32") + 50
    x = tw.asarray(a, device=device.name)
    alias = x[:]
    for step in ("+= 3", "*= 2", "-= 7", "//= 3", "%= 20", "|= 1", "&= 29", "^= 6", "<<= 2", ">>= 1", "**= 2"):
        exec(f"x {step}\na {step}")
    agree(x, a, device)
    agree(alias, a, device)
    with pytest.raises(TypeError, match="float"):
        x += 1.5
    with pytest.raises(TypeError, match="divide"):
        x /= 2
    with pytest.raises(ValueError, match="shape"):
        x += tw.ones((2, 5), dtype="int32", device=device.name)
    m = tw.eye(2, dtype="float32", device=device.name)
    m @= m * 3
    agree(m, np.eye(2, dtype=np.float32) * 3, device)


def test_assignment_converts_and_broadcasts(device):
    a = sample((3, 4), "int32")
    x = tw.asarray(a, device=device.name)
    x[0] = 2.9
    x[1:] = tw.asarray([[1.5, -2.5, 3.5, 4.0]], dtype="float32", device=device.name)
    x[2, 1:3] = [7, 8]
    x[0, :2] = np.array([[5, 6]])
    a[0], a[1:], a[2, 1:3], a[0, :2] = 2.9, [[1.5, -2.5, 3.5, 4.0]], [7, 8], [5, 6]
    agree(x, a, device)
    with pytest.raises(ValueError, match=r"\(3,\).*\(4,\)"):
        x[0] = [1, 2, 3]
    with pytest.raises(OverflowError, match="int32"):
        x[0] = 2**40


def test_copies_share_nothing(device):
    import copy

    x = tw.asarray(sample((4,)), device=device.name)
    others = [+x, tw.asarray(x, copy=True), copy.copy(x), copy.deepcopy(x), tw.astype(x, x.dtype)]
    assert tw.asarray(x) is x and tw.astype(x, x.dtype, copy=False) is x
    kept = np.asarray(x).copy()
    x[...] = 0
    for other in others:
        agree(other, kept, device)


def test_many_writes_copy_once(device):
    x = tw.asarray(sample((50, 40)), device=device.name)
    kept = x + 0
    for k in range(1, 50):
        x[k] = x[0, 0] * 0 + k
    agree(x[49, 0], np.float32(49), device)
    agree(kept, sample((50, 40)), device)
    a = np.concat([sample((3, 4)), sample((2, 4), seed=1)])
    joined = tw.concat([tw.asarray(a[:3], device=device.name), tw.asarray(a[3:], device=device.name)])
    assert len(tw.explain(joined)) == 3  # filled once, then a write for each part
    agree(joined, a, device)


def test_ops_on_transposed_operands_stay_in_their_memory_order(device):
    a, row = sample((6, 9)), sample((6,), seed=1)
    x, r = tw.asarray(a, device=device.name), tw.asarray(row, device=device.name)
    results = {
        "scaled": (r * x.T, row * a.T), "unary": (tw.exp(x.T), np.exp(a.T)), "both": (x.T + x.T, a.T + a.T),
        "where": (tw.where(x.T > 0, x.T, 0), np.where(a.T > 0, a.T, 0)),
        "cast": (tw.astype(x.T, "int32"), a.T.astype("i4")),
    }  # fmt: skip
    for name, (result, expected) in results.items():
        assert layout(result).strides == (1, 9), name
        np.testing.assert_allclose(np.asarray(result), expected, rtol=1e-6, err_msg=name)
    mixed = x.T + tw.asarray(a.T.copy(), device=device.name)
    assert layout(mixed).strides == (6, 1)
    turned, expected = x.T * 2, a.T * 2
    turned[1:, 2] = 5
    expected[1:, 2] = 5
    turned += 1
    np.testing.assert_array_equal(np.asarray(turned), expected + 1)
    np.testing.assert_array_equal(np.asarray(x), a)


def test_a_loop_over_elements_has_one_plan(device):
    """Elements look alike but for where they lie; what is written to the array shows in them all the same."""
    from tilewright import realize

    a = np.random.default_rng(2).standard_normal(50)
    x = tw.asarray(a, device=device.name)
    assert float(max(x)) == a.max()
    before = len(realize._plans)
    assert float(max(tw.asarray(a[::-1].copy(), device=device.name))) == a.max()
    assert len(realize._plans) == before
    third = x[3]
    assert float(third + 1) == a[3] + 1
    x[2:5] = 7.0
    assert float(third + 1) == 8.0


def test_a_slice_of_a_reversed_complex_copy(device):
    """The copy is a window that is not made yet: a slice of it must not count on its elements' order in memory."""
    a = np.arange(6).astype(np.complex64)
    turned = tw.flip(tw.asarray(a, device=device.name)).__copy__()
    np.testing.assert_array_equal(np.asarray(turned[:2]), a[::-1][:2])
    np.testing.assert_array_equal(np.asarray(turned[1:4] + turned[:3]), a[::-1][1:4] + a[::-1][:3])
