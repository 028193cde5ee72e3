"""The conformance kit's frame: a check is a promise and a function that finds out whether a device keeps it.

The checks themselves lie in the room whose promise it is: `kit_memory`, `kit_programs`, `kit_together` and `kit_timing`
beside this file, `kernels/kit*.py`, `tuner/kit.py` and `frontend/kit*.py`. `tilewright certify DEVICE` runs all of
them. In a test suite each tier is a class: subclass it and give it a fixture `device`.

    class TestRuntime(RuntimeTests):
        @pytest.fixture
        def device(self):
            return MyDevice()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from tilewright.backends.protocol import Device

PASS, FAIL, NOT_CLAIMED, NOT_RUN = "pass", "FAIL", "not claimed", "not run"
STATUSES = (PASS, FAIL, NOT_CLAIMED, NOT_RUN)

Raised = TypeVar("Raised", bound=Exception)
Facts = dict[str, Any]
"""What a check measured on its way, as plain data: the worst error of an op, the share of the wall clock."""


class Broken(AssertionError):
    """The device did not keep a promise; the message says what was seen instead."""


class NotRun(Exception):
    """A check that cannot be made here and now (too little memory free, say); the message says why."""


@dataclass(frozen=True, slots=True)
class Capability:
    """Something that a device may have and need not have. `claimed` asks the device."""

    name: str
    claimed: Callable[[Device], bool]


TEXT = Capability("to compile kernels", lambda device: device.limits.compiles)


@dataclass(frozen=True, slots=True)
class Check:
    """One promise. `run` raises Broken, NotRun, or whatever the device raises; what it returns is kept as facts.

    `needs` decides whether the promise applies. `bound` is the error that is let pass, with its reason.
    """

    tier: str
    name: str
    promise: str
    run: Callable[[Device], Facts | None]
    needs: tuple[Capability, ...] = ()
    bound: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a check ended: `status` is one of STATUSES, `detail` says why where it is not "pass"."""

    tier: str
    name: str
    promise: str
    status: str
    detail: str = ""
    bound: str = ""
    seconds: float = 0.0
    facts: Facts = field(default_factory=dict, hash=False)


class Tier:
    """The checks of one tier, in the order in which they are made. `title` is one line for people.

    `needs` are capabilities without which none of them applies.
    """

    def __init__(self, name: str, title: str, *needs: Capability) -> None:
        self.name, self.title, self.needs = name, title, needs
        self.checks: list[Check] = []

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    def check(self, promise: str, *needs: Capability, bound: str = "", name: str = "") -> Callable[[Any], Any]:
        """Decorates a function of a device; its name, with spaces, is the check's unless `name` says otherwise."""

        def add(run: Callable[[Device], Facts | None]) -> Callable[[Device], Facts | None]:
            called = name or run.__name__.replace("_", " ")
            self.checks.append(Check(self.name, called, promise, run, (*self.needs, *needs), bound))
            return run

        return add


def judge(check: Check, device: Device) -> Verdict:
    """Make one check. Never raises: whatever the device raises is the check's failure."""
    start = time.perf_counter()
    status, detail, facts = _judge(check, device)
    seconds = time.perf_counter() - start
    return Verdict(check.tier, check.name, check.promise, status, detail, check.bound, seconds, facts)


def _judge(check: Check, device: Device) -> tuple[str, str, Facts]:
    try:
        missing = [need.name for need in check.needs if not need.claimed(device)]
        if missing:
            return NOT_CLAIMED, f"the device does not claim {', '.join(missing)}", {}
        return PASS, "", check.run(device) or {}
    except NotRun as reason:
        return NOT_RUN, str(reason), {}
    except Broken as error:
        return FAIL, str(error), {}
    except Exception as error:  # a device under test may raise anything, and that too is an answer
        return FAIL, f"{type(error).__name__}: {error}", {}


class Conformance:
    """A tier as a pytest class: subclass it under a name that starts with Test, with a fixture `device`."""

    checks: tuple[Check, ...] = ()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """pytest's hook: one test a check."""
        if "check" in metafunc.fixturenames:
            metafunc.parametrize("check", self.checks, ids=[check.name for check in self.checks])

    def test_promise(self, check: Check, device: Device) -> None:
        verdict = judge(check, device)
        if verdict.status in (NOT_CLAIMED, NOT_RUN):
            import pytest  # only those who test have it

            pytest.skip(f"{verdict.status}: {verdict.detail}")
        assert verdict.status == PASS, f"{check.promise}\n{verdict.detail}"


def broken(message: str) -> NoReturn:
    raise Broken(message)


def expect_bytes(got: Any, wanted: Any, what: str) -> None:
    """Raises Broken naming the first byte that differs."""
    got, wanted = bytes(got), bytes(wanted)
    if len(got) != len(wanted):
        broken(f"{what}: {len(got)} bytes came back instead of {len(wanted)}")
    if got != wanted:
        wrong = [k for k, (a, b) in enumerate(zip(got, wanted, strict=True)) if a != b]
        k = wrong[0]
        broken(f"{what}: byte {k} is {got[k]} instead of {wanted[k]} ({len(wrong)} of {len(wanted)} differ)")


def expect_equal(got: Any, wanted: Any, what: str) -> None:
    """Raises Broken naming the first element that differs. NumPy arrays or lists of equal length; no NaN."""
    if len(got) != len(wanted):
        broken(f"{what}: {len(got)} elements instead of {len(wanted)}")
    wrong = [k for k, (a, b) in enumerate(zip(got, wanted, strict=True)) if a != b]
    if wrong:
        k = wrong[0]
        broken(f"{what}: element {k} is {got[k]} instead of {wanted[k]} ({len(wrong)} of {len(wanted)} differ)")


def expect_raises(error: type[Raised], call: Callable[[], Any], what: str) -> Raised:
    """The error of that type that `call` raises. Raises Broken where it raises another or none."""
    try:
        call()
    except error as raised:
        return raised
    except Exception as other:
        broken(f"{what}: {type(other).__name__} was raised instead of {error.__name__}: {other}")
    broken(f"{what}: was not refused; {error.__name__} should have been raised")
