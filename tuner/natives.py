"""Native ops that somebody registers: ready programs that compete with our kernels, and are measured like them.

Candidates are measured in a worker process, which must find the op too: it is told where the function is defined, and
imports that module, or runs that script under another name than "__main__".
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import runpy
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tilewright.backends.protocol import Device, Program
from tilewright.backends.registry import get_device
from tilewright.kernels import KERNELS
from tilewright.kernels.problem import Problem
from tilewright.kernels.ready import Make, Ready
from tilewright.tuner.choose import forget
from tilewright.tuner.prepare import VENDOR, registered

_AS_SCRIPT = "__tilewright_worker__"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a native op is defined: `module`, or the file of a script that is no module, and the name in it."""

    kind: str
    device: str
    module: str
    attribute: str
    version: str
    trusted: bool


def register(kind: str, device: str, candidate: Make, *, trusted: bool = False, version: str | None = None) -> None:
    """Let a native op compete for problems of a kind ("map", "reduce", "row", "matmul") on a device.

    `device` is a device's name or a backend's, which stands for all its devices. `candidate(problem, device)` gives a
    Program for the problem, or None where it does not take that one; it is bound to the problem's outputs, inputs and
    scalars, in that order. Its name in records and in `explain` is the function's. As every candidate it is checked
    against NumPy on poisoned outputs, and chosen only where it was measured to be fastest; a `trusted` one is chosen
    unmeasured as well, until a measurement says otherwise. Records hold for a `version`: the function's text where none
    is given. Registering a function of that name again replaces it.

    Raises ValueError for an unknown kind, device or name, and for a function that a worker process could not find.
    """
    if kind not in KERNELS:
        raise ValueError(f"register: there is no kind of problem {kind!r}; there are {', '.join(KERNELS)}")
    get_device(device)
    name = getattr(candidate, "__name__", "")
    if not callable(candidate) or not name.isidentifier() or name != getattr(candidate, "__qualname__", ""):
        raise ValueError(f"register: the candidate is a function at the top of a module or script, not {candidate!r}")
    if name == VENDOR or any(name == kernel.name for kernel in KERNELS[kind]):
        raise ValueError(f"register: {name!r} is the name of another candidate; give the function a name of its own")
    reference = Reference(kind, device, _module(candidate), name, _version(candidate, version), trusted)
    _add(reference, candidate)
    forget()


def _add(reference: Reference, make: Make) -> None:
    key = (reference.kind, reference.device, reference.attribute)
    registered[key] = (Ready(reference.attribute, make, reference.version), reference)


def _module(candidate: Any) -> str:
    """Its module's name, or of a script that was started as "__main__" the path of its file."""
    module = sys.modules.get(candidate.__module__)
    if candidate.__module__ != "__main__":
        return str(candidate.__module__)
    path = getattr(module, "__file__", None)
    if path is None:
        raise ValueError(
            f"register: {candidate.__name__} was typed in, and the process that measures it cannot see it; put it into "
            "a file"
        )
    return str(Path(path).resolve())


def _version(candidate: Any, given: str | None) -> str:
    if given is not None:
        return given
    try:
        return hashlib.sha256(inspect.getsource(candidate).encode()).hexdigest()[:12]
    except (OSError, TypeError):  # of a built-in function there is no text
        return ""


def references() -> dict[str, Any]:
    """What a worker process needs to find the same ops: plain data for `adopt`."""
    found = [asdict(reference) for _, reference in registered.values()]
    return {"path": sys.path, "natives": found} if found else {}


_adopted: set[Reference] = set()
adopting = False
"""Whether a user's module is being imported in a worker process, where nothing must be measured."""


def adopt(path: Iterable[str], natives: Iterable[dict[str, Any]]) -> None:
    """Register in this process what another one did. What cannot be imported fails as a candidate, and says why."""
    for reference in (Reference(**native) for native in natives):
        if reference in _adopted:
            continue
        _adopted.add(reference)
        sys.path += [folder for folder in path if folder not in sys.path]
        _add(reference, _found(reference))


def _found(reference: Reference) -> Make:
    global adopting
    adopting = True
    try:
        if reference.module.endswith(".py"):
            make: Make = runpy.run_path(reference.module, run_name=_AS_SCRIPT)[reference.attribute]
        else:
            make = getattr(importlib.import_module(reference.module), reference.attribute)
    except Exception as error:  # whatever a user's module raises is this candidate's failure alone
        return _unfound(f"{reference.module} could not be imported to measure it: {type(error).__name__}: {error}")
    finally:
        adopting = False
    return make


def _unfound(reason: str) -> Make:
    def make(problem: Problem, device: Device) -> Program | None:
        raise ImportError(reason)

    return make
