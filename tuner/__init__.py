"""Which candidate is fastest: records, choice, measurement, search. `choose` is cheap; the rest loads when used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilewright.tuner.choose import Choice, choose, pin
from tilewright.tuner.patience import name_of, prepare_soon, ran
from tilewright.tuner.prepare import Bound, Candidate, Prepared, prepare, vendor_candidate

if TYPE_CHECKING:
    from tilewright.tuner.observe import Observations, tune_observed, tuning
    from tilewright.tuner.policy import Policy
    from tilewright.tuner.search_space import Failed, search
    from tilewright.tuner.transfer import Known
    from tilewright.tuner.tune_problem import tune

generation = 0
"""Grows whenever a choice made before may no longer be the best; whoever keeps choices compares it."""

observing: Observations | None = None
"""While set, whoever launches a problem calls `observing.launched(problem, device, seconds)`."""

__all__ = [
    "Bound", "Candidate", "Choice", "Failed", "Known", "Observations", "Policy", "Prepared", "choose", "generation",
    "name_of", "observing", "pin", "prepare", "prepare_soon", "ran", "search", "tune", "tune_observed", "tuning",
    "vendor_candidate",
]  # fmt: skip

_LATE = {
    "Observations": "observe", "tune_observed": "observe", "tuning": "observe", "tune": "tune_problem",
    "search": "search_space", "Failed": "search_space", "Known": "transfer", "Policy": "policy",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LATE:
        from importlib import import_module

        return getattr(import_module(f"tilewright.tuner.{_LATE[name]}"), name)
    raise AttributeError(f"module 'tilewright.tuner' has no attribute {name!r}")
