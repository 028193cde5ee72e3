"""Small sources that several tests launch."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.backends.cache import load_program
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Buffer, Device, Parameter, Source

CHUNK = 256


def source(device: Device, entry: str, parameters: str, body: str, helpers: str = "", **defines: int | str) -> Source:
    """A source from "access dtype name, ..."; each group does CHUNK elements from `begin` to `end`, of n."""
    typed = [text.split() for text in parameters.split(",")]
    threads = min(64, device.limits.threads_per_group)
    return Source(
        entry,
        tuple(Parameter(name, dtype, access) for access, dtype, name in typed),
        f"{helpers}\nKERNEL {{\n{body}\n}}\n",
        (("CHUNK", CHUNK), *defines.items()),
        (threads, 1, 1),
        filename=f"{entry}.c",
    )


LOOP = """
    const i64 begin = GROUP(0) * CHUNK, end = begin + CHUNK < n ? begin + CHUNK : n;
    FOR_EACH(i, begin, end) {{
        {0}
    }}"""


def scale(device: Device) -> Source:
    """y = a * x for n float32."""
    body = LOOP.format("STORE(f32, y, i, a * LOAD(f32, x, i));")
    return source(device, "scale", "out float32 y, in float32 x, value float32 a, value int64 n", body)


def groups(n: int) -> tuple[int, int, int]:
    return (max(-(-n // CHUNK), 1), 1, 1)


def upload(device: Device, data: Any) -> Buffer:
    data = np.ascontiguousarray(data)
    buffer = device.allocate(data.nbytes)
    device.write(buffer, data.view(np.uint8))
    return buffer


def download(device: Device, buffer: Buffer, dtype: Any) -> Any:
    return np.frombuffer(device.read(buffer, buffer.nbytes), dtype)


def run(
    device: Device, what: Source, outputs: list[tuple[int, Any]], inputs: list[Any], n: int, *values: Any
) -> list[Any]:
    """Launch over n elements; outputs are (count, NumPy dtype)."""
    targets = [device.allocate(count * np.dtype(dtype).itemsize) for count, dtype in outputs]
    sources = [upload(device, data) for data in inputs]
    load_program(device, what).bind(groups(n), *targets, *sources, *values, n)()
    device.synchronize()
    return [download(device, buffer, dtype) for buffer, (_, dtype) in zip(targets, outputs, strict=True)]


def c_types(dtype: str) -> tuple[str, str]:
    """C names of the compute type of `dtype` and of the unsigned integer of its width."""
    compute = DTYPES[DTYPES[dtype].compute]
    return compute.c, {1: "u8", 2: "u16", 4: "u32", 8: "u64"}[compute.nbytes]
