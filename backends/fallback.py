"""What a device cannot do natively, done by the host for it: correct, counted, and timed."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fallback:
    """How often the host did one op for a device, how many bytes went there and back, and the seconds it all took."""

    count: int
    nbytes: int
    seconds: float = 0.0


class Fallbacks(dict[str, Fallback]):
    """Op name -> Fallback, the longest first. Prints as a table with each op's share of their time."""

    def __str__(self) -> str:
        total = sum(f.seconds for f in self.values())
        lines = [
            f"{f.seconds / (total or 1.0):5.0%}  {f.seconds:9.4f}  {f.count:5}  {f.nbytes / 1e6:9.3f}  {name}"
            for name, f in self.items()
        ]
        if not lines:
            return "nothing ran on the host"
        head = f"{'share':>5}  {'seconds':>9}  {'times':>5}  {'MB moved':>9}  done by the host, what pays most first"
        return "\n".join([head, *lines])


_counts: dict[str, Fallback] = {}
_lock = threading.Lock()


def count(name: str, nbytes: int, seconds: float) -> None:
    """Note one fallback of op `name` that moved `nbytes` and took `seconds`, moving them included."""
    with _lock:
        old = _counts.get(name, Fallback(0, 0))
        _counts[name] = Fallback(old.count + 1, old.nbytes + nbytes, old.seconds + seconds)


def fallbacks(*, reset: bool = False) -> Fallbacks:
    """Which ops ran on the host instead of the device so far: op name -> count, bytes moved and seconds.

    The longest comes first: what to write next. `reset` forgets them after reading.
    """
    with _lock:
        result = Fallbacks(sorted(_counts.items(), key=lambda item: -item[1].seconds))
        if reset:
            _counts.clear()
    return result
