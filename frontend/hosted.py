"""Names that NumPy has beside those that we compute on the device: `tw.median(x)` is `np.median(x)` of our arrays.

NumPy asks our arrays for each, so that what they know runs on their device and the rest on the host, counted as a
fallback. What comes back are Arrays: on the device of the arguments, on the default device where none is an Array.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES
from tilewright.creation import asarray
from tilewright.hosting import mapped
from tilewright.late import LATE


def __getattr__(name: str) -> Callable[..., Any]:
    if LATE.get(name) != "hosted":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _made(getattr(np, name))


def _made(theirs: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(theirs)
    def function(*args: Any, **kwargs: Any) -> Any:
        return mapped(theirs(*args, **kwargs), (np.ndarray, np.generic), _ours)

    return function


def _ours(data: Any) -> Any:
    """What NumPy made of numbers alone, as an Array; what has a dtype that is none of ours as it is."""
    return asarray(data) if data.dtype.name in DTYPES else data
