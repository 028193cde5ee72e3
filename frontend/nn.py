"""Neural networks' functions: attention, convolution and pooling, norms and activations. Not part of the standard."""

from __future__ import annotations

from math import pi, prod, sqrt
from typing import Any

from tilewright import elementwise as ew
from tilewright import statistical as st
from tilewright.arguments import integer
from tilewright.array import Array, wrap
from tilewright.backends.protocol import Device
from tilewright.creation import astype
from tilewright.dtypes import HALVES, KINDS, promote
from tilewright.elementwise import device_of, one
from tilewright.kernels.node import Node
from tilewright.kernels.products import Window
from tilewright.linalg import matmul as product
from tilewright.manipulation import reshape, squeeze
from tilewright.pooling import Size, Windows, avg_pool, max_pool, split_layout, windows
from tilewright.record import broadcast_shapes, cast, const, expand
from tilewright.views import broadcast

__all__ = [
    "attention", "avg_pool", "conv", "gelu", "layer_norm", "log_softmax", "logsumexp", "matmul", "max_pool", "relu",
    "rms_norm", "silu", "softmax",
]  # fmt: skip


def attention(
    q: Array, k: Array, v: Array, /, *, mask: Array | None = None, causal: bool = False, scale: float | None = None
) -> Array:
    """softmax(scale * q k^T, masked) v, in one kernel that never stores the scores.

    q (..., heads, m, d), k (..., kv_heads, n, d) and v (..., kv_heads, n, e) give (..., heads, m, e); leading axes
    broadcast. With fewer kv_heads than heads, which they must divide, each serves heads / kv_heads neighbouring ones
    (Ainslie et al., "GQA", 2023). `mask` broadcasts to (..., heads, m, n): of truth values, which keys a query sees;
    of numbers, what is added to its scores. `causal`: query i sees keys 0 to i only. `scale` is 1 / sqrt(d) if not
    given. 16-bit floats are summed in float32. A query that sees no key gets 0. Raises ValueError for shapes that do
    not fit, TypeError for what is not of floats.
    """
    given = (q, k, v) if mask is None else (q, k, v, mask)
    device = device_of("attention", *given)
    for name, x in zip(("q", "k", "v"), given, strict=False):
        if one(x, "attention").ndim < 3 or KINDS[x._cell.value.dtype] != "f":
            raise _refused(name, x)
    dtype = promote(promote(q._cell.value.dtype, k._cell.value.dtype), v._cell.value.dtype)
    (heads, m, d), (groups, n, _), e = q.shape[-3:], k.shape[-3:], v.shape[-1]
    if k.shape[-1] != d or v.shape[-3:-1] != (groups, n) or not groups or heads % groups:
        raise ValueError(
            f"attention: q {q.shape}, k {k.shape} and v {v.shape} do not fit: (..., heads, m, d), "
            "(..., kv_heads, n, d) and (..., kv_heads, n, e) are needed, with kv_heads a divisor of heads"
        )
    outer = broadcast_shapes([x.shape[:-3] for x in (q, k, v)], "attention")
    share = (*outer, groups, heads // groups)

    def spread(x: Array, middle: int) -> Node:
        """`x` as (..., kv_heads, heads of each, rows, columns); `middle` of those heads are stored."""
        whole = reshape(x, (*x.shape[:-3], groups, middle, *x.shape[-2:]))
        return expand(cast(whole.node(), dtype, device), (*share, *x.shape[-2:]))

    sources = [spread(q, heads // groups), spread(k, 1), spread(v, 1)]
    compute = "float64" if dtype == "float64" else "float32"
    sources.append(const(1 / sqrt(d) if scale is None and d else float(scale or 0), compute))
    if mask is not None:
        seen = (*outer, heads, m, n)
        if broadcast((mask.shape, seen)) != seen:
            raise ValueError(f"attention: mask {mask.shape} does not broadcast to {seen}, one row for each query")
        whole = reshape(wrap(expand(mask.node(), seen), device), (*share, m, n)).node()
        sources.append(whole if whole.dtype == "bool" else cast(whole, compute, device))
    result = Node("attention", tuple(sources), bool(causal), (*share, m, e), dtype)
    return reshape(wrap(result, device), (*outer, heads, m, e))


def _refused(name: str, x: Array) -> Exception:
    if x.ndim < 3:
        return ValueError(f"attention: {name} needs at least 3 axes (heads, rows, elements), its shape is {x.shape}")
    return TypeError(f"attention: {name} must be of floats, not {x._cell.value.dtype}; convert it with astype")


def matmul(x1: Array, x2: Array, /, *, dtype: Any = None) -> Array:
    """x1 @ x2 with factors read as they are stored, and summed and stored as `dtype`: int8 times int8 as int32, say.

    What makes a factor of an array runs as it is read, in the same kernel: weights of int8 times their scales are never
    stored as floats. Without `dtype` the result is that of `tw.matmul`, in which small integers wrap, as in NumPy. An
    argument, like JAX's preferred_element_type, and no name for each pair, like torch._int_mm: it says what is summed.
    """
    if dtype is not None:
        x1, x2 = (astype(one(x, "matmul"), dtype, copy=False) for x in (x1, x2))
    return product(x1, x2)


def conv(
    x: Array, w: Array, bias: Array | None = None, /, *, stride: Size = 1, padding: Any = 0, dilation: Size = 1,
    groups: int = 1, layout: str = "NCHW",
) -> Array:  # fmt: skip
    """Cross-correlation of images or sequences with weights, as networks call convolution.

    x (n, c, h, w), or (n, h, w, c) with layout="NHWC", and w (o, c / groups, kh, kw) give (n, o, oh, ow), or
    (n, oh, ow, o), with oh = (h + padding above and below - dilation * (kh - 1) - 1) // stride + 1; one axis less for
    sequences, whose layouts go by the same names. `stride`, `dilation` and `padding` are one number for all axes or one
    for each; a padding may be a pair (before, after) for each. `bias` (o,) is added. Output channel i sees the input
    channels of group i // (o / groups). 16-bit floats are summed in float32. What follows elementwise runs in the same
    kernel. See Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
    """
    device = device_of("conv", x, w) if bias is None else device_of("conv", x, w, bias)
    _, extents = split_layout("conv", x, layout)
    for name, a in (("x", x), ("w", w)):
        if KINDS[dtype := one(a, "conv")._cell.value.dtype] == "c":
            raise TypeError(f"conv: {name} must be of real numbers, not {dtype}; take real and imaginary parts apart")
    if one(w, "conv").ndim != x.ndim:
        raise ValueError(f"conv: w (o, c / groups, ...) of as many axes as x {x.shape} is needed, not {w.shape}")
    last, outputs = layout == "NHWC", w.shape[0]
    channels = x.shape[-1 if last else 1]
    if integer(groups, "conv", "groups") < 1 or outputs % groups or w.shape[1] * groups != channels:
        raise ValueError(
            f"conv: w {w.shape} does not fit {channels} channels in {groups} groups: (o, channels / groups, ...) is "
            "needed, o a multiple of groups"
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"conv: bias must be ({outputs},), one for each output channel, not {bias.shape}")
    result = _conv(x, w, groups, layout, windows("conv", extents, w.shape[2:], stride, padding, dilation), device)
    if bias is None:
        return result
    return result + (bias if last else reshape(bias, (outputs, *(1,) * len(extents))))


def _conv(x: Array, w: Array, groups: int, layout: str, seen: Windows, device: Device) -> Array:
    """The node of two axes; of one axis, with a height of 1. Where each pixel is a sum of its own, a matrix product,
    though not with channels first on a CPU, whose kernel for convolutions was faster."""
    dtype, last = promote(x._cell.value.dtype, w._cell.value.dtype), layout == "NHWC"
    n, outputs, channels = x.shape[0], w.shape[0], w.shape[1] * groups
    size = x.shape[1:-1] if last else x.shape[2:]
    full = (n, *seen.counts, outputs) if last else (n, outputs, *seen.counts)
    single = prod(w.shape[2:]) == groups == 1 and set(seen.steps) == {1} and size == seen.counts and not seen.padded
    if single and (last or device.limits.threads_per_group != 1):
        flat = reshape(w, (outputs, channels))
        if last:
            return reshape(product(reshape(x, (n * prod(size), channels)), flat.T), full)
        return reshape(product(flat, reshape(x, (n, channels, prod(size)))), full)
    high = (1,) * (2 - len(size))  # of a sequence
    split, there = (groups, channels // groups), (groups, outputs // groups)
    images = reshape(x, (n, *high, *size, *split) if last else (n, *split, *high, *size))
    weights = reshape(w, (*there, channels // groups, *high, *w.shape[2:]))
    before = (0,) * len(high) + tuple(first for first, _ in seen.pads)
    window = Window(layout, *high, *seen.steps, *high, *seen.gaps, *before)
    shape = (n, *high, *seen.counts, *there) if last else (n, *there, *high, *seen.counts)
    sources = (cast(images.node(), dtype, device), cast(weights.node(), dtype, device))
    return reshape(wrap(Node("conv", sources, window, shape, dtype), device), full)


def _computed(x: Array, op: str) -> Array:
    """`x` in the dtype its sums and exponentials are computed in. Raises TypeError for what is not of floats."""
    dtype = one(x, op)._cell.value.dtype
    if KINDS[dtype] != "f":
        raise TypeError(f"{op}: x must be of floats, not {dtype}; convert it with astype")
    return astype(x, "float32") if dtype in HALVES else x


def softmax(x: Array, /, *, axis: int = -1) -> Array:
    """exp(x - largest) over its sum along `axis`, so that nothing overflows."""
    wide = _computed(x, "softmax")
    e = ew.exp(wide - st.max(wide, axis=axis, keepdims=True))
    return astype(e / st.sum(e, axis=axis, keepdims=True), x.dtype, copy=False)


def log_softmax(x: Array, /, *, axis: int = -1) -> Array:
    """The logarithm of `softmax`, exact where that is 0."""
    wide = _computed(x, "log_softmax")
    less = wide - st.max(wide, axis=axis, keepdims=True)
    return astype(less - ew.log(st.sum(ew.exp(less), axis=axis, keepdims=True)), x.dtype, copy=False)


def logsumexp(x: Array, /, *, axis: int = -1, keepdims: bool = False) -> Array:
    """log(sum(exp(x))) along `axis`, of the distances from the largest, so that nothing overflows."""
    wide = _computed(x, "logsumexp")
    most = st.max(wide, axis=axis, keepdims=True)
    base = ew.where(ew.isfinite(most), most, 0.0)
    total = ew.log(st.sum(ew.exp(wide - base), axis=axis, keepdims=True)) + base
    return astype(total if keepdims else squeeze(total, axis=axis), x.dtype, copy=False)


def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, /, *, axis: int = -1, eps: float = 1e-5
) -> Array:
    """(x - mean) / sqrt(variance + eps) along `axis`, times `weight`, plus `bias`, which broadcast.

    Ba, Kiros and Hinton, "Layer normalization", 2016. The variance is that of distances from the mean.
    """
    wide = _computed(x, "layer_norm")
    apart = wide - st.mean(wide, axis=axis, keepdims=True)
    scaled = apart / ew.sqrt(st.mean(apart * apart, axis=axis, keepdims=True) + eps)
    return astype(_scaled(scaled, weight, bias), x.dtype, copy=False)


def rms_norm(x: Array, weight: Array | None = None, /, *, axis: int = -1, eps: float = 1e-6) -> Array:
    """x / sqrt(mean of squares + eps) along `axis`, times `weight`, which broadcasts. Zhang and Sennrich, 2019."""
    wide = _computed(x, "rms_norm")
    return astype(
        _scaled(wide / ew.sqrt(st.mean(wide * wide, axis=axis, keepdims=True) + eps), weight, None), x.dtype, copy=False
    )


def _scaled(x: Array, weight: Array | None, bias: Array | None) -> Array:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def relu(x: Array, /) -> Array:
    """The elements that are positive, 0 for the others; NaN stays."""
    return ew.maximum(one(x, "relu"), 0)


def silu(x: Array, /) -> Array:
    """x / (1 + exp(-x)): Elfwing, Uchibe and Doya, 2017."""
    wide = _computed(x, "silu")
    return astype(wide / (ew.exp(-wide) + 1.0), x.dtype, copy=False)


def gelu(x: Array, /, *, approximate: bool = False) -> Array:
    """x times the normal distribution's share below x; `approximate` by a tanh. Hendrycks and Gimpel, 2016."""
    wide = _computed(x, "gelu")
    inner = (wide + wide * wide * wide * 0.044715) * sqrt(2 / pi) if approximate else wide * sqrt(0.5)
    share = ew.tanh(inner) if approximate else ew.erf(inner)
    return astype(wide * 0.5 * (share + 1.0), x.dtype, copy=False)
