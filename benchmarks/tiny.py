"""tinygrad's tensors under the names that the workloads call: an array namespace as far as these need one.

Imported late: an extra. Its CPU device compiles with clang, which must be on the PATH; kernels are compiled without
its BEAM search.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from tinygrad import Device, Tensor, TinyJit, dtypes

from benchmarks.workloads import EPSILON

DEVICE = "CPU"
if not shutil.which("clang"):
    raise ImportError("its CPU device compiles with clang, which is not on the PATH: install clang")


def put(x: np.ndarray) -> Any:
    name = x.dtype.name
    raw = x.view(np.uint16) if name == "bfloat16" else x
    there = Tensor(np.ascontiguousarray(raw), device=DEVICE)
    return (there.bitcast(dtypes.bfloat16) if name == "bfloat16" else there).contiguous().realize()


def get(x: Any) -> np.ndarray:
    return (x.float() if x.dtype == dtypes.bfloat16 else x).numpy()


def wait(_: Any) -> None:
    Device[DEVICE].synchronize()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return TinyJit(lambda *arrays: function(*arrays).realize())


def _method(name: str) -> Callable[..., Any]:
    return lambda x, *arguments: getattr(x, name)(*arguments)


def _reduction(name: str) -> Callable[..., Any]:
    return lambda x, axis=None, keepdims=False: getattr(x, name)(axis, keepdim=keepdims)


abs, exp, log, sqrt, tanh = map(_method, ("abs", "exp", "log", "sqrt", "tanh"))
astype, reshape, where = map(_method, ("cast", "reshape", "where"))
sum, max, mean, argmin, argmax = map(_reduction, ("sum", "max", "mean", "argmin", "argmax"))


def var(x: Any, axis: int) -> Any:
    return x.var(axis, correction=0)


def cumulative_sum(x: Any) -> Any:
    return x.cumsum(0)


def take_along_axis(x: Any, index: Any, axis: int) -> Any:
    return x.gather(axis, index)


def moveaxis(x: Any, source: int, target: int) -> Any:
    order = [axis for axis in range(x.ndim) if axis != source]
    order.insert(target, source)
    return x.permute(order)


def gelu(x: Any) -> Any:
    return x.gelu()


def softmax(x: Any) -> Any:
    return x.softmax(1)


def layer_norm(x: Any, weight: Any, bias: Any | None = None) -> Any:
    scaled = x.layernorm(eps=EPSILON) * weight
    return scaled if bias is None else scaled + bias


def cross_entropy(scores: Any, labels: Any) -> Any:
    return scores.sparse_categorical_crossentropy(labels)


def attention(q: Any, k: Any, v: Any, causal: bool) -> Any:
    return q.scaled_dot_product_attention(k, v, is_causal=causal)


def conv(x: Any, w: Any, stride: int, padding: int, groups: int) -> Any:
    return x.conv2d(w, groups=groups, stride=stride, padding=padding)


def product(a: Any, b: Any, dtype: str) -> Any:
    """Summed and stored as `dtype`."""
    return a.matmul(b, dtype=getattr(dtypes, dtype))


int8_product: Callable[..., Any] = partial(product, dtype="int32")
