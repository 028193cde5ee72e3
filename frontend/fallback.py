"""What a device cannot do natively, done by the host for it: correct, and counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fallback:
    """How often the host did one op for a device, and how many bytes went there and back."""

    count: int
    nbytes: int


_counts: dict[str, Fallback] = {}
_lock = threading.Lock()


def count(name: str, nbytes: int) -> None:
    """Note one fallback of op `name` that moved `nbytes`."""
    with _lock:
        old = _counts.get(name, Fallback(0, 0))
        _counts[name] = Fallback(old.count + 1, old.nbytes + nbytes)


def fallbacks(*, reset: bool = False) -> dict[str, Fallback]:
    """Which ops ran on the host instead of the device so far: op name -> count and bytes moved.

    `reset` forgets them after reading.
    """
    with _lock:
        result = dict(_counts)
        if reset:
            _counts.clear()
    return result
