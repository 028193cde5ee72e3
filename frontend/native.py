"""`tw.register`: native ops that compete with our kernels. Imported when first asked for."""

from __future__ import annotations

from tilewright.tuner.natives import register

__all__ = ["register"]
