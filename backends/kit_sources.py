"""Small kernels for checks of devices, and what it takes to run them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.backends.cache import load_program
from tilewright.backends.protocol import Buffer, Device, Parameter, Source

CHUNK = 256


def source(device: Device, entry: str, parameters: str, body: str, helpers: str = "", **defines: int | str) -> Source:
    """A source from "access dtype name, ..."; each group does CHUNK elements from `begin` to `end`, of n."""
    typed = [text.split() for text in parameters.split(",")]
    return Source(
        entry,
        tuple(Parameter(name, dtype, access) for access, dtype, name in typed),
        f"{helpers}\nKERNEL {{\n{body}\n}}\n",
        (("CHUNK", CHUNK), *defines.items()),
        (threads(device), 1, 1),
        filename=f"{entry}.c",
    )


def threads(device: Device) -> int:
    """Threads in a group of these kernels: a power of two."""
    most = min(64, device.limits.threads_per_group)
    return 1 << most.bit_length() - 1


LOOP = """
    const i64 begin = GROUP(0) * CHUNK, end = begin + CHUNK < n ? begin + CHUNK : n;
    FOR_EACH(i, begin, end) {{
        {0}
    }}"""


def scale(device: Device) -> Source:
    """y = a * x for n float32."""
    body = LOOP.format("STORE(f32, y, i, a * LOAD(f32, x, i));")
    return source(device, "scale", "out float32 y, in float32 x, value float32 a, value int64 n", body)


def square_plus(device: Device) -> Source:
    """y = y * y + 1 for n float32."""
    body = LOOP.format("STORE(f32, y, i, LOAD(f32, y, i) * LOAD(f32, y, i) + 1);")
    return source(device, "square_plus", "inout float32 y, value int64 n", body)


def busy(device: Device) -> Source:
    """y = x after `turns` dependent steps each, n float32: work that grows with `turns`."""
    body = LOOP.format("f32 v = x[i]; for (i64 k = 0; k < turns; k++) v = sin_f32(v) + 1; STORE(f32, y, i, v);")
    return source(device, "busy", "out float32 y, in float32 x, value int64 turns, value int64 n", body)


def groups(n: int) -> tuple[int, int, int]:
    """The grid for n elements, CHUNK a group."""
    return (max(-(-n // CHUNK), 1), 1, 1)


def upload(device: Device, data: Any) -> Buffer:
    """A buffer with the elements of an array."""
    data = np.ascontiguousarray(data)
    buffer = device.allocate(data.nbytes)
    device.write(buffer, data.view(np.uint8))
    return buffer


def download(device: Device, buffer: Buffer, dtype: Any) -> Any:
    """All of a buffer as a flat array."""
    return np.frombuffer(device.read(buffer, buffer.nbytes), dtype)


def run(
    device: Device, what: Source, outputs: list[tuple[int, Any]], inputs: list[Any], n: int, *values: Any
) -> list[Any]:
    """Launch over n elements; outputs are (count, NumPy dtype). The values, then n, are the last arguments."""
    targets = [device.allocate(count * np.dtype(dtype).itemsize) for count, dtype in outputs]
    sources = [upload(device, data) for data in inputs]
    load_program(device, what).bind(groups(n), *targets, *sources, *values, n)()
    device.synchronize()
    return [download(device, buffer, dtype) for buffer, (_, dtype) in zip(targets, outputs, strict=True)]
