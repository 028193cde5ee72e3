"""NumPy's own functions and ufuncs called with our arrays: on the device where we have them, else counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample
from tilewright.backends.registry import usable_names
from tilewright.ufuncs import _BY_KIND, _NAMES

A = sample((4, 3))
V = sample((3,), seed=1)
MASK = A > 0

NATIVE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("concatenate", ([A, A],), {"axis": 1}), ("concatenate", ([A, A], None), {}), ("stack", ([A, A], 1), {}),
    ("vstack", ([V, A],), {}), ("hstack", ([V, V],), {}), ("sum", (A, 0), {}), ("sum", (A,), {"keepdims": True}),
    ("amax", (A, 1), {}), ("mean", (A, 0), {}), ("std", (A, 0), {"ddof": 1}), ("argmax", (A, 1), {}),
    ("where", (MASK, A, 0.0), {}), ("reshape", (A, (2, -1)), {}), ("transpose", (A,), {}), ("swapaxes", (A, 0, -1), {}),
    ("transpose", (A, (1, 0)), {}), ("moveaxis", (A, 0, 1), {}), ("expand_dims", (A, 0), {}), ("ravel", (A,), {}),
    ("squeeze", (A[None],), {}), ("flip", (A,), {}), ("roll", (A, 1), {}), ("tile", (V, 2), {}),
    ("repeat", (V, 2), {}), ("diff", (A,), {"axis": 0}), ("clip", (A, -1, None), {}), ("clip", (A,), {"max": 1}),
    ("take", (A, np.array([0, 2])), {"axis": 0}), ("tril", (A,), {}), ("outer", (V, V), {}), ("dot", (A, V), {}),
    ("tensordot", (A, A), {"axes": ([0], [0])}), ("zeros_like", (A,), {}), ("full_like", (A, 3), {"dtype": "int32"}),
    ("round", (A,), {}), ("linalg.norm", (A,), {}), ("broadcast_arrays", (V, A), {}), ("shape", (A,), {}),
    ("result_type", (A, np.float64), {}), ("copy", (A,), {}), ("round", (A, 1), {}), ("allclose", (A, A), {}),
    ("pad", (V, 1), {}), ("split", (V, 3), {}), ("einsum", ("ij,kj->ik", A, A), {}), ("trace", (A,), {"offset": 1}),
]  # fmt: skip
HOSTED: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("concatenate", ([A, [[1.0, 2, 3]]],), {}), ("sum", (A,), {"initial": 3.0}), ("sum", (A,), {"where": MASK}),
    ("where", (MASK,), {}), ("reshape", (A, (6, 2)), {"order": "F"}), ("sort", (A, 0), {"kind": "stable"}),
    ("take", (A, np.array([0, 2])), {}), ("linalg.norm", (A, 2), {}),
    ("linalg.svd", (A,), {"full_matrices": False}), ("linalg.svd", (A,), {"compute_uv": False}),
    ("fft.fft", (A,), {"axis": 0}), ("median", (A, 0), {}), ("unique", (A,), {}),
    ("percentile", (A, 50), {}), ("pad", (V, 1), {"mode": "mean"}), ("array_repr", (V,), {}),
]  # fmt: skip


def named(name: str) -> Any:
    found: Any = np
    for part in name.split("."):
        found = getattr(found, part)
    return found


def ours(value: Any, device: str = "cpu") -> Any:
    if isinstance(value, np.ndarray):
        return tw.asarray(value, device=device)
    return type(value)(ours(v, device) for v in value) if isinstance(value, (tuple, list)) else value


def same(result: Any, expected: Any, device: Any) -> None:
    if isinstance(expected, (np.ndarray, np.generic)):
        assert type(result) is tw.Array
        agree(result, expected, device)
    elif isinstance(expected, (tuple, list)):
        assert len(result) == len(expected)
        for pair in zip(result, expected, strict=True):
            same(*pair, device)
    else:
        assert result == expected


@pytest.mark.parametrize("name, args, options", NATIVE, ids=str)
def test_functions_that_stay_on_the_device(device, name, args, options):
    tw.fallbacks(reset=True)
    result = named(name)(*ours(args), **options)
    assert not tw.fallbacks()
    same(result, named(name)(*args, **options), device)


@pytest.mark.parametrize("name, args, options", HOSTED, ids=str)
def test_functions_that_the_host_does(device, name, args, options):
    tw.fallbacks(reset=True)
    same(named(name)(*ours(args), **options), named(name)(*args, **options), device)
    assert tw.fallbacks()


def test_every_ufunc_has_numpy_s_dtypes():
    """Recorded only: what the kernels compute is tested with the namespace's functions."""
    for ufunc in (u for u in (*_NAMES, *_BY_KIND) if u is not np.arctanh):  # its oracle warns of infinity
        for dtype in ("bool", "int8", "uint16", "int64", "float16", "float32", "float64"):
            data = np.ones((2, 2), dtype)
            operands = [tw.asarray(data, device="cpu")] * ufunc.nin
            try:
                expected = ufunc(*[data] * ufunc.nin)
            except TypeError:
                with pytest.raises(TypeError):
                    ufunc(*operands)
            else:
                pairs = zip(*[x if ufunc.nout > 1 else [x] for x in (ufunc(*operands), expected)], strict=True)
                assert all(type(r) is tw.Array and r.dtype == e.dtype for r, e in pairs), (ufunc, dtype)


def test_ufuncs(device):
    x, v = ours(A), ours(V)
    tw.fallbacks(reset=True)
    agree(np.add(A, v), A + V, device)
    agree(A * x - x, A * A - A, device)
    agree(np.multiply(x, [1, 2, 3]), A * np.array([1, 2, 3]), device)
    agree(np.add(x, x, dtype=np.float64), np.add(A, A, dtype=np.float64), device)
    agree(np.sqrt(x, where=x > 0, out=ours(np.full_like(A, -1))), np.where(A > 0, np.sqrt(abs(A)), -1), device)
    agree(np.negative(x, where=MASK), np.where(MASK, -A, 0), device)
    agree(np.add.reduce(x), A.sum(0), device)
    agree(np.maximum.reduce(x, axis=None, keepdims=True), A.max(keepdims=True), device)
    agree(np.logical_or.reduce(x > 2, axis=1), (A > 2).any(1), device)
    agree(np.add.reduce(ours(MASK), axis=1, dtype=np.int16), MASK.sum(1, np.int16), device)
    agree(np.subtract.outer(x, v), np.subtract.outer(A, V), device)
    agree(np.subtract.outer(V, x), np.subtract.outer(V, A), device)
    for r, e in zip(np.divmod(x, v + 9), np.divmod(A, V + 9), strict=True):
        agree(r, e, device)
    assert not tw.fallbacks()


def test_ufuncs_on_the_host_are_counted_and_come_back(device):
    x = ours(A)
    tw.fallbacks(reset=True)
    agree(np.logaddexp2(x, A), np.logaddexp2(A, A), device)
    agree(np.add.accumulate(x), np.add.accumulate(A), device)
    agree(np.add.reduceat(x, [0, 2]), np.add.reduceat(A, [0, 2]), device)
    agree(np.minimum.reduce(x, initial=0, where=x > -1), np.minimum.reduce(A, initial=0, where=A > -1), device)
    fraction, whole = np.modf(x)
    agree(fraction, np.modf(A)[0], device)
    agree(whole, np.modf(A)[1], device)
    y, b = x + 0, A.copy()
    np.add.at(y, [0, 0, 1], 5)
    np.add.at(b, [0, 0, 1], 5)
    agree(y, b, device)
    found = tw.fallbacks()
    assert {"logaddexp2", "add.reduceat", "minimum.reduce", "modf", "add.at"} <= set(found)
    assert found["logaddexp2"].nbytes == 3 * A.nbytes - A.nbytes  # one operand fetched, the result brought back


def test_out(device):
    x, y, target = ours(A), ours(A) + 1, ours(np.zeros_like(A))
    alias = target[1]
    assert np.add(x, y, out=target) is target
    agree(target, 2 * A + 1, device)
    agree(alias, 2 * A[1] + 1, device)
    np.add(A, A, out=target)
    agree(target, A + A, device)
    np.multiply(x, 2, out=target, where=MASK)
    agree(target, A + A, device)
    plain = A.copy()
    plain += x
    np.testing.assert_array_equal(plain, A + A)
    assert np.sum(x, axis=0, out=target[0]) is not None
    agree(target[0], A.sum(0), device)
    np.concatenate([x, x], out=(wide := np.zeros((8, 3), np.float32)))
    np.testing.assert_array_equal(wide[4:], A)
    with pytest.raises(TypeError, match="does not cast"):
        np.add(x, 0.5, out=tw.zeros((4, 3), dtype="int32", device="cpu"))
    with pytest.raises(ValueError, match="broadcast"):
        np.add(x, x, out=tw.zeros((2, 3), dtype="float32", device="cpu"))
    with pytest.raises(ValueError, match="read-only"):
        np.add(x, x, out=tw.broadcast_to(x[0], (4, 3)))


def test_functions_that_write(device):
    x, b = ours(A), A.copy()
    alias = x[1:]
    for a in (x, b):
        np.copyto(dst=a, src=V[::-1].copy(), where=MASK)
        np.put(a, [0, 5], 50)
        np.fill_diagonal(a, 3)
        np.place(a, np.asarray(a) < 0, [1, 2])
    agree(x, b, device)
    agree(alias, b[1:], device)
    np.copyto(b, x * 2)
    agree(x, b / 2, device)


def test_numpy_scalars_are_arrays_with_their_dtype(device):
    """As in NumPy 2, JAX and CuPy. That np.float64 is a Python float too must not decide a dtype."""
    x = tw.asarray([1, 2], dtype="float32", device="cpu")
    for scalar in (np.float64(3), np.float32(3), np.int64(3), np.float16(3)):
        expected = np.ones(2, np.float32) * scalar
        assert (x * scalar).dtype == (scalar * x).dtype == expected.dtype
        assert type(scalar * x) is type(x + scalar) is tw.Array
    x *= np.float64(2)
    agree(x, np.array([2, 4], np.float32), device)


def test_like_makes_an_array():
    for made in (np.zeros(3, like=tw.ones(2)), np.asarray([1, 2], like=tw.ones(2)), np.arange(3, like=tw.ones(2))):
        assert type(made) is tw.Array


def test_strangers_are_asked_first(device):
    class Stranger:
        __array_ufunc__ = lambda self, ufunc, method, *inputs, **options: "theirs"  # noqa: E731
        __array_function__ = lambda self, function, types, args, kwargs: "theirs"  # noqa: E731

    x = ours(A)
    assert np.add(x, Stranger()) == np.concatenate([x, Stranger()]) == "theirs"
    masked = np.ma.array(A, mask=MASK)
    for result in (masked + x, x + masked, np.add(x, masked), np.ma.add(masked, x)):
        assert type(result) is np.ma.MaskedArray and (result.mask == MASK).all()
    with pytest.raises(TypeError):
        np.add(x, object())
    with pytest.raises(ValueError, match="axis"):
        np.sum(x, axis=7)
    with pytest.raises(TypeError):
        np.sum(x, no_such_option=1)
    np.testing.assert_array_equal(np.add(x[0, 0], np.array(["a"], object).shape[0]), A[0, 0] + 1)


def test_other_devices(every_device):
    name = every_device.name
    x = ours(A, name)
    tw.fallbacks(reset=True)
    agree(np.add(A, x), A + A, every_device)
    agree(np.sum(x, axis=0), A.sum(0), every_device)
    assert not tw.fallbacks()
    agree(np.spacing(x), np.spacing(A), every_device)
    assert set(tw.fallbacks()) == {"spacing"}
    for other in usable_names():
        if other != name:
            for mixed in (lambda y: np.add(x, y), lambda y: np.concatenate([x, y]), lambda y: np.spacing(x, out=y)):
                with pytest.raises(ValueError, match="to_device"):
                    mixed(ours(A, other))
