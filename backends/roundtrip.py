"""Whether a device really works: allocate, write, compile, launch (or compute with its library), read and compare."""

from __future__ import annotations

import numpy as np

from tilewright.backends.cache import load_program
from tilewright.backends.protocol import Arrays, Buffer, Device, Layout, Parameter, Source, TilewrightError, Unsupported

_COUNT = 10_007  # a prime: no group size divides it
_GROUP = 64


def saxpy(device: Device) -> Source:
    """y = a * x + y over CHUNK elements a group."""
    threads = min(_GROUP, max(device.limits.threads_per_group, 1))
    say = device.limits.language
    x, y = say.load("float32", "x", "i"), say.load("float32", "y", "i")
    body = say.let(begin="GROUP(0) * CHUNK") + say.let(end=say.choose("begin + CHUNK < n", "begin + CHUNK", "n"))
    body += say.each("i", "begin", "end", say.store("float32", "y", "i", f"a * {x} + {y}"))
    parameters = (
        Parameter("y", "float32", "inout"), Parameter("x", "float32", "in"),
        Parameter("a", "float32", "value"), Parameter("n", say.index, "value"),
    )  # fmt: skip
    return Source("saxpy", parameters, say.kernel(body), (("CHUNK", 1024),), (threads, 1, 1), filename="saxpy.c")


def _compute(device: Device, y: Buffer, x: Buffer) -> None:
    """By a kernel, or where nothing is compiled by the device's library."""
    if device.limits.compiles:
        load_program(device, saxpy(device)).bind((-(-_COUNT // 1024), 1, 1), y, x, 2.0, _COUNT)()
    elif isinstance(device, Arrays):
        layout = Layout("float32", (_COUNT,), (1,))
        with device.scope():
            device.store(layout, y, device.view(layout, x) * 2 + device.view(layout, y))
    else:
        raise Unsupported(f"{device.name} compiles nothing, and has no arrays of a library (`Arrays`) to compute with")


def roundtrip(device: Device) -> str | None:
    """None if `device` computes saxpy right, else what went wrong in one sentence."""
    x = np.arange(_COUNT, dtype=np.float32)
    y = x[::-1] * np.float32(0.5)
    try:
        source_buffer, target_buffer = device.allocate(x.nbytes), device.allocate(y.nbytes)
        device.write(source_buffer, x)
        device.write(target_buffer, np.ascontiguousarray(y))
        _compute(device, target_buffer, source_buffer)
        device.synchronize()
        result = np.frombuffer(device.read(target_buffer, y.nbytes), np.float32)
    except TilewrightError as error:
        return str(error)
    wrong = int(np.count_nonzero(result != 2 * x + y))
    return f"{device.name}: {wrong} of {_COUNT} elements of a*x+y came back wrong" if wrong else None
