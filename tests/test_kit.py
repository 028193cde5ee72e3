"""The kit finds what is wrong: devices broken on purpose, each caught by the check that names what is broken."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tilewright.backends import registry
from tilewright.backends.kit import FAIL, NOT_CLAIMED, NOT_RUN, PASS, Capability, NotRun, Tier, Verdict, broken, judge
from tilewright.backends.protocol import Device
from tilewright.certify import CHECKS, certify, select

PLUGIN = Path(__file__).parent / "backends" / "plugin"
CAUGHT = {
    "stale_read": "reads and writes are copies",
    "lost_write": "round trips",
    "short_write": "round trips",
    "late_write": "reads and writes are copies",
    "read_shares": "reads and writes are copies",
    "read_only": "reads and writes are copies",
    "counts_items": "items of any size",
    "copy_ignores_source_offset": "copies with offsets",
    "copy_ignores_target_offset": "copies with offsets",
    "ranges_unchecked": "ranges are refused",
    "zero_refused": "zero bytes",
    "overlapping": "many buffers",
    "leak": "buffers are freed",
    "memory_error": "out of memory",
    "dead_after_out_of_memory": "out of memory",
    "launch_lets_go": "no use after free",
    "narrow_addresses": "beyond 2 gib",
    "narrow_offsets": "beyond 2 gib",
    "read_does_not_wait": "order",
    "last_group_missing": "last elements",
    "third_axis_missing": "every group runs once",
    "one_launch_per_program": "bind twice",
    "values_stay": "arguments are replaced",
    "integers_cut": "values arrive whole",
    "doubles_as_singles": "doubles arrive whole",
    "program_unloaded": "launches outlive programs",
    "arguments_unchecked": "wrong arguments are refused",
    "capture_drops_last": "capture",
    "capture_keeps_arguments": "capture",
    "capture_keeps_the_list": "capture",
    "cached_by_name": "programs of one name",
    "defines_ignored": "programs of one name",
    "log_lost": "compile errors",
    "compile_raises_another": "compile errors",
    "not_thread_safe": "two threads",
    "one_file_for_all_builds": "two threads compile",
    "restless_fingerprint": "description",
    "time_is_zero": "positive",
    "one_time_for_all": "positive",
    "time_is_constant": "grows with the work",
    "time_in_milliseconds": "agrees with the wall clock",
    "time_without_running": "runs what it times",
    "vendor_ignores_offsets": "vendor matmul float32",
    "vendor_ignores_strides": "vendor matmul float32",
    "fast_math": "special values float32",
    "max_forgets_nan": "special values float32",
    "claims_what_it_lacks": "special values float64",
    "subnormals_flushed": "subnormal numbers float32",
    "float32_for_float64": "accuracy float64",
    "half_truncated": "conversions float16",
    "loop_one_too_far": "map float32",
    "reduction_one_short": "sum of rows float32",
    "wild_stores": "map int8",
    "binary_of_this_process": "built elsewhere",
    "fingerprint_of_this_process": "fingerprint everywhere",
}
"""Broken device -> the check that must name what is wrong with it."""

GROUPED = {"barrier_does_nothing": "groups share", "fewer_threads_than_claimed": "whole groups"}
"""The same for devices of groups, which are made of OpenCL's first."""

OTHERS = ("zero bytes", "copies with offsets", "capture", "compile errors", "two threads", "map float32")
ALSO = {
    "last_group_missing": {"two threads", "map float32"},
    "one_launch_per_program": {"two threads", "map float32"},
    "values_stay": {"capture"},
    "cached_by_name": {"compile errors"},
    "read_does_not_wait": {"capture", "two threads", "map float32"},
    "binary_of_this_process": {"two threads", "capture", "map float32"},
}
"""Checks among OTHERS that the same fault reaches."""


@pytest.fixture(scope="module", autouse=True)
def plugged_in() -> Iterator[None]:
    """The broken devices are registered, here and in the processes that the kit starts."""
    before = os.environ.get("PYTHONPATH", "")
    sys.path.insert(0, str(PLUGIN))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PLUGIN), before])
    caches = (registry.registered, registry.backends, registry.discover_backend, registry.get_device)
    for cached in caches:
        cached.cache_clear()
    yield
    sys.path.remove(str(PLUGIN))
    os.environ["PYTHONPATH"] = before
    for cached in caches:
        cached.cache_clear()


def verdict(name: str, check: str) -> Verdict:
    """On a device of its own: what one check broke must not be seen by the next."""
    from broken import DEVICES

    (found,) = (c for c in CHECKS if c.name == check)
    return judge(found, DEVICES[name]())


@pytest.mark.parametrize("name", CAUGHT)
def test_a_broken_device_is_caught_and_named(name: str) -> None:
    found = verdict(name, CAUGHT[name])
    assert found.status == FAIL and len(found.detail) > 20
    others = [check for check in OTHERS if check != CAUGHT[name] and check not in ALSO.get(name, ())]
    blamed = {check: v.detail for check in others[:3] if (v := verdict(name, check)).status != PASS}
    assert blamed == {}


@pytest.mark.parametrize("name", GROUPED)
def test_a_broken_device_of_groups_is_caught_and_named(name: str) -> None:
    if all(found.device is None for found in registry.discover_backend("opencl")):
        pytest.skip("there is no OpenCL device: pip install 'tilewright[opencl]'")
    from broken_groups import DEVICES

    device = DEVICES[name]()
    asked = [c for c in CHECKS if c.name in (GROUPED[name], "last elements", "capture")]
    assert {v.name: v.status for v in (judge(c, device) for c in asked)} == {
        GROUPED[name]: FAIL, "last elements": PASS, "capture": PASS
    }  # fmt: skip


def test_two_devices_that_take_each_others_programs_are_caught() -> None:
    first = registry.get_device("siblings:0")
    found = {c.name: judge(c, first) for c in CHECKS if c.name in ("last elements", "bind twice", "devices keep apart")}
    assert [v.status for v in found.values()] == [PASS, PASS, FAIL]
    assert "2 x on siblings:1" in found["devices keep apart"].detail


def test_a_device_that_crashes_or_hangs_fails_that_check_alone() -> None:
    words = ("copies with offsets", "zero bytes", "ranges are refused")
    for name, how, limit in (("crashes", "crash: SIGABRT", 60.0), ("hangs", "hang: not done within 5 s", 5.0)):
        report = certify(f"broken:{name}", ("runtime",), words, limit_seconds=limit)
        assert {v.name: v.status for v in report.verdicts} == {words[0]: FAIL, words[1]: PASS, words[2]: PASS}
        assert next(v.detail for v in report.verdicts if v.status == FAIL) == how
        assert not report.certified and report.counts[FAIL] == 1 and not report.complete


def test_what_is_not_claimed_is_never_passed(cpu: Device) -> None:
    tier = Tier("tier", "for this test")
    tier.check("Asked only of devices with wings.", Capability("wings", lambda device: False))(lambda device: None)

    @tier.check("Needs the moon.")
    def moon(device: Device) -> None:
        raise NotRun("there is no moon tonight")

    @tier.check("Is broken.")
    def wrong(device: Device) -> None:
        broken("it leaks")

    found = [judge(check, cpu) for check in tier]
    assert [(v.status, v.detail) for v in found] == [
        (NOT_CLAIMED, "the device does not claim wings"), (NOT_RUN, "there is no moon tonight"), (FAIL, "it leaks"),
    ]  # fmt: skip


def test_checks_are_named_once_and_say_what_they_promise() -> None:
    assert len({(c.tier, c.name) for c in CHECKS}) == len(CHECKS)
    assert all(len(c.promise) > 20 and c.promise.endswith(".") for c in CHECKS)
    with pytest.raises(ValueError, match="there is no tier 'speed'; there are runtime"):
        select(("speed",))
    with pytest.raises(ValueError, match="has 'moon' in its name"):
        select(("runtime",), ("moon",))
