"""The namespace as a whole: all names of the standard, dtype questions, defaults, and how cheap importing it is."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import tilewright as tw
from tilewright.dtypes import KINDS

STANDARD = """
abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2 atanh bitwise_and
bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor bool broadcast_arrays broadcast_shapes
broadcast_to can_cast ceil clip complex128 complex64 concat conj copysign cos cosh count_nonzero cumulative_prod
cumulative_sum diff divide e empty empty_like equal exp expand_dims expm1 eye finfo flip float32 float64 floor
floor_divide from_dlpack full full_like greater greater_equal hypot iinfo imag inf int16 int32 int64 int8 isdtype
isfinite isin isinf isnan less less_equal linspace log log10 log1p log2 logaddexp logical_and logical_not logical_or
logical_xor matmul matrix_transpose max maximum mean meshgrid min minimum moveaxis multiply nan negative newaxis
nextafter nonzero not_equal ones ones_like permute_dims pi positive pow prod real reciprocal remainder repeat reshape
result_type roll round searchsorted sign signbit sin sinh sort sqrt square squeeze stack std subtract sum take
take_along_axis tan tanh tensordot tile tril triu trunc uint16 uint32 uint64 uint8 unique_all unique_counts
unique_inverse unique_values unstack var vecdot where zeros zeros_like __array_namespace_info__ __array_api_version__
"""
LINALG = """
cholesky cross det diagonal eig eigh eigvals eigvalsh inv matmul matrix_norm matrix_power matrix_rank matrix_transpose
outer pinv qr slogdet solve svd svdvals tensordot trace vecdot vector_norm
"""
FFT = "fft ifft fftn ifftn rfft irfft rfftn irfftn hfft ihfft fftfreq rfftfreq fftshift ifftshift"


def test_every_name_of_the_standard_is_there():
    assert [n for n in STANDARD.split() if not hasattr(tw, n)] == []
    assert [n for n in LINALG.split() if not hasattr(tw.linalg, n)] == []
    assert [n for n in FFT.split() if not hasattr(tw.fft, n)] == []
    assert [n for n in tw.__all__ if n not in ("tune", "tuning") and not hasattr(tw, n)] == []


def test_every_public_function_is_documented():
    for space in (tw, tw.linalg, tw.fft):
        for name in dir(space):
            thing = getattr(space, name) if not name.startswith("_") and name not in ("tune", "tuning") else None
            if callable(thing) and getattr(thing, "__module__", "").startswith("tilewright"):
                assert thing.__doc__, name


def test_dtype_questions():
    names = [n for n in KINDS if n != "bfloat16"]
    for a in names:
        for b in names:
            assert tw.result_type(getattr(tw, a), getattr(tw, b)) == np.result_type(a, b)
            assert tw.can_cast(getattr(tw, a), getattr(tw, b)) == np.can_cast(a, b)
        assert tw.isdtype(getattr(tw, a), ("numeric", "bool"))
        assert tw.isdtype(np.dtype(a), np.dtype(a))
    assert tw.result_type(tw.bfloat16, tw.float16) == tw.float32
    assert tw.result_type(tw.bfloat16, tw.int8) == tw.bfloat16
    assert tw.result_type(tw.ones(2, dtype="float32"), 1.0) == tw.float32
    assert tw.finfo(tw.float32).eps == np.finfo(np.float32).eps and tw.iinfo(tw.int8).max == 127
    assert (
        tw.finfo(np.float32).bits == tw.finfo(tw.ones(1, dtype="float32")).bits == 32 and tw.iinfo(np.int8).min == -128
    )
    with pytest.raises(TypeError, match="iinfo"):
        tw.finfo(tw.int8)
    with pytest.raises(ValueError, match="kind"):
        tw.isdtype(tw.int8, "whole")
    with pytest.raises(TypeError, match="float32"):
        tw.astype(tw.ones(2, dtype="complex64"), tw.float32)


def test_inspection(device):
    info = tw.__array_namespace_info__()
    assert device.name in info.devices() and info.default_device() in info.devices()
    defaults = info.default_dtypes(device=device.name)
    assert defaults["real floating"] == tw.zeros(1, device=device.name).dtype
    assert defaults["integral"] == tw.asarray(1, device=device.name).dtype
    assert defaults["complex floating"] == tw.asarray(1j, device=device.name).dtype
    assert info.dtypes(device=device.name, kind="bool") == {"bool": np.dtype(bool)}
    assert "float32" in info.dtypes(device=device.name) and info.capabilities()["boolean indexing"]


def test_devices_are_their_names(every_device):
    place = tw.zeros(2, device=every_device.name).device
    assert isinstance(place, tw.Device) and place in tw.devices() and {place: 1}[every_device.name] == 1
    assert repr(place) == str(place) == place == every_device.name
    assert place.type == every_device.name.partition(":")[0] and place.index == 0
    assert tw.ones(2, device=place).device == place


def test_limits_are_python_numbers():
    for name in ("float16", "float32", "float64", "complex64"):
        found, expected = tw.finfo(getattr(tw, name)), np.finfo(name)
        assert type(found.eps) is float and found.dtype == expected.dtype and found.bits == expected.bits
        assert (found.max, found.tiny) == (expected.max, expected.tiny)
        assert found.resolution == float(str(expected.resolution))


def test_default_device(device):
    before = tw.get_default_device()
    try:
        tw.set_default_device(device.name)
        assert tw.get_default_device() == device.name == tw.zeros(3).device
        with pytest.raises(ValueError, match="nowhere"):
            tw.set_default_device("nowhere")
        assert tw.get_default_device() == device.name
    finally:
        tw.set_default_device(before)


def test_a_device_without_64_bits_narrows_and_says_so(narrow):
    x = tw.asarray([1.5, 2], device="narrow")
    n = tw.asarray([3, 4], device="narrow")
    assert (x.dtype, n.dtype, tw.zeros(2, device="narrow").dtype) == (tw.float32, tw.int32, tw.float32)
    for result, dtype in (
        (n / 2, tw.float32), (n * 1.5, tw.float32), (n + x, tw.float32), (tw.sqrt(n), tw.float32),
        (tw.mean(n), tw.float32),
        (tw.sum(tw.astype(n, "int8")), tw.int32), (tw.argmax(n), tw.int32), (tw.sort(n), tw.int32),
        (tw.count_nonzero(n), tw.int32), (tw.arange(3, device="narrow"), tw.int32), (tw.nonzero(n)[0], tw.int32),
        (n[tw.asarray([1, -1], device="narrow")], tw.int32),
    ):  # fmt: skip
        assert result.dtype == dtype
        np.asarray(result)
    assert (n / 2).tolist() == [1.5, 2] and tw.argmax(n).item() == 1
    defaults = tw.__array_namespace_info__().default_dtypes(device="narrow")
    assert defaults["real floating"] == tw.float32 and defaults["complex floating"] == tw.complex64
    for wrong in (lambda: tw.zeros(2, dtype="float64", device="narrow"), lambda: tw.astype(x, tw.float64)):
        with pytest.raises(TypeError, match="has no float64; use float32"):
            wrong()
    with pytest.raises(TypeError, match="has no float64"):
        tw.asarray(np.zeros(2), device="narrow")


@pytest.mark.parametrize("api", [None, "2023.12", "2024.12"])
def test_array_namespace(api):
    assert tw.zeros(2).__array_namespace__(api_version=api) is tw
    with pytest.raises(ValueError, match="1999"):
        tw.zeros(2).__array_namespace__(api_version="1999.12")


def test_functions_refuse_what_is_no_array():
    for call in (lambda: tw.exp(1.0), lambda: tw.add(1, 2), lambda: tw.sum([1, 2]), lambda: tw.add(tw.ones(2), "a")):
        with pytest.raises(TypeError, match="asarray"):
            call()
    with pytest.raises(TypeError):
        tw.ones(2) + "a"


def test_importing_is_cheap():
    heavy = "optuna", "rich", "click", "ml_dtypes", "platformdirs", "filelock", "pyopencl", "cupy", "multiprocessing"
    program = f"import sys, tilewright; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_devices_are_a_tuple_that_takes_a_list():
    found = tw.__array_namespace_info__().devices()
    assert isinstance(found, tuple)
    assert [*found, None] == found + [None]  # noqa: RUF005 - what SciPy's tests do
