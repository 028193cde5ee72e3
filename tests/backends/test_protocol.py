"""What the protocol promises, on every device: the kit's own classes, and what only a test can ask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tilewright.backends.kit import Conformance
from tilewright.backends.kit_programs import vendor_call
from tilewright.backends.kit_runtime import RuntimeTests, TimingTests
from tilewright.backends.protocol import Device
from tilewright.backends.roundtrip import roundtrip
from tilewright.kernels.kit_ops import ops


class TestRuntime(RuntimeTests):
    """With the fixture `device`, on every device of this machine."""


class TestTiming(TimingTests):
    """As above."""


class TestOps(Conformance):
    """Every op of the table means what NumPy means."""

    checks = tuple(ops)


def test_is_a_device_and_works(device: Device) -> None:
    assert isinstance(device, Device)
    assert roundtrip(device) is None


def test_memory_is_used_again(device: Device) -> None:
    handles = set()
    for _ in range(20):
        buffer: Any = device.allocate(3_000_000)
        handles.add(buffer.handle if isinstance(buffer.handle, int) else id(buffer.handle))
        del buffer
    assert len(handles) < 5


def test_no_vendor_for_what_no_library_has(device: Device) -> None:
    assert device.vendor(replace(vendor_call("float32"), op="abacus")) is None


def test_limits_say_something(device: Device) -> None:
    limits = device.limits
    assert limits.memory_nbytes > 1 << 28 and 0 < limits.allocation_nbytes <= limits.memory_nbytes
    assert limits.cache_nbytes and "float32" in limits.dtypes
    assert device.fingerprint.model and device.fingerprint.compiler
