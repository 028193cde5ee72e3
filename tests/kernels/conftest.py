"""Kernel tests run on every device there is."""

from __future__ import annotations

import pytest
from tilewright.backends.protocol import Device, TilewrightError
from tilewright.backends.registry import get_device

DEVICES = ["cpu", "opencl:0", pytest.param("cuda:0", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Device:
    """Each device in turn; one that is not usable here is skipped with what it says of itself."""
    try:
        return get_device(request.param)
    except (TilewrightError, ValueError) as error:
        pytest.skip(str(error))
