"""What only the CPU device does: compilers of all sorts, vector math, memory, its cheap launches."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilewright.backends import cache, cpu_compiler, host
from tilewright.backends.cpu import CpuDevice, discover
from tilewright.backends.kit_sources import download, loop, scale, source, upload
from tilewright.backends.pool import Pool, size_class
from tilewright.backends.protocol import CompileError, Device, Layout, OutOfMemory, Unsupported, VendorCall
from tilewright.kernels.kit_ops import check_special, ops_for, ops_source


def shadow(tmp_path: Path, name: str, text: str) -> str:
    """An executable shell script."""
    path = tmp_path / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_without_a_compiler_data_and_numpy_still_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    device = CpuDevice()
    with pytest.raises(Unsupported, match="no C compiler was found: install gcc or clang"):
        device.build(scale(device))
    layout = Layout("float64", (2, 2), (2, 1))
    program = device.vendor(VendorCall("matmul", (layout,), (layout, layout)))
    assert program is not None
    out, x = device.allocate(32), upload(device, np.array([[1.0, 2], [3, 4]]))
    launch = program.bind((1, 1, 1), out, x, x)
    device.capture([launch, launch])()
    assert np.array_equal(download(device, out, np.float64), [7, 10, 15, 22])
    assert min(device.time(launch, 2)) > 0
    assert device.fingerprint.compiler == ""


def test_discovery_says_what_is_missed_without_a_compiler(tmp_path: Path) -> None:
    code = "from tilewright.backends.cpu import discover; f, = discover(); print(f.device.name, f.note, f.remedy)"
    environment = {**os.environ, "PATH": str(tmp_path), "CC": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "cpu cpu: no C compiler was found" in done.stdout and "only NumPy's own routines run" in done.stdout


@pytest.mark.parametrize("text", ["exit 1\n", "kill -9 $$\n"])
def test_a_compiler_named_by_cc_that_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    command = shadow(tmp_path, "mycc", text)
    monkeypatch.setenv("CC", command)
    with pytest.raises(Unsupported, match=r"mycc.*cannot be run: correct or unset CC"):
        cpu_compiler.find_compiler()


def test_flags_that_a_compiler_refuses_are_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpu: Device
) -> None:
    compiler = cpu_compiler.find_compiler().command[0]
    picky = f'for a in "$@"; do case $a in -fwrapv|-fno-trapping-math) echo "no such flag: $a" >&2; exit 1;; esac; done\nexec {compiler} "$@"\n'  # fmt: skip  # noqa: E501
    monkeypatch.setenv("CC", shadow(tmp_path, "picky", picky))
    device = CpuDevice()
    program = device.load(device.build(scale(device)), scale(device))
    y = device.allocate(12)
    program.bind((1, 1, 1), y, upload(device, np.float32([1, 2, 3])), 2.0, 3)()
    assert np.array_equal(download(device, y, np.float32), [2, 4, 6])
    assert device.compiler is not None and device.compiler.refused == {"-fwrapv", "-fno-trapping-math"}
    with pytest.raises(CompileError, match=r"undeclared|undefined|unknown"):
        device.compiler.compile("int f(void) { return nothing; }")


@pytest.mark.skipif(cpu_compiler.vector_math() < 2, reason="no libmvec of glibc 2.35 or later")
@pytest.mark.parametrize("function", ["expm1", "sin", "erf", "log1p"])
def test_vector_math_comes_from_libmvec(cpu: Device, function: str) -> None:
    body = loop(cpu, f"STORE(f32, y, i, {function}_f32(LOAD(f32, x, i)));")
    binary = cpu.build(source(cpu, "vectors", "out float32 y, in float32 x, value int64 n", body))
    assert b"_ZGV" in binary and b"v_" + function.encode() + b"f" in binary


def _values(device: Device, function: str, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    kind = f"f{8 * x.itemsize}"
    body = loop(device, f"STORE({kind}, y, i, {function}_{kind}(LOAD({kind}, x, i)));")
    what = source(device, "values", f"out {x.dtype} y, in {x.dtype} x, value int64 n", body, CHUNK=x.size)
    y = device.allocate(x.nbytes)
    device.load(device.build(what), what).bind((1, 1, 1), y, upload(device, x), x.size)()
    return download(device, y, x.dtype)[: x.size]


@pytest.mark.parametrize("function", ["exp", "sin", "cos"])
def test_float64_functions_are_right_to_the_last_bit_or_so(cpu: Device, function: str) -> None:
    rng, pi = np.random.default_rng(6), np.pi
    turns = rng.integers(-600_000, 600_000, 4096) * (pi / 2)
    x = np.concatenate([rng.uniform(-7, 7, 40_000), rng.uniform(-9e5, 9e5, 20_000), turns, np.nextafter(turns, 0)])
    x = rng.uniform(-700, 700, 60_000) if function == "exp" else x
    wide = getattr(np, function)(x.astype(np.longdouble))  # 64 bits of fraction
    errors = np.abs(_values(cpu, function, x) - wide) / np.spacing(np.abs(wide.astype(np.float64)))
    assert errors.max() < 0.9
    odd = [0, -0.0, 1e-9, -5e-324, np.inf, -np.inf, np.nan]
    special = np.asarray([*odd, 709.78, 709.79, -745.1, -745.2, 1e22, -1e300])
    with np.errstate(all="ignore"):
        expected = getattr(np, function)(special)
    got = _values(cpu, function, special)
    np.testing.assert_array_equal(got[:7], expected[:7])
    assert np.signbit(got[1]) == np.signbit(expected[1])
    np.testing.assert_allclose(got, expected, rtol=5e-16, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_without_libmvec_our_own_functions_hold(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    monkeypatch.setattr(cpu_compiler, "vector_math", lambda: 0)
    monkeypatch.setattr(cache, "_programs", {})
    device = CpuDevice()
    assert b"_ZGV" not in device.build(ops_source(device, dtype, ops_for("f", (1,))))
    check_special(dtype, device)


@pytest.mark.parametrize("function", ["sin", "cos", "tan"])
def test_waves_of_our_own_hold_however_large_the_number(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    monkeypatch.setattr(cpu_compiler, "vector_math", lambda: 0)
    monkeypatch.setattr(cache, "_programs", {})
    rng = np.random.default_rng(7)
    turns = rng.integers(-(2**24), 2**24, 40_000) * (np.pi / 2)
    nearest = np.ldexp(16367173.0, 72)  # no float32 is closer to a multiple of pi / 2
    x = np.concatenate([turns, rng.uniform(-7, 7, 40_000), 10 ** rng.uniform(-44, 38.5, 40_000), [nearest, 3.4e38]])
    x = x.astype(np.float32)
    wide = getattr(np, function)(x.astype(np.float64))
    got = _values(CpuDevice(), function, x)
    unit = np.spacing(np.abs(wide).astype(np.float32)).astype(np.float64)
    assert (np.abs(got - wide) / unit).max() < 4
    assert function == "tan" or np.abs(got).max() <= 1
    odd = np.float32([0.0, -0.0, 1e-45, -1e-40, np.inf, -np.inf, np.nan])
    with np.errstate(invalid="ignore"):
        expected = getattr(np, function)(odd)
    got = _values(CpuDevice(), function, odd)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got[:4]), np.signbit(expected[:4]))


def test_many_libraries_are_kept_apart(cpu: Device) -> None:
    """The loader must not take a new library for an earlier one of the same descriptor."""
    y, results = cpu.allocate(4), []
    for k in range(12):
        what = source(cpu, "same", "out float32 y, value int64 n", "y[0] = VALUE;", VALUE=k)
        cpu.load(cpu.build(what), what).bind((1, 1, 1), y, 1)()
        results.append(download(cpu, y, np.float32)[0])
    assert results == list(range(12))


def test_host_view_is_the_memory_of_the_kernels(cpu: Device) -> None:
    buffer = cpu.allocate(400)
    assert buffer.handle % 64 == 0 and buffer.host.nbytes >= 400
    buffer.host[:400].view(np.float32)[:] = 3
    assert np.array_equal(download(cpu, buffer, np.float32), np.full(100, 3))


def test_what_the_system_would_only_promise_is_refused(monkeypatch: pytest.MonkeyPatch, cpu: Device) -> None:
    monkeypatch.setattr(host, "available_nbytes", lambda: 1 << 28)
    with pytest.raises(OutOfMemory) as caught:
        cpu.allocate((1 << 28) + 1)
    assert (caught.value.asked, caught.value.free) == ((1 << 28) + 1, 1 << 28)
    assert cpu.allocate(1 << 20).nbytes == 1 << 20


def test_pool_keeps_within_its_capacity() -> None:
    made: list[int] = []
    pool = Pool(lambda nbytes: (made.append(nbytes), None), 1000)
    blocks = [pool.take(400) for _ in range(4)]
    for block in blocks:
        block.release()
    assert pool.idle_nbytes <= 1000 and pool.idle_nbytes == pool.owned_nbytes == 2 * size_class(400)
    assert pool.take(390) in blocks and len(made) == 4
    pool.trim()
    assert pool.idle_nbytes == 0 and pool.owned_nbytes == size_class(400)


def test_size_classes_waste_a_quarter_at_most() -> None:
    for nbytes in [*range(1, 5000), 10**6, 10**6 + 1, 2**30, 2**30 + 1]:
        size = size_class(nbytes)
        assert size >= nbytes and size % 64 == 0 and size - nbytes <= max(64, nbytes // 4 + 1)
        assert size_class(size) == size


def test_threads_allocate_and_free_at_once(cpu: Device) -> None:
    wrong: list[int] = []

    def work(mark: int) -> None:
        for _ in range(300):
            buffer = cpu.allocate(1000)
            buffer.host[:] = mark
            if not (buffer.host == mark).all():
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_there_is_one_cpu_device() -> None:
    assert discover()[0].device is discover()[0].device
