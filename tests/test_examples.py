"""The examples are packages of their own: installed as a user installs them, listed, certified."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with tilewright-clang."""
    if not shutil.which("clang") and importlib.util.find_spec("ziglang") is None:
        pytest.skip("the example compiles with clang or zig, and neither is here")
    return install("tilewright-clang", tmp_path_factory)


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with tilewright-wrapped."""
    return install("tilewright-wrapped", tmp_path_factory)


def install(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which an example was installed, from a copy: building leaves files beside the sources."""
    if importlib.util.find_spec("pip") is None or importlib.util.find_spec("setuptools") is None:
        pytest.skip("installing a package without a network needs pip and setuptools here")
    folder = tmp_path_factory.mktemp(name)
    shutil.copytree(EXAMPLES / name, folder / "source")
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


@pytest.mark.parametrize("library", ["torch", "dask", "jax"])
def test_an_array_library_is_a_device(wrapped: Path, library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    if library == "jax":  # it compiles each op for each shape: what one program needs
        code = "import numpy as np, tilewright as tw\nx = tw.asarray(np.arange(6.0).reshape(2, 3), device='jax')\n"
        code += "x[:, 1] = 7\nprint(float(tw.sum(tw.exp(x - 7) @ x.T)), tw.linalg.inv(x @ x.T).shape, tw.fallbacks())"
        path = os.pathsep.join([str(wrapped), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, text=True, capture_output=True
        )
        x = np.array([[0, 7, 2], [3, 7, 5.0]])
        wanted = float((np.exp(x - 7) @ x.T).sum())
        assert done.stdout.split()[1:] == ["(2,", "2)", "nothing", "ran", "on", "the", "host"], done.stderr
        assert abs(float(done.stdout.split()[0]) - wanted) < 1e-9
        return
    words = ("description", "round trips", "special values float32", "sum of rows float32", "matmul float64", "linear")
    asked = [argument for word in words for argument in ("--check", word)]
    done = tilewright(wrapped, "certify", library, *asked)
    assert done.returncode == 0, done.stdout
    assert f"{library}: all that it claims holds of the checks asked for" in done.stdout
