"""NVRTC without CuPy and without a GPU: the library from its wheel or the system, called through ctypes."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

from tilewright.backends.cuda import compile_options


@cache
def library() -> ctypes.CDLL | None:
    """libnvrtc, or None where it is not installed."""
    folders = [Path(p) / "nvidia" / part / "lib" for p in sys.path for part in ("cu13", "cuda_nvrtc")]
    wheels = [str(file) for folder in folders for file in sorted(folder.glob("libnvrtc.so.*"))]
    for name in (*wheels, "libnvrtc.so.13", "libnvrtc.so.12", "/usr/local/cuda/lib64/libnvrtc.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:  # the next place
            continue
    return None


def compile_cuda(text: str, architecture: str) -> tuple[bytes, str]:
    """The cubin of CUDA `text` and the compiler's log; the cubin is empty where the text was refused."""
    nvrtc, program = library(), ctypes.c_void_p()
    assert nvrtc is not None
    options = [option.encode() for option in compile_options(architecture)]
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None) == 0
    status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    try:
        log = _fetch(nvrtc, "ProgramLog", program).rstrip(b"\0").decode()
        return (_fetch(nvrtc, "CUBIN", program) if status == 0 else b""), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _fetch(nvrtc: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    assert getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
    data = ctypes.create_string_buffer(size.value)
    assert getattr(nvrtc, f"nvrtcGet{what}")(program, data) == 0
    return data.raw
