"""What multiplies beside plain products: distances, and the layers of networks up to a transformer block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from math import sqrt
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.convolutions import convolutions
from benchmarks.products import ONCE_SUMMED, products
from benchmarks.workloads import EPSILON, SIZES, Array, Shapes, Workload, gelu

HEAD = 64  # numbers of one attention head


def weights(rng: np.random.Generator, shapes: Shapes) -> list[Array]:
    """The first in -2..2; the others so that a sum over their first axis stays of that size."""
    scales = [1.0] + [1 / sqrt(shape[0]) if len(shape) > 1 else 1.0 for shape in shapes[1:]]
    return [((rng.random(s, np.float32) - 0.5) * 4 * np.float32(f)) for s, f in zip(shapes, scales, strict=True)]


def points(rng: np.random.Generator, shapes: Shapes) -> list[Array]:
    """Points, as many of them as centres as asked, and the centres' numbers."""
    x = (rng.random(shapes[0], np.float32) - 0.5) * 4
    return [x, x[: shapes[1][0]].copy(), np.arange(shapes[2][0])]


def matmul_bias_gelu(xp: Any, x: Any, w: Any, b: Any) -> Any:
    return gelu(xp, x @ w + b)


def mlp(xp: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
    """Two hidden layers with ReLU as (y + |y|) / 2, which every namespace has."""
    for w, b in ((w1, b1), (w2, b2)):
        y = x @ w + b
        x = 0.5 * (y + xp.abs(y))
    return x @ w3 + b3


def distances(xp: Any, x: Any, y: Any) -> Any:
    squares = xp.sum(x * x, axis=1)[:, None] + xp.sum(y * y, axis=1)[None, :] - 2.0 * (x @ y.T)
    return xp.sqrt(xp.abs(squares))


def k_means_step(xp: Any, x: Any, centres: Any, numbers: Any, cast: Callable[..., Any] | None = None) -> Any:
    """The mean of the points that are nearest to each centre."""
    nearest = xp.argmin(xp.sum(centres * centres, axis=1)[None, :] - 2.0 * (x @ centres.T), axis=1)
    member = (cast or xp.astype)(nearest[:, None] == numbers[None, :], x.dtype)
    return (member.T @ x) / (xp.sum(member, axis=0)[:, None] + EPSILON)


def layers(library: str, xp: Any) -> SimpleNamespace:
    """The library's own attention, norm and GELU; spelled out where it has none."""
    if library == "torch":
        f = xp.nn.functional
        return SimpleNamespace(
            attention=lambda q, k, v, causal: f.scaled_dot_product_attention(q, k, v, is_causal=causal),
            layer_norm=lambda x, g: f.layer_norm(x, g.shape, g, None, EPSILON),
            gelu=lambda x: f.gelu(x, approximate="tanh"),
        )
    if library == "tinygrad":
        return xp
    if library == "tilewright":
        return SimpleNamespace(
            attention=lambda q, k, v, causal: xp.nn.attention(q, k, v, causal=causal),
            layer_norm=lambda x, g: xp.nn.layer_norm(x, g),
            gelu=lambda x: xp.nn.gelu(x, approximate=True),
        )
    return SimpleNamespace(
        attention=partial(_attention, xp), layer_norm=partial(_layer_norm, xp), gelu=partial(gelu, xp)
    )


def _attention(xp: Any, q: Any, k: Any, v: Any, causal: bool) -> Any:
    scores = q @ k.mT * (1 / sqrt(q.shape[-1]))
    if causal:
        seen = xp.tril(xp.ones(scores.shape[-2:], dtype=bool))
        scores = xp.where(seen, scores, -np.inf)
    e = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return (e / xp.sum(e, axis=-1, keepdims=True)) @ v


def _layer_norm(xp: Any, x: Any, g: Any) -> Any:
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + EPSILON) * g


def attention(nn: Any, xp: Any, q: Any, k: Any, v: Any, causal: bool = False) -> Any:
    return nn.attention(q, k, v, causal)


def block(nn: Any, xp: Any, x: Any, into: Any, out: Any, up: Any, down: Any, g1: Any, g2: Any) -> Any:
    """A transformer's block, norms first: x (tokens, width)."""
    tokens, width = x.shape

    def heads(y: Any) -> Any:
        return xp.moveaxis(xp.reshape(y, (tokens, width // HEAD, HEAD)), 1, 0)[None]

    mixed = nn.layer_norm(x, g1) @ into
    q, k, v = (heads(mixed[:, i * width : (i + 1) * width]) for i in range(3))
    seen = xp.reshape(xp.moveaxis(nn.attention(q, k, v, False)[0], 0, 1), (tokens, width))
    x = x + seen @ out
    return x + nn.gelu(nn.layer_norm(x, g2) @ up) @ down


def layered(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """The fields of a Workload whose function takes `layers`: the general spelling, and each library's own."""

    def spelled(library: str) -> Callable[[Any], Callable[..., Any]]:
        return lambda xp: lambda *arrays: function(layers(library, xp), xp, *arrays, **arguments)

    own = {library: spelled(library) for library in ("torch", "jax", "tinygrad", "tilewright")}
    return {"function": lambda xp, *arrays: spelled("numpy")(xp)(*arrays), "special": own}


def networks(quick: bool) -> list[Workload]:
    """`quick` has the small sizes only, and four convolutions."""
    found = [w for k, size in enumerate(SIZES[: 1 if quick else 3]) for w in (*products(k, size), *_networks(k, size))]
    return [*found, *convolutions(quick), *_attentions(quick)]


def _networks(k: int, size: str) -> Iterator[Workload]:
    m, d, n = ((64, 128, 128), (256, 512, 1024), (1024, 768, 3072))[k]
    make = partial(Workload, size=size)
    shapes: Shapes = ((m, d), (d, n), (n,))
    fused = {"torch": lambda torch: lambda x, w, b: torch.nn.functional.gelu(
        torch.nn.functional.linear(x, w.T, b), approximate="tanh")}  # fmt: skip
    yield make(
        f"matmul+bias+gelu {m}x{d}x{n}", shapes, matmul_bias_gelu, special=fused, family="matmul+bias+gelu",
        operations=2 * m * d * n, nbytes=4 * (m * d + d * n + m * n), inputs=weights,
    )  # fmt: skip
    batch = (16, 128, 1024)[k]
    sizes = (784, 512, 512, 10)
    pairs = list(pairwise(sizes))
    parameters = [shape for a, b in pairs for shape in ((a, b), (b,))]
    yield make(
        f"mlp batch {batch}", ((batch, 784), *parameters), mlp, family="mlp", inputs=weights,
        operations=2 * batch * sum(a * b for a, b in pairs), nbytes=4 * sum(a * b for a, b in pairs),
    )  # fmt: skip
    n, d = ((128, 16), (1024, 32), (4096, 64))[k]
    yield make(
        f"pairwise distances {n}x{d}", ((n, d), (n, d)), distances, family="pairwise distances", tolerance=1e-3,
        special={"torch": lambda torch: torch.cdist}, operations=2 * n * n * d, nbytes=4 * n * n,
    )  # fmt: skip
    n, d, c = ((1024, 8, 16), (32768, 16, 32), (262144, 32, 64))[k]
    cast = {"torch": lambda torch: partial(k_means_step, torch, cast=lambda x, dtype: x.to(dtype))}
    # a point between two centres may go to either, and moves their means by its share
    yield make(
        f"k-means step {n}x{d}, {c} centres", ((n, d), (c, d), (c,)), k_means_step, family="k-means step",
        tolerance=5e-3, special=cast, inputs=points, operations=4 * n * d * c, nbytes=4 * n * d,
    )  # fmt: skip
    t, width = ((64, 128), (256, 512), (512, 768))[k]
    shapes = (
        (t, width),
        (width, 3 * width),
        (width, width),
        (width, 4 * width),
        (4 * width, width),
        (width,),
        (width,),
    )
    yield make(
        f"transformer block {t}x{width}", shapes, family="transformer block", inputs=weights,
        operations=2 * t * 12 * width**2 + 4 * t * t * width, nbytes=4 * 12 * width**2, **layered(block),
    )  # fmt: skip


def _attentions(quick: bool) -> Iterator[Workload]:
    for tokens, heads, causal in (
        (128, 4, False),
        (512, 4, False),
        (2048, 4, False),
        (2048, 4, True),
        (8192, 2, False),
    ):
        fields = layered(attention, causal=causal)
        fields["special"] |= ONCE_SUMMED
        yield Workload(
            f"attention{' causal' if causal else ''} {tokens}", ((1, heads, tokens, HEAD),) * 3, family="attention",
            size="small" if tokens == 128 else "medium" if tokens == 512 else "large",
            operations=(2 if causal else 4) * heads * tokens**2 * HEAD, nbytes=16 * heads * tokens * HEAD, **fields,
        )  # fmt: skip
        if quick:
            return
