"""Compiled functions of the cpu device with their arguments bound, alone and many as one call."""

from __future__ import annotations

import ctypes
import functools
import itertools
import struct
from collections.abc import Callable, Sequence
from typing import Any

from tilewright.backends.launching import check_arguments, pack_value
from tilewright.backends.protocol import Argument, Launch, Source


class CpuLaunch:
    """A compiled function and the slots it reads: grid, then one 8-byte slot per argument."""

    __slots__ = ("_arguments", "_run", "_values", "address", "program", "slots")

    def __init__(self, program: CpuProgram, grid: tuple[int, int, int], arguments: tuple[Argument, ...]) -> None:
        self.program, self._run, self._values = program, program.run, program.values
        self.slots = (ctypes.c_int64 * (3 + len(arguments)))(*grid)
        self.address = ctypes.addressof(self.slots)
        self._arguments: list[Argument] = list(arguments)  # keeps the buffers alive
        for index, argument in enumerate(arguments):
            self.set(index, argument)

    def __call__(self) -> None:
        self._run(self.address)

    def set(self, index: int, argument: Argument) -> None:
        dtype = self._values[index]
        if dtype is None:
            self.slots[3 + index] = argument.handle  # type: ignore[union-attr]
        else:
            struct.pack_into("8s", self.slots, 8 * (3 + index), pack_value(dtype, argument))
        self._arguments[index] = argument


class CpuProgram:
    """A loaded library's function."""

    def __init__(self, library: ctypes.CDLL, source: Source) -> None:
        self.entry, self.parameters = source.entry, source.parameters
        self.values = tuple(p.dtype if p.access == "value" else None for p in source.parameters)  # None: a buffer
        function = library[f"tilewright_{source.entry}" if source.raw else source.entry]
        self.address = ctypes.cast(function, ctypes.c_void_p).value or 0
        self.run = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)  # lets go of the GIL while it runs
        self.replay = library["tilewright_replay"]
        self.replay.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        self.replay.restype = None

    def bind(self, grid: tuple[int, int, int], *arguments: Argument) -> Launch:
        check_arguments(self.entry, self.parameters, arguments)
        return CpuLaunch(self, grid, arguments)


class CpuReplay(functools.partial[None]):
    """Launches in order as one call, without a frame of Python's where all are compiled."""

    launches: tuple[Launch, ...]  # their slots are read in place, so `set` reaches a replay


def replay_of(launches: Sequence[Launch]) -> CpuReplay:
    """Runs of compiled launches in one call each, vendor calls between them."""
    steps: list[Callable[[], Any]] = []
    for compiled, group in itertools.groupby(launches, lambda x: isinstance(x, CpuLaunch)):
        run: list[Any] = list(group)
        steps += [_joined(run)] if compiled else run
    replay = steps[0] if len(steps) == 1 and isinstance(steps[0], CpuReplay) else CpuReplay(_in_order, tuple(steps))
    replay.launches = tuple(launches)
    return replay


def _joined(launches: list[CpuLaunch]) -> CpuReplay:
    program, count = launches[0].program, len(launches)
    if count == 1:
        return CpuReplay(program.run, launches[0].address)
    entries = (ctypes.c_void_p * count)(*(x.program.address for x in launches))
    slots = (ctypes.c_void_p * count)(*(x.address for x in launches))
    return CpuReplay(program.replay, entries, slots, count)


def _in_order(steps: tuple[Callable[[], Any], ...]) -> None:
    for step in steps:
        step()
