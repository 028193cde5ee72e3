"""Whether what a plug-in gives for a device can be one: members, limits and fingerprint, before anything is run."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import Language
from tilewright.backends.protocol import PROTOCOL_VERSION, Device, Fingerprint, Found, Limits

MEMBERS = tuple(name for name in vars(Device) if not name.startswith("_"))
"""Everything that the protocol asks for."""
_VALUES = ("name", "fingerprint", "limits")
_AT_LEAST_ONE = ("threads_per_group", "compute_units", "subgroup", "lanes")
_AT_MOST = {
    "threads_per_group": 1 << 16,
    "compute_units": 1 << 20,
    "subgroup": 1 << 16,
    "vector_nbytes": 1 << 16,
    "lanes": 1 << 10,
}
"""Far more than any chip has: what is beyond was read from the wrong place, or in another unit."""


def trouble(found: Found, backend: str) -> str | None:
    """What is wrong with the device of `found`, one sentence; None where nothing is. Never raises."""
    try:
        return _trouble(found, backend)
    except Exception as error:  # a property of the plug-in's may raise anything
        return f"asking the device about itself raised {type(error).__name__}: {error}"


def _trouble(found: Found, backend: str) -> str | None:
    device: Any = found.device
    if found.protocol != PROTOCOL_VERSION:
        return (
            f"it was written for version {found.protocol} of the device protocol, and this tilewright speaks version "
            f"{PROTOCOL_VERSION}"
        )
    missing = [name for name in MEMBERS if not hasattr(device, name)]
    if missing:
        return f"the device lacks {', '.join(missing)}, which the protocol asks for"
    hollow = [name for name in MEMBERS if name not in _VALUES and not callable(getattr(device, name))]
    if hollow:
        return f"{', '.join(hollow)} of the device cannot be called"
    if not isinstance(device.name, str) or device.name != found.name:
        return f"the device calls itself {device.name!r}, and was found as {found.name!r}"
    if device.name.partition(":")[0] != backend:
        return f"a device of the backend {backend!r} is called {backend!r} or '{backend}:0', not {device.name!r}"
    if not isinstance(device.fingerprint, Fingerprint):
        return f"its fingerprint is a {type(device.fingerprint).__name__}, not a Fingerprint"
    hash(device.fingerprint)
    return _limits(device.limits)


def _limits(limits: Any) -> str | None:
    if not isinstance(limits, Limits):
        return f"its limits are a {type(limits).__name__}, not Limits"
    sizes = [f.name for f in fields(Limits) if f.type == "int"]
    for name in sizes:
        value, least = getattr(limits, name), int(name in _AT_LEAST_ONE)
        if type(value) is not int or value < least:
            return f"its limits are nonsense: {name} is {value!r}, not a whole number of at least {least}"
        if value > _AT_MOST.get(name, value):
            return f"its limits are nonsense: {name} is {value}, more than {_AT_MOST[name]}"
    if limits.memory_nbytes and limits.allocation_nbytes > limits.memory_nbytes:
        return (
            f"its limits are nonsense: allocation_nbytes is {limits.allocation_nbytes}, more than the "
            f"{limits.memory_nbytes} of memory_nbytes"
        )
    caches = limits.cache_nbytes
    if not isinstance(caches, tuple) or not all(type(n) is int and n > 0 for n in caches):
        return f"its limits are nonsense: cache_nbytes is {caches!r}, not a tuple of sizes in bytes"
    unknown = [d for d in limits.dtypes if d not in DTYPES]
    if not isinstance(limits.dtypes, frozenset) or unknown or not limits.dtypes:
        return f"its limits are nonsense: dtypes is {limits.dtypes!r}, not a frozenset of {', '.join(DTYPES)}"
    if not isinstance(limits.language, Language):
        return f"its limits are nonsense: language is {limits.language!r}, not a Language"
    return None
