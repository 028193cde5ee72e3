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


def install(name: str, folder: Path) -> Path:
    """The folder below `folder` into which an example was installed, from a copy: building leaves files behind."""
    if importlib.util.find_spec("pip") is None or importlib.util.find_spec("setuptools") is None:
        pytest.skip("installing a package without a network needs pip and setuptools here")
    shutil.copytree(EXAMPLES / name, folder / "source")
    command = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder / "installed")]
    subprocess.run([sys.executable, "-m", *command, str(folder / "source")], check=True)
    return folder / "installed"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("clang") and importlib.util.find_spec("ziglang") is None:
        pytest.skip("the example compiles with clang or zig, and neither is here")
    return install("tilewright-clang", tmp_path_factory.mktemp("clang"))


@pytest.fixture(scope="module")
def webgpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("wgpu") is None:
        pytest.skip("the example runs through wgpu, which is not here: pip install wgpu==0.32.0")
    folder = install("tilewright-webgpu", tmp_path_factory.mktemp("webgpu"))
    listed = tilewright(folder, "devices").stdout
    if "wgpu found no adapter" in listed:
        pytest.skip("wgpu finds no adapter here: install a Vulkan driver, such as mesa-vulkan-drivers")
    assert "webgpu:0   PASS" in listed
    return folder


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install("tilewright-wrapped", tmp_path_factory.mktemp("wrapped"))


def python(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": path}, text=True, capture_output=True
    )


def tilewright(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(installed, "-c", "from tilewright.tuner.command import main; main()", *arguments)


def certify(installed: Path, device: str, words: tuple[str, ...], tiers: tuple[str, ...]) -> None:
    asked = [argument for word in words for argument in ("--check", word)]
    asked += [argument for tier in tiers for argument in ("--tier", tier)]
    done = tilewright(installed, "certify", device, *asked)
    assert done.returncode == 0, done.stdout
    assert f"{device}: all that it claims holds of the checks asked for" in done.stdout


def test_the_clang_device_is_listed_and_certified(installed: Path) -> None:
    assert "clang:0    PASS" in tilewright(installed, "devices").stdout
    words = ("last elements", "compile errors", "capture", "map float32", "matmul float64", "statistics")
    certify(installed, "clang:0", words, ("runtime", "kernels", "tensor"))


def test_a_compiler_without_vectors_gets_generated_kernels(installed: Path) -> None:
    code = "import tilewright_clang as t; print(*(f.name for f in t.discover() if 'tcc' in str(f.device.fingerprint)))"
    name = python(installed, "-c", code).stdout.strip()
    if not name:
        pytest.skip("TinyCC is not here: apt-get install tcc")
    words = ("last elements", "compile errors", "special values float32", "map float16", "transpose float32", "matmul")
    certify(installed, name, words, ("runtime", "kernels"))


def test_the_clang_device_fits_on_a_few_pages() -> None:
    assert len((EXAMPLES / "tilewright-clang" / "tilewright_clang.py").read_text().splitlines()) <= 150


SCRIPT = """
import numpy as np
import tilewright as tw

device, rng = "webgpu:0", np.random.default_rng(0)
a, b = rng.standard_normal((2, 70, 130)).astype(np.float32)
x, y = tw.asarray(a, device=device), tw.asarray(b, device=device)
e = tw.exp(x - tw.max(x, axis=-1, keepdims=True))
softmax = np.exp(a - a.max(-1, keepdims=True))
results = {
    "map": (tw.where(x > y, tw.sqrt(tw.abs(x)), y), np.where(a > b, np.sqrt(np.abs(a)), b)),
    "reduce": (tw.sum(x, axis=0), a.sum(0)),
    "row": (e / tw.sum(e, axis=-1, keepdims=True), softmax / softmax.sum(-1, keepdims=True)),
    "matmul": (x @ y.T + 1, a @ b.T + 1),
    "scan": (tw.cumulative_sum(x * x, axis=1), np.cumsum(a * a, axis=1)),
    "NaN": (tw.isnan(tw.asarray([np.nan, np.inf, 1], dtype=tw.float32, device=device)), [True, False, False]),
    "wide integers": (tw.asarray([2**40, -7], device=device) // 3, [2**40 // 3, -3]),
}
for name, (lazy, wanted) in results.items():
    plan = str(tw.explain(lazy))
    assert plan.startswith("native") and "fallback" not in plan, (name, plan)
    np.testing.assert_allclose(np.asarray(lazy), wanted, rtol=3e-5, atol=3e-5, err_msg=name)
print("all equal")
"""


def test_the_webgpu_device_runs_kernels_of_every_kind_in_wgsl(webgpu: Path) -> None:
    done = python(webgpu, "-c", SCRIPT)
    assert done.returncode == 0 and "all equal" in done.stdout, done.stdout + done.stderr


def test_the_webgpu_device_is_certified(webgpu: Path) -> None:
    words = ("round trips", "every group runs once", "groups share", "compile errors", "capture", "agrees with",
             "special values float32", "accuracy float32", "special values int64", "map bool",
             "from largest float32", "batched matmul with a bias float32", "running sum float32",
             "random words")  # fmt: skip
    certify(webgpu, "webgpu:0", words, ("runtime", "timing", "kernels"))


ONLY_32_BITS = """
import wgpu
from tilewright.backends import kit_programs
from tilewright.backends.kit import judge
from tilewright.kernels.kit import kernels
from tilewright_webgpu import WebgpuDevice

adapter = wgpu.gpu.request_adapter_sync()
device = WebgpuDevice("webgpu:0", adapter, without=frozenset({"shader-int64", "timestamp-query"}))
names = ("last elements", "map int32", "map int64", "map float16")
asked = [check for check in (*kit_programs.programs, *kernels) if check.name in names]
print(*(judge(check, device).status for check in asked), sep=", ")
"""


def test_the_webgpu_device_does_without_64_bit_integers(webgpu: Path) -> None:
    done = python(webgpu, "-c", ONLY_32_BITS)
    assert done.stdout.strip().splitlines()[-1:] == ["pass, pass, not claimed, pass"], done.stdout + done.stderr


@pytest.mark.parametrize("library", ["torch", "dask", "jax"])
def test_an_array_library_is_a_device(wrapped: Path, library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    words = ("description", "round trips", "special values float32", "sum of rows float32", "matmul float64", "linear")
    certify(wrapped, library, words, ())


def test_a_library_whose_arrays_cannot_be_written_to_does_it_all_itself(wrapped: Path) -> None:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    code = "import numpy as np, tilewright as tw\nx = tw.asarray(np.arange(6.0).reshape(2, 3), device='jax')\n"
    code += "x[:, 1] = 7\nprint(float(tw.sum(tw.exp(x - 7) @ x.T)), tw.linalg.inv(x @ x.T).shape, tw.fallbacks())"
    done = python(wrapped, "-c", code)
    x = np.array([[0, 7, 2], [3, 7, 5.0]])
    assert done.stdout.split()[1:] == ["(2,", "2)", "nothing", "ran", "on", "the", "host"], done.stderr
    assert abs(float(done.stdout.split()[0]) - float((np.exp(x - 7) @ x.T).sum())) < 1e-9
