"""What the devices' launches share: arguments checked and turned into bytes, and several launches as one."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

from tilewright.backends.protocol import Argument, Buffer, Launch, LaunchError, Parameter
from tilewright.backends.tensor_map import TENSOR_MAP, TensorMap

_PACK: dict[str, Callable[..., bytes]] = {
    name: struct.Struct(f"={code}").pack
    for name, code in zip(
        ("int64", "float32", "float64", "int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"),
        "qfdbhiBHIQ",
        strict=True,
    )
}


def pack_value(dtype: str, value: Any) -> bytes:
    """`value` as the 4 or 8 bytes of a kernel's parameter. Raises LaunchError if it is no such number."""
    try:
        return _PACK[dtype](value)
    except OverflowError:  # struct refuses what float32 would round to infinity
        return _PACK[dtype](math.copysign(math.inf, value))
    except (struct.error, KeyError):
        raise LaunchError(f"{value!r} cannot be passed to a kernel as {dtype}") from None


def check_arguments(entry: str, parameters: tuple[Parameter, ...], arguments: tuple[Argument, ...]) -> None:
    """Raises LaunchError unless there is one argument per parameter, a buffer or a number as it asks."""
    if len(arguments) != len(parameters):
        raise LaunchError(f"{entry} takes {len(parameters)} arguments, {len(arguments)} were given")
    for parameter, argument in zip(parameters, arguments, strict=True):
        is_map, is_value = parameter.dtype == TENSOR_MAP, parameter.access == "value"
        if isinstance(argument, Buffer) == is_value or isinstance(argument, TensorMap) != is_map:
            wanted = "a tensor map" if is_map else "a number" if is_value else "a buffer"
            raise LaunchError(f"{entry}: {parameter.name} must be {wanted}, not {argument!r}")


def check_range(buffer: Buffer, nbytes: int, offset: int) -> None:
    """Raises LaunchError unless `nbytes` at `offset` lie in `buffer`, whose memory may go on behind it."""
    if offset < 0 or nbytes < 0 or offset + nbytes > buffer.nbytes:
        name = buffer.device.name
        raise LaunchError(f"{name}: {nbytes} bytes at {offset} do not lie in a buffer of {buffer.nbytes} bytes")


class SequentialReplay:
    """Launches one after the other, and `finish` behind them: a Replay where the device has nothing faster."""

    def __init__(self, launches: Sequence[Launch], finish: Callable[[], None] | None = None) -> None:
        self._calls: tuple[Callable[[], None], ...] = (*launches, *([finish] if finish else []))

    def __call__(self) -> None:
        for call in self._calls:
            call()
