"""Devices "clang:0" and so on, one a compiler: clang, zig cc, TinyCC; on one thread. A whole backend, in one file.

Kernels come as neutral C; the prelude in front, here the cpu's, says what KERNEL, LOAD, GROUP(0) and so on mean.
"""

from __future__ import annotations

import ctypes
import itertools
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tilewright.backends import host
from tilewright.backends import protocol as tw
from tilewright.backends.dialect import assemble, c_name, digest, parameters, prelude
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import PLAIN_C, C, Language
from tilewright.backends.launching import SequentialReplay, check_arguments, check_range, pack_value

FLAGS = ("-O3", "-march=native", "-fPIC", "-shared", "-std=gnu11", "-w", "-fwrapv", "-fno-math-errno",
         "-ffp-contract=off", "-fno-sanitize=all", "-DVECTOR_MATH=0")  # fmt: skip
# What each is called by; TinyCC knows no vectors, so that it gets the generated kernels only.
COMPILERS = (("clang",), C), ((sys.executable, "-m", "ziglang", "cc"), C), (("tcc",), PLAIN_C)
SIGNATURE = "static void {0}_group(const i64 group_0, const i64 group_1, const i64 group_2{1})"
# Grid and arguments come as 8-byte slots: addresses as they are, numbers as the bits of their own type.
CALLER = """
void {entry}(const i64 *slots) {{ {unpack}
    for (i64 group_2 = 0; group_2 < slots[2]; group_2++)
        for (i64 group_1 = 0; group_1 < slots[1]; group_1++) for (i64 group_0 = 0; group_0 < slots[0]; group_0++)
            {entry}_group(group_0, group_1, group_2{names}); }}
"""


def c_text(source: tw.Source) -> str:
    """Prelude, kernel, and the function that walks the grid."""
    unpack = ""
    for k, p in enumerate(source.parameters, start=3):
        pointer = "" if p.access == "value" else "*"
        unpack += f"{c_name(p.dtype)} {pointer}{p.name} = *({c_name(p.dtype)} {pointer}const *)(slots + {k});\n"
    names = "".join(f", {p.name}" for p in source.parameters)
    caller = CALLER.format(entry=source.entry, unpack=unpack, names=names)
    return assemble(prelude("cpu"), source, SIGNATURE.format(source.entry, ", " + parameters(source)), caller)


class ClangLaunch:
    """A function with the slots that it reads; the arguments are kept, so that their memory stays."""

    def __init__(self, program: ClangProgram, grid: tuple[int, int, int], arguments: Sequence[tw.Argument]) -> None:
        self._program, self._kept = program, list(arguments)
        self._slots = (ctypes.c_int64 * (3 + len(arguments)))(*grid)
        for index, argument in enumerate(arguments):
            self.set(index, argument)

    def __call__(self) -> None:
        self._program.function(self._slots)

    def set(self, index: int, argument: tw.Argument) -> None:
        value: Any = argument.handle if isinstance(argument, tw.Buffer) else argument
        dtype = "int64" if isinstance(argument, tw.Buffer) else self._program.source.parameters[index].dtype
        struct.pack_into("8s", self._slots, 24 + 8 * index, pack_value(dtype, value))
        self._kept[index] = argument


class ClangProgram:
    def __init__(self, library: ctypes.CDLL, source: tw.Source) -> None:
        self.function, self.source = library[source.entry], source

    def bind(self, grid: tuple[int, int, int], *arguments: tw.Argument) -> tw.Launch:
        check_arguments(self.source.entry, self.source.parameters, arguments)
        return ClangLaunch(self, grid, arguments)


class ClangDevice:
    """Everything runs at once on the caller's thread, so order comes for free and nothing is ever outstanding."""

    def __init__(self, name: str, command: tuple[str, ...], language: Language, version: str) -> None:
        self.name, self._command, self._folder = name, command, tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # Each file has a name of its own: a loader takes an equal path for the library that it has already.
        self._files = (Path(self._folder.name) / f"{number}.so" for number in itertools.count())
        text = ("text", digest(prelude("cpu") + CALLER + SIGNATURE + " ".join(FLAGS)))
        model = (host.cpu_vendor(), host.cpu_model(), sys.platform, host.isa())
        self.fingerprint = tw.Fingerprint("clang", *model, 1, "", "", version, (text,))
        memory, vector = host.memory_nbytes(), host.vector_nbytes()
        self.limits = tw.Limits(
            threads_per_group=1, shared_nbytes=1 << 18, registers=host.vector_registers() * vector // 4,
            compute_units=1, subgroup=1, vector_nbytes=vector, cache_nbytes=host.cache_nbytes(), memory_nbytes=memory,
            allocation_nbytes=memory, dtypes=frozenset(DTYPES), language=language,
        )  # fmt: skip

    def allocate(self, nbytes: int) -> tw.Buffer:
        if 0 <= (free := host.available_nbytes()) < nbytes:
            raise tw.OutOfMemory(self.name, nbytes, free)
        memory = np.empty(nbytes + 64, np.uint8)
        start = -memory.ctypes.data % 64  # a cache line, and the widest vector
        return tw.Buffer(self, nbytes, memory.ctypes.data + start, memory[start : start + nbytes])

    def write(self, buffer: tw.Buffer, data: Any, offset: int = 0) -> None:
        check_range(buffer, memoryview(data).nbytes, offset)
        ctypes.memmove(buffer.handle + offset, bytes(data), memoryview(data).nbytes)

    def read(self, buffer: tw.Buffer, nbytes: int, offset: int = 0) -> bytearray:
        check_range(buffer, nbytes, offset)
        return bytearray(buffer.host[offset : offset + nbytes])

    def copy(
        self, source: tw.Buffer, target: tw.Buffer, nbytes: int, source_offset: int = 0, target_offset: int = 0
    ) -> None:
        self.write(target, self.read(source, nbytes, source_offset), target_offset)

    def build(self, source: tw.Source) -> bytes:
        command = (*self._command, *FLAGS, "-x", "c", "-", "-o", str(target := next(self._files)), "-lm")
        done = subprocess.run(command, input=c_text(source).encode(), capture_output=True)
        if done.returncode:
            raise tw.CompileError(f"{self._command[0]} refused a kernel:", done.stderr.decode(errors="replace"))
        return target.read_bytes()

    def load(self, binary: bytes, source: tw.Source) -> ClangProgram:
        (path := next(self._files)).write_bytes(binary)
        return ClangProgram(ctypes.CDLL(str(path)), source)

    def vendor(self, call: tw.VendorCall) -> None: ...

    def capture(self, launches: Sequence[tw.Launch]) -> SequentialReplay:
        return SequentialReplay(launches)

    def time(self, launch: tw.Launch, repeats: int) -> list[float]:
        marks = [perf_counter(), *((launch(), perf_counter())[1] for _ in range(repeats))]
        return [end - begin for begin, end in itertools.pairwise(marks)]

    def synchronize(self) -> None: ...


def discover() -> list[tw.Found]:
    """A device for every compiler that is here; zig's comes as a Python package."""
    found: list[tw.Found] = []
    for command, language in COMPILERS:
        told = subprocess.run((*command, "-v"), capture_output=True, text=True) if shutil.which(command[0]) else None
        if told is not None and told.returncode == 0:
            name, version = f"clang:{len(found)}", (told.stdout + told.stderr).partition("\n")[0]
            found.append(tw.Found(name, ClangDevice(name, command, language, version)))
    return found or [tw.Found("clang", None, "clang: there is no clang, zig or tcc", "pip install ziglang")]
