"""Two array libraries doing the same thing: tilewright's arrays beside NumPy's, step by step, aliases included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tilewright as tw

Data = np.ndarray[Any, Any]
REFUSALS = (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError)


@dataclass
class Pair:
    """One array on each side, by the name it has in the log."""

    name: str
    ours: Any
    theirs: Data


class Difference(AssertionError):
    """The two sides do not agree."""


class Machine:
    """The arrays of a program so far, and what was done to them as lines of Python."""

    def __init__(self, device: str) -> None:
        self.device, self.pool, self.log, self.made = device, list[Pair](), list[str](), 0

    def put(self, data: Data) -> Pair:
        """A new array on both sides, from NumPy's data."""
        pair = self._named(tw.asarray(data, device=self.device), np.array(data))
        self.log.append(f"{pair.name} = xp.asarray({data.tolist()!r}, dtype='{data.dtype}')")
        self.pool.append(pair)
        return pair

    def _named(self, ours: Any, theirs: Data) -> Pair:
        self.made += 1
        return Pair(f"x{self.made}", ours, theirs)

    def make(
        self,
        text: str,
        function: Callable[..., Any],
        *pairs: Pair,
        ulps: float | None = None,
        scale: Any = None,
        strict: bool = True,
    ) -> list[Pair]:
        """`function(xp, *arrays)` on both sides; its results join the pool. What one refuses the other must refuse.

        Results that may be off by `ulps` are compared at once, and go on with NumPy's values. `scale` is NumPy's
        magnitude of the terms of a sum: the error then counts in units of that. Where more than one thing may be
        wrong, the class of the error is not `strict`.
        """
        line, self.log = f"{text}", [*self.log, text]
        theirs, refusal = _tried(function, np, [p.theirs for p in pairs])
        ours, ourrefusal = _tried(function, tw, [p.ours for p in pairs])
        self._same_refusal(line, refusal, ourrefusal, strict)
        if refusal is not None or theirs is None:
            return []
        several = isinstance(theirs, (tuple, list))
        if several and len(theirs) != len(ours):
            raise Difference(f"{line}: {len(ours)} results instead of {len(theirs)}")
        made = []
        for got, want in zip(ours, theirs, strict=True) if several else [(ours, theirs)]:
            pair = self._named(got, np.asarray(want))
            if ulps is not None:
                self.compare(pair, line, ulps, scale)
                pair.ours = tw.asarray(pair.theirs, device=self.device, copy=True)
                pair.theirs = pair.theirs.copy()
            made.append(pair)
        self.log[-1] = f"{', '.join(p.name for p in made)} = {line}"
        self.pool += made
        return made

    def _same_refusal(self, line: str, theirs: Exception | None, ours: Exception | None, strict: bool) -> None:
        if (theirs is None) != (ours is None):
            raise Difference(f"{line}: NumPy {_said(theirs)}, tilewright {_said(ours)}") from (ours or theirs)
        if strict and theirs is not None and not isinstance(ours, tuple(k for k in REFUSALS if isinstance(theirs, k))):
            raise Difference(f"{line}: NumPy {_said(theirs)}, tilewright {_said(ours)}") from ours

    def compare(self, pair: Pair, line: str = "", ulps: float = 0, scale: Any = None) -> None:
        """The same dtype, shape and values, in NumPy's eyes; NaN equals NaN and 0 equals -0 only exactly."""
        where, want = line or pair.name, pair.theirs
        if type(pair.ours) is not tw.Array:
            raise Difference(f"{where}: a {type(pair.ours).__name__} instead of an array")
        if pair.ours.dtype != want.dtype or pair.ours.shape != want.shape:
            got = f"{pair.ours.dtype}{pair.ours.shape}"
            raise Difference(f"{where}: {got} instead of {want.dtype}{want.shape}")
        got = np.asarray(pair.ours)
        wrong = ~_close(got, want, ulps, scale)
        if wrong.any():
            at = tuple(int(k[0]) for k in np.nonzero(wrong)) if want.ndim else ()
            raise Difference(
                f"{where}: {got[at]!r} instead of {want[at]!r} at {at}; whole: {got!r} instead of {want!r}"
            )


def _tried(function: Callable[..., Any], xp: Any, arrays: Sequence[Any]) -> tuple[Any, Exception | None]:
    try:
        with np.errstate(all="ignore"):
            return function(xp, *arrays), None
    except REFUSALS as error:
        return None, error


def _said(error: Exception | None) -> str:
    return "accepts it" if error is None else f"raises {type(error).__name__}: {error}"


def _close(got: Data, want: Data, ulps: float, scale: Any) -> Data:
    """Elementwise: the same bits but for NaNs, or within so many units in the last place."""
    if want.dtype.kind not in "fc":
        return np.asarray(got == want)
    if want.dtype.kind == "c" and (ulps or scale is not None):
        size = np.abs(want) if scale is None else scale
        info = np.finfo(want.dtype)
        near = np.abs(got - want) <= ulps * (info.eps * size + info.smallest_subnormal)
        return near | ~np.isfinite(want) & ~np.isfinite(got)  # which part is infinite, C and NumPy differ about
    if want.dtype.kind == "c":
        return _close(got.real, want.real, 0, None) & _close(got.imag, want.imag, 0, None)
    both_nan = np.isnan(got) & np.isnan(want)
    equal = (got == want) & (np.signbit(got) == np.signbit(want) if not ulps else True)
    if not ulps:
        return np.asarray(both_nan | equal)
    info = np.finfo(want.dtype)
    with np.errstate(all="ignore"):
        size = np.abs(want) if scale is None else np.maximum(np.abs(want), scale)
        unit = np.spacing(np.minimum(size, info.max).astype(want.dtype)).astype(np.float64)
        near = np.abs(got.astype(np.float64) - want.astype(np.float64)) <= ulps * unit
        edge = float(info.max) * (1 - ulps * float(info.eps))  # one side may just overflow
        large = (np.abs(got.astype(np.float64)) >= edge) & (np.abs(want.astype(np.float64)) >= edge)
    return np.asarray(both_nan | equal | near | large & (np.signbit(got) == np.signbit(want)))
