"""The C compiler that the cpu device calls at run time."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tilewright.backends.protocol import CompileError, Unsupported

FLAGS = ("-O3", "-march=native", "-fopenmp-simd", "-fPIC", "-shared", "-pipe", "-fno-math-errno", "-fno-trapping-math",
         "-ffp-contract=off", "-fwrapv", "-std=gnu11", "-w",
         "-fno-builtin-sin", "-fno-builtin-cos", "-fno-builtin-sinf", "-fno-builtin-cosf")  # fmt: skip
"""No -ffast-math: NaN, infinity and -0 keep their meaning. errno and traps are not looked at by any kernel. Where GCC
knows what sin and cos are, it makes one call of both, for which there is no vector function.
"""

THREADING = {"omp parallel": "-fopenmp", "<omp.h>": "-fopenmp", "<pthread.h>": "-pthread"}
"""What a raw text says, and the flag that it therefore needs."""

REMEDY = "install gcc or clang (Debian, Ubuntu: apt install gcc), or name a compiler in the variable CC"


@cache
def vector_math() -> int:
    """What of libmvec there is: 0 nothing, 1 sin cos exp log pow (glibc 2.22), 2 the rest too (glibc 2.35)."""
    prefix = {"x86_64": "_ZGVbN4v_", "aarch64": "_ZGVnN4v_"}.get(platform.machine())
    if prefix is None or platform.system() != "Linux":
        return 0
    try:
        library = ctypes.CDLL("libmvec.so.1")
    except OSError:  # musl, or an old glibc
        return 0
    return 2 if hasattr(library, prefix + "tanhf") else 1 if hasattr(library, prefix + "expf") else 0


@dataclass
class Compiler:
    """A C compiler: `command` is how it is called, `version` its first line of --version."""

    command: tuple[str, ...]
    version: str
    refused: set[str] | None = None  # the flags that a probe showed it does not take; None before the probe

    @property
    def flags(self) -> tuple[str, ...]:
        clang = ("-fveclib=libmvec",) if "clang" in self.version and vector_math() else ()
        return (*FLAGS, *clang, f"-DVECTOR_MATH={vector_math()}")

    def compile(self, text: str) -> bytes:
        """The shared library made from C `text`. Raises CompileError with the compiler's log."""
        threading = tuple({flag: None for word, flag in THREADING.items() if word in text})
        log, library = self._run(text, (*self._accepted(), *threading))
        if library is None and self.refused is None:
            # Flags are doubted only once something failed: probing them all costs as much as some kernels.
            probe, base = "int probe;\n", ("-shared", "-fPIC")
            self.refused = {flag for flag in self.flags if self._run(probe, (*base, flag))[1] is None}
            if self.refused:
                log, library = self._run(text, (*self._accepted(), *threading))
        if library is None:
            raise CompileError(f"{shlex.join(self.command)} refused a kernel:", log)
        return library

    def _accepted(self) -> tuple[str, ...]:
        return tuple(flag for flag in self.flags if flag not in (self.refused or ()))

    def _run(self, text: str, flags: tuple[str, ...]) -> tuple[str, bytes | None]:
        libraries = ("-lmvec",) if vector_math() and "-DVECTOR_MATH=0" not in flags else ()
        with tempfile.TemporaryDirectory(prefix="tilewright-") as folder:
            target = Path(folder) / "kernel.so"
            command = (*self.command, *flags, "-x", "c", "-", "-o", str(target), *libraries, "-lm")
            done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
            log = done.stderr.decode(errors="replace")
            return log, target.read_bytes() if done.returncode == 0 and target.exists() else None


def find_compiler() -> Compiler:
    """The compiler named by CC, else the first of gcc, clang, cc that answers. Raises Unsupported where none does."""
    asked = os.environ.get("CC")
    for command in [tuple(shlex.split(asked))] if asked else [("gcc",), ("clang",), ("cc",)]:
        if command and shutil.which(command[0]):
            try:
                done = subprocess.run((*command, "--version"), capture_output=True, check=False, timeout=20)
            except (OSError, subprocess.TimeoutExpired):
                continue
            if done.returncode == 0:
                return Compiler(command, done.stdout.decode(errors="replace").partition("\n")[0].strip())
    if asked:
        raise Unsupported(f"cpu: the compiler that CC names, {asked!r}, cannot be run: correct or unset CC")
    raise Unsupported(f"cpu: no C compiler was found: {REMEDY}")
