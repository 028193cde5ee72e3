"""Small kernels for checks of devices, and what it takes to run them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.backends.cache import load_program
from tilewright.backends.protocol import Buffer, Device, Parameter, Source

CHUNK = 256


def source(
    device: Device, entry: str, parameters: str, body: str, shared: str = "", helpers: str = "", **defines: int | str
) -> Source:
    """A source from "access dtype name, ...", with "index" for the dtype of the language's indices.

    Each group does CHUNK elements from `begin` to `end`, of n.
    """
    language = device.limits.language
    typed = [text.replace(" index ", f" {language.index} ").split() for text in parameters.split(",")]
    return Source(
        entry,
        tuple(Parameter(name, dtype, access) for access, dtype, name in typed),
        helpers + language.kernel(body, shared),
        (("CHUNK", CHUNK), *defines.items()),
        (threads(device), 1, 1),
        filename=f"{entry}.c",
    )


def threads(device: Device) -> int:
    """Threads in a group of these kernels: a power of two."""
    most = min(64, device.limits.threads_per_group)
    return 1 << most.bit_length() - 1


def loop(device: Device, body: str) -> str:
    """`body` for every i of the group's elements."""
    say = device.limits.language
    return chunk(device) + say.each("i", "begin", "end", body)


def chunk(device: Device) -> str:
    """Declarations of `begin` and `end`, the group's elements."""
    say = device.limits.language
    end = say.choose("begin + CHUNK < n", "begin + CHUNK", "n")
    return say.let(begin="GROUP(0) * CHUNK") + say.let(end=end)


def scale(device: Device, times: str = "a", plus: str = "") -> Source:
    """y = times * x plus, for n float32."""
    say = device.limits.language
    body = loop(device, say.store("float32", "y", "i", f"{times} * {say.load('float32', 'x', 'i')}{plus}"))
    return source(device, "scale", "out float32 y, in float32 x, value float32 a, value index n", body)


def square_plus(device: Device) -> Source:
    """y = y * y + 1 for n float32."""
    say = device.limits.language
    y = say.load("float32", "y", "i")
    body = loop(device, say.store("float32", "y", "i", f"{y} * {y} + 1"))
    return source(device, "square_plus", "inout float32 y, value index n", body)


def busy(device: Device) -> Source:
    """y = x after `turns` dependent steps each, n float32: work that grows with `turns`.

    Where loops end by themselves a turn has many steps, so that those that are left take long enough.
    """
    say = device.limits.language
    turn = "v = sin_f32(v) + 1;\n" * (16 if device.limits.iterations else 1)
    text = say.variable("float32", "v", say.load("float32", "x", "i"))
    text += say.loop("k", "0", "turns", turn) + say.store("float32", "y", "i", "v")
    return source(device, "busy", "out float32 y, in float32 x, value index turns, value index n", loop(device, text))


def counted(device: Device) -> Source:
    """y = y + 1 for n int32."""
    say = device.limits.language
    body = loop(device, say.store("int32", "y", "i", f"{say.load('int32', 'y', 'i')} + 1"))
    return source(device, "counted", "inout int32 y, value index n", body)


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
