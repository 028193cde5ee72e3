"""The page about new devices: its files are what a reader gets by copying them, and they work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from tilewright.backends.protocol import Limits

PAGE = (Path(__file__).parent.parent / "docs" / "new-backend.md").read_text()
MAIN = "from tilewright.tuner.command import main; main()"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's two devices, registered as their pyproject.toml says."""
    folder = tmp_path_factory.mktemp("devices")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for name, text in zip(("abacus", "slate"), blocks, strict=False):
        (folder / f"tilewright_{name}.py").write_text(text)
        metadata = folder / f"tilewright_{name}-0.1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tilewright-{name}\nVersion: 0.1.0\n")
        points = re.search(r"\[project.entry-points.*?\n(.*?\n)\n", PAGE, re.DOTALL)
        assert points is not None
        text = points[1].replace("abacus", name).replace('"', "")
        (metadata / "entry_points.txt").write_text(f"[tilewright.backends]\n{text}")
    return folder


def tilewright(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", MAIN, *arguments]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, text=True, capture_output=True)


@pytest.mark.parametrize("name", ["abacus", "slate"])
def test_the_devices_of_the_page_pass(copied: Path, name: str) -> None:
    if name == "slate" and not shutil.which("cc"):
        pytest.skip("there is no cc")
    assert f"{name:<10} PASS" in tilewright(copied, "devices").stdout
    words = ("description", "last elements", "round trips", "map float32", "linear algebra")
    asked = [argument for word in words for argument in ("--check", word)]
    tiers = [argument for tier in ("runtime", "kernels", "tensor") for argument in ("--tier", tier)]
    done = tilewright(copied, "certify", name, *tiers, *asked)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_member_of_the_protocol_is_on_the_page() -> None:
    from tilewright.backends.vet import MEMBERS

    assert [name for name in MEMBERS if not re.search(rf"\| `?.*\b{name}\b.*\| required", PAGE)] == []


def test_what_limits_may_say_is_on_the_page() -> None:
    optional = [field.name for field in fields(Limits) if field.default is not MISSING]
    (line,) = re.findall(r"\| `Limits`: (.*?) \| optional", PAGE)
    assert sorted(re.findall(r"`(\w+)`", line)) == sorted(optional)
