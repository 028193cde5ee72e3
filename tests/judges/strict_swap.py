"""A pytest plugin: who imports array_api_strict, as xarray's tests do, gets tilewright."""

from __future__ import annotations

import sys
from types import ModuleType

import tilewright as tw

_objects = ModuleType("array_api_strict._array_object")
_objects.Array = tw.Array  # type: ignore[attr-defined]
sys.modules["array_api_strict"] = tw
sys.modules[_objects.__name__] = _objects
