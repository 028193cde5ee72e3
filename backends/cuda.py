"""CUDA devices, and all of CUDA that needs neither CuPy nor a GPU: the text of a kernel and how it is compiled."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.backends.dialect import assemble, parameters, prelude
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Found, Layout, Limits, Source

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


def limits_of(properties: dict[str, Any], arch: str, maps: bool) -> Limits:
    """What a device offers by cudaGetDeviceProperties, its architecture, and whether the driver writes tensor maps."""
    major, memory = properties["major"], properties["totalGlobalMem"]
    units = {"mma"} if major >= 8 else set()  # with its shapes of sm_80, ldmatrix and cp.async
    units |= {"wgmma"} if arch == "sm_90a" and maps else set()  # with its copy engine
    return Limits(
        threads_per_group=properties["maxThreadsPerBlock"],
        shared_nbytes=properties["sharedMemPerBlock"],  # what a kernel may declare; see launch_shared_nbytes
        registers=properties["regsPerBlock"],
        compute_units=properties["multiProcessorCount"],
        subgroup=properties["warpSize"],
        vector_nbytes=16,
        cache_nbytes=(properties["sharedMemPerMultiprocessor"], properties["l2CacheSize"]),
        memory_nbytes=memory,
        allocation_nbytes=memory,
        dtypes=frozenset(DTYPES),
        matrix_units=frozenset(units),
        launch_shared_nbytes=properties["sharedMemPerBlockOptin"],
    )


def surrounding(
    address: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[Layout, int, int]:
    """How an array (strides in bytes) lies in the memory around it, where that begins, and its bytes.

    It begins at a multiple of 16 bytes if elements are as long apart, so that strides and offsets alone say what 16
    divides: a copy engine asks.
    """
    size = dtype.itemsize
    reach = [0] if 0 in shape else [(e - 1) * s for e, s in zip(shape, strides, strict=True)]
    low, high = sum(r for r in reach if r < 0), sum(r for r in reach if r > 0)
    lead = (address + low) % 16 // size * size
    layout = Layout(dtype.name, shape, tuple(s // size for s in strides), (lead - low) // size)
    return layout, address + low - lead, 0 if 0 in shape else lead - low + high + size


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


def driver_library() -> ctypes.CDLL:
    """The driver's API. Raises OSError where there is no driver."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def writes_maps() -> bool:
    """Whether the driver, which is there, is one of CUDA 12 or later."""
    return hasattr(driver_library(), "cuTensorMapEncodeTiled")


def _driver_is_installed() -> bool:
    """CuPy takes a second to import, so the driver is looked for first."""
    try:
        driver_library()
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
