"""Fixtures shared by all rooms: the devices to test on."""

from __future__ import annotations

import pytest

from tilewright.backends.protocol import Device
from tilewright.backends.registry import discover

FOUND = {found.name: found.device for found in discover() if found.device is not None}


@pytest.fixture(params=list(FOUND))
def device(request: pytest.FixtureRequest) -> Device:
    """Every device that works on this machine."""
    return FOUND[request.param]
