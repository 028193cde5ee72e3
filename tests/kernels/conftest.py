"""Kernel tests run on every device of this machine, and on CUDA text under the emulation."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.emulation import HOPPER, EmulatedCuda
from tilewright.backends.protocol import Device
from tilewright.backends.registry import get_device, usable_names


@cache
def emulated_cuda() -> EmulatedCuda:
    return EmulatedCuda()


@cache
def emulated_hopper() -> EmulatedCuda:
    return EmulatedCuda(HOPPER)


@pytest.fixture
def hopper() -> EmulatedCuda:
    """The emulated device with what sm_90a has, for the kernels that ask for it."""
    if not emulated_hopper().compiler:
        pytest.skip("the emulation of CUDA compiles with g++, and there is none")
    return emulated_hopper()


def _parameter(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.gpu) if name.startswith("cuda") else name


@pytest.fixture(scope="session", params=[*map(_parameter, usable_names()), EmulatedCuda.name])
def device(request: pytest.FixtureRequest) -> Device:
    """Each device in turn; the emulated one only where there is a C++ compiler."""
    if request.param != EmulatedCuda.name:
        return get_device(request.param)
    if not emulated_cuda().compiler:
        pytest.skip("the emulation of CUDA compiles with g++, and there is none")
    return emulated_cuda()
