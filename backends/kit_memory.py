"""Checks of a device's word about itself, and of memory: bytes come back, nothing overlaps, too much is refused."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import asdict
from typing import Any

import numpy as np

from tilewright.backends.cache import load_program
from tilewright.backends.kit import (
    TEXT,
    Capability,
    Facts,
    NotRun,
    Tier,
    broken,
    expect_bytes,
    expect_equal,
    expect_raises,
)
from tilewright.backends.kit_sources import download, groups, loop, scale, source, upload
from tilewright.backends.protocol import Buffer, Device, Found, LaunchError, OutOfMemory
from tilewright.backends.roundtrip import roundtrip
from tilewright.backends.vet import trouble as trouble_with

memory = Tier("runtime", "memory, programs and launches")

SIZES = (1, 3, 63, 64, 65, 1000, 4097, 100_003)
HUGE = (1 << 32) + 4096  # bytes: an index of 32 bits, signed or not, wraps before the end
LARGE = Capability("buffers of more than 2 GiB", lambda device: device.limits.allocation_nbytes > (1 << 31) + 4096)


def _pattern(nbytes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, nbytes, np.uint8)


@memory.check("The device says what it is: every member there, limits that make sense, a fingerprint that stays.")
def description(device: Device) -> None:
    wrong = trouble_with(Found(device.name, device), device.name.partition(":")[0])
    if wrong:
        broken(wrong)
    if device.fingerprint != device.fingerprint or hash(device.fingerprint) != hash(device.fingerprint):
        broken("the fingerprint differs when it is asked for twice")
    if device.fingerprint.backend != device.name.partition(":")[0]:
        broken(f"the fingerprint's backend is {device.fingerprint.backend!r} on device {device.name!r}")
    json.dumps(asdict(device.fingerprint), allow_nan=False)


@memory.check("Bytes come back as they were written, at odd sizes and offsets, and their neighbours stay.")
def round_trips(device: Device) -> None:
    for nbytes in SIZES:
        data = _pattern(nbytes, nbytes)
        for offset in (0, 1, 7, 4096):
            buffer, frame = device.allocate(nbytes + offset + 5), _pattern(nbytes + offset + 5, 1)
            device.write(buffer, frame)
            device.write(buffer, data, offset)
            what = f"{nbytes} bytes written at offset {offset}"
            expect_bytes(device.read(buffer, nbytes, offset), data, what)
            frame[offset : offset + nbytes] = data
            expect_bytes(device.read(buffer, buffer.nbytes), frame, f"{what}, read with what lies around them")


@memory.check("Anything that lies in one piece of memory may be written, whatever its items: all of its bytes are.")
def items_of_any_size(device: Device) -> None:
    numbers = np.arange(600, dtype=np.float64).reshape(20, 30)
    frozen = numbers[3:]
    frozen.flags.writeable = False
    given: dict[str, Any] = {
        "float64 of two dimensions": numbers, "an array that cannot be written to": frozen,
        "a complex number": np.array(1 - 2j), "bytes": numbers.tobytes(), "a bytearray": bytearray(numbers.tobytes()),
    }  # fmt: skip
    for what, data in given.items():
        wanted = bytes(memoryview(data).cast("B"))
        buffer = device.allocate(len(wanted) + 8)
        device.write(buffer, bytes(len(wanted) + 8))
        device.write(buffer, data, 4)
        expect_bytes(device.read(buffer, buffer.nbytes), bytes(4) + wanted + bytes(4), f"{what}, written at offset 4")


@memory.check("A buffer of no bytes is a buffer like any other.")
def zero_bytes(device: Device) -> None:
    empty, other = device.allocate(0), device.allocate(0)
    if empty.nbytes != 0:
        broken(f"a buffer of 0 bytes says that it has {empty.nbytes}")
    device.write(empty, b"")
    device.copy(empty, other, 0)
    expect_bytes(device.read(empty, 0), b"", "reading nothing")


@memory.check("What was read is the reader's to write to, what was written may be changed at once: both are copies.")
def reads_and_writes_are_copies(device: Device) -> None:
    data = _pattern(1000, 2)
    wanted, buffer = data.tobytes(), device.allocate(1000)
    device.write(buffer, data)
    data[:] = 0
    expect_bytes(device.read(buffer, 1000), wanted, "a buffer whose source was changed after write returned")
    got = np.frombuffer(device.read(buffer, 1000), np.uint8).copy()
    first = device.read(buffer, 1000)
    if memoryview(first).readonly:
        broken(f"what was read is a {type(first).__name__} that its reader cannot write to, not a bytearray")
    device.write(buffer, bytes(1000))
    expect_bytes(first, got, "bytes that were read before the buffer was written again")
    expect_bytes(device.read(buffer, 1000), bytes(1000), "a buffer read before and after it was written")


@memory.check("A copy takes the bytes at the source's offset to the target's offset, and no others.")
def copies_with_offsets(device: Device) -> None:
    data, frame = _pattern(100_100, 3), _pattern(100_100, 4)
    for nbytes, start, end in ((20, 33, 5), (1, 99, 0), (64, 0, 64), (100_003, 64, 97), (0, 5, 5)):
        first, second, expected = upload(device, data), upload(device, frame), frame.copy()
        device.copy(first, second, nbytes, start, end)
        expected[end : end + nbytes] = data[start : start + nbytes]
        what = f"{nbytes} bytes copied from offset {start} to offset {end}"
        expect_bytes(device.read(second, 100_100), expected, what)
        expect_bytes(device.read(first, 100_100), data, f"{what}: the source afterwards")
    buffer = upload(device, data)
    device.copy(buffer, buffer, 100, 0, 50_000)
    expect_bytes(device.read(buffer, 100, 50_000), data[:100], "100 bytes copied within one buffer")


@memory.check("Reading, writing or copying outside a buffer is refused with a LaunchError.")
def ranges_are_refused(device: Device) -> None:
    buffer, other = device.allocate(10), device.allocate(100)
    for what, call in {
        "reading 11 of 10 bytes": lambda: device.read(buffer, 11),
        "reading behind the end": lambda: device.read(buffer, 1, 10),
        "reading before the start": lambda: device.read(buffer, 1, -1),
        "writing 8 bytes at offset 3 of 10": lambda: device.write(buffer, bytes(8), 3),
        "copying out of range of the source": lambda: device.copy(buffer, other, 4, 7, 0),
        "copying out of range of the target": lambda: device.copy(other, buffer, 4, 0, 7),
    }.items():
        expect_raises(LaunchError, call, what)


@memory.check("Buffers that live at the same time share no byte.")
def many_buffers(device: Device) -> None:
    held: list[tuple[Buffer, np.ndarray]] = []
    for k in range(400):
        data = _pattern((1, 64, 100, 4096, 70_001)[k % 5], k)
        held.append((upload(device, data), data))
    for k, (buffer, data) in enumerate(held):
        expect_bytes(device.read(buffer, len(data)), data, f"buffer {k} of 400, written before the others")


@memory.check("A buffer is freed with its last reference.")
def buffers_are_freed(device: Device) -> None:
    buffer = device.allocate(1 << 20)
    device.write(buffer, bytes(1 << 20))
    device.read(buffer, 1 << 20)
    watched = weakref.ref(buffer)
    del buffer
    gc.collect()
    if watched() is not None:
        broken("a buffer that nobody refers to is still held by the device")


@memory.check(
    "A launch keeps its buffers alive, and memory that is handed out again disturbs no launch before it.", TEXT
)
def no_use_after_free(device: Device) -> None:
    x = np.arange(10_000, dtype=np.float32)
    target = device.allocate(x.nbytes)
    launch = load_program(device, scale(device)).bind(groups(x.size), target, upload(device, x), 2.0, x.size)
    gc.collect()
    others = [upload(device, np.zeros_like(x)) for _ in range(4)]  # would take the source's memory were it free
    launch()
    expect_equal(download(device, target, np.float32), 2 * x, "a launch whose input nobody else refers to")
    del others
    for turn in range(5):
        given = upload(device, x + turn)
        launch.set(1, given)
        launch()
        launch.set(1, target)
        del given
        upload(device, np.zeros_like(x))  # may get the memory that the launch is reading still
        result = download(device, target, np.float32)
        expect_equal(result, 2 * (x + turn), "a launch whose input was let go right after it started")


@memory.check("More memory than there is raises OutOfMemory with the bytes asked for, and nothing else is lost.")
def out_of_memory(device: Device) -> Facts:
    kept, limits = upload(device, np.arange(1000)), device.limits
    for nbytes in {1 << 50, 2 * max(limits.memory_nbytes, limits.allocation_nbytes, 1 << 40)}:
        error = expect_raises(OutOfMemory, lambda n=nbytes: device.allocate(n), f"allocating {nbytes} bytes")  # type: ignore[misc]
        if error.asked != nbytes or not -1 <= error.free < nbytes:
            broken(f"OutOfMemory says {error.asked} bytes were asked for and {error.free} are free; asked was {nbytes}")
    expect_equal(download(device, kept, np.int64), np.arange(1000), "a buffer that lived through OutOfMemory")
    trouble = roundtrip(device)
    if trouble:
        broken(f"after OutOfMemory: {trouble}")
    return {"free bytes told": error.free}


@memory.check("Memory may be taken until OutOfMemory says that there is no more; what is let go can be had again.")
def allocation_until_out_of_memory(device: Device) -> Facts:
    limits = device.limits
    whole = limits.memory_nbytes or limits.allocation_nbytes
    if not whole:
        raise NotRun("the device does not say how much memory it has")
    chunk = min(limits.allocation_nbytes or whole, max(whole // 8, 1))
    held: list[Buffer] = []
    taken, refused = 0, False
    while taken < 2 * whole and len(held) < 256:
        try:
            held.append(device.allocate(chunk))
        except OutOfMemory:
            refused = True
            break
        taken += chunk
    if not refused and len(held) == 0:
        broken(f"not one buffer of {chunk} bytes could be had, and OutOfMemory was not raised")
    held.clear()
    gc.collect()
    again = device.allocate(min(chunk, 1 << 20))
    device.write(again, bytes(again.nbytes))
    trouble = roundtrip(device)
    if trouble:
        broken(f"after all memory was taken and let go: {trouble}")
    return {"bytes until refused": taken} if refused else {"bytes promised without being refused": taken}


@memory.check("Addresses are 64 bits wide: bytes beyond 2 GiB are read, written, copied and computed on.", LARGE, TEXT)
def beyond_2_gib(device: Device) -> Facts:
    nbytes = min(device.limits.allocation_nbytes, HUGE)
    try:
        buffer = device.allocate(nbytes)
    except OutOfMemory as error:
        raise NotRun(str(error)) from None
    near_end = nbytes - 64
    places = sorted({near_end, (1 << 31) + 64, near_end % (1 << 31), near_end % (1 << 32), 64})
    for place in places:
        device.write(buffer, bytes(64), place)
    for place in places:
        expect_bytes(device.read(buffer, 64, place), bytes(64), f"64 bytes written at offset {place}")
    say = device.limits.language
    store = say.store("uint8", "y", "row * step + rest + k", say.convert("(k + 1)", say.index, "uint8"))
    body = "if (LOCAL(0) == 0) {\n" + say.loop("k", "0", "64", store) + "}\n"
    what = source(device, "far", "inout uint8 y, value index row, value index step, value index rest", body)
    program, pattern = load_program(device, what), bytes(range(1, 65))
    for place in (near_end, (1 << 31) + 64):
        program.bind((1, 1, 1), buffer, place >> 16, 1 << 16, place & 0xFFFF)()
        for other in places:
            expected = pattern if other == place else bytes(64)
            expect_bytes(device.read(buffer, 64, other), expected, f"offset {other} after a kernel wrote at {place}")
        device.copy(buffer, buffer, 64, place, 1024)
        expect_bytes(device.read(buffer, 64, 1024), pattern, f"64 bytes copied from offset {place}")
        device.write(buffer, bytes(64), place)
    return {"bytes": nbytes}


@memory.check(
    "Launches, writes, copies and reads happen in the order in which they were given, without being asked to.", TEXT
)
def order(device: Device) -> None:
    x = np.arange(3000, dtype=np.float32)
    say = device.limits.language
    body = loop(device, say.store("float32", "y", "i", f"{say.load('float32', 'x', 'i')} + 1"))
    what = source(device, "plus_one", "out float32 y, in float32 x, value index n", body)
    program, one, two = load_program(device, what), upload(device, x), upload(device, np.zeros_like(x))
    forward, back = program.bind(groups(x.size), two, one, x.size), program.bind(groups(x.size), one, two, x.size)
    for turn in range(16):
        forward()
        back()
        device.write(one, np.array([-turn], np.float32).view(np.uint8))
        device.copy(one, two, 4, 4, 4)
        expect_equal(np.frombuffer(device.read(one, 4), np.float32), [-turn], f"a write after launch {2 * turn}")
        expected = x + 2 * (turn + 1)
        expected[0] = -turn
        expect_equal(download(device, one, np.float32), expected, f"after {2 * turn + 2} launches")
        expected -= 1
        expected[:2] = (x[0] + 1 if turn == 0 else -turn + 2, x[1] + 2 * (turn + 1))
        expect_equal(download(device, two, np.float32), expected, f"the other buffer after {2 * turn + 2} launches")
