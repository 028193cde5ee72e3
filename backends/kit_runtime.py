"""The tiers of this room, as pytest classes. See `kit` for how to use them."""

from __future__ import annotations

from tilewright.backends.kit import Conformance
from tilewright.backends.kit_memory import memory
from tilewright.backends.kit_programs import programs
from tilewright.backends.kit_timing import timing
from tilewright.backends.kit_together import together


class RuntimeTests(Conformance):
    """Memory, programs and launches: what every device promises, whatever runs on it."""

    checks = (*memory, *programs, *together)


class TimingTests(Conformance):
    """The clock that the tuner believes."""

    checks = tuple(timing)
