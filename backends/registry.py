"""Which devices there are: everything registered in the entry-point group `tilewright.backends`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from tilewright.backends.protocol import Device, Found, TilewrightError, Unsupported
from tilewright.backends.vet import trouble

GROUP = "tilewright.backends"
BUILT_IN = {name: f"tilewright.backends.{name}:discover" for name in ("cpu", "opencl", "cuda")}


@cache
def registered() -> tuple[tuple[str, str], ...]:
    """Name and "module:function" of every backend that some package registers; equal lines once."""
    return tuple(dict.fromkeys((point.name, point.value) for point in _entry_points()))


def _entry_points() -> Any:
    from importlib.metadata import entry_points  # late: reading every distribution's metadata takes some 10 ms

    return entry_points(group=GROUP)


@cache
def backends() -> dict[str, str]:
    """Name of each backend and the "module:function" that discovers its devices; the built-in three come first.

    A device's name starts with its backend's: "cpu", "opencl:0". The built-in three need no metadata. Of two that
    share a name the first is it; `clashes` tells of the other.
    """
    found = dict(BUILT_IN)
    for name, target in registered():
        found.setdefault(name, target)
    return found


def clashes() -> list[Found]:
    """A line for every backend that is registered under a name that another one has."""
    return [
        faulty(name, f"{target} registers the name {name!r}, which {backends()[name]} has", name, target)
        for name, target in registered()
        if target != backends()[name]
    ]


@cache
def discover_backend(backend: str) -> tuple[Found, ...]:
    """The devices of one backend. Never raises: a broken plug-in is a Found without device that says what broke."""
    target = BUILT_IN.get(backend) or backends()[backend]
    try:
        module, _, function = target.partition(":")
        call: Callable[[], list[Found]] = getattr(import_module(module), function)
        found = tuple(call())
        strange = [x for x in found if not isinstance(x, Found)]
        if strange:
            reason = f"discovery through {target} gave {strange[0]!r}, which is no Found"
            return (faulty(backend, reason, backend, target),)
    except (Exception, SystemExit) as error:  # whatever a plug-in raises must not hide the other devices
        reason = f"discovery through {target} failed: {type(error).__name__}: {error}"
        return (faulty(backend, reason, backend, target),)
    return tuple(_vetted(x, backend, target, [y.name for y in found[:k]]) for k, x in enumerate(found))


def _vetted(found: Found, backend: str, target: str, before: list[str]) -> Found:
    """`found` as it is, or a line that says why it cannot be used."""
    if found.device is None:
        return found
    wrong = "another device of this backend has that name" if found.name in before else trouble(found, backend)
    return faulty(str(found.name), wrong, backend, target) if wrong else found


def faulty(name: str, reason: str, backend: str, target: str) -> Found:
    """A line about a plug-in that is wrong, with the package to correct."""
    packages = [p.dist.name for p in _entry_points() if p.dist is not None and (p.name, p.value) == (backend, target)]
    remedy = f"correct the package that registers {backend!r}"
    remedy += f", or: pip uninstall {packages[0]}" if packages else ", or uninstall it"
    return Found(name, None, f"{name}: {' '.join(reason.split())}", remedy, faulty=True)  # errors may have many lines


def discover() -> list[Found]:
    """Every device of every backend, and a line with reason and remedy for each backend that has none."""
    return [found for backend in backends() for found in discover_backend(backend)] + clashes()


@cache
def get_device(name: str) -> Device:
    """The device of that name; imports only its backend. A backend's bare name means its first device.

    Raises ValueError if there is no such device, Unsupported if its backend cannot be used (with what to type).
    """
    backend = name.partition(":")[0]
    if backend not in BUILT_IN and backend not in backends():
        raise ValueError(f"there is no device {name!r}; there are {', '.join(usable_names())}")
    found = discover_backend(backend)
    usable = [x for x in found if x.device is not None]
    for x in usable:
        if name in (x.name, backend):
            assert x.device is not None
            return x.device
    if not usable and found:
        raise Unsupported(f"{found[0].reason}: {found[0].remedy}" if found[0].remedy else found[0].reason)
    raise ValueError(f"there is no device {name!r}; there are {', '.join(usable_names())}")


def usable_names() -> list[str]:
    return [found.name for found in discover() if found.device is not None]


def default_device_name() -> str:
    """TILEWRIGHT_DEVICE, else the first of: cuda, OpenCL on a GPU, the cpu if it has a compiler, any OpenCL device.

    Raises ValueError or Unsupported where TILEWRIGHT_DEVICE names what is not there.
    """
    asked = os.environ.get("TILEWRIGHT_DEVICE")
    if asked:
        try:
            return get_device(asked).name
        except (ValueError, TilewrightError) as error:
            raise type(error)(f"TILEWRIGHT_DEVICE: {error}") from None
    return _default()


@cache
def _default() -> str:
    cuda = [f.name for f in discover_backend("cuda") if f.device]
    opencl = [f for f in discover_backend("opencl") if f.device]
    gpu = [f.name for f in opencl if f.device and "gpu" in f.device.fingerprint.isa]
    cpu = [f.name for f in discover_backend("cpu") if f.device and not f.note]
    return next(iter([*cuda, *gpu, *cpu, *(f.name for f in opencl)]), "cpu")
