"""What callers pass beside arrays, checked: integers and sequences, with errors that name the function."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any


def integer(value: Any, op: str, what: str) -> int:
    """`value` as an int. Raises TypeError for what is no integer, such as a float or a string."""
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{op}: {what} must be an integer, not {value!r}") from None


def integers(values: Any, op: str, what: str) -> tuple[int, ...]:
    """One integer or a sequence of them as a tuple. Raises TypeError for anything else."""
    if isinstance(values, (tuple, list)):
        return tuple([integer(v, op, what) for v in values])
    return (integer(values, op, what),)


def number(value: Any, op: str, what: str) -> Any:
    """`value`, a real number or an array of no axes that holds one. Raises TypeError for anything else."""
    found = single(value)
    if not isinstance(found, (int, float)) and not (hasattr(found, "__float__") and not hasattr(found, "ndim")):
        raise TypeError(f"{op}: {what} must be a real number, not {value!r}")
    return found


def single(value: Any) -> Any:
    """The element of an array of no axes; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def sequence(values: Any, op: str) -> list[Any]:
    """The arrays of a sequence as a list. Raises TypeError for what is none."""
    if not isinstance(values, Iterable):
        raise TypeError(f"{op}: a sequence of arrays is needed, not {type(values).__name__}")
    return list(values)
