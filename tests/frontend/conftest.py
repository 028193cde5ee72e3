"""What the frontend records does not depend on the device, so most of its tests use the quickest one, the CPU.

`test_devices.py` then runs programs of every kind on every device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tilewright import transfer
from tilewright.backends import registry
from tilewright.backends.protocol import Device
from tilewright.devices import resolve
from tilewright.kernels.oracle import evaluate
from tilewright.realize import become_leaf

ABSENT = frozenset({"float64", "int64", "uint64", "complex64", "complex128"})


@pytest.fixture(scope="session")
def device(cpu: Device) -> Device:
    """The CPU."""
    return cpu


@pytest.fixture(scope="session", params=registry.usable_names())
def every_device(request: pytest.FixtureRequest) -> Device:
    """Each device of this machine in turn."""
    return registry.get_device(request.param)


class Narrow:
    """The CPU, posing as a device that has no 64-bit dtypes and no complex ones."""

    name = "narrow"

    def __init__(self, device: Device) -> None:
        self._device = device
        self.limits = replace(device.limits, dtypes=device.limits.dtypes - ABSENT)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


@pytest.fixture
def narrow(small: Any, by_oracle: None) -> Any:
    """A device without 64-bit dtypes, known by its name; nothing is compiled for it."""
    return small


@pytest.fixture
def small(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A device without 64-bit and complex dtypes, known by its name, "narrow"."""
    device = Narrow(cpu)
    find = registry.get_device
    monkeypatch.setattr(registry, "get_device", lambda name: device if name == "narrow" else find(name))
    assert resolve("narrow") is device
    return device


@pytest.fixture
def by_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation by NumPy from the recorded graph: what is tested is the recording alone, without compiling."""

    def realize(nodes: Any, device: Device) -> None:
        nodes = [n for n in nodes if n.op != "buffer"]
        for node, value in zip(nodes, evaluate(nodes, lambda leaf: transfer.read(leaf, device)), strict=True):
            made = transfer.upload(np.broadcast_to(value, node.shape), node.dtype, device)
            become_leaf(node, made.arg.buffer, device)

    monkeypatch.setattr(transfer, "realize", realize)
