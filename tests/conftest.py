"""Fixtures shared by all rooms: the devices to test on, and cache folders of the run's own."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import pytest

# Before anything is discovered: a run neither reads nor fills the user's caches, ours and PoCL's.
_folder = tempfile.mkdtemp(prefix="tilewright-tests-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ["TILEWRIGHT_CACHE"] = os.path.join(_folder, "cache")
os.environ["POCL_CACHE_DIR"] = os.path.join(_folder, "pocl")
os.makedirs(os.environ["POCL_CACHE_DIR"])

from tilewright.backends import registry  # noqa: E402
from tilewright.backends.protocol import Device  # noqa: E402
from tilewright.tuner import patience  # noqa: E402

patience.RUNS = 0  # tests look at fused kernels; those of patience set this themselves


@pytest.fixture(scope="session", params=registry.usable_names())
def device(request: pytest.FixtureRequest) -> Device:
    """Every device of this machine in turn."""
    return registry.get_device(request.param)


@pytest.fixture(scope="session")
def cpu() -> Device:
    return registry.get_device("cpu")
