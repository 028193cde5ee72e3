"""A CUDA device without a GPU: the cuda backend's own text, compiled as C++ with twins for what CUDA gives.

It shows what a compiler cannot: results, barriers that not all threads reach, shared memory read before it is written.
It is slow and says nothing of speed. Memory is the cpu device's.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tilewright.backends.cpu import CpuDevice
from tilewright.backends.cuda import cuda_text
from tilewright.backends.dialect import c_name, digest, prelude
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.launching import SequentialReplay, check_arguments, pack_value
from tilewright.backends.protocol import (
    Argument,
    Buffer,
    CompileError,
    Fingerprint,
    Launch,
    LaunchError,
    Limits,
    Source,
    VendorCall,
)  # fmt: skip
from tilewright.backends.tensor_map import TENSOR_MAP, TensorMap

HEADERS = ("emulated.h", "emulated_warp.h", "emulated_hopper.h", "emulated_warpgroup.h")
TWINS = "".join((Path(__file__).parent / name).read_text() for name in HEADERS)
FLAGS = (
    "-std=c++17",
    "-O1",
    "-march=native",
    "-ffp-contract=off",
    "-fwrapv",
    "-fno-strict-aliasing",
    "-fPIC",
    "-shared",
    "-w",
)
LIMITS = Limits(
    threads_per_group=1024, shared_nbytes=48 << 10, registers=65536, compute_units=4, subgroup=32, vector_nbytes=16,
    cache_nbytes=(64 << 10, 4 << 20), memory_nbytes=1 << 32, allocation_nbytes=1 << 32, dtypes=frozenset(DTYPES),
    matrix_units=frozenset(("mma",)), launch_shared_nbytes=99 << 10,
)  # fmt: skip
HOPPER = replace(LIMITS, matrix_units=frozenset(("mma", "wgmma")), launch_shared_nbytes=227 << 10)


def emulated_text(source: Source) -> str:
    """The twins, the CUDA text unchanged, and a function that runs the grid and returns what went wrong."""
    arguments = []
    for k, p in enumerate(source.parameters, start=3):
        pointed = p.access != "value" or p.dtype == TENSOR_MAP
        star = "*" if p.dtype == TENSOR_MAP else ""
        arguments.append(f"{star}*({c_name(p.dtype)} {'*' if pointed else ''}const *)(slots + {k})")
    driver = f"""
#line 1 "the emulation's driver"
static const i64 *slots;
static void call() {{ {source.entry}({", ".join(arguments)}); }}
extern "C" const char *tilewright_run(const i64 *given) {{
    slots = given;
    return emulated::run(given, {{{source.group[0]}, {source.group[1]}, {source.group[2]}}}, call);
}}
"""
    return f"#define EMULATED_DYNAMIC_NBYTES {source.shared_nbytes}\n" + TWINS + cuda_text(source) + driver


class _Map(ctypes.Structure):
    """struct TensorMap of emulated_hopper.h."""

    _fields_ = (
        ("base", ctypes.c_int64), ("shape", ctypes.c_int64 * 3), ("strides", ctypes.c_int64 * 2),
        ("box", ctypes.c_int * 3), ("nbytes", ctypes.c_int), ("span", ctypes.c_int),
    )  # fmt: skip


class EmulatedLaunch:
    """Grid and arguments in 8-byte slots, tensor maps behind them. Runs when it is called."""

    def __init__(self, program: EmulatedProgram, grid: tuple[int, int, int], arguments: tuple[Argument, ...]) -> None:
        self._program, self._arguments = program, list(arguments)
        self._slots = (ctypes.c_int64 * (3 + len(arguments)))(*grid)
        self._maps: dict[int, _Map] = {}
        for index, argument in enumerate(arguments):
            self.set(index, argument)

    def __call__(self) -> None:
        fault = self._program.run(self._slots).decode()
        if fault:
            raise LaunchError(f"{self._program.source.entry}: {fault}")

    def set(self, index: int, argument: Argument) -> None:
        if isinstance(argument, Buffer):
            self._slots[3 + index] = argument.handle
        elif isinstance(argument, TensorMap):
            self._encode(index, argument)
        else:
            packed = pack_value(self._program.source.parameters[index].dtype, argument)
            self._slots[3 + index] = int.from_bytes(packed.ljust(8, b"\0"), "little", signed=True)
        self._arguments[index] = argument  # keeps buffers alive
        for k in self._maps:
            found = self._arguments[k]
            if isinstance(found, TensorMap) and found.argument == index:
                self._encode(k, found)

    def _encode(self, index: int, given: TensorMap) -> None:
        address = self._arguments[given.argument].handle  # type: ignore[union-attr]
        reason = given.refusal(address)
        if reason is not None:
            raise LaunchError(f"argument {given.argument} cannot be copied in boxes: {reason}")
        nbytes = DTYPES[given.dtype].nbytes
        self._maps[index] = _Map(address + given.offset, given.shape, given.strides, given.box, nbytes, given.span)
        self._slots[3 + index] = ctypes.addressof(self._maps[index])


class EmulatedProgram:
    def __init__(self, library: ctypes.CDLL, source: Source) -> None:
        self.source, self.run = source, library.tilewright_run
        self.run.restype = ctypes.c_char_p

    def bind(self, grid: tuple[int, int, int], *arguments: Argument) -> Launch:
        check_arguments(self.source.entry, self.source.parameters, arguments)
        return EmulatedLaunch(self, grid, arguments)


class EmulatedCuda:
    """The protocol's Device. One thread at a time."""

    name = "emulated cuda"
    limits = LIMITS

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self._host = CpuDevice()
        self.compiler = shutil.which("g++") or ""
        versions = (("text", digest(TWINS + prelude("cuda") + " ".join(FLAGS))),)
        self.fingerprint = Fingerprint("emulated", "", "", "", (), 1, "", "", self.compiler, versions)
        self.write, self.read, self.copy = self._host.write, self._host.read, self._host.copy

    def allocate(self, nbytes: int) -> Buffer:
        block = self._host.allocate(nbytes)
        return Buffer(self, nbytes, block.handle, block.host, _Kept(block))

    def build(self, source: Source) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "kernel.so"
            command = (self.compiler, *FLAGS, "-x", "c++", "-", "-o", str(target))
            done = subprocess.run(command, input=emulated_text(source), text=True, capture_output=True, check=False)
            if done.returncode:
                raise CompileError(f"{self.name}: g++ refused a kernel:", done.stderr)
            return target.read_bytes()

    def load(self, binary: bytes, source: Source) -> EmulatedProgram:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernel.so"
            path.write_bytes(binary)
            return EmulatedProgram(ctypes.CDLL(str(path)), source)

    def vendor(self, call: VendorCall) -> None:
        return None

    def capture(self, launches: Sequence[Launch]) -> SequentialReplay:
        return SequentialReplay(launches)

    def time(self, launch: Launch, repeats: int) -> list[float]:
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            launch()
            seconds.append(time.perf_counter() - start)
        return seconds

    def synchronize(self) -> None:
        """Nothing is ever outstanding."""


class _Kept:
    """Holds the cpu device's buffer as long as ours lives."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def release(self) -> None:
        self._buffer = None
