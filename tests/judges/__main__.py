"""A whole suite of someone else's tests on one device: python -m tests.judges --suite scipy --device cpu

Needs the extra `judges`. Prints pytest's output, then a line with wall time and compiled kernels for results.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Suite:
    """`parts` are the packages whose tests are run; `select` gives pytest's options that pick those over namespaces."""

    name: str
    parts: tuple[str, ...]
    select: tuple[str, ...]

    def expected(self, device: str) -> list[Path]:
        """The lists of expected failures: on every device, and on those of this backend."""
        names = (f"expected_{self.name}.txt", f"expected_{self.name}_{device.partition(':')[0]}.txt")
        return [HERE / name for name in names if (HERE / name).exists()]


_SCIPY = "cluster constants differentiate fft integrate interpolate io _lib linalg ndimage optimize signal sparse"
SUITES = {
    "sklearn": Suite("sklearn", ("sklearn",), ("-k", "{judged}")),
    "scipy": Suite(
        "scipy",
        tuple(f"scipy.{part}" for part in f"{_SCIPY} spatial special stats".split()),
        ("-m", "array_api_backends"),
    ),
}


def command(
    suite: Suite, device: str, judged: str = "tilewright", parts: Sequence[str] = (), options: Sequence[str] = ()
) -> list[str]:
    """pytest over `parts` of a suite, or all of it; `run` runs it."""
    spec = find_spec(suite.parts[0].partition(".")[0])
    if spec is None or spec.origin is None:
        raise SystemExit(f"{suite.name} is not installed: pip install tilewright[judges]")
    select = [option.format(judged=judged) for option in suite.select]
    expected = suite.expected(device) if judged == "tilewright" else []
    ours = [word for path in expected for word in ("--expected", str(path))]
    return [
        sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(Path(spec.origin).parent.parent),
        "-p", "no:cacheprovider", "-p", "tests.judges.plugin", "--suite", suite.name, "--judged", judged, *ours,
        *([] if parts else ["--whole"]), "-q", "--no-header", "--disable-warnings", "--tb=short", *select, *options,
        "--pyargs", *(parts or suite.parts),
    ]  # fmt: skip


def run(line: Sequence[str], device: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run what `command` made, with the device and SciPy's switch for the array API in the environment.

    In an empty folder: from here pytest would load our own tests' conftest, which has caches and settings of its own.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    known = {**os.environ, "SCIPY_ARRAY_API": "1", "TILEWRIGHT_DEVICE": device, "PYTHONPATH": path}
    with tempfile.TemporaryDirectory() as empty:
        return subprocess.run(line, cwd=empty, env=known, text=True, check=False, **options)


def kernels() -> int:
    """How many compiled kernels the cache folder holds."""
    from tilewright.backends import cache

    folder = cache.folder() / "binaries"
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.judges", description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", choices=SUITES, required=True)
    parser.add_argument("--device", default="cpu", help="as in TILEWRIGHT_DEVICE: cpu, opencl:0, cuda:0")
    parser.add_argument("--judged", default="tilewright", help="another namespace, side by side: array_api_strict")
    parser.add_argument("--log", help="a file for one line per test: outcome, seconds, id")
    parser.add_argument("parts", nargs="*", help="only these packages or modules")
    asked = parser.parse_args()
    before, begin = kernels(), time.perf_counter()
    options = ["--log", asked.log] if asked.log else []
    line = command(SUITES[asked.suite], asked.device, asked.judged, asked.parts, options)
    done = run(line, asked.device)
    seconds = time.perf_counter() - begin
    where = f"{asked.suite} on {asked.judged} {asked.device}"
    print(f"{where}: {seconds:.0f} s, kernels {before} before, {kernels()} after")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
