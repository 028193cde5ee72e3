"""Random programs over the whole namespace do to our arrays what they do to NumPy's.

TILEWRIGHT_TEST_PROGRAMS=5000 runs so many programs, other ones each time; without it the same few run every time.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.frontend.differential.drawing import new
from tests.frontend.differential.machine import Machine
from tests.frontend.differential.steps import STEPS

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of means over nothing
MANY = int(os.environ.get("TILEWRIGHT_TEST_PROGRAMS", "0"))


def check(device: str, data: Any) -> None:
    """Run a program of up to 12 steps; all its arrays, each an alias of others maybe, must agree at the end."""
    machine = Machine(device)
    new(machine, data.draw)
    try:
        for _ in range(data.draw(st.integers(1, 12))):
            data.draw(st.sampled_from(STEPS))(machine, data.draw)
        for pair in machine.pool:
            machine.compare(pair)
    except BaseException:
        note("\n".join(machine.log))
        raise


def run_programs(device: str, few: int) -> None:
    options: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
    if not MANY:
        options |= {"derandomize": True, "phases": (Phase.generate, Phase.shrink)}
    settings(max_examples=MANY or few, **options)(given(st.data())(lambda data: check(device, data)))()


def test_programs_are_recorded_right(device, by_oracle):
    run_programs(device.name, 400)


def test_programs_run_right(every_device):
    run_programs(every_device.name, 50 if every_device.name == "cpu" else 6)
