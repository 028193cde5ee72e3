"""Fixtures shared by all rooms: the devices to test on, and a cache folder of the run's own."""

from __future__ import annotations

import pytest

from tilewright.backends.cpu import discover


@pytest.fixture
def device():
    return discover()[0].device
