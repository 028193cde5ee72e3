"""The CPU: C compiled at run time, threads over the groups, called through ctypes with everything prebound."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from tilewright.backends import cache, cpu_team, host
from tilewright.backends.cpu_compiler import REMEDY, Compiler, find_compiler
from tilewright.backends.cpu_launch import CpuProgram, CpuReplay, replay_of
from tilewright.backends.cpu_vendor import blas_version, vendor_program
from tilewright.backends.dialect import assemble, c_name, digest, parameters, prelude
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.launching import check_range
from tilewright.backends.pool import Pool
from tilewright.backends.protocol import (
    Buffer,
    Fingerprint,
    Found,
    Launch,
    Limits,
    OutOfMemory,
    Source,
    Unsupported,
    VendorCall,
)  # fmt: skip

_ALIGNMENT = 64  # a cache line, and the widest SIMD register
_CHECKED_NBYTES = 1 << 26  # from here on an allocation is worth the 50 us that asking for the free memory takes
_BATCH_NS = 100_000  # shorter runs are timed several at once, since the clock and the call cost some hundred ns

# Every library carries the loop that runs a captured list of kernels, so that none has to be compiled for it. What
# shares its groups among threads (cpu_team.c) is put in when it is loaded.
_EPILOGUE = """
#ifndef LAUNCH_WORK /* not known: taken to be much */
#define LAUNCH_WORK (8 * SMALL_WORK)
#endif
void (*tilewright_team)(void (*)(const i64 *, i64, i64), const i64 *, i64, int);
static void {entry}_groups(const i64 *slots, const i64 begin, const i64 end) {{
    const i64 size_0 = slots[0], size_1 = slots[1];
{unpack}
    for (i64 group = begin; group < end; group++)
        {entry}_group(group % size_0, group / size_0 % size_1, group / (size_0 * size_1){values});
}}
void {entry}(const i64 *slots) {{
    const i64 count = slots[0] * slots[1] * slots[2];
{unpack}
    if (count == 1 || LAUNCH_WORK < SMALL_WORK)
        {entry}_groups(slots, 0, count);
    else
        tilewright_team({entry}_groups, slots, count, LAUNCH_WORK < 8 * SMALL_WORK);
}}
void tilewright_replay(void (*const *entries)(const i64 *), const i64 *const *slots, i64 count) {{
    for (i64 k = 0; k < count; k++) entries[k](slots[k]);
}}
"""
# A raw function is called once. The constant makes the compiler say so where the text lacks it.
_RAW_EPILOGUE = """
static const __typeof__(&{entry}) tilewright_raw = &{entry};
void tilewright_{entry}(const long long *slots) {{
{unpack}
    tilewright_raw({values});
}}
void tilewright_replay(void (*const *entries)(const long long *), const long long *const *slots, long long count) {{
    for (long long k = 0; k < count; k++) entries[k](slots[k]);
}}
"""
_SIGNATURE = (
    "static __attribute__((noinline)) void {entry}_group(const i64 group_0, const i64 group_1, const i64 group_2{rest})"
)


def c_text(source: Source) -> str:
    """The whole C of `source`: what the compiler gets."""
    if source.raw:
        return _raw_text(source)
    rest = parameters(source)
    unpack = []
    for k, p in enumerate(source.parameters, start=3):
        if p.access == "value":
            unpack.append(f"    {c_name(p.dtype)} {p.name}; __builtin_memcpy(&{p.name}, slots + {k}, sizeof {p.name});")
        else:
            unpack.append(f"    {c_name(p.dtype)} *{p.name} = ({c_name(p.dtype)} *)slots[{k}];")
    epilogue = _EPILOGUE.format(
        entry=source.entry,
        unpack="\n".join(unpack),
        values="".join(f", {p.name}" for p in source.parameters),
    )
    signature = _SIGNATURE.format(entry=source.entry, rest=f", {rest}" if rest else "")
    return assemble(prelude("cpu"), source, signature, epilogue)


def _raw_text(source: Source) -> str:
    """A function of the user's own, and what calls it with the arguments in the slots."""
    unpack = []
    for k, p in enumerate(source.parameters, start=3):
        if p.access != "value":
            unpack.append(f"    void *{p.name} = (void *)slots[{k}];")
        else:
            c = {"float32": "float", "float64": "double"}.get(p.dtype, f"__{p.dtype.upper()}_TYPE__")
            unpack.append(f"    {c} {p.name}; __builtin_memcpy(&{p.name}, slots + {k}, sizeof {p.name});")
    values = ", ".join(p.name for p in source.parameters)
    epilogue = _RAW_EPILOGUE.format(entry=source.entry, unpack="\n".join(unpack), values=values)
    return assemble("", source, "", epilogue)


class CpuDevice:
    """The device "cpu". Calls run at once on the caller's thread, so order and synchronisation come for free."""

    name = "cpu"

    def __init__(self) -> None:
        self.compiler: Compiler | None = None
        self.no_compiler = ""
        try:
            self.compiler = find_compiler()
        except Unsupported as error:
            self.no_compiler = str(error)
        self._pool = Pool(_allocate, max(host.memory_nbytes() // 4, 1 << 28))
        self.fingerprint = _fingerprint(self.compiler)
        self.limits = _limits()
        self._team: ctypes.c_void_p | None = None
        self._starting = threading.Lock()

    def allocate(self, nbytes: int) -> Buffer:
        if nbytes >= _CHECKED_NBYTES and not self._pool.has(nbytes):
            self._reserve(nbytes)
        try:
            block = self._pool.take(nbytes)
        except MemoryError:
            self._pool.trim()
            raise OutOfMemory(self.name, nbytes, host.available_nbytes()) from None
        return Buffer(self, nbytes, block.handle, block.host, block)

    def _reserve(self, nbytes: int) -> None:
        """The system promises more than it has and kills who believes it, so large requests are checked first."""
        free = host.available_nbytes()
        if 0 <= free < nbytes + nbytes // 4 and self._pool.idle_nbytes:
            self._pool.trim()
            free = host.available_nbytes()
        if 0 <= free < nbytes:
            raise OutOfMemory(self.name, nbytes, free)

    def write(self, buffer: Buffer, data: Any, offset: int = 0) -> None:
        view = memoryview(data)
        check_range(buffer, view.nbytes, offset)
        if view.nbytes:
            buffer.host[offset : offset + view.nbytes] = np.frombuffer(view, np.uint8)

    def read(self, buffer: Buffer, nbytes: int, offset: int = 0) -> bytearray:
        check_range(buffer, nbytes, offset)
        return bytearray(buffer.host[offset : offset + nbytes])

    def copy(self, source: Buffer, target: Buffer, nbytes: int, source_offset: int = 0, target_offset: int = 0) -> None:
        check_range(source, nbytes, source_offset)
        check_range(target, nbytes, target_offset)
        target.host[target_offset : target_offset + nbytes] = source.host[source_offset : source_offset + nbytes]

    def build(self, source: Source) -> bytes:
        if self.compiler is None:
            raise Unsupported(self.no_compiler)
        return self.compiler.compile(c_text(source))

    def load(self, binary: bytes, source: Source) -> CpuProgram:
        library = _load_library(binary)
        if not source.raw:
            ctypes.c_void_p.in_dll(library, "tilewright_team").value = self._team_run()
        return CpuProgram(library, source)

    def _team_run(self) -> int | None:
        """Where the function is that shares a loop among the threads."""
        with self._starting:  # a second team would compete with the first for the cores
            if self._team is None:
                library = _load_library(cache.binary(self, cpu_team.SOURCE))
                self._team = cpu_team.start(library, self.limits.compute_units)
        return self._team.value

    def vendor(self, call: VendorCall) -> Any:
        return vendor_program(self, call)

    def capture(self, launches: Sequence[Launch]) -> CpuReplay:
        return replay_of(launches)

    def time(self, launch: Launch, repeats: int) -> list[float]:
        """The first run counts as well where it is long: whoever wants warm caches asks for one more and drops it."""
        first = _nanoseconds(launch)
        batch = min(max(_BATCH_NS // max(first, 1), 1), 1000)
        if batch == 1:
            return [1e-9 * first, *(1e-9 * _nanoseconds(launch) for _ in range(repeats - 1))]
        run = self.capture([launch] * batch)
        return [1e-9 * _nanoseconds(run) / batch for _ in range(repeats)]

    def synchronize(self) -> None:
        """Nothing is ever outstanding."""


def _nanoseconds(run: Callable[[], None]) -> int:
    start = perf_counter_ns()
    run()
    return perf_counter_ns() - start


def _allocate(nbytes: int) -> tuple[int, Any]:
    raw = np.empty(nbytes + _ALIGNMENT, np.uint8)  # NumPy asks for huge pages where they help
    start = -raw.ctypes.data % _ALIGNMENT
    return raw.ctypes.data + start, raw[start : start + nbytes]


_loaded = itertools.count(1)


def _load_library(binary: bytes) -> ctypes.CDLL:
    """Load a shared library from memory where the system can, else through a file."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tilewright")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(binary)
            # The loader takes an equal path for the library it has already, and descriptors' numbers are used again:
            # the count of loads goes into the path, a bit each, as "/." or nothing.
            unique = "".join("./" if bit == "1" else "/" for bit in bin(next(_loaded))[2:])
            return ctypes.CDLL(f"/proc/self/fd/{unique}{descriptor}")
        finally:
            os.close(descriptor)
    with tempfile.TemporaryDirectory(prefix="tilewright-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / f"kernel{next(_loaded)}.so"
        path.write_bytes(binary)
        return ctypes.CDLL(str(path))


def _fingerprint(compiler: Compiler | None) -> Fingerprint:
    text = prelude("cpu") + _EPILOGUE + _RAW_EPILOGUE + _SIGNATURE
    text += " ".join(compiler.flags) if compiler else ""
    versions = (("numpy", np.__version__), ("blas", blas_version()), ("prelude", digest(text)))
    return Fingerprint(
        "cpu", host.cpu_vendor(), host.cpu_model(), os.uname().machine if hasattr(os, "uname") else "", host.isa(),
        host.threads(), "", "", compiler.version if compiler else "", versions,
    )  # fmt: skip


def _limits() -> Limits:
    memory = host.memory_nbytes()
    return Limits(
        threads_per_group=1,
        shared_nbytes=1 << 18,  # SHARED lies on the stack, and a nearer cache than L2 would not hold more
        registers=host.vector_registers() * host.vector_nbytes() // 4,
        compute_units=host.threads(),
        subgroup=1,
        vector_nbytes=host.vector_nbytes(),
        cache_nbytes=host.cache_nbytes(),
        memory_nbytes=memory,
        allocation_nbytes=memory,
        dtypes=frozenset(DTYPES),
        matrix_units=host.matrix_units(),
    )


@functools.cache
def _device() -> CpuDevice:
    return CpuDevice()


def discover() -> list[Found]:
    """The one CPU there is. Without a compiler it still holds data and does what NumPy does."""
    device = _device()
    note = f"{device.no_compiler}; until then only NumPy's own routines run" if device.no_compiler else ""
    return [Found("cpu", device, remedy=REMEDY if device.no_compiler else "", note=note)]
