"""The examples are packages of their own: installed as a user installs them, listed, certified."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which tilewright-clang was installed, from a copy: building leaves files beside the sources."""
    if importlib.util.find_spec("pip") is None or importlib.util.find_spec("setuptools") is None:
        pytest.skip("installing a package without a network needs pip and setuptools here")
    if not shutil.which("clang") and importlib.util.find_spec("ziglang") is None:
        pytest.skip("the example compiles with clang or zig, and neither is here")
    folder = tmp_path_factory.mktemp("clang")
    shutil.copytree(EXAMPLES / "tilewright-clang", folder / "source")
    command = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder / "installed")]
    subprocess.run([sys.executable, "-m", *command, str(folder / "source")], check=True)
    return folder / "installed"


def tilewright(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    code = "from tilewright.tuner.command import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env={**os.environ, "PYTHONPATH": path}, text=True, capture_output=True
    )


def test_the_clang_device_is_listed_and_certified(installed: Path) -> None:
    assert "clang      PASS" in tilewright(installed, "devices").stdout
    words = ("last elements", "compile errors", "capture", "map float32", "matmul float64", "statistics")
    asked = [argument for word in words for argument in ("--check", word)]
    tiers = [argument for tier in ("runtime", "kernels", "tensor") for argument in ("--tier", tier)]
    done = tilewright(installed, "certify", "clang", *tiers, *asked)
    assert done.returncode == 0, done.stdout
    assert "clang: all that it claims holds of the checks asked for" in done.stdout


def test_the_clang_device_fits_on_a_few_pages() -> None:
    assert len((EXAMPLES / "tilewright-clang" / "tilewright_clang.py").read_text().splitlines()) <= 150
