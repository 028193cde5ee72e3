"""OpenCL devices of every platform, through PyOpenCL.

PoCL comes with the `opencl` extra and finds itself. Any other runtime is found through its .icd file: for Intel's
CPU runtime from PyPI (intel-opencl-rt, and intel-cmplr-lib-rt, whose libraries it needs and does not ask for), write
the full path of its libintelocl.so, which lies in the environment's lib folder, into a file ending in .icd, name that
file in OCL_ICD_VENDORS and put the lib folder into LD_LIBRARY_PATH.

PoCL keeps a cache of its own (POCL_CACHE_DIR, else ~/.cache/pocl) and prints "1 error generated." on standard error
when a program is refused; the log itself is in CompileError.
"""

from __future__ import annotations

from tilewright.backends.dialect import assemble, parameters, prelude
from tilewright.backends.protocol import Found, Source

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


def opencl_text(source: Source, lanes: int = 1) -> str:
    """The whole OpenCL C of `source`. A group of up to `lanes` threads, where those are several, is a vector."""
    group = ", ".join(map(str, source.group))
    rest, vector = parameters(source, "__global"), lanes > 1 and source.group in _groups(lanes)
    width = f" __attribute__((intel_reqd_sub_group_size({source.group[0]})))" if vector else ""
    signature = f"__kernel __attribute__((reqd_work_group_size({group}))){width} void {source.entry}({rest})"
    head = f"#define VECTOR_GROUP {source.group[0]}\n" if vector and not source.raw else ""
    return head + assemble(prelude("opencl"), source, signature)


def _groups(lanes: int) -> list[tuple[int, int, int]]:
    """The groups that are vectors: of all lanes, of half as many for wider types, and of a quarter."""
    return [(lanes >> k, 1, 1) for k in range(3) if lanes >> k > 1]
