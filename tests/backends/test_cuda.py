"""CUDA without a GPU: the prelude and every op template compile for the architectures we name. Nothing is run here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.backends.test_dialect import reduction
from tests.nvrtc import compile_cuda, missing
from tilewright.backends.cuda import architecture, compile_options, cuda_text, include_directories
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.kit_sources import scale
from tilewright.backends.protocol import CompileError, Device, Limits
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


@pytest.mark.skipif(not include_directories(), reason="no CUDA headers: pip install nvidia-cuda-runtime")
@pytest.mark.parametrize("header", ["cuda_fp16.h", "cuda_bf16.h", "mma.h"])
def test_templates_may_include_cudas_headers(gpu: Device, header: str) -> None:
    if header == "mma.h" and not (Path(include_directories()[0]) / "crt" / "mma.h").exists():
        pytest.skip("crt/mma.h is not installed: pip install nvidia-cuda-crt")
    what = scale(gpu)
    text = cuda_text(replace(what, body=f"#include <{header}>\n{what.body}"))
    assert compile_cuda(text, "sm_80")[:4] == b"\x7fELF"
