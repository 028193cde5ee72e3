"""Kernel tests run on every device there is, and on CUDA text under the emulation."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from tilewright.backends.protocol import Device

from tests.conftest import FOUND
from tests.emulation import EmulatedCuda


@cache
def emulated_cuda() -> EmulatedCuda:
    return EmulatedCuda()


def _parameter(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.gpu) if name.startswith("cuda") else name


@pytest.fixture(params=[*map(_parameter, FOUND), EmulatedCuda.name])
def device(request: pytest.FixtureRequest) -> Device:
    """Every device that works on this machine, and the emulated one where there is a C++ compiler."""
    if request.param != EmulatedCuda.name:
        return FOUND[request.param]
    device = emulated_cuda()
    if not device.compiler:
        pytest.skip("the emulation of CUDA compiles with g++, and there is none")
    return device
