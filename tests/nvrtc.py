"""CUDA's compilers where there is no GPU: NVRTC from its wheel through ctypes, else nvcc."""

from __future__ import annotations

import ctypes
import glob
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tilewright.backends.cuda import compile_options
from tilewright.backends.protocol import CompileError


@cache
def library() -> ctypes.CDLL | None:
    """libnvrtc from any folder `nvidia/.../lib` beside the installed packages, else from the loader's path."""
    places = [f for p in sys.path for f in sorted(glob.glob(f"{p}/nvidia/*/lib/libnvrtc.so.*"), reverse=True)]
    for name in (*places, "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def missing() -> str:
    """Why nothing can be compiled; "" if it can."""
    if library() is not None or shutil.which("nvcc"):
        return ""
    return "neither NVRTC (pip install nvidia-cuda-nvrtc) nor nvcc was found"


def compile_cuda(text: str, architecture: str) -> bytes:
    """The machine code of CUDA C++ `text`. Raises CompileError with the compiler's log."""
    nvrtc = library()
    return _nvcc(text, architecture) if nvrtc is None else _nvrtc(nvrtc, text, architecture)


def inspect_cuda(text: str, architecture: str) -> tuple[str, str]:
    """The PTX of CUDA C++ `text`, and what the assembler says of registers and spills. Needs NVRTC."""
    nvrtc = library()
    assert nvrtc is not None
    with _compiled(nvrtc, text, architecture, "--ptxas-options=-v") as program:
        ptx, log = (_text(nvrtc, what, program).decode(errors="replace") for what in ("PTX", "ProgramLog"))
    return ptx, log


def _nvrtc(nvrtc: ctypes.CDLL, text: str, architecture: str) -> bytes:
    with _compiled(nvrtc, text, architecture) as program:
        return _text(nvrtc, "CUBIN", program)


@contextmanager
def _compiled(nvrtc: ctypes.CDLL, text: str, architecture: str, *more: str) -> Iterator[ctypes.c_void_p]:
    program = ctypes.c_void_p()
    options = [option.encode() for option in (*compile_options(architecture), *more)]
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        if status:
            raise CompileError(
                f"NVRTC refused a kernel for {architecture}:", _text(nvrtc, "ProgramLog", program).decode()
            )
        yield program
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(nvrtc: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    data = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, data)
    return data.raw


def _nvcc(text: str, architecture: str) -> bytes:
    options = [option for option in compile_options(architecture) if not option.startswith("--gpu-architecture")]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "kernel.cu", Path(folder) / "kernel.cubin"
        source.write_text(text)
        command = ["nvcc", "-cubin", f"-arch={architecture}", *options, "-o", str(target), str(source)]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        if done.returncode:
            raise CompileError(f"nvcc refused a kernel for {architecture}:", done.stderr)
        return target.read_bytes()
