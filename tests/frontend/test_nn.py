"""tw.nn against definitions in NumPy's float64: what is computed, in how many kernels, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from math import erf, pi
from typing import Any

import numpy as np
import pytest

import tilewright as tw

nn = tw.nn
RNG = np.random.default_rng(31)
X = RNG.standard_normal((37, 120)).astype(np.float32) * 3
WEIGHT, BIAS = RNG.standard_normal((2, 120)).astype(np.float32)
WIDE = X.astype(np.float64)


def softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def normed(x: Any, mean: Any, eps: float) -> Any:
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps)


def lazy(*arrays: Any) -> list[tw.Array]:
    return [tw.asarray(a) for a in arrays]


ROWS: dict[str, tuple[Callable[..., tw.Array], Any]] = {
    "softmax": (nn.softmax, softmax(WIDE)),
    "log_softmax": (nn.log_softmax, np.log(softmax(WIDE))),
    "logsumexp": (nn.logsumexp, np.log(np.exp(WIDE).sum(-1))),
    "layer_norm": (
        lambda x: nn.layer_norm(x, *lazy(WEIGHT, BIAS)),
        normed(WIDE, WIDE.mean(-1, keepdims=True), 1e-5) * WEIGHT + BIAS,
    ),
    "rms_norm": (lambda x: nn.rms_norm(x, *lazy(WEIGHT)), normed(WIDE, 0, 1e-6) * WEIGHT),
    "relu": (nn.relu, np.maximum(WIDE, 0)),
    "silu": (nn.silu, WIDE / (1 + np.exp(-WIDE))),
    "gelu": (nn.gelu, WIDE * 0.5 * (1 + np.vectorize(erf)(WIDE / np.sqrt(2)))),
    "gelu by tanh": (
        lambda x: nn.gelu(x, approximate=True),
        WIDE * 0.5 * (1 + np.tanh(np.sqrt(2 / pi) * (WIDE + 0.044715 * WIDE**3))),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_compositions_are_one_kernel(name: str) -> None:
    function, wanted = ROWS[name]
    result = function(tw.asarray(X))
    assert len(tw.explain(result)) == 1
    np.testing.assert_allclose(np.asarray(result), wanted, rtol=2e-5, atol=2e-5)


def test_extremes_of_logsumexp_and_softmax() -> None:
    x = np.array([[-np.inf, -np.inf], [np.inf, 0], [1e4, 1e4], [np.nan, 0]], np.float32)
    found = np.asarray(nn.logsumexp(tw.asarray(x)))
    np.testing.assert_allclose(found, [-np.inf, np.inf, 1e4 + np.log(2), np.nan], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(nn.softmax(tw.asarray(x[2:3]))), [[0.5, 0.5]])


def attended(q: Any, k: Any, v: Any, causal: bool = False) -> Any:
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf) if causal else scores
    return softmax(scores) @ v


@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_grouped_queries(causal: bool) -> None:
    q, k, v = (RNG.standard_normal((2, heads, 19, 24)).astype(np.float32) for heads in (6, 2, 2))
    result = nn.attention(*lazy(q, k, v), causal=causal) * 2
    assert len(tw.explain(result)) == 1
    wanted = 2 * attended(q, np.repeat(k, 3, axis=1), np.repeat(v, 3, axis=1), causal)
    np.testing.assert_allclose(np.asarray(result), wanted, rtol=1e-5, atol=1e-5)


def test_a_query_that_sees_nothing_gets_zeros() -> None:
    q, k, v = (RNG.standard_normal((1, 4, 8)).astype(np.float32) for _ in range(3))
    mask = np.ones((4, 4), bool)
    mask[2] = False
    found = np.asarray(nn.attention(*lazy(q, k, v), mask=tw.asarray(mask)))
    np.testing.assert_array_equal(found[0, 2], 0)
    np.testing.assert_allclose(found[0, [0, 1, 3]], attended(q, k, v)[0, [0, 1, 3]], rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(nn.attention(*lazy(q, k[:, :0], v[:, :0]))), 0)


def correlated(x: Any, w: Any, stride: int, padding: int, groups: int) -> Any:
    """By sliding windows; x (n, c, h, w)."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    seen = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    parts = zip(np.split(seen, groups, 1), np.split(w, groups), strict=True)
    return np.concatenate([np.einsum("nchwij,ocij->nohw", part, weights) for part, weights in parts], 1)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_with_what_follows_is_one_kernel(layout: str, groups: int) -> None:
    x, b = RNG.standard_normal((2, 6, 11, 13)).astype(np.float32), RNG.standard_normal(8).astype(np.float32)
    w = RNG.standard_normal((8, 6 // groups, 3, 3)).astype(np.float32)
    wanted = np.maximum(correlated(x, w, 2, 1, groups) + b[:, None, None], 0)
    if layout == "NHWC":
        x, wanted = np.ascontiguousarray(x.transpose(0, 2, 3, 1)), wanted.transpose(0, 2, 3, 1)
    result = nn.relu(nn.conv(*lazy(x, w, b), stride=2, padding=1, groups=groups, layout=layout))
    assert len(tw.explain(result)) == 1
    np.testing.assert_allclose(np.asarray(result), wanted, rtol=1e-5, atol=1e-4)


def test_conv_of_sequences_and_of_single_pixels() -> None:
    x, w = RNG.standard_normal((2, 5, 17)).astype(np.float32), RNG.standard_normal((4, 5, 3)).astype(np.float32)
    wanted = correlated(x[:, :, None], w[:, :, None], 1, 0, 1)[:, :, 0]
    np.testing.assert_allclose(np.asarray(nn.conv(*lazy(x, w))), wanted, rtol=1e-5, atol=1e-5)
    padded = np.asarray(nn.conv(*lazy(x, w), padding=((2, 0),)))
    np.testing.assert_allclose(padded[:, :, 2:], wanted, rtol=1e-5, atol=1e-5)
    single = np.asarray(nn.conv(*lazy(x, w[..., :1])))
    np.testing.assert_allclose(single, np.einsum("ncl,oc->nol", x, w[..., 0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size, stride, padding", [(2, None, 0), (3, 2, 1), (5, 2, 0)])
def test_pooling(size: int, stride: int | None, padding: int, layout: str) -> None:
    x = RNG.standard_normal((2, 3, 12, 13)).astype(np.float32)
    given = x if layout == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for function, outside, combine in ((nn.max_pool, -np.inf, np.max), (nn.avg_pool, 0, np.mean)):
        wide = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=outside)
        step = stride or size
        seen = np.lib.stride_tricks.sliding_window_view(wide, (size, size), (2, 3))[:, :, ::step, ::step]
        found = np.asarray(function(tw.asarray(given), size, stride=stride, padding=padding, layout=layout))
        found = found if layout == "NCHW" else found.transpose(0, 3, 1, 2)
        np.testing.assert_allclose(found, combine(seen, axis=(-2, -1)), rtol=1e-5, atol=1e-6)


def test_products_in_a_dtype_of_choice() -> None:
    a, b = (RNG.integers(-128, 128, shape).astype(np.int8) for shape in ((33, 300), (300, 20)))
    result = nn.matmul(*lazy(a, b), dtype=tw.int32)
    assert len(tw.explain(result)) == 1
    np.testing.assert_array_equal(np.asarray(result), a.astype(int) @ b.astype(int))


def test_weights_are_scaled_as_they_are_read() -> None:
    x, w = RNG.standard_normal((33, 300)).astype(np.float32), RNG.integers(-128, 128, (300, 20)).astype(np.int8)
    scale = RNG.random(20).astype(np.float32)
    result = tw.asarray(x) @ (tw.astype(tw.asarray(w), tw.float32) * tw.asarray(scale))
    assert len(tw.explain(result)) == 1
    np.testing.assert_allclose(np.asarray(result), x @ (w * scale.astype(np.float64)), rtol=1e-4, atol=1e-2)


def test_an_epilogue_on_a_reshaped_product_is_fused() -> None:
    x, w = RNG.standard_normal((4, 6, 30)).astype(np.float32), RNG.standard_normal((30, 8)).astype(np.float32)
    bias = RNG.standard_normal((2, 4)).astype(np.float32)
    joined = tw.reshape(tw.asarray(x), (24, 30)) @ tw.asarray(w)
    result = nn.gelu(tw.reshape(joined, (4, 6, 2, 4)) + tw.asarray(bias))
    assert [group.title.split()[0] for group in tw.explain(result)] == ["matmul"]
    wanted = nn.gelu(tw.asarray((x @ w).reshape(4, 6, 2, 4) + bias))
    np.testing.assert_allclose(np.asarray(result), np.asarray(wanted), rtol=1e-5, atol=1e-5)


REFUSED: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "heads": (ValueError, "kv_heads", lambda: nn.attention(tw.ones((5, 4, 8)), *[tw.ones((2, 4, 8))] * 2)),
    "mask": (ValueError, "mask", lambda: nn.attention(*[tw.ones((2, 4, 8))] * 3, mask=tw.ones((3, 5)))),
    "integers": (TypeError, "floats", lambda: nn.attention(*[tw.ones((2, 4, 8), dtype=tw.int32)] * 3)),
    "channels": (ValueError, "channels", lambda: nn.conv(tw.ones((1, 3, 8, 8)), tw.ones((4, 2, 3, 3)))),
    "complex": (TypeError, "real numbers", lambda: nn.conv(tw.ones((1, 3, 8)), tw.ones((4, 3, 3), dtype=tw.complex64))),
    "window": (ValueError, "pad more", lambda: nn.conv(tw.ones((1, 3, 2, 8)), tw.ones((4, 3, 3, 3)))),
    "layout": (ValueError, "layout", lambda: nn.conv(tw.ones((1, 3, 8, 8)), tw.ones((4, 3, 3, 3)), layout="CHWN")),
    "stride": (ValueError, "stride", lambda: nn.max_pool(tw.ones((1, 3, 8, 8)), 2, stride=0)),
    "bias": (ValueError, "bias", lambda: nn.conv(tw.ones((1, 3, 8, 8)), tw.ones((4, 3, 3, 3)), tw.ones(3))),
    "pool": (TypeError, "floats", lambda: nn.avg_pool(tw.ones((1, 3, 8, 8), dtype=tw.int32), 2)),
    "norm": (TypeError, "floats", lambda: nn.layer_norm(tw.ones((3, 8), dtype=tw.int32))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name: str) -> None:
    error, words, function = REFUSED[name]
    with pytest.raises(error, match=words):
        function()
