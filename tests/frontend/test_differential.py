"""Random programs over the whole namespace do to our arrays what they do to NumPy's."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.frontend.machine import Machine
from tests.frontend.steps import STEPS, new

LONG = int(os.environ.get("TILEWRIGHT_TEST_PROGRAMS", "0"))
"""How many random programs, other ones in each run; without it the same few in every run."""


def check(device: str, data: Any) -> None:
    """Run a program; all its arrays must agree at the end."""
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


def programs(device: str, few: int) -> None:
    options: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
    if LONG:
        settings(max_examples=LONG, print_blob=False, **options)(given(st.data())(lambda data: check(device, data)))()
    else:
        fixed = settings(max_examples=few, derandomize=True, phases=(Phase.generate, Phase.shrink), **options)
        fixed(given(st.data())(lambda data: check(device, data)))()


def test_random_programs(device):
    programs(device.name, 60)
