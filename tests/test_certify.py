"""`tilewright certify` and `tilewright devices` as their users meet them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

from tilewright.certify import TIERS
from tilewright.certify_page import page

MAIN = "from tilewright.tuner.command import main; main()"
PLUGINS = {
    "raises": "raise ImportError('no such library\\non this machine')",
    "newer": """
from tilewright.backends.cpu import CpuDevice
from tilewright.backends.protocol import Found
class Newer(CpuDevice):
    name = "newer"
def discover():
    return [Found("newer", Newer(), protocol=2)]
""",
    "cpu": "def discover(): return []",
    "aborts": "import os; os.abort()",
}


def run(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done


def test_plug_ins_that_are_wrong_fail_by_name_and_all_else_works(tmp_path: Path) -> None:
    for name, text in PLUGINS.items():
        (tmp_path / f"plug_{name}.py").write_text(text)
        metadata = tmp_path / f"plug_{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plug-{name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[tilewright.backends]\n{name} = plug_{name}:discover\n")
    shown = run("devices", path=tmp_path).stdout
    lines = [line for line in shown.splitlines() if not line.startswith(" ")]
    failed = {line.split()[0]: line for line in lines if line.split()[1] == "FAIL"}
    assert "discovery through plug_raises:discover failed: ImportError: no such library on this" in failed["raises"]
    assert "version 2 of the device protocol, and this tilewright speaks version 1" in failed["newer"]
    assert "looking for its devices ends the process: crash: SIGABRT" in failed["aborts"]
    assert "plug_cpu:discover registers the name 'cpu', which tilewright.backends.cpu:discover has" in failed["cpu"]
    for name in PLUGINS:
        assert f"correct the package that registers '{name}', or: pip uninstall plug-{name}" in shown
    assert any(line.startswith("cpu") and "PASS" in line for line in lines)


def test_certify_a_device_that_keeps_its_promises(tmp_path: Path) -> None:
    words = (
        "zero bytes",
        "positive",
        "sum of columns float32",
        "survives nan",
        "built elsewhere",
        "jit",
        "groups share",
    )
    asked = [argument for word in words for argument in ("--check", word)]
    done = run("certify", "cpu", *asked, "--json", tmp_path / "report.json", "--html", tmp_path / "report.html")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cpu: all that it claims holds of the checks asked for: 6 checks" in done.stdout
    assert "not claimed: groups of several threads" in done.stdout
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["schema"] == 1 and data["certified"] and not data["complete"]
    assert data["counts"] == {"pass": 6, "FAIL": 0, "not claimed": 1, "not run": 0}
    assert {v["tier"] for v in data["verdicts"]} == set(TIERS) - {"interop"}
    assert data["device"]["fingerprint"]["backend"] == "cpu" and data["versions"]["protocol"] == 1
    text = (tmp_path / "report.html").read_text()
    assert "All that it claims holds" in text and "http" not in text
    balanced(text)


def test_the_reports_grow_while_checks_are_made_and_ctrl_c_ends_with_what_is_known(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    command = [sys.executable, "-c", MAIN, "certify", "cpu", "--tier", "kernels", "--json", str(target)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(600):
        if target.exists():
            break
        time.sleep(0.1)
    time.sleep(1.0)  # writing one takes less
    early = json.loads(target.read_text())
    assert 0 < len(early["verdicts"]) < early["asked"] and not early["certified"]
    running.send_signal(signal.SIGINT)
    shown, _ = running.communicate(timeout=60)
    final = json.loads(target.read_text())
    assert running.returncode == 130 and len(final["verdicts"]) >= len(early["verdicts"])
    assert f"cpu: stopped after {len(final['verdicts'])} of {early['asked']} checks; none failed." in shown


def test_the_page_shows_what_failed() -> None:
    verdict = {
        "tier": "kernels", "name": "map float32", "promise": "It is right.", "status": "FAIL", "bound": "2 ulp",
        "detail": "element 3 is <nan> instead of 1", "seconds": 0.5, "facts": {},
    }  # fmt: skip
    data = {
        "certified": False, "complete": False, "asked": 1,
        "counts": {"pass": 0, "FAIL": 1, "not claimed": 0, "not run": 0},
        "device": {"name": "toy:0", "fingerprint": {"model": "a toy"}, "limits": {"dtypes": ["float32"]}},
        "versions": {"tilewright": "0"}, "when": "2026-01-02T03:04:05+00:00", "seconds": 1.0, "verdicts": [verdict],
    }  # fmt: skip
    text = page(data, TIERS)
    assert "Not certified: 1 of 1 checks failed" in text and "element 3 is &lt;nan&gt; instead of 1" in text
    assert "2026-01-02 03:04 UTC" in text and "refresh" not in text
    balanced(text)
    early = page({**data, "asked": 300}, TIERS)
    assert "1 of 300 checks are made" in early and "refresh" in early
    balanced(early)


def test_bad_arguments_are_one_sentence() -> None:
    for arguments, text in {
        ("nowhere",): "there is no device 'nowhere'; there are cpu",
        ("cpu", "--tier", "speed"): "there is no tier 'speed'; there are runtime, timing, kernels, tuner",
        ("cpu", "--tier", "timing", "--check", "moon"): "no check of timing has 'moon' in its name",
    }.items():
        done = run("certify", *arguments)
        assert done.returncode == 1 and text in done.stderr and len(done.stderr.splitlines()) == 1


def balanced(text: str) -> None:
    """Every table, row of a body and detail that is opened is closed."""
    depth = {"table": 0, "details": 0, "div": 0, "dl": 0}

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attributes: object) -> None:
            if tag in depth:
                depth[tag] += 1

        def handle_endtag(self, tag: str) -> None:
            if tag in depth:
                depth[tag] -= 1

    Parser().feed(text)
    assert set(depth.values()) == {0}
