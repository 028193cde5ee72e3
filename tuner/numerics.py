"""How far results are from the reference, as a class: bitwise equal, within so many ulp, or within the tolerance."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

UNKNOWN = -1.0  # of what was measured before this was looked at, or where there is nothing to compare with
FAR = 2.0**53
"""No distance is told beyond this: signs differ, or only one of the two is a number."""

NAMED = 1000
"""So many ulp are still told as a number; beyond, terms cancelled, and the tolerance is what holds."""


class Deviation(NamedTuple):
    """The largest error of a result, as a share of what is tolerated, and in units in the last place."""

    error: float
    ulp: float


def worst(found: Iterable[Deviation]) -> Deviation:
    """Of several results."""
    errors, ulp = zip(*found, strict=True)
    return Deviation(max(errors), max(ulp))


def ulps(got: Array, expected: Array) -> float:
    """The largest distance, in units in the last place of `got`'s dtype, from `expected` rounded to that dtype.

    Counted in numbers that the dtype has between the two, so that it also holds next to 0 and to powers of two; NaN is
    equal to NaN and 0 to -0. Real or complex floats of one shape.
    """
    if got.dtype.kind == "c":
        return max(ulps(got.real, expected.real), ulps(got.imag, expected.imag))
    if not got.size:
        return 0.0
    with np.errstate(all="ignore"):
        right = np.ascontiguousarray(np.asarray(expected).astype(got.dtype))
        left = np.ascontiguousarray(got)
        distance = np.abs(_ordered(left) - _ordered(right))
        wild = np.isnan(left) != np.isnan(right)
        both = np.isnan(left) & np.isnan(right)
    return float(np.where(both, 0.0, np.where(wild, FAR, np.minimum(distance, FAR))).max())


def _ordered(values: Array) -> Array:
    """Floats as numbers in their own order, neighbours 1 apart."""
    bits = values.view(f"i{values.dtype.itemsize}").astype(np.int64)
    least = -(1 << 8 * values.dtype.itemsize - 1)
    return np.where(bits < 0, least - bits, bits).astype(np.float64)


def most_ulp(numerics: str) -> float:
    """What `numerics` allows, in ulp: "bitwise" 0, "4 ulp" 4, "tolerance" any. Raises ValueError for anything else."""
    if numerics == "tolerance":
        return math.inf
    if numerics == "bitwise":
        return 0.0
    found = re.fullmatch(r"(\d{1,4}) ?ulp", numerics) if isinstance(numerics, str) else None
    if found is None or int(found[1]) > NAMED:
        raise ValueError(
            f"numerics is 'bitwise', 'tolerance', or a distance such as '4 ulp', up to {NAMED}; not {numerics!r}"
        )
    return float(found[1])


def named(ulp: float) -> str:
    """The narrowest class of a result that is so far from the reference, as `most_ulp` takes it."""
    if ulp == 0:
        return "bitwise"
    return f"{ulp:.0f} ulp" if 0 < ulp <= NAMED else "tolerance"
