"""The cpu device's threads, which all its kernels share: cpu_team.c, compiled once as kernels are."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

from tilewright.backends.protocol import Parameter, Source

SOURCE = Source(
    "team_size",
    (Parameter("size", "int64", "value"),),
    (Path(__file__).parent / "cpu_team.c").read_text(),
    (),
    (1, 1, 1),
    filename="cpu_team.c",
    raw=True,
)


_rest: list[Callable[[], object]] = []


def rest() -> None:
    """Send idle threads to sleep before another library wakes its own."""
    for call in _rest:
        call()


def start(library: ctypes.CDLL, size: int) -> ctypes.c_void_p:
    """The function that shares a loop among `size` threads, from the compiled SOURCE."""
    library[f"tilewright_{SOURCE.entry}"]((ctypes.c_int64 * 4)(1, 1, 1, size))
    _rest.append(ctypes.CFUNCTYPE(None)(("team_rest", library)))
    return ctypes.cast(library["team_run"], ctypes.c_void_p)
