"""Discovery: what is there, what is not and why, plug-ins that break, and the default device."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest

from tilewright.backends import registry
from tilewright.backends.protocol import Device, Found, Unsupported


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No test sees what another one found."""
    caches = (registry.backends, registry.discover_backend, registry.get_device, registry._default)
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
    monkeypatch.setattr(registry, "backends", lambda: {**registry._BUILT_IN, "toy": "toy_backend:discover"})
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


def test_a_plug_in_brings_a_device(plug_in: ModuleType, cpu: Device) -> None:
    class Toy:
        name = "toy:0"

    plug_in.discover = lambda: [Found("toy:0", Toy())]  # type: ignore[attr-defined, arg-type]
    assert registry.get_device("toy:0").name == "toy:0"
    assert registry.get_device("toy").name == "toy:0"


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
