"""What `import tilewright` does not import: name -> the module that has it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    "measuring": "tune tuning",
    "contraction": "einsum",
}
LATE: dict[str, str] = {name: module for module, names in _NAMES.items() for name in names.split()}


def late(name: str) -> Any:
    """The object of that name; None where there is none."""
    if name == "random":
        return import_module("tilewright.random")
    if name == "bfloat16":  # its package is a third of NumPy
        from tilewright.dtypes import object_of

        return object_of(name)
    module = LATE.get(name)
    return None if module is None else getattr(import_module(f"tilewright.{module}"), name)
