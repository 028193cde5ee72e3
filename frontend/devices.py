"""Which devices there are, and which one arrays are made on when nothing else is said."""

from __future__ import annotations

from typing import Any

from tilewright.backends import protocol, registry

_chosen: protocol.Device | None = None


class Device(str):
    """Where arrays live, as users see it: a name such as `cpu`, `cuda:0` or `opencl:0`, equal to that string.

    It prints as its name and can be given wherever a device is asked for, as the plain string can.
    """

    __slots__ = ()

    @property
    def type(self) -> str:
        """The backend's name, such as "opencl"."""
        return self.partition(":")[0]

    @property
    def index(self) -> int:  # type: ignore[override]
        """Which of the backend's devices this is, counted from 0."""
        return int(self.partition(":")[2] or 0)

    def __repr__(self) -> str:
        return str.__str__(self)


def resolve(device: Any = None) -> protocol.Device:
    """The device of that name; None is the default device. Raises ValueError for an unknown name."""
    global _chosen
    if device is None:
        if _chosen is None:
            _chosen = registry.get_device(registry.default_device_name())
        return _chosen
    if not isinstance(device, str):
        raise TypeError(f"a device is named by a string such as 'cpu' or 'opencl:0', not {device!r}")
    return registry.get_device(device)


def devices() -> tuple[Device, ...]:
    """All usable devices, such as (cpu, opencl:0)."""
    return tuple(map(Device, registry.usable_names()))


def set_default_device(device: str) -> None:
    """Make `device` the one on which arrays are created when no device is given."""
    global _chosen
    _chosen = resolve(device)


def get_default_device() -> Device:
    """The device on which arrays are created: the one set, TILEWRIGHT_DEVICE, or the best one found."""
    return Device(resolve().name)
