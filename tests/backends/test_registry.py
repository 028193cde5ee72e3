"""Discovery: what is there, what is not and why, plug-ins that break, and the default device."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from tilewright.backends import registry
from tilewright.backends.cpu import CpuDevice
from tilewright.backends.protocol import Device, Found, Unsupported


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No test sees what another one found."""
    caches = (registry.registered, registry.backends, registry.discover_backend, registry.get_device, registry._default)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A registered backend "toy" whose module is empty as yet."""
    module = ModuleType("toy_backend")
    monkeypatch.setitem(sys.modules, "toy_backend", module)
    monkeypatch.setattr(registry, "backends", lambda: {**registry.BUILT_IN, "toy": "toy_backend:discover"})
    registry.backends.cache_clear = lambda: None  # type: ignore[attr-defined]
    return module


def test_the_cpu_is_found_and_every_line_says_enough() -> None:
    found = registry.discover()
    assert found[0].name == "cpu"
    for line in found:
        assert line.device is not None or (line.reason and line.remedy)
    assert registry.get_device("cpu") is registry.get_device("cpu")
    assert registry.get_device("cpu").name in registry.usable_names()


def test_an_unknown_device_is_told_what_there_is() -> None:
    for name in ("gpu", "cpu:3", "opencl:99", ""):
        with pytest.raises((ValueError, Unsupported)) as caught:
            registry.get_device(name)
        assert "cpu" in str(caught.value) or "pip install" in str(caught.value)


@pytest.mark.parametrize("trouble", ["missing module", "missing function", "raises", "exits"])
def test_a_broken_plug_in_hides_no_other_device(
    plug_in: ModuleType, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    if trouble == "missing module":
        monkeypatch.delitem(sys.modules, "toy_backend")
    if trouble in ("raises", "exits"):
        error = ZeroDivisionError("no") if trouble == "raises" else SystemExit(3)

        def discover() -> list[Found]:
            raise error

        plug_in.discover = discover  # type: ignore[attr-defined]
    (line,) = [f for f in registry.discover() if f.name == "toy"]
    assert line.device is None and "toy_backend:discover" in line.reason and line.remedy
    assert "cpu" in registry.usable_names()
    with pytest.raises(Unsupported, match="toy_backend"):
        registry.get_device("toy:0")


def toy(name: str = "toy:0", **changes: Any) -> Any:
    """The cpu as a plug-in would bring it, with some members changed; None takes a member away."""
    device = CpuDevice()
    device.name = name
    for member, value in changes.items():
        setattr(device, member, value)
    return device


def test_a_plug_in_brings_a_device(plug_in: ModuleType) -> None:
    plug_in.discover = lambda: [Found("toy:0", toy())]  # type: ignore[attr-defined]
    assert registry.get_device("toy:0").name == "toy:0"
    assert registry.get_device("toy").name == "toy:0"


class Lacking:
    name = "toy:0"


class Raising(CpuDevice):
    name = "toy:0"

    @property
    def limits(self) -> Any:
        raise ZeroDivisionError("no limits")

    @limits.setter
    def limits(self, value: Any) -> None:
        """What the cpu sets is forgotten."""


LIMITS = CpuDevice().limits
NONSENSE = {
    "a member that is missing": (lambda: Found("toy:0", Lacking()), "lacks .*allocate, write.*protocol asks for"),  # type: ignore[arg-type]
    "a method that is none": (lambda: Found("toy:0", toy(capture=3)), "capture of the device cannot be called"),
    "a name that differs": (lambda: Found("toy:0", toy("toy:1")), "calls itself 'toy:1', and was found as 'toy:0'"),
    "another backend's name": (lambda: Found("cpu", toy("cpu")), "backend 'toy' is called 'toy' or 'toy:0', not 'cpu'"),
    "a newer protocol": (lambda: Found("toy:0", toy(), protocol=2), "version 2 of the device protocol.*version 1"),
    "limits below zero": (lambda: Found("toy:0", toy(limits=replace(LIMITS, compute_units=0))), "compute_units is 0"),
    "limits that are no numbers": (
        lambda: Found("toy:0", toy(limits=replace(LIMITS, memory_nbytes="much"))), "memory_nbytes is 'much'",  # type: ignore[arg-type]
    ),
    "a buffer larger than the memory": (
        lambda: Found("toy:0", toy(limits=replace(LIMITS, memory_nbytes=1 << 20))), "more than the 1048576 of memory",
    ),
    "more threads than there can be": (
        lambda: Found("toy:0", toy(limits=replace(LIMITS, threads_per_group=1 << 40))), "threads_per_group is 1099511",
    ),
    "a language that is a word": (
        lambda: Found("toy:0", toy(limits=replace(LIMITS, language="wgsl"))), "language is 'wgsl', not a Language",  # type: ignore[arg-type]
    ),
    "dtypes that nobody knows": (
        lambda: Found("toy:0", toy(limits=replace(LIMITS, dtypes=frozenset({"float31"})))), "float31",
    ),
    "limits that are none": (lambda: Found("toy:0", toy(limits={})), "its limits are a dict, not Limits"),
    "a fingerprint that is a string": (lambda: Found("toy:0", toy(fingerprint="fast")), "fingerprint is a str"),
    "limits that raise": (lambda: Found("toy:0", Raising()), "raised ZeroDivisionError: no limits"),
    "no Found at all": (lambda: "toy:0", "gave 'toy:0', which is no Found"),
}  # fmt: skip


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_a_line_that_says_what_is_wrong(plug_in: ModuleType, what: str) -> None:
    make, reason = NONSENSE[what]
    plug_in.discover = lambda: [make()]  # type: ignore[attr-defined]
    (line,) = (f for f in registry.discover() if f.faulty)
    assert line.device is None and re.search(reason, line.reason) and "the package that registers 'toy'" in line.remedy
    assert "cpu" in registry.usable_names()


def test_one_wrong_device_of_a_plug_in_hides_no_other(plug_in: ModuleType) -> None:
    plug_in.discover = lambda: [Found("toy:0", toy()), Found("toy:0", toy()), Found("toy:1", toy("toy:1"))]  # type: ignore[attr-defined]
    lines = [f for f in registry.discover() if f.name.startswith("toy")]
    assert [line.device is not None for line in lines] == [True, False, True]
    assert "another device of this backend has that name" in lines[1].reason


def test_two_packages_under_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (("cpu", "tilewright.backends.cpu:discover"), ("cpu", "impostor:discover"), ("toy", "a:b"), ("toy", "c:d"))
    monkeypatch.setattr(registry, "registered", lambda: lines)
    registry.registered.cache_clear = lambda: None  # type: ignore[attr-defined]
    found = " ".join(f.reason for f in registry.discover() if f.faulty)
    assert "impostor:discover registers the name 'cpu', which tilewright.backends.cpu:discover has" in found
    assert "c:d registers the name 'toy', which a:b has" in found
    assert registry.get_device("cpu").fingerprint.backend == "cpu"


def test_the_default_device(monkeypatch: pytest.MonkeyPatch, cpu: Device) -> None:
    monkeypatch.delenv("TILEWRIGHT_DEVICE", raising=False)

    class Fake:
        def __init__(self, name: str, *isa: str) -> None:
            self.name, self.fingerprint = name, replace(cpu.fingerprint, isa=isa)

    lines: dict[str, tuple[Found, ...]] = {
        "cpu": (Found("cpu", cpu),),
        "opencl": (Found("opencl:0", Fake("opencl:0", "cpu")), Found("opencl:1", Fake("opencl:1", "gpu"))),  # type: ignore[arg-type]
        "cuda": (Found("cuda:0", Fake("cuda:0")),),  # type: ignore[arg-type]
    }
    monkeypatch.setattr(registry, "discover_backend", lambda backend: lines[backend])
    registry.discover_backend.cache_clear = lambda: None  # type: ignore[attr-defined]

    def default() -> str:
        registry._default.cache_clear()
        return registry.default_device_name()

    assert default() == "cuda:0"
    lines["cuda"] = (Found("cuda", None, "none", "buy one"),)
    assert default() == "opencl:1"
    lines["opencl"] = lines["opencl"][:1]
    assert default() == "cpu"
    lines["cpu"] = (Found("cpu", cpu, note="no compiler"),)
    assert default() == "opencl:0"
    lines["opencl"] = ()
    assert default() == "cpu"


def test_the_default_device_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_DEVICE", "cpu")
    assert registry.default_device_name() == "cpu"
    monkeypatch.setenv("TILEWRIGHT_DEVICE", "abacus")
    with pytest.raises(ValueError, match=r"TILEWRIGHT_DEVICE: there is no device 'abacus'; there are cpu"):
        registry.default_device_name()


@pytest.mark.parametrize(
    ("module", "backend", "remedy"), [("pyopencl", "opencl", "[opencl]"), ("cupy", "cuda", "[cuda13]")]
)
def test_an_optional_package_that_is_not_installed(module: str, backend: str, remedy: str) -> None:
    code = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {module!r} else find(name, *rest)
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Absent())
from tilewright.backends.registry import discover_backend
(line,) = discover_backend({backend!r})
print(line.device, "|", line.reason, "|", line.remedy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{backend}: {module} is not installed" in done.stdout
    assert f"pip install 'tilewright{remedy}'" in done.stdout
