"""CUDA devices, and all of CUDA that needs neither CuPy nor a GPU: the text of a kernel and how it is compiled."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tilewright.backends.dialect import assemble, parameters, prelude
from tilewright.backends.protocol import Found, Source

OPTIONS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "-w")
"""What NVRTC and nvcc are given beside the architecture. Only FMA() contracts; nothing is flushed to zero."""

REMEDY = "pip install 'tilewright[cuda13]' (or 'tilewright[cuda12]' for a CUDA 12 driver)"


def cuda_text(source: Source) -> str:
    """The whole CUDA C++ of `source`."""
    threads = source.group[0] * source.group[1] * source.group[2]
    signature = f'extern "C" __global__ void __launch_bounds__({threads}) {source.entry}({parameters(source)})'
    return assemble(prelude("cuda"), source, signature)


def architecture(major: int, minor: int) -> str:
    """The real architecture of a compute capability, with the features that hold on that very chip only (wgmma)."""
    return f"sm_{major}{minor}" + ("a" if major >= 9 else "")


@cache
def include_directories() -> tuple[str, ...]:
    """Where cuda_fp16.h and mma.h lie, for templates that ask: CUDA_PATH, the runtime wheels, the usual place."""
    roots = [Path(os.environ[name]) for name in ("CUDA_PATH", "CUDA_HOME") if os.environ.get(name)]
    for folder in map(Path, sys.path):
        roots += [folder / "nvidia" / part for part in ("cu13", "cuda_runtime")]
    roots.append(Path("/usr/local/cuda"))
    found = [root / "include" for root in roots if (root / "include" / "cuda_fp16.h").exists()]
    # One folder only, since versions do not mix; mma.h needs crt/mma.h, which is a wheel of its own (nvidia-cuda-crt).
    found.sort(key=lambda folder: not (folder / "crt" / "mma.h").exists())
    return tuple(map(str, found[:1]))


def compile_options(architecture: str) -> tuple[str, ...]:
    return (f"--gpu-architecture={architecture}", *OPTIONS, *(f"-I{folder}" for folder in include_directories()))


def _driver_is_installed() -> bool:
    """CuPy takes a second to import, so the driver is looked for first."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def discover() -> list[Found]:
    """The GPUs that CuPy sees: cuda:0, cuda:1, ..."""
    if find_spec("cupy") is None:
        return [Found("cuda", None, "cuda: cupy is not installed", REMEDY)]
    if not _driver_is_installed():
        driver = "install NVIDIA's driver on a machine with an NVIDIA GPU; nvidia-smi lists what it sees"
        return [Found("cuda", None, "cuda: there is no NVIDIA driver", driver)]
    try:
        from tilewright.backends import cuda_device  # late: imports CuPy
    except ImportError as error:
        return [Found("cuda", None, f"cuda: cupy cannot be imported ({error})", REMEDY)]
    return cuda_device.find_devices()
