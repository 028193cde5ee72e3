"""Measuring from inside a program: `tw.tuning` and `tw.tune`. Imported when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tilewright.array import Array
from tilewright.evaluation import eval
from tilewright.tuner import Policy, tuning

__all__ = ["tune", "tuning"]


def tune(
    function: Callable[..., Any], /, *arguments: Any, budget: float | None = 30.0, effort: str = "full",
    policy: Policy | None = None, variants: int | None = None, numerics: str | None = None, **keywords: Any,
) -> Any:  # fmt: skip
    """Call `function`, then tune what it launched, the heaviest first, within `budget` seconds; returns its result.

    What is learnt holds from then on, here and in later processes. `effort` is "instant", "quick", "full" or
    "exhaustive". `policy` says how times are taken (`tilewright.tuner.Policy`: warm or cold caches, eager or replayed
    launches). `numerics` restricts what may win: "bitwise" equal to the reference, within "4 ulp" of it, or, as without
    it, within a "tolerance". With `variants`, an operation at several sizes keeps no more kernels than that for all of
    them. Raises ValueError for a bad budget, effort, numerics or number of variants before calling, and whatever the
    function raises.
    """
    with tuning(budget=budget, effort=effort, policy=policy or Policy(), variants=variants, numerics=numerics):
        result = function(*arguments, **keywords)
        eval(*_arrays(result))
    return result


def _arrays(value: Any) -> list[Array]:
    """The arrays in a result, however deep in tuples, lists and dicts."""
    if isinstance(value, Array):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [x for item in value for x in _arrays(item)] if isinstance(value, list | tuple) else []
