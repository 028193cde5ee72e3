"""What the protocol promises, on every device."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace

import numpy as np
import pytest

from tests.backends.sources import LOOP, download, groups, run, scale, source, upload
from tilewright.backends.cache import load_program
from tilewright.backends.protocol import CompileError, Device, LaunchError, Layout, OutOfMemory, VendorCall
from tilewright.backends.roundtrip import roundtrip

SIZES = [1, 3, 63, 64, 65, 1000, 4097, 100_003]


def test_is_a_device_and_works(device: Device) -> None:
    assert isinstance(device, Device)
    assert roundtrip(device) is None


@pytest.mark.parametrize("nbytes", SIZES)
def test_bytes_come_back_at_any_size_and_offset(device: Device, nbytes: int) -> None:
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)
    for offset in (0, 1, 7):
        buffer = device.allocate(nbytes + offset + 5)
        device.write(buffer, bytes(nbytes + offset + 5))
        device.write(buffer, data, offset)
        assert device.read(buffer, nbytes, offset) == data.tobytes()
        assert device.read(buffer, buffer.nbytes) == bytes(offset) + data.tobytes() + bytes(5)


def test_zero_bytes(device: Device) -> None:
    empty, other = device.allocate(0), device.allocate(0)
    assert empty.nbytes == 0
    device.write(empty, b"")
    device.copy(empty, other, 0)
    assert device.read(empty, 0) == b""
    assert run(device, scale(device), [(0, np.float32)], [np.empty(0, np.float32)], 0, 2.0)[0].size == 0


def test_copy_with_offsets(device: Device) -> None:
    source_buffer = upload(device, np.arange(100, dtype=np.uint8))
    target = upload(device, np.zeros(50, np.uint8))
    device.copy(source_buffer, target, 20, 33, 5)
    expected = np.zeros(50, np.uint8)
    expected[5:25] = np.arange(33, 53)
    assert np.array_equal(download(device, target, np.uint8), expected)


def test_ranges_outside_a_buffer_are_refused(device: Device) -> None:
    buffer = device.allocate(10)
    for call in (
        lambda: device.read(buffer, 11),
        lambda: device.read(buffer, 1, 10),
        lambda: device.write(buffer, bytes(8), 3),
        lambda: device.copy(buffer, buffer, 4, 0, 7),
    ):
        with pytest.raises(LaunchError, match="do not lie in a buffer of 10 bytes"):
            call()


def test_two_launches_of_one_program_keep_their_own_arguments(device: Device) -> None:
    x = np.arange(1000, dtype=np.float32)
    program, source_buffer = load_program(device, scale(device)), upload(device, x)
    targets = [device.allocate(x.nbytes) for _ in range(2)]
    launches = [program.bind(groups(1000), t, source_buffer, a, 1000) for t, a in zip(targets, (2.0, 3.0), strict=True)]
    for launch in (*launches, *launches):
        launch()
    device.synchronize()
    assert np.array_equal(download(device, targets[0], np.float32), 2 * x)
    assert np.array_equal(download(device, targets[1], np.float32), 3 * x)


def test_set_replaces_one_argument(device: Device) -> None:
    x = np.arange(500, dtype=np.float32)
    first, second, source_buffer = device.allocate(x.nbytes), device.allocate(x.nbytes), upload(device, x)
    launch = load_program(device, scale(device)).bind(groups(500), first, source_buffer, 2.0, 500)
    launch()
    launch.set(0, second)
    launch.set(2, -1.0)
    device.write(second, np.zeros(500, np.float32))
    launch.set(3, 400)
    launch()
    device.synchronize()
    assert np.array_equal(download(device, first, np.float32), 2 * x)
    assert np.array_equal(download(device, second, np.float32), np.where(np.arange(500) < 400, -x, 0))


def test_values_reach_a_kernel_as_they_are(device: Device) -> None:
    body = LOOP.format("STORE(i64, out0, i, whole); STORE(f32, out1, i, single);")
    outputs, values = "out int64 out0, out float32 out1", "value int64 whole, value float32 single, value int64 n"
    what = source(device, "values", f"{outputs}, {values}", body)
    for whole, single in [(-(2**63), 0.1), (2**63 - 1, float("inf")), (-1, 1e39), (7, -1e39), (True, -0.0)]:
        a, b = run(device, what, [(4, np.int64), (4, np.float32)], [], 4, whole, single)
        with np.errstate(over="ignore"):
            assert list(a) == [whole] * 4 and b.tobytes() == np.full(4, single, np.float32).tobytes()
    with pytest.raises(LaunchError, match="cannot be passed to a kernel as int64"):
        run(device, what, [(4, np.int64), (4, np.float32)], [], 4, 2**63, 0.0)


def test_wrong_arguments_are_refused(device: Device) -> None:
    program, buffer = load_program(device, scale(device)), device.allocate(16)
    with pytest.raises(LaunchError, match="takes 4 arguments, 3 were given"):
        program.bind((1, 1, 1), buffer, buffer, 1.0)
    with pytest.raises(LaunchError, match="x must be a buffer"):
        program.bind((1, 1, 1), buffer, 3, 1.0, 4)
    with pytest.raises(LaunchError, match="a must be a number"):
        program.bind((1, 1, 1), buffer, buffer, buffer, 4)


def test_capture_runs_in_order_and_sees_new_arguments(device: Device) -> None:
    x = np.ones(100, np.float32)
    program, buffer = load_program(device, scale(device)), upload(device, x)
    twice = program.bind(groups(100), buffer, buffer, 2.0, 100)
    body = LOOP.format("STORE(f32, y, i, y[i] * y[i] + 1);")
    square = source(device, "square_plus", "inout float32 y, value int64 n", body)
    squared = load_program(device, square).bind(groups(100), buffer, 100)
    replay = device.capture([twice, squared, twice, squared])
    replay()  # ((2 * 1)^2 + 1) * 2)^2 + 1
    assert np.array_equal(download(device, buffer, np.float32), np.full(100, 101, np.float32))
    device.write(buffer, x)
    twice.set(2, 3.0)
    replay()
    assert np.array_equal(download(device, buffer, np.float32), np.full(100, 901, np.float32))


def test_times_are_positive_and_grow_with_the_work(device: Device) -> None:
    body = LOOP.format("f32 v = x[i]; for (i64 k = 0; k < turns; k++) v = sin_f32(v) + 1; STORE(f32, y, i, v);")
    what = source(device, "busy", "out float32 y, in float32 x, value int64 turns, value int64 n", body)
    program, x = load_program(device, what), upload(device, np.ones(64, np.float32))
    y, seconds = device.allocate(x.nbytes), []
    for turns in (1, 20_000):  # one group, and far apart: other programs on the machine must not decide this
        times = device.time(program.bind(groups(64), y, x, turns, 64), 5)
        assert len(times) == 5 and min(times) > 0
        seconds.append(min(times))
    assert seconds[1] > 3 * seconds[0]


def test_compile_error_names_our_line_and_carries_the_log(device: Device) -> None:
    good = scale(device)
    bad = replace(good, body="\n\nKERNEL {\n    y[0] = nonsense;\n}\n", filename="broken.c")
    with pytest.raises(CompileError) as caught:
        device.build(bad)
    assert "nonsense" in caught.value.log
    assert "broken.c" in caught.value.log and any(f"{mark}4" in caught.value.log for mark in (":", "("))
    device.build(good)


def test_more_memory_than_there_is(device: Device) -> None:
    kept = upload(device, np.arange(1000))
    with pytest.raises(OutOfMemory, match="out of memory") as caught:
        device.allocate(1 << 50)
    assert caught.value.asked == 1 << 50 and 0 <= caught.value.free < 1 << 50
    assert np.array_equal(download(device, kept, np.int64), np.arange(1000))
    assert roundtrip(device) is None


def test_memory_is_used_again(device: Device) -> None:
    handles = set()
    for _ in range(20):
        buffer = device.allocate(3_000_000)
        handles.add(buffer.handle if isinstance(buffer.handle, int) else id(buffer.handle))
        del buffer
        gc.collect()
    assert len(handles) < 5


def test_buffers_live_as_long_as_their_launch(device: Device) -> None:
    x = np.arange(10_000, dtype=np.float32)
    target = device.allocate(x.nbytes)
    launch = load_program(device, scale(device)).bind(groups(10_000), target, upload(device, x), 2.0, 10_000)
    others = [upload(device, np.zeros_like(x)) for _ in range(4)]  # would take the source's memory were it free
    launch()
    device.synchronize()
    assert np.array_equal(download(device, target, np.float32), 2 * x)
    assert len(others) == 4


def test_two_threads(device: Device) -> None:
    failures: list[str] = []

    def work(seed: int) -> None:
        x = np.random.default_rng(seed).random(5000, np.float32)
        for turn in range(30):
            (y,) = run(device, scale(device), [(5000, np.float32)], [x], 5000, float(turn))
            if not np.array_equal(y, x * np.float32(turn)):
                failures.append(f"thread {seed}, turn {turn}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_limits_and_fingerprint_say_something(device: Device) -> None:
    limits, fingerprint = device.limits, device.fingerprint
    assert limits.threads_per_group >= 1 and limits.compute_units >= 1 and limits.vector_nbytes >= 4
    assert limits.memory_nbytes > 1 << 28 and 0 < limits.allocation_nbytes <= limits.memory_nbytes
    assert limits.cache_nbytes and "float32" in limits.dtypes
    assert fingerprint.backend == device.name.partition(":")[0] and fingerprint.model and fingerprint.compiler
    assert hash(fingerprint) == hash(replace(fingerprint))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vendor_matmul(device: Device, dtype: str) -> None:
    call = VendorCall(
        "matmul",
        (Layout(dtype, (2, 5, 3), (15, 3, 1), 4),),
        (Layout(dtype, (2, 5, 7), (35, 1, 5)), Layout(dtype, (2, 7, 3), (0, 3, 1), 2)),
    )
    program = device.vendor(call)
    if program is None:
        assert device.vendor(replace(call, op="fft")) is None
        return
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(n).astype(dtype) for n in (70, 23, 34))
    target = upload(device, c)
    launch = program.bind((1, 1, 1), target, upload(device, np.zeros_like(a)), upload(device, b))
    launch.set(1, upload(device, a))
    launch()
    left, right = a.reshape(2, 7, 5).swapaxes(1, 2), b[2:].reshape(7, 3)
    expected = c.copy()
    expected[4:] = np.matmul(left, right).reshape(-1)
    assert np.allclose(download(device, target, dtype), expected, rtol=1e-5)
