"""Random numbers in NumPy: the oracles of the op table's random ops, by other ways than the kernels'.

Words are uint32. Philox4x32-10 is that of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(2011): a counter of four words and a key of two give four random words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Words = Any  # a uint32 array, or a scalar that broadcasts
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def word(which: int, *counter_and_key: Words) -> np.ndarray[Any, Any]:
    """Word `which` of the four that a counter (four words) and a key (two) give."""
    c0, c1, c2, c3, k0, k1 = (np.asarray(v).astype(np.uint64) & _LOW for v in counter_and_key)
    for step in range(10):
        keys = [(k + np.uint64(step * weyl & 0xFFFFFFFF)) & _LOW for k, weyl in zip((k0, k1), _WEYL, strict=True)]
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = second >> _HALF ^ c1 ^ keys[0], second & _LOW, first >> _HALF ^ c3 ^ keys[1], first & _LOW
    return np.asarray((c0, c1, c2, c3)[which]).astype(np.uint32)


def _below64(w0: int, w1: int, w2: int, w3: int, n0: int, n1: int) -> int:
    random = w0 << 96 | w1 << 64 | w2 << 32 | w3
    return random * (n1 << 32 | n0 or 1 << 64) >> 128


def below64(which: int, *words_and_bound: Words) -> np.ndarray[Any, Any]:
    """Word `which`, 0 the low one, of floor(R n / 2^128): R are four random words, n the bound's two; 0 is 2^64."""
    found = np.frompyfunc(_below64, 6, 1)(*(np.asarray(v).astype(np.uint32).astype(object) for v in words_and_bound))
    return (np.asarray(found, dtype=object) >> 32 * which & 0xFFFFFFFF).astype(np.uint32)


def below32(first: Words, second: Words, bound: Words) -> np.ndarray[Any, Any]:
    """floor(R n / 2^64): R are two random words, n the bound; 0 is 2^32."""
    w0, w1, n = (np.asarray(v).astype(np.uint32).astype(np.uint64) for v in (first, second, bound))
    n = np.where(n == 0, np.uint64(1 << 32), n)
    return np.asarray(w0 * n + (w1 * n >> _HALF) >> _HALF).astype(np.uint32)


def _normal(magnitude: Any, bits: int, negative: Any) -> Any:
    """The quantile of (magnitude + 1/2) / 2^(bits + 1), a probability below 1/2; its size with the sign wanted."""
    from statistics import NormalDist  # late: it brings fractions, decimals and more, and is only an oracle

    inverse = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])
    p = (magnitude + 0.5) * 2.0 ** -(bits + 1)
    size = -inverse(p) if np.size(p) else np.empty(np.shape(p))
    return np.where(negative, -size, size)


def normal32(first: Words) -> Any:
    """A normal deviate from one word: its sign is the highest bit."""
    first = np.asarray(first).astype(np.uint32)
    return _normal((first & np.uint32(0x7FFFFFFF)).astype(np.float64), 31, first >> np.uint32(31))


def normal64(first: Words, second: Words) -> Any:
    """A normal deviate from 53 bits of two words."""
    first, second = (np.asarray(v).astype(np.uint32) for v in (first, second))
    magnitude = (first & np.uint32(0x7FFFFFFF)).astype(np.float64) * 2.0**21 + (second >> np.uint32(11))
    return _normal(magnitude, 52, first >> np.uint32(31))
