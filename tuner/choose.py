"""What to run now, from what is known; nothing is measured here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from tilewright.backends.protocol import Device, Unsupported
from tilewright.kernels.problem import Problem
from tilewright.kernels.products import PRODUCTS
from tilewright.kernels.ready import Ready
from tilewright.tuner.packs import PINNED
from tilewright.tuner.prepare import (
    VENDOR,
    Candidate,
    default_candidate,
    default_leads,
    kernels,
    natives,
    vendor_candidate,
)
from tilewright.tuner.records import Record
from tilewright.tuner.store import Store, default_store


@dataclass(frozen=True, slots=True)
class Choice:
    """`origin` is "record" (measured here), "nearest" (measured at another size), "registered" (a native op that is
    trusted unmeasured), "vendor" or "default"."""

    candidate: Candidate
    origin: str


MARGIN = 1.05
"""By so much a kernel must have beaten the vendor, or without one the default, at another size before it is taken at a
size never measured."""

_made: dict[tuple[Any, ...], Choice] = {}


def choose(problem: Problem, device: Device) -> Choice:
    """The candidate for `problem` on `device`. Raises Unsupported where no kernel and no library applies."""
    operands: tuple[Any, ...] = ()
    if problem.kind in PRODUCTS:  # libraries look at strides, copy engines also at whether 16 bytes divide an offset
        operands = tuple((o.strides, o.offset % 16) for o in problem.inputs)
    key = (device.name, problem.key, operands)
    found = _made.get(key)
    if found is None:
        found = _made[key] = _choose(problem, device)
    return found


def forget() -> None:
    """Records changed: choose anew, and tell whoever keeps choices through `tuner.generation`."""
    import tilewright.tuner as tuner  # the package imports this module

    _made.clear()
    tuner.generation += 1


def pin(path: str | os.PathLike[str]) -> None:
    """Choose from the pack at `path` alone from now on, here and in processes started from here.

    Processes that must agree, such as the ranks of one job, pin the same pack, or are started with TILEWRIGHT_RECORDS
    set to it. Raises PackError where it is not sound.
    """
    before = os.environ.get(PINNED)
    os.environ[PINNED] = os.fspath(path)
    default_store.cache_clear()
    try:
        default_store()
    except ValueError:
        os.environ.pop(PINNED)
        if before is not None:
            os.environ[PINNED] = before
        raise
    forget()


def _choose(problem: Problem, device: Device) -> Choice:
    store, fingerprint = default_store(), device.fingerprint
    vendor = vendor_candidate(problem, device)
    best = store.best(problem.key, fingerprint)
    if best is not None and (candidate := usable(best, problem, device, vendor)) is not None:
        return Choice(candidate, "record")
    default = default_candidate(problem, device.limits)
    leads = default_leads(default, problem, device)
    first = default if leads else vendor or default
    failed = {name for name, _ in store.failures(problem.key, fingerprint)}
    for record in store.nearest(problem, fingerprint):
        candidate = usable(record, problem, device, vendor)
        if candidate is None or candidate.name in failed:
            continue
        if candidate != first and not _convincing(record, store, vendor is not None and record.kernel != VENDOR):
            break  # what is taken without measuring, since what is closest does not speak against it
        return Choice(candidate, "nearest")
    for native in natives(problem, device, trusted=True):
        if native.name not in failed:
            return Choice(Candidate(native.name), "registered")
    if vendor is not None and vendor.name not in failed and not (leads and default and default.name not in failed):
        return Choice(vendor, "vendor")
    if default is None:
        raise Unsupported(f"{device.name}: no kernel for {problem.title}")
    return Choice(default, "default")


def _convincing(record: Record, store: Store, vendor: bool) -> bool:
    """Whether a winner at another size beat the vendor there by MARGIN, or the default (without a vendor, or where that
    is the winner) if it took part."""
    advantage = store.advantage(record, vendor)
    return advantage >= MARGIN or (not vendor and not advantage)


def usable(record: Record, problem: Problem, device: Device, vendor: Candidate | None) -> Candidate | None:
    """The record's candidate if it is valid for this problem on this device."""
    if record.kernel == VENDOR:
        return vendor
    kernel = kernels(problem, device).get(record.kernel)
    if isinstance(kernel, Ready) and kernel.version != record.text:
        return None  # another op of that name was measured
    if kernel is None or kernel.space(problem, device.limits).refusal(record.config) is not None:
        return None
    return Candidate(record.kernel, record.config)
