"""One OpenCL device through PyOpenCL: imported only where there is PyOpenCL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyopencl as cl
from pyopencl import _cl

from tilewright.backends import host
from tilewright.backends.dialect import digest, prelude
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import LANES, C
from tilewright.backends.launching import SequentialReplay, check_arguments, check_range, pack_value
from tilewright.backends.opencl import opencl_text
from tilewright.backends.pool import Pool
from tilewright.backends.protocol import (
    Argument,
    Buffer,
    CompileError,
    DeviceLost,
    Fingerprint,
    Found,
    Launch,
    LaunchError,
    Limits,
    OutOfMemory,
    Program,
    Source,
    TilewrightError,
    Unsupported,
    VendorCall,
)

_CHECKED_NBYTES = 1 << 26
_ALIGNMENT = 128  # bytes: what OpenCL asks of a buffer, and two lines of the cache
_NO_MEMORY = (
    cl.status_code.MEM_OBJECT_ALLOCATION_FAILURE,
    cl.status_code.OUT_OF_RESOURCES,
    cl.status_code.OUT_OF_HOST_MEMORY,
    cl.status_code.INVALID_BUFFER_SIZE,
)


class OpenclLaunch:
    """A kernel object of its own, with its arguments set. Enqueues and returns."""

    __slots__ = ("_arguments", "_device", "_empty", "_global", "_kernel", "_local", "_program", "_queue")

    def __init__(self, program: OpenclProgram, grid: tuple[int, int, int], arguments: tuple[Argument, ...]) -> None:
        self._program, self._device, self._queue = program, program.device, program.device.queue
        self._kernel = cl.Kernel(program.binary, program.source.entry)
        self._local = program.source.group
        self._global = tuple(n * size for n, size in zip(grid, self._local, strict=True))
        self._empty = 0 in grid  # nothing to do; OpenCL 1.2 refuses it, and PoCL 3.0 ends the process with SIGFPE
        self._arguments: list[Argument] = list(arguments)
        for index, argument in enumerate(arguments):
            self.set(index, argument)

    def __call__(self) -> None:
        if self._empty:
            return
        try:
            _cl.enqueue_nd_range_kernel(self._queue, self._kernel, self._global, self._local)
        except cl.Error as error:
            raise self._device.translated(error, f"launch of {self._program.source.entry}") from None

    def seconds(self, queue: cl.CommandQueue, repeats: int) -> list[float]:
        """By the profile that `queue` takes of each run."""
        if self._empty:
            return [1e-9] * repeats
        run = (queue, self._kernel, self._global, self._local)
        events = [cl.enqueue_nd_range_kernel(*run) for _ in range(repeats)]
        queue.finish()
        return [1e-9 * max(event.profile.end - event.profile.start, 1) for event in events]

    def set(self, index: int, argument: Argument) -> None:
        parameter = self._program.source.parameters[index]
        if parameter.access != "value":
            self._kernel.set_arg(index, argument.handle)  # type: ignore[union-attr]
        else:
            kernel: Any = self._kernel  # PyOpenCL's stubs leave the method out; set_arg would take thirty times as long
            kernel._set_arg_buf(index, pack_value(parameter.dtype, argument))
        self._arguments[index] = argument


class OpenclProgram:
    def __init__(self, device: OpenclDevice, binary: Any, source: Source) -> None:
        self.device, self.binary, self.source = device, binary, source

    def bind(self, grid: tuple[int, int, int], *arguments: Argument) -> Launch:
        check_arguments(self.source.entry, self.source.parameters, arguments)
        try:
            return OpenclLaunch(self, grid, arguments)
        except cl.Error as error:
            raise self.device.translated(error, f"binding {self.source.entry}") from None


class OpenclDevice:
    """One OpenCL device with one in-order queue."""

    def __init__(self, name: str, device: cl.Device) -> None:
        self.name, self.handle = name, device
        self.context = cl.Context([device])
        self.queue = cl.CommandQueue(self.context)
        self._timing_queue: cl.CommandQueue | None = None
        self.options = _options(device)
        self.limits = _limits(device)
        self.fingerprint = _fingerprint(device, self.options)
        self._is_cpu = bool(device.type & cl.device_type.CPU)
        self._pool = Pool(self._create, max(self.limits.memory_nbytes // 4, 1 << 26))

    def allocate(self, nbytes: int) -> Buffer:
        if nbytes >= _CHECKED_NBYTES and not self._pool.has(nbytes):
            self._reserve(nbytes)
        try:
            block = self._pool.take(nbytes)
        except (cl.Error, MemoryError):
            self._trim()
            try:
                block = self._pool.take(nbytes)
            except MemoryError:
                raise OutOfMemory(self.name, nbytes, self._free_nbytes()) from None
            except cl.Error as error:
                raise self.translated(error, "allocation", nbytes) from None
        return Buffer(self, nbytes, block.handle, None, block)

    def _create(self, nbytes: int) -> tuple[Any, None]:
        nbytes, flags = min(nbytes, self.limits.allocation_nbytes), cl.mem_flags.READ_WRITE
        if self.limits.lanes == 1:
            return cl.Buffer(self.context, flags, nbytes), None
        raw = np.empty(nbytes + _ALIGNMENT, np.uint8)  # NumPy asks for huge pages where they help; Intel's does not
        memory = raw[-raw.ctypes.data % _ALIGNMENT :][:nbytes]
        return cl.Buffer(self.context, flags | cl.mem_flags.USE_HOST_PTR, hostbuf=memory), None

    def _reserve(self, nbytes: int) -> None:
        """Drivers promise memory and fail at the first use, so large requests are checked against what there is."""
        if nbytes > self.limits.allocation_nbytes:
            raise OutOfMemory(self.name, nbytes, min(self._free_nbytes(), self.limits.allocation_nbytes))
        if self._free_nbytes() < nbytes:
            self._trim()
            if self._free_nbytes() < nbytes:
                raise OutOfMemory(self.name, nbytes, self._free_nbytes())

    def _free_nbytes(self) -> int:
        left = max(self.limits.memory_nbytes - self._pool.owned_nbytes, 0)
        available = host.available_nbytes() if self._is_cpu else -1
        return min(left, available) if available >= 0 else left

    def _trim(self) -> None:
        self.queue.finish()
        self._pool.trim()

    def write(self, buffer: Buffer, data: Any, offset: int = 0) -> None:
        view = memoryview(data)
        if view.nbytes:
            check_range(buffer, view.nbytes, offset)
            self._do("write", cl.enqueue_copy, buffer.handle, np.frombuffer(view, np.uint8), dst_offset=offset)

    def read(self, buffer: Buffer, nbytes: int, offset: int = 0) -> bytearray:
        data = bytearray(nbytes)
        if nbytes:
            check_range(buffer, nbytes, offset)
            self._do("read", cl.enqueue_copy, np.frombuffer(data, np.uint8), buffer.handle, src_offset=offset)
        return data

    def copy(self, source: Buffer, target: Buffer, nbytes: int, source_offset: int = 0, target_offset: int = 0) -> None:
        if nbytes:
            check_range(source, nbytes, source_offset)
            check_range(target, nbytes, target_offset)
            self._do("copy", cl.enqueue_copy, target.handle, source.handle, byte_count=nbytes,
                     src_offset=source_offset, dst_offset=target_offset)  # fmt: skip

    def _do(self, what: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        try:
            call(self.queue, *arguments, **options)
        except cl.Error as error:
            raise self.translated(error, what) from None

    def build(self, source: Source) -> bytes:
        for parameter in source.parameters:
            if parameter.dtype not in self.limits.dtypes:
                raise Unsupported(f"{self.name} has no {parameter.dtype}, which {source.entry} takes")
        program = _cl._Program(
            self.context, opencl_text(source, self.limits.lanes)
        )  # not cl.Program: it keeps a cache and sources in /tmp
        try:
            program._build(self.options.encode(), [self.handle])
        except cl.Error:
            log = str(program.get_build_info(self.handle, cl.program_build_info.LOG)).strip()
            raise CompileError(f"{self.name} refused a kernel:", log) from None
        binaries: Any = program.get_info(cl.program_info.BINARIES)
        return bytes(binaries[0])

    def load(self, binary: bytes, source: Source) -> Program:
        try:
            program = _cl._Program(self.context, [self.handle], [binary])
            program._build(self.options.encode(), [self.handle])
        except cl.Error as error:
            raise CompileError(f"{self.name} does not take the binary of {source.entry}:", str(error)) from None
        return OpenclProgram(self, cl.Program(program), source)

    def vendor(self, call: VendorCall) -> Program | None:
        """None: OpenCL has no library that every platform brings."""
        return None

    def capture(self, launches: Sequence[Launch]) -> SequentialReplay:
        return SequentialReplay(launches, self.queue.flush)

    def time(self, launch: Launch, repeats: int) -> list[float]:
        """From the device's own profile of each run."""
        if not isinstance(launch, OpenclLaunch):
            raise Unsupported(f"{self.name} can time its own launches only, not {launch!r}")
        if self._timing_queue is None:
            self._timing_queue = cl.CommandQueue(self.context, properties=cl.command_queue_properties.PROFILING_ENABLE)
        self.queue.finish()
        try:
            return launch.seconds(self._timing_queue, repeats)
        except cl.Error as error:
            raise self.translated(error, "timing") from None

    def synchronize(self) -> None:
        try:
            self.queue.finish()
        except cl.Error as error:
            raise self.translated(error, "synchronisation") from None

    def translated(self, error: Any, what: str, nbytes: int = 0) -> TilewrightError:
        """PyOpenCL's error as one of the protocol's."""
        if error.code in _NO_MEMORY:
            return OutOfMemory(self.name, nbytes, self._free_nbytes())
        if error.code == cl.status_code.DEVICE_NOT_AVAILABLE:
            return DeviceLost(f"{self.name} stopped answering during {what}")
        return LaunchError(f"{self.name}: {what} failed: {error}")


def _options(device: cl.Device) -> str:
    options = ["-cl-std=CL1.2", "-w", f"-DHAS_F64={int('cl_khr_fp64' in device.extensions.split())}"]
    # PoCL's functions are calls that its vectoriser does not see through: ours are 10 to 25 times faster there.
    options.append(f"-DOWN_MATH={2 * (device.platform.name == 'Portable Computing Language')}")
    if _lanes(device) > 1 and "fma" in host.isa():
        options.append("-DHAS_FMA=1")
    if device.single_fp_config & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT:
        options.append("-cl-fp32-correctly-rounded-divide-sqrt")
    return " ".join(options)


def _limits(device: cl.Device) -> Limits:
    is_cpu = bool(device.type & cl.device_type.CPU)
    f64 = "cl_khr_fp64" in device.extensions.split()
    lanes = _lanes(device)
    return Limits(
        threads_per_group=device.max_work_group_size,
        shared_nbytes=device.local_mem_size,
        registers=0,
        compute_units=device.max_compute_units,
        subgroup=1 if is_cpu else _subgroup(device),
        vector_nbytes=max(4 * device.native_vector_width_float, 4),
        cache_nbytes=host.cache_nbytes() if is_cpu else (device.global_mem_cache_size,),
        memory_nbytes=device.global_mem_size,
        allocation_nbytes=device.max_mem_alloc_size,
        dtypes=frozenset(DTYPES) - (frozenset() if f64 else {"float64", "complex128"}),
        lanes=lanes,
        language=C if lanes == 1 else LANES,
    )


def _lanes(device: cl.Device) -> int:
    """Intel's compiler makes vectors of neighbouring threads only, PoCL's of the loops of a single one as well."""
    shuffles = {"cl_intel_subgroups", "cl_intel_required_subgroup_size"} <= set(device.extensions.split())
    vectors = device.platform.name == "Intel(R) OpenCL" and device.type & cl.device_type.CPU and shuffles
    return device.native_vector_width_float if vectors else 1


def _subgroup(device: cl.Device) -> int:
    """The width in which a GPU's threads run in lockstep; 0 where its driver does not tell."""
    for attribute in ("warp_size_nv", "wavefront_width_amd"):
        try:
            return int(getattr(device, attribute))
        except (cl.Error, AttributeError):  # the other vendor's device
            continue
    return 0


def _fingerprint(device: cl.Device, options: str) -> Fingerprint:
    is_cpu = bool(device.type & cl.device_type.CPU)
    kind = "cpu" if is_cpu else "gpu" if device.type & cl.device_type.GPU else "accelerator"
    features = tuple(x for x in ("cl_khr_fp16", "cl_khr_fp64", "cl_khr_subgroups") if x in device.extensions.split())
    versions = (("pyopencl", cl.VERSION_TEXT), ("prelude", digest(prelude("opencl") + options)))
    model = host.cpu_model() if is_cpu else device.name
    driver = f"{device.platform.name} {device.driver_version}"
    return Fingerprint(
        "opencl", device.vendor, model, device.version.strip(), (kind, *(host.isa() if is_cpu else ()), *features),
        device.max_compute_units, "", driver, device.platform.version.strip(), versions,
    )  # fmt: skip


def find_devices(remedy: str) -> list[Found]:
    """Every device of every platform, numbered in the platforms' order."""
    try:
        handles = [device for platform in cl.get_platforms() for device in platform.get_devices()]
    except cl.Error as error:
        return [Found("opencl", None, f"opencl: no platform was found ({error})", remedy)]
    found = []
    for number, handle in enumerate(handles):
        name = f"opencl:{number}"
        try:
            found.append(Found(name, OpenclDevice(name, handle)))
        except cl.Error as error:
            found.append(Found(name, None, f"{name}: {handle.name} cannot be opened ({error})", remedy))
    return found or [Found("opencl", None, "opencl: the platforms have no device", remedy)]
