"""The oracle of attention and convolution, written from their definitions with no thought of speed or memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewright.kernels.node import Node
from tilewright.kernels.products import AXES, Window

Array = np.ndarray[Any, Any]


def product(node: Node, source: Sequence[Array], space: tuple[int, ...] | None = None) -> Array:
    """`node` of its sources' values: of their own shapes, or as seen over the `space` of a problem."""
    if node.op == "attention":
        return _attention(node.arg, *(source if space is None else _as_matrices(source, space)))
    window = Window(*node.arg)
    x, weights, *extents = source
    if space is not None:
        x, weights = _as_images(x, weights, [int(e) for e in extents], window, space)
    return _conv(x, weights, window, node.shape)


def _as_matrices(source: Sequence[Array], space: tuple[int, ...]) -> list[Array]:
    """Arrays over (..., m, e, n, d) without the two last axes that each does not vary along."""
    query, key, value, scale, *masks = source
    *outer, m, e, n, d = space

    def taken(x: Array, keep: tuple[int, int], extents: tuple[int, int]) -> Array:
        x = x[(..., *(None,) * (len(space) - x.ndim))] if x.ndim else x
        index = [slice(None) if axis in keep else 0 for axis in (-4, -3, -2, -1)]
        return np.broadcast_to(x[(..., *index)] if x.ndim else x, (*outer, *extents))

    found = [
        taken(query, (-4, -1), (m, d)),
        taken(key, (-2, -1), (n, d)),
        np.swapaxes(taken(value, (-3, -2), (e, n)), -1, -2),
    ]
    return [*found, scale, *(taken(mask, (-4, -2), (m, n)) for mask in masks)]


def _attention(causal: bool, query: Array, key: Array, value: Array, scale: Array, mask: Array | None = None) -> Array:
    """softmax(scale * q k^T + mask) v; 0 where nothing is seen."""
    with np.errstate(all="ignore"):
        scores = scale.reshape(-1)[0] * np.einsum("...id,...jd->...ij", query, key)
        if mask is not None:
            scores = np.where(mask, scores, -np.inf) if mask.dtype.kind == "b" else scores + mask
        if causal:
            scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
        most = scores.max(axis=-1, keepdims=True)
        weights = np.exp(scores - np.where(most == -np.inf, 0, most))
        total = weights.sum(axis=-1, keepdims=True)
        return np.einsum("...ij,...je->...ie", weights / np.where(total == 0, 1, total), value)


def _as_images(
    x: Array, weights: Array, extents: list[int], window: Window, space: tuple[int, ...]
) -> tuple[Array, Array]:
    """Input and weights in their own axes, from arrays over a problem's space, the input's with its own extents."""
    at = AXES[window.layout]
    x = x[(..., *(None,) * (8 - x.ndim))]
    full = [1] * 8
    for axis in (at.n, at.group, at.c):
        full[axis] = space[axis]
    full[at.h], full[at.w] = extents
    x = np.broadcast_to(x, full).transpose(at.n, at.group, at.c, at.h, at.w, at.o, at.kh, at.kw)[..., 0, 0, 0]
    if window.layout == "NHWC":
        x = x.transpose(0, 3, 4, 1, 2)
    kept = (at.group, at.o, at.c, at.kh, at.kw)
    full = [space[axis] if axis in kept else 1 for axis in range(8)]
    weights = np.broadcast_to(weights, full).transpose(*kept, at.n, at.h, at.w)[..., 0, 0, 0]
    return x, weights


def _conv(x: Array, weights: Array, window: Window, shape: tuple[int, ...]) -> Array:
    """The sum over taps of the input moved by the tap, times the tap's weights. What is missing is 0."""
    at = AXES[window.layout]
    high, wide = shape[at.h], shape[at.w]
    x = x if window.layout == "NCHW" else x.transpose(0, 3, 4, 1, 2)
    taps_h, taps_w = weights.shape[-2:]
    need_h = (high - 1) * window.stride_h + (taps_h - 1) * window.dilation_h + 1
    need_w = (wide - 1) * window.stride_w + (taps_w - 1) * window.dilation_w + 1
    below, right = (max(0, n - p - e) for n, p, e in zip((need_h, need_w), window[5:], x.shape[-2:], strict=True))
    padded = np.pad(x, ((0, 0),) * 3 + ((window.padding_h, below), (window.padding_w, right)))
    result = np.zeros((*x.shape[:2], weights.shape[1], high, wide), np.result_type(x, weights))
    for i in range(taps_h):
        for j in range(taps_w):
            rows = slice(
                i * window.dilation_h, i * window.dilation_h + (high - 1) * window.stride_h + 1, window.stride_h
            )
            columns = slice(
                j * window.dilation_w, j * window.dilation_w + (wide - 1) * window.stride_w + 1, window.stride_w
            )
            result += np.einsum("ngchw,goc->ngohw", padded[..., rows, columns], weights[..., i, j], optimize=True)
    return result if window.layout == "NCHW" else result.transpose(0, 3, 4, 1, 2)
