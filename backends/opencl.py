"""OpenCL devices of every platform, through PyOpenCL.

PoCL comes with the `opencl` extra and finds itself. Any other runtime is found through its .icd file: for Intel's
CPU runtime from PyPI (intel-opencl-rt, and intel-cmplr-lib-rt, whose libraries it needs and does not ask for), write
the full path of its libintelocl.so, which lies in the environment's lib folder, into a file ending in .icd, name that
file in OCL_ICD_VENDORS and put the lib folder into LD_LIBRARY_PATH.

PoCL keeps a cache of its own (POCL_CACHE_DIR, else ~/.cache/pocl) and prints "1 error generated." on standard error
when a program is refused; the log itself is in CompileError.
"""

from __future__ import annotations

import re

from tilewright.backends.dialect import assemble, parameters, prelude
from tilewright.backends.protocol import Found, Source

REMEDY = "pip install 'tilewright[opencl]' brings PyOpenCL and a CPU device; a GPU's driver comes from its vendor"

_FUNCTION = re.compile(r"\b(?:exp|expm1|log|log1p|tanh|erf|sin|cos|tan)_f(?:32|64)\(")  # those of prelude_math.h


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
    head = ""
    if not source.raw:
        head = f"#define VECTOR_GROUP {source.group[0]}\n" if vector else "#define ALONE\n" * _paired(source, lanes)
    return head + assemble(prelude("opencl"), source, signature)


def _paired(source: Source, lanes: int) -> bool:
    """Whether PoCL would make one computation on vectors of two out of two calls in a loop, which then stays as it is.

    It does so before it knows the size of the group, by which loops step. Told that it is 1, it takes the loops first;
    but those that only copy, as when factors are packed, are slower then.
    """
    return lanes == 1 and source.group == (1, 1, 1) and len(_FUNCTION.findall(source.body)) > 1


def _groups(lanes: int) -> list[tuple[int, int, int]]:
    """The groups that are vectors: of all lanes, of half as many for wider types, and of a quarter."""
    return [(lanes >> k, 1, 1) for k in range(3) if lanes >> k > 1]
