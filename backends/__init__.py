"""Where it runs. `wrap` makes a device of an array library; everything else is in the modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.backends.wrapped import wrap

__all__ = ["wrap"]


def __getattr__(name: str) -> Any:
    if name == "wrap":
        from tilewright.backends.wrapped import wrap  # late: few programs make a device

        return wrap
    raise AttributeError(f"module 'tilewright.backends' has no attribute {name!r}")
