"""What one writes with numba: the loops themselves, the outer one over the threads. Imported late: an extra."""

from __future__ import annotations

from math import exp, log, sqrt, tanh
from typing import Any

import numba
import numpy as np
from numba import prange

from benchmarks.workloads import COEFFICIENTS, CUBIC, EPSILON, RATE, SLOPE, VOLATILITY

f32 = np.float32
_parallel: Any = numba.njit(parallel=True, error_model="numpy")
_HALF, _ONE, _SLOPE, _CUBIC, _EPSILON = f32(0.5), f32(1), f32(SLOPE), f32(CUBIC), f32(EPSILON)
_RATE, _VOLATILITY, _DRIFT = f32(RATE), f32(VOLATILITY), f32(RATE + 0.5 * VOLATILITY**2)
_TERMS = tuple(f32(c) for c in COEFFICIENTS)
_TAIL = tuple(f32(c) for c in (1.330274429, -1.821255978, 1.781477937, -0.356563782, 0.319381530))
_NEAR, _DENSITY, _QUARTER, _STEP, _SIX = f32(0.2316419), f32(0.39894228), f32(0.25), f32(0.1), f32(6)


@_parallel
def gelu(x: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.size):
        v = x[i]
        out[i] = _HALF * v * (_ONE + tanh(_SLOPE * (v + _CUBIC * (v * v * v))))
    return out


@_parallel
def polynomial(x: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.size):
        result = f32(0)
        for c in _TERMS:
            result = result * x[i] + c
        out[i] = result
    return out


@numba.njit(error_model="numpy")
def _below(d: Any) -> Any:
    k, terms = _ONE / (_ONE + _NEAR * abs(d)), f32(0)
    for c in _TAIL:
        terms = k * (c + terms)
    tail = _DENSITY * exp(-_HALF * d * d) * terms
    return _ONE - tail if d > 0 else tail


@_parallel
def black_scholes(price: Any, strike: Any, years: Any) -> Any:
    out = np.empty_like(price)
    for i in prange(price.size):
        deviation = _VOLATILITY * sqrt(years[i])
        d1 = (log(price[i] / strike[i]) + _DRIFT * years[i]) / deviation
        out[i] = price[i] * _below(d1) - strike[i] * exp(-_RATE * years[i]) * _below(d1 - deviation)
    return out


@numba.njit(parallel=True, fastmath={"reassoc"})
def total(x: Any) -> Any:
    result = f32(0)
    for i in prange(x.size):
        result += x[i]
    return result


@numba.njit
def cumulative(x: Any) -> Any:
    out, result = np.empty_like(x), f32(0)
    for i in range(x.size):
        result += x[i]
        out[i] = result
    return out


@_parallel
def transpose_add(a: Any, b: Any) -> Any:
    out, side = np.empty_like(a), 32
    for block in prange((a.shape[0] + side - 1) // side):
        for left in range(0, a.shape[1], side):
            for i in range(block * side, min(a.shape[0], (block + 1) * side)):
                for j in range(left, min(a.shape[1], left + side)):
                    out[i, j] = a[i, j] + b[j, i]
    return out


@_parallel
def jacobi(u: Any) -> Any:
    out = np.empty((u.shape[0] - 2, u.shape[1] - 2), u.dtype)
    for i in prange(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = _QUARTER * (u[i, j + 1] + u[i + 2, j + 1] + u[i + 1, j] + u[i + 1, j + 2])
    return out


@_parallel
def heat(u: Any) -> Any:
    out = np.empty((u.shape[0] - 2, u.shape[1] - 2, u.shape[2] - 2), u.dtype)
    for i in prange(1, u.shape[0] - 1):
        for j in range(1, u.shape[1] - 1):
            for k in range(1, u.shape[2] - 1):
                near = u[i - 1, j, k] + u[i + 1, j, k] + u[i, j - 1, k] + u[i, j + 1, k] + u[i, j, k - 1]
                out[i - 1, j - 1, k - 1] = u[i, j, k] + _STEP * (near + u[i, j, k + 1] - _SIX * u[i, j, k])
    return out


@numba.njit(parallel=True, fastmath={"reassoc", "contract"})
def variance_1(x: Any) -> Any:
    out = np.empty(x.shape[0], x.dtype)
    for i in prange(x.shape[0]):
        mean, squares = f32(0), f32(0)
        for j in range(x.shape[1]):
            mean += x[i, j]
        mean /= f32(x.shape[1])
        for j in range(x.shape[1]):
            squares += (x[i, j] - mean) ** 2
        out[i] = squares / f32(x.shape[1])
    return out


@_parallel
def variance_0(x: Any) -> Any:
    out, width = np.empty(x.shape[1], x.dtype), 64
    for block in prange((x.shape[1] + width - 1) // width):
        left, right = block * width, min(x.shape[1], (block + 1) * width)
        mean, squares = np.zeros(right - left, x.dtype), np.zeros(right - left, x.dtype)
        for i in range(x.shape[0]):
            for j in range(left, right):
                mean[j - left] += x[i, j]
        mean /= f32(x.shape[0])
        for i in range(x.shape[0]):
            for j in range(left, right):
                squares[j - left] += (x[i, j] - mean[j - left]) ** 2
        out[left:right] = squares / f32(x.shape[0])
    return out


@numba.njit(parallel=True, fastmath={"reassoc", "contract"})
def softmax(x: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.shape[0]):
        most, total = x[i].max(), f32(0)
        for j in range(x.shape[1]):
            out[i, j] = exp(x[i, j] - most)
            total += out[i, j]
        for j in range(x.shape[1]):
            out[i, j] /= total
    return out


@numba.njit(parallel=True, fastmath={"reassoc", "contract"})
def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.shape[0]):
        mean, squares = f32(0), f32(0)
        for j in range(x.shape[1]):
            mean += x[i, j]
        mean /= f32(x.shape[1])
        for j in range(x.shape[1]):
            squares += (x[i, j] - mean) ** 2
        scale = _ONE / sqrt(squares / f32(x.shape[1]) + _EPSILON)
        for j in range(x.shape[1]):
            out[i, j] = (x[i, j] - mean) * scale * weight[j] + bias[j]
    return out


@numba.njit(parallel=True, fastmath={"reassoc", "contract"})
def cross_entropy(scores: Any, labels: Any) -> Any:
    loss = 0.0
    for i in prange(scores.shape[0]):
        most, total = scores[i].max(), f32(0)
        for j in range(scores.shape[1]):
            total += exp(scores[i, j] - most)
        loss += log(total) + most - scores[i, labels[i]]
    return loss / scores.shape[0]
