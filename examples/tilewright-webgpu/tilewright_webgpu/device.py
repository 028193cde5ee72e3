"""The device "webgpu:0", "webgpu:1", ...: an adapter of wgpu, that is Vulkan, Metal or DirectX 12."""

from __future__ import annotations

import os
import re
import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import wgpu

from tilewright.backends import host
from tilewright.backends import protocol as tw
from tilewright.backends.dialect import digest
from tilewright.backends.launching import check_arguments, check_range, pack_value
from tilewright_webgpu.language import Wgsl
from tilewright_webgpu.text import MAX_GROUPS, Values, module

_STORAGE = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
_KEPT = 256  # pipelines that stay compiled though nobody holds them
LLVMPIPE = 65535 - 1024  # Mesa's software renderer lets no thread take more turns of its loops, all of them together
NARROW = ("bool", "int8", "int16", "uint8", "uint16", "int32", "uint32", "float16", "bfloat16", "float32", "complex64")


class WebgpuLaunch:
    """A pipeline with its bind group and the bytes of its numbers, both renewed where an argument was replaced."""

    def __init__(self, program: WebgpuProgram, grid: tuple[int, int, int], arguments: Sequence[tw.Argument]) -> None:
        self._program, self._arguments = program, list(arguments)
        groups = grid[0] * grid[1] * grid[2]
        wide = min(groups, MAX_GROUPS)
        rows = -(-groups // MAX_GROUPS)
        self._dispatch = (wide, min(rows, MAX_GROUPS), -(-rows // MAX_GROUPS))
        self._groups = groups
        self._numbers = bytearray(program.values.nbytes)
        struct.pack_into("=iii", self._numbers, 0, groups, grid[0], max(grid[1], 1))
        self._uniform = program.device.uniform(program.values.nbytes)
        self._bound: Any = None
        self._stale = True
        for index in program.numbers:
            self._pack(index, arguments[index])

    def _pack(self, index: int, argument: Any) -> None:
        raw = pack_value(self._program.source.parameters[index].dtype, argument)
        at = self._program.values.offsets[self._program.numbers.index(index)]
        self._numbers[at : at + len(raw)] = raw
        self._stale = True

    def set(self, index: int, argument: tw.Argument) -> None:
        if isinstance(argument, tw.Buffer):
            self._bound = None
        else:
            self._pack(index, argument)
        self._arguments[index] = argument

    def encode(self, encoder: Any, **timing: Any) -> None:
        """Record the launch; its numbers go to the device at once, in order with what was submitted."""
        device = self._program.device
        if self._stale:
            device.queue.write_buffer(self._uniform, 0, self._numbers)
            self._stale = False
        if self._bound is None:
            self._bound = self._program.bound([a for a in self._arguments if isinstance(a, tw.Buffer)], self._uniform)
        run = encoder.begin_compute_pass(**timing)
        run.set_pipeline(self._program.pipeline)
        run.set_bind_group(0, self._bound)
        if self._groups:
            run.dispatch_workgroups(*self._dispatch)
        run.end()

    def __call__(self) -> None:
        self._program.device.submit([self])


class WebgpuProgram:
    def __init__(self, device: WebgpuDevice, source: tw.Source, layout: Any, pipeline: Any) -> None:
        self.device, self.source, self.layout, self.pipeline = device, source, layout, pipeline
        self.numbers = [k for k, p in enumerate(source.parameters) if p.access == "value"]
        self.values = Values.of(tuple(source.parameters[k] for k in self.numbers), device.wide)

    def bind(self, grid: tuple[int, int, int], *arguments: tw.Argument) -> WebgpuLaunch:
        check_arguments(self.source.entry, self.source.parameters, arguments)
        if grid[0] * grid[1] * grid[2] >= 1 << 31:
            raise tw.LaunchError(f"{self.source.entry}: a grid of {grid} groups is beyond 32-bit numbers")
        return WebgpuLaunch(self, grid, arguments)

    def bound(self, buffers: list[tw.Buffer], uniform: Any) -> Any:
        parts = [(b.handle, b.handle.size) for b in buffers] + [(uniform, self.values.nbytes)]
        entries = [
            {"binding": k, "resource": {"buffer": handle, "offset": 0, "size": size}}
            for k, (handle, size) in enumerate(parts)
        ]
        return self.device.native.create_bind_group(layout=self.layout, entries=entries)


class WebgpuReplay:
    def __init__(self, device: WebgpuDevice, launches: Sequence[tw.Launch]) -> None:
        self._device, self._launches = device, list(launches)

    def __call__(self) -> None:
        self._device.submit(self._launches)


class WebgpuDevice:
    """`without`: features of the adapter that are left unused, as if it had none of them."""

    def __init__(self, name: str, adapter: Any, without: frozenset[str] = frozenset()) -> None:
        self.name = name
        wanted = ({"shader-int64", "timestamp-query"} - without) & set(adapter.features)
        self.wide = "shader-int64" in wanted
        self.language = Wgsl(self.wide)
        most = ("max-storage-buffers-per-shader-stage", "max-storage-buffer-binding-size", "max-buffer-size",
                "max-compute-invocations-per-workgroup", "max-compute-workgroup-size-x",
                "max-compute-workgroup-storage-size")  # fmt: skip
        limits = {name: adapter.limits[name] for name in most}
        self.native = adapter.request_device_sync(required_features=sorted(wanted), required_limits=limits)
        self.queue, self._clocked = self.native.queue, "timestamp-query" in wanted
        self._lock = threading.RLock()  # one encoder at a time, and errors that belong to the call that made them
        self._pipelines: OrderedDict[bytes, tuple[Any, Any]] = OrderedDict()
        self.fingerprint, self.limits = _fingerprint(adapter.info, wanted), _limits(adapter.info, limits, self.language)
        self._fence = self.native.create_buffer(size=16, usage=_STORAGE)
        self._stamps: Any = None

    def allocate(self, nbytes: int) -> tw.Buffer:
        free = host.available_nbytes() if self.limits.memory_nbytes else -1
        if nbytes > self.limits.allocation_nbytes or 0 <= free < nbytes:
            raise tw.OutOfMemory(self.name, nbytes, min(free, self.limits.allocation_nbytes))
        try:
            handle = self.native.create_buffer(size=max(-(-nbytes // 16) * 16, 16), usage=_STORAGE)
        except wgpu.GPUError as error:
            raise tw.OutOfMemory(self.name, nbytes, free) from error
        return tw.Buffer(self, nbytes, handle)

    def uniform(self, nbytes: int) -> Any:
        return self.native.create_buffer(size=nbytes, usage=wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST)

    def write(self, buffer: tw.Buffer, data: Any, offset: int = 0) -> None:
        raw = memoryview(data).cast("B")
        check_range(buffer, raw.nbytes, offset)
        if not raw.nbytes:
            return
        with self._lock:
            start, end = offset & ~3, -(-(offset + raw.nbytes) // 4) * 4
            if end - start != raw.nbytes:  # words at the ends, of which only some bytes are to be replaced
                whole = self._words(buffer, start, end)
                whole[offset - start : offset - start + raw.nbytes] = raw
                raw = memoryview(whole)
            self.queue.write_buffer(buffer.handle, start, raw)

    def _words(self, buffer: tw.Buffer, start: int, end: int) -> bytearray:
        first = start & ~7
        return bytearray(self.queue.read_buffer(buffer.handle, first, end - first))[start - first :]

    def read(self, buffer: tw.Buffer, nbytes: int, offset: int = 0) -> bytearray:
        check_range(buffer, nbytes, offset)
        if not nbytes:
            return bytearray()
        with self._lock:
            start = offset & ~3
            whole = self._words(buffer, start, -(-(offset + nbytes) // 4) * 4)
        return whole[offset - start : offset - start + nbytes]

    def copy(
        self, source: tw.Buffer, target: tw.Buffer, nbytes: int, source_offset: int = 0, target_offset: int = 0
    ) -> None:
        check_range(source, nbytes, source_offset)
        check_range(target, nbytes, target_offset)
        if source is target or (nbytes | source_offset | target_offset) & 3:  # WebGPU copies whole words only
            self.write(target, self.read(source, nbytes, source_offset), target_offset)
        elif nbytes:
            with self._lock:
                encoder = self.native.create_command_encoder()
                encoder.copy_buffer_to_buffer(source.handle, source_offset, target.handle, target_offset, nbytes)
                self.queue.submit([encoder.finish()])

    def build(self, source: tw.Source) -> bytes:
        """WGSL is what a driver takes, so the text is the binary; it was compiled once to see that it can be."""
        text, before = module(source, self.wide)
        binary = text.encode()
        self._pipeline(binary, source, before)
        return binary

    def load(self, binary: bytes, source: tw.Source) -> WebgpuProgram:
        return WebgpuProgram(self, source, *self._pipeline(binary, source, 0))

    def _pipeline(self, binary: bytes, source: tw.Source, before: int) -> tuple[Any, Any]:
        with self._lock:
            if binary in self._pipelines:
                self._pipelines.move_to_end(binary)
                return self._pipelines[binary]
            buffers = sum(p.access != "value" for p in source.parameters)
            kinds = ["storage"] * buffers + ["uniform"]
            try:
                layout = self.native.create_bind_group_layout(entries=[
                    {"binding": k, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": kind}}
                    for k, kind in enumerate(kinds)
                ])  # fmt: skip
                shader = self.native.create_shader_module(code=binary.decode())
                whole = self.native.create_pipeline_layout(bind_group_layouts=[layout])
                stage = {"module": shader, "entry_point": source.entry}
                pipeline = self.native.create_compute_pipeline(layout=whole, compute=stage)
            except wgpu.GPUError as error:
                raise tw.CompileError(f"{self.name}: wgpu refused a kernel:", _log(error, source, before)) from error
            self._pipelines[binary] = layout, pipeline
            while len(self._pipelines) > _KEPT:
                self._pipelines.popitem(last=False)
            return layout, pipeline

    def submit(self, launches: Sequence[Any]) -> None:
        with self._lock:
            try:
                encoder = self.native.create_command_encoder()
                for launch in launches:
                    launch.encode(encoder)
                self.queue.submit([encoder.finish()])
            except wgpu.GPUError as error:
                raise tw.LaunchError(f"{self.name}: {error}") from error

    def vendor(self, call: tw.VendorCall) -> None: ...

    def capture(self, launches: Sequence[tw.Launch]) -> WebgpuReplay:
        return WebgpuReplay(self, launches)

    def time(self, launch: tw.Launch, repeats: int) -> list[float]:
        return [self._timed(launch) for _ in range(repeats)]

    def synchronize(self) -> None:
        """Reading waits for all that was submitted before."""
        with self._lock:
            self.queue.read_buffer(self._fence)

    def _timed(self, launch: Any) -> float:
        """By timestamps around the pass where the adapter has them, else by the wall clock from submission to end."""
        with self._lock:
            self.synchronize()
            if not self._clocked:
                start = perf_counter()
                launch()
                self.synchronize()
                return perf_counter() - start
            if self._stamps is None:
                usage = wgpu.BufferUsage.QUERY_RESOLVE | wgpu.BufferUsage.COPY_SRC
                self._stamps = (
                    self.native.create_query_set(type="timestamp", count=2),
                    self.native.create_buffer(size=16, usage=usage),
                )
            queries, resolved = self._stamps
            places = {"query_set": queries, "beginning_of_pass_write_index": 0, "end_of_pass_write_index": 1}
            encoder = self.native.create_command_encoder()
            launch.encode(encoder, timestamp_writes=places)
            encoder.resolve_query_set(queries, 0, 2, resolved, 0)
            self.queue.submit([encoder.finish()])
            begin, end = np.frombuffer(self.queue.read_buffer(resolved), np.uint64).tolist()
            return max(end - begin, 1) * 1e-9


def _log(error: Exception, source: tw.Source, before: int) -> str:
    """wgpu's message, with the lines of the source's own text."""
    return re.sub(r"wgsl:(\d+):(\d+)", lambda m: f"{source.filename}:{int(m[1]) - before}:{m[2]}", str(error))


def _fingerprint(info: Any, features: set[str]) -> tw.Fingerprint:
    here = Path(__file__).parent
    text = digest("".join((here / name).read_text() for name in ("prelude.wgsl", "text.py", "language.py")))
    versions = (("wgpu", wgpu.__version__), ("text", text))
    native = ".".join(map(str, wgpu.backends.wgpu_native.lib_version_info))
    isa = (info["backend_type"], info["adapter_type"], *sorted(features))
    model = (info["vendor"], info["device"], info["architecture"], isa)
    return tw.Fingerprint("webgpu", *model, 0, "", info["description"], f"wgpu-native {native}", versions)


def _limits(info: Any, limits: dict[str, int], language: Wgsl) -> tw.Limits:
    """What an adapter does not tell (units, caches) is what GPUs of its kind have, or 0."""
    software = info["adapter_type"] == "CPU"
    largest = min(limits["max-storage-buffer-binding-size"], limits["max-buffer-size"], 1 << 31) & ~15  # for indices
    dtypes = (*NARROW, "int64", "uint64") if language.wide else NARROW
    return tw.Limits(
        threads_per_group=min(limits["max-compute-invocations-per-workgroup"], limits["max-compute-workgroup-size-x"]),
        shared_nbytes=limits["max-compute-workgroup-storage-size"], registers=0,
        compute_units=(os.cpu_count() or 1) if software else 16, subgroup=8 if software else 32, vector_nbytes=16,
        cache_nbytes=host.cache_nbytes() if software else (), memory_nbytes=host.memory_nbytes() if software else 0,
        allocation_nbytes=largest, dtypes=frozenset(dtypes), buffers=limits["max-storage-buffers-per-shader-stage"],
        iterations=LLVMPIPE if software and "llvmpipe" in info["vendor"] else 0, language=language,
    )  # fmt: skip
