"""Which devices there are, and which one arrays are made on when nothing else is said."""

from __future__ import annotations

from typing import Any

from tilewright.backends import registry
from tilewright.backends.protocol import Device

_chosen: Device | None = None


def resolve(device: Any = None) -> Device:
    """The device of that name; None is the default device. Raises ValueError for an unknown name."""
    global _chosen
    if device is None:
        if _chosen is None:
            _chosen = registry.get_device(registry.default_device_name())
        return _chosen
    if not isinstance(device, str):
        raise TypeError(f"a device is named by a string such as 'cpu' or 'opencl:0', not {device!r}")
    return registry.get_device(device)


def devices() -> list[str]:
    """The names of all usable devices, such as ["cpu", "opencl:0"]."""
    return registry.usable_names()


def set_default_device(device: str) -> None:
    """Make `device` the one on which arrays are created when no device is given."""
    global _chosen
    _chosen = resolve(device)


def get_default_device() -> str:
    """The device on which arrays are created: the one set, TILEWRIGHT_DEVICE, or the best one found."""
    return resolve().name
