"""The CPU's templates of products under AddressSanitizer: no read or write beyond panels, tiles and operands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _library() -> str:
    """The path of gcc's AddressSanitizer, which must be there before any other library; "" where there is none."""
    gcc = shutil.which("gcc")
    if gcc is None or not sys.platform.startswith("linux"):
        return ""
    asked = subprocess.run([gcc, "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    path = asked.stdout.strip()
    return path if Path(path).is_absolute() else ""


def test_products_stay_inside_their_memory(tmp_path: Path) -> None:
    """Some 20 s: every kernel is compiled for it."""
    library = _library()
    if not library:
        pytest.skip("gcc has no AddressSanitizer here")
    settings = {
        "CC": "gcc -fsanitize=address", "LD_PRELOAD": library, "TILEWRIGHT_CACHE": str(tmp_path),
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.kernels.sanitized"]
    environment, root = {**os.environ, **settings}, Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "clean", done.stdout[-2000:] + done.stderr[-4000:]
