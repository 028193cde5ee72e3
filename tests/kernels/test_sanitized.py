"""AddressSanitizer over the cpu's kernels, in a process of its own, into which its library must be loaded first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def library() -> str | None:
    """Where gcc keeps AddressSanitizer; None where there is no gcc, or it came without."""
    if not shutil.which("gcc"):
        return None
    command = ["gcc", "-print-file-name=libasan.so"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return found if Path(found).is_absolute() else None


def sanitized(*arguments: str) -> subprocess.CompletedProcess[str]:
    options = "detect_leaks=0:detect_stack_use_after_return=0"
    environment = {**os.environ, "LD_PRELOAD": str(library()), "ASAN_OPTIONS": options, "CC": "gcc"}
    command = [sys.executable, "-m", "tests.kernels.sanitized", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)


pytestmark = pytest.mark.skipif(library() is None, reason="AddressSanitizer comes with gcc, and is not here")


def test_no_kernel_reads_or_writes_outside():
    done = sanitized()
    assert done.returncode == 0, done.stderr[-4000:]
    assert "launches, every access inside" in done.stdout


def test_one_element_too_many_is_found():
    done = sanitized("broken")
    assert done.returncode != 0 and "heap-buffer-overflow" in done.stderr
