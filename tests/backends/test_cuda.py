"""CUDA without a GPU: the prelude and every op template compile for the architectures we name. Nothing is run here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from tests.backends.test_dialect import reduction
from tests.nvrtc import compile_cuda, missing
from tilewright.backends.cuda import (
    architecture,
    compile_options,
    cuda_text,
    include_directories,
    limits_of,
    surrounding,
)
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.kit_sources import scale
from tilewright.backends.protocol import CompileError, Device, Layout, Limits
from tilewright.kernels.kit_ops import ops_for, ops_source

ARCHITECTURES = ("sm_80", "sm_90", "sm_90a", "sm_100")

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


class Gpu:
    """A device's limits are all that sources ask for."""

    name = "gpu"
    limits = Limits(1024, 49152, 65536, 132, 32, 16, (1 << 17,), 1 << 36, 1 << 36, frozenset(DTYPES))


@pytest.fixture
def gpu() -> Device:
    return Gpu()  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_op_template_compiles(gpu: Device, dtype: str) -> None:
    what = ops_source(gpu, dtype, ops_for(DTYPES[dtype].kind, (1, 2, 3)))
    assert compile_cuda(cuda_text(what), "sm_80")[:4] == b"\x7fELF"


@pytest.mark.parametrize("target", ARCHITECTURES)
def test_loops_reductions_and_barriers_compile(gpu: Device, target: str) -> None:
    for what in (scale(gpu), reduction(gpu, "float32", "largest", "LARGER", "-INF_f32")):
        cubin = compile_cuda(cuda_text(what), target)
        assert cubin[:4] == b"\x7fELF"
        assert what.entry.encode() in cubin


def test_errors_name_our_line(gpu: Device) -> None:
    bad = replace(scale(gpu), body="\n\nKERNEL {\n    y[0] = nonsense;\n}\n", filename="broken.c")
    with pytest.raises(CompileError, match=r"broken\.c\(4\).*nonsense"):
        compile_cuda(cuda_text(bad), "sm_90")


def test_the_real_architecture_is_asked_for() -> None:
    assert [architecture(*x) for x in ((8, 0), (8, 9), (9, 0), (10, 0))] == ["sm_80", "sm_89", "sm_90a", "sm_100a"]
    assert compile_options("sm_90a")[0] == "--gpu-architecture=sm_90a" and "--fmad=false" in compile_options("sm_90a")


def test_what_tensor_cores_a_chip_has() -> None:
    names = ("maxThreadsPerBlock", "sharedMemPerBlock", "regsPerBlock", "multiProcessorCount", "warpSize",
             "l2CacheSize", "sharedMemPerMultiprocessor", "totalGlobalMem", "sharedMemPerBlockOptin")  # fmt: skip
    known = dict.fromkeys(names, 1)
    cases = ((7, "sm_75", True), (8, "sm_80", True), (9, "sm_90a", False), (9, "sm_90a", True), (10, "sm_100a", True))
    found = [limits_of({**known, "major": major}, arch, maps).matrix_units for major, arch, maps in cases]
    assert found == [set(), {"mma"}, {"mma"}, {"mma", "wgmma"}, {"mma"}]


def test_adopted_memory_begins_at_16_bytes() -> None:
    memory = np.arange(400, dtype=np.int16)
    base = memory.ctypes.data
    for view in (memory, memory[3:], memory[5:300].reshape(5, 59)[::-1, 3:40:2], memory[7:7], memory[9:10]):
        address = view.ctypes.data if view.size else base + 14
        layout, start, nbytes = surrounding(address, view.dtype, view.shape, view.strides)
        assert start % 16 == 0 and start <= address < start + 16 + nbytes
        if view.size:
            inside = memory.view(np.uint8)[start - base : start - base + nbytes].view(np.int16)
            assert inside.size * 2 == nbytes
            np.testing.assert_array_equal(as_strided(inside[layout.offset :], view.shape, view.strides), view)
    wide = np.dtype(np.complex128)  # whose elements need not be 16 bytes from a multiple of 16
    assert surrounding(0x1008, wide, (3,), (16,)) == (Layout("complex128", (3,), (1,), 0), 0x1008, 48)


@pytest.mark.skipif(not include_directories(), reason="no CUDA headers: pip install nvidia-cuda-runtime")
@pytest.mark.parametrize("header", ["cuda_fp16.h", "cuda_bf16.h", "mma.h"])
def test_templates_may_include_cudas_headers(gpu: Device, header: str) -> None:
    if header == "mma.h" and not (Path(include_directories()[0]) / "crt" / "mma.h").exists():
        pytest.skip("crt/mma.h is not installed: pip install nvidia-cuda-crt")
    what = scale(gpu)
    text = cuda_text(replace(what, body=f"#include <{header}>\n{what.body}"))
    assert compile_cuda(text, "sm_80")[:4] == b"\x7fELF"
