"""OpenCL devices of every platform, through PyOpenCL.

PoCL comes with the `opencl` extra and finds itself. Any other runtime is found through its .icd file: for Intel's
CPU runtime from PyPI (intel-opencl-rt, and intel-cmplr-lib-rt, whose libraries it needs and does not ask for), write
the full path of its libintelocl.so, which lies in the environment's lib folder, into a file ending in .icd, name that
file in OCL_ICD_VENDORS and put the lib folder into LD_LIBRARY_PATH.

PoCL keeps a cache of its own (POCL_CACHE_DIR, else ~/.cache/pocl) and prints "1 error generated." on standard error
when a program is refused; the log itself is in CompileError.
"""

from __future__ import annotations

from tilewright.backends.protocol import Found

REMEDY = "pip install 'tilewright[opencl]' brings PyOpenCL and a CPU device; a GPU's driver comes from its vendor"


def discover() -> list[Found]:
    """The devices of every OpenCL platform: opencl:0, opencl:1, ..."""
    try:
        from tilewright.backends import opencl_device  # late: PyOpenCL is optional, and takes a quarter of a second
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == "pyopencl"
        why = "pyopencl is not installed" if absent else f"pyopencl cannot be imported ({error})"
        return [Found("opencl", None, f"opencl: {why}", REMEDY)]
    return opencl_device.find_devices(REMEDY)
