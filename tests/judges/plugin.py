"""A pytest plugin that puts a namespace of our choice where scikit-learn's and SciPy's tests have theirs.

`tests.judges.__main__` says how it is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PEER = "array_api_strict"  # whose marks apply to us as well: it too is a namespace that SciPy knows nothing about

HAVE = ("fancy indexing", "promot", "float16")  # what array_api_strict refuses by design, as SciPy's reasons say it

ENDLESS = "not run:"  # how the reason begins of an expected failure that would take too long to fail


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("judges")
    group.addoption("--suite", choices=("sklearn", "scipy"), required=True, help="whose tests are run")
    group.addoption("--judged", default="tilewright", help="the namespace to be judged")
    group.addoption("--expected", type=Path, action="append", default=[], help="a file of expected failures")
    group.addoption("--whole", action="store_true", help="an expected failure that is not collected fails the run")
    group.addoption("--log", type=Path, help="file for a line per test: outcome, seconds, id")


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported, since those ask at import."""
    judged = config.getoption("--judged")
    if config.getoption("--suite") == "sklearn":
        _replace_in_sklearn(judged)
    config.pluginmanager.register(Record(config), "judges-record")
    if judged == "tilewright" and _is_hidden():
        config.pluginmanager.register(Hidden(), "judges-hidden")


def _replace_in_sklearn(judged: str) -> None:
    """scikit-learn: what its tests over namespaces iterate on."""
    from sklearn.utils import _array_api

    devices = {PEER: ("CPU_DEVICE", "device1")}.get(judged, (os.environ.get("TILEWRIGHT_DEVICE"),) * 2)

    def namespaces(include_numpy_namespaces: bool = True) -> Iterator[str]:
        yield judged

    def combinations(include_numpy_namespaces: bool = True) -> Iterator[tuple[str, str | None, str]]:
        yield judged, devices[0], "float64"
        yield judged, devices[1], "float32"

    def mixed() -> Iterator[tuple[Any, Any, str]]:
        ours, numpys = _array_api.NamespaceAndDevice(judged, devices[0]), _array_api.NamespaceAndDevice("numpy", None)
        yield numpys, ours, f"numpy to {judged}"
        yield ours, numpys, f"{judged} to numpy"

    _array_api.yield_namespaces = namespaces
    _array_api.yield_mixed_namespace_input_permutations = mixed
    _array_api.yield_namespace_device_dtype_combinations = combinations


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """SciPy: its fixture `xp` gets our namespace instead of those that its conftest found."""
    if "xp" not in metafunc.fixturenames or not metafunc.module.__name__.startswith("scipy."):
        return
    judged = metafunc.config.getoption("--judged")
    _adopt_in_scipy(judged)
    param = pytest.param(import_module(judged), id=judged, marks=pytest.mark.array_api_backends)
    metafunc.definition.add_marker(pytest.mark.parametrize("xp", [param], indirect=True))


def _adopt_in_scipy(judged: str) -> None:
    """Marks that leave out the peer leave us out too, save those for what it lacks and we have."""
    conftest: Any = sys.modules["scipy.conftest"]
    if judged in conftest.xp_known_backends:
        return
    conftest.xp_known_backends.add(judged)
    asked = conftest._backends_kwargs_from_request

    def adopted(request: Any, skip_or_xfail: str) -> dict[str, str]:
        reasons: dict[str, str] = asked(request, skip_or_xfail=skip_or_xfail)
        reason = reasons.get(PEER)
        if reason is not None and not any(word in reason.lower() for word in HAVE):
            reasons.setdefault(judged, reason)
        return reasons

    conftest._backends_kwargs_from_request = adopted


class Hidden:
    """On a device whose memory the host does not see, a failure of what SciPy runs on CPUs only is an expected one.

    SciPy's compiled code writes into what `numpy.asarray` gives it, which there is a copy: it skips such tests for
    torch and JAX on a GPU (`cpu_only`). We run them, so that those that pass count.
    """

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        outcome: Any = yield
        report = outcome.get_result()
        marks = item.iter_markers("skip_xp_backends")
        if report.failed and report.when == "call" and any(mark.kwargs.get("cpu_only") for mark in marks):
            report.outcome, report.wasxfail = "skipped", "cpu_only"


def _is_hidden() -> bool:
    from tilewright.devices import resolve  # late: another namespace may be judged where ours is not installed

    return resolve().allocate(8).host is None


class Record:
    """Expected failures, and a line per test for comparisons."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.log: Path | None = config.getoption("--log")
        self.lines: list[str] = []
        self.expected: dict[str, str] = {}
        for path in config.getoption("--expected"):
            self.expected |= read_expected(path)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        seen = set()
        for item in items:
            reason = self.expected.get(item.nodeid)
            if reason is not None:
                seen.add(item.nodeid)
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True, run=not reason.startswith(ENDLESS)))
        gone = sorted(set(self.expected) - seen)
        if gone and self.config.getoption("--whole"):
            raise pytest.UsageError("listed as an expected failure, but there is no such test: " + ", ".join(gone))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            outcome = "xfailed" if hasattr(report, "wasxfail") and report.skipped else report.outcome
            self.lines.append(f"{outcome} {report.duration:.3f} {report.nodeid}")

    def pytest_sessionfinish(self) -> None:
        if self.log:
            self.log.write_text("\n".join(self.lines) + "\n")


def read_expected(path: Path) -> dict[str, str]:
    """Test id -> reason, from lines with both, two spaces apart. Raises ValueError for a line without a reason."""
    found = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, reason = line.partition("  ")
            if not reason.strip():
                raise ValueError(f"{path}: no reason is given for {name}")
            found[name] = reason.strip()
    return found
