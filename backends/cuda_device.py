"""One CUDA device through CuPy: imported only where there is CuPy.

All work goes to CUDA's default stream, so it is in order with CuPy code of the user's own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cupy
import numpy as np
from cupy.cuda import driver, nvrtc, runtime
from cupy.cuda.function import Module

from tilewright.backends.cuda import (
    OPTIONS,
    architecture,
    compile_options,
    cuda_text,
    limits_of,
    surrounding,
    writes_maps,
)
from tilewright.backends.cuda_maps import EncodedMap
from tilewright.backends.dialect import digest, prelude
from tilewright.backends.launching import SequentialReplay, check_arguments, check_range, pack_value
from tilewright.backends.protocol import (
    Argument,
    Buffer,
    CompileError,
    DeviceLost,
    Fingerprint,
    Found,
    Launch,
    LaunchError,
    Layout,
    OutOfMemory,
    Program,
    Source,
    TilewrightError,
    VendorCall,
)
from tilewright.backends.tensor_map import TENSOR_MAP, TensorMap

_ERRORS = (runtime.CUDARuntimeError, driver.CUDADriverError)
_LOST = {46, 100, 214, 700, 702, 710, 714, 715, 716, 717, 718, 719, 999}
"""Statuses after which CUDA refuses all further work of this process (illegal address, launch time-out, ECC, ...)."""
_BATCH_SECONDS = 1e-3  # an event's resolution is half a microsecond


class CudaBlock:
    """Memory from CuPy's pool, given back by dropping it."""

    __slots__ = ("memory",)

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def release(self) -> None:
        self.memory = None


class CudaLaunch:
    """A function, its grid, and the addresses of its arguments, as cuLaunchKernel takes them."""

    __slots__ = ("_arguments", "_call", "_device", "_pointers", "_program", "_slots")

    def __init__(self, program: CudaProgram, grid: tuple[int, int, int], arguments: tuple[Argument, ...]) -> None:
        self._program, self._device = program, program.device
        count = len(arguments)
        self._slots = (ctypes.c_int64 * max(count, 1))()
        start = ctypes.addressof(self._slots)
        self._pointers = (ctypes.c_void_p * max(count, 1))(*(start + 8 * k for k in range(count)))
        self._arguments: list[Argument] = list(arguments)
        for index, argument in enumerate(arguments):
            self.set(index, argument)
        pointers = ctypes.addressof(self._pointers)
        shape = (*grid, *program.source.group, program.source.shared_nbytes)
        self._call = (program.function.ptr, *shape, 0, pointers, 0) if 0 not in grid else None

    def __call__(self) -> None:
        if self._call is None:  # an empty grid is nothing to do, and CUDA refuses it
            return
        try:
            runtime.setDevice(self._device.number)  # each thread has a current device of its own
            driver.launchKernel(*self._call)
        except _ERRORS as error:
            raise self._device.translated(error, f"launch of {self._program.source.entry}") from None

    def set(self, index: int, argument: Argument) -> None:
        parameter = self._program.source.parameters[index]
        if parameter.access != "value":
            self._slots[index] = argument.handle  # type: ignore[union-attr]
        else:
            self._slots[index] = int.from_bytes(
                pack_value(parameter.dtype, argument).ljust(8, b"\0"), "little", signed=True
            )
        self._arguments[index] = argument


class MappedLaunch(CudaLaunch):
    """A launch with tensor maps among its arguments, written anew for each buffer that takes the place of theirs."""

    __slots__ = ("_maps",)

    def __init__(self, program: CudaProgram, grid: tuple[int, int, int], arguments: tuple[Argument, ...]) -> None:
        self._maps: dict[int, EncodedMap] = {}
        super().__init__(program, grid, arguments)

    def set(self, index: int, argument: Argument) -> None:
        if isinstance(argument, TensorMap):
            self._maps[index] = EncodedMap(argument)
            self._pointers[index] = self._maps[index].address
            self._arguments[index] = argument
        else:
            super().set(index, argument)
        for place, encoded in self._maps.items():
            if index in (place, encoded.given.argument):
                handle = self._arguments[encoded.given.argument].handle  # type: ignore[union-attr]
                if handle != encoded.buffer:
                    runtime.setDevice(self._device.number)  # the driver asks for a context
                    encoded.encode(handle)


class CudaProgram:
    def __init__(self, device: CudaDevice, module: Any, source: Source) -> None:
        self.device, self.source, self._module = device, source, module  # the function dies with its module
        self.function = module.get_function(source.entry)
        self._launch = MappedLaunch if any(p.dtype == TENSOR_MAP for p in source.parameters) else CudaLaunch
        if source.shared_nbytes > device.limits.shared_nbytes:  # more than every kernel may have must be granted
            asked = driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            driver.funcSetAttribute(self.function.ptr, asked, source.shared_nbytes)

    def bind(self, grid: tuple[int, int, int], *arguments: Argument) -> Launch:
        check_arguments(self.source.entry, self.source.parameters, arguments)
        return self._launch(self, grid, arguments)


class MatmulLaunch:
    """cupy.matmul, which calls cuBLAS, from two buffers into a third."""

    __slots__ = ("_call", "_device", "_views")

    def __init__(self, device: CudaDevice, call: VendorCall, arguments: tuple[Argument, ...]) -> None:
        self._device, self._call = device, call
        self._views = [device.view(x, b) for x, b in zip((*call.outputs, *call.inputs), arguments, strict=True)]

    def __call__(self) -> None:
        target, left, right = self._views
        try:
            with self._device.handle, cupy.cuda.Stream.null:
                cupy.matmul(left, right, out=target)
        except _ERRORS as error:
            raise self._device.translated(error, "matmul") from None

    def set(self, index: int, argument: Argument) -> None:
        self._views[index] = self._device.view((*self._call.outputs, *self._call.inputs)[index], argument)


class MatmulProgram:
    def __init__(self, device: CudaDevice, call: VendorCall) -> None:
        self._device, self._call = device, call

    def bind(self, grid: tuple[int, int, int], *arguments: Argument) -> Launch:
        if len(arguments) != 3:
            raise LaunchError(f"matmul takes 3 buffers, {len(arguments)} arguments were given")
        return MatmulLaunch(self._device, self._call, arguments)


class CudaDevice:
    def __init__(self, number: int) -> None:
        self.name, self.number = f"cuda:{number}", number
        self.dlpack_device = (2, number)
        self.handle = cupy.cuda.Device(number)
        properties = runtime.getDeviceProperties(number)
        self.architecture = architecture(properties["major"], properties["minor"])
        self.fingerprint = _fingerprint(properties, self.architecture)
        self.limits = limits_of(properties, self.architecture, writes_maps())
        self._pool = cupy.cuda.MemoryPool()
        self.namespace = cupy

    def allocate(self, nbytes: int) -> Buffer:
        try:
            with self.handle, cupy.cuda.Stream.null:
                memory = self._pool.malloc(max(nbytes, 64))
        except cupy.cuda.memory.OutOfMemoryError:
            raise OutOfMemory(self.name, nbytes, self._free_nbytes()) from None
        except _ERRORS as error:
            raise self.translated(error, "allocation", nbytes) from None
        return Buffer(self, nbytes, memory.ptr, None, CudaBlock(memory))

    def _free_nbytes(self) -> int:
        with self.handle:
            return runtime.memGetInfo()[0] + self._pool.free_bytes()

    def write(self, buffer: Buffer, data: Any, offset: int = 0) -> None:
        view = np.frombuffer(memoryview(data), np.uint8) if memoryview(data).nbytes else np.empty(0, np.uint8)
        check_range(buffer, view.nbytes, offset)
        if view.nbytes:
            self._copy(buffer.handle + offset, view.ctypes.data, view.nbytes, runtime.memcpyHostToDevice)

    def read(self, buffer: Buffer, nbytes: int, offset: int = 0) -> bytearray:
        check_range(buffer, nbytes, offset)
        data = bytearray(nbytes)
        if nbytes:
            target = np.frombuffer(data, np.uint8).ctypes.data
            self._copy(target, buffer.handle + offset, nbytes, runtime.memcpyDeviceToHost)
        return data

    def copy(self, source: Buffer, target: Buffer, nbytes: int, source_offset: int = 0, target_offset: int = 0) -> None:
        check_range(source, nbytes, source_offset)
        check_range(target, nbytes, target_offset)
        if nbytes:
            start, end = target.handle + target_offset, source.handle + source_offset
            self._copy(start, end, nbytes, runtime.memcpyDeviceToDevice)

    def _copy(self, target: int, source: int, nbytes: int, kind: int) -> None:
        try:
            runtime.setDevice(self.number)
            runtime.memcpy(target, source, nbytes, kind)  # in the default stream, so after all that was given before
        except _ERRORS as error:
            raise self.translated(error, "copy") from None

    def build(self, source: Source) -> bytes:
        program = nvrtc.createProgram(cuda_text(source), source.filename + ".cu", (), ())
        try:
            nvrtc.compileProgram(program, compile_options(self.architecture))
            return bytes(nvrtc.getCUBIN(program))
        except nvrtc.NVRTCError as error:
            log = nvrtc.getProgramLog(program)
            raise CompileError(f"{self.name}: NVRTC refused a kernel for {self.architecture} ({error}):", log) from None
        finally:
            nvrtc.destroyProgram(program)

    def load(self, binary: bytes, source: Source) -> Program:
        try:
            with self.handle:
                module = Module()
                module.load(binary)
                return CudaProgram(self, module, source)
        except _ERRORS as error:
            raise self.translated(error, f"loading {source.entry}") from None

    def vendor(self, call: VendorCall) -> Program | None:
        """cuBLAS for matmul of equal floating or complex dtypes; CuPy has no bfloat16."""
        dtypes = {layout.dtype for layout in (*call.outputs, *call.inputs)}
        native = {"float16", "float32", "float64", "complex64", "complex128"}
        if call.op != "matmul" or len(dtypes) != 1 or not dtypes <= native:
            return None
        return MatmulProgram(self, call)

    def view(self, layout: Any, buffer: Argument) -> Any:
        """`buffer` as a CuPy array of that layout; keeps its memory alive."""
        if not isinstance(buffer, Buffer) or buffer.device is not self:
            raise LaunchError(f"a vendor call takes buffers of {self.name}, not {buffer!r}")
        dtype = np.dtype(layout.dtype)
        memory = cupy.cuda.UnownedMemory(buffer.handle, max(buffer.nbytes, 64), buffer, self.number)
        pointer = cupy.cuda.MemoryPointer(memory, layout.offset * dtype.itemsize)
        strides = tuple(stride * dtype.itemsize for stride in layout.strides)
        return cupy.ndarray(layout.shape, dtype, pointer, strides)

    def store(self, layout: Layout, buffer: Buffer, array: Any) -> None:
        """A CuPy array, broadcast and cast, into `buffer`."""
        with self.scope():
            self.view(layout, buffer)[...] = array

    @contextmanager
    def scope(self) -> Iterator[None]:
        """CuPy's current device and stream are ours."""
        with self.handle, cupy.cuda.Stream.null:
            yield

    def adopt(self, exporter: Any) -> tuple[Layout, Buffer, Any]:
        """CuPy reads the capsule and orders our default stream after the exporter's work."""
        with self.handle, cupy.cuda.Stream.null:
            array = cupy.from_dlpack(exporter)
        layout, start, nbytes = surrounding(array.data.ptr, array.dtype, array.shape, array.strides)
        return layout, Buffer(self, nbytes, start), array

    def capture(self, launches: Sequence[Launch]) -> SequentialReplay:
        return SequentialReplay(launches)

    def time(self, launch: Launch, repeats: int) -> list[float]:
        """Between two events on the device; runs shorter than a millisecond are timed several at once."""
        first = self._seconds(launch, 1)
        batch = min(max(int(_BATCH_SECONDS / max(first, 1e-6)), 1), 100)
        return [self._seconds(launch, batch) / batch for _ in range(repeats)]

    def _seconds(self, launch: Launch, count: int) -> float:
        try:
            with self.handle:
                begin, end = cupy.cuda.Event(), cupy.cuda.Event()
                begin.record(cupy.cuda.Stream.null)
                for _ in range(count):
                    launch()
                end.record(cupy.cuda.Stream.null)
                end.synchronize()
                return 1e-3 * float(cupy.cuda.get_elapsed_time(begin, end))
        except _ERRORS as error:
            raise self.translated(error, "timing") from None

    def synchronize(self) -> None:
        try:
            with self.handle:
                cupy.cuda.Stream.null.synchronize()
        except _ERRORS as error:
            raise self.translated(error, "synchronisation") from None

    def translated(self, error: Any, what: str, nbytes: int = 0) -> TilewrightError:
        """CuPy's error as one of the protocol's."""
        if error.status == 2:
            return OutOfMemory(self.name, nbytes, self._free_nbytes())
        if error.status in _LOST:
            return DeviceLost(f"{self.name} failed during {what} and takes no more work: {error}: restart the process")
        return LaunchError(f"{self.name}: {what} failed: {error}")


def _fingerprint(properties: dict[str, Any], arch: str) -> Fingerprint:
    model, _, partition = properties["name"].decode().partition(" MIG ")
    text = prelude("cuda") + " ".join(OPTIONS)
    versions = (("cupy", cupy.__version__), ("cuda", str(runtime.runtimeGetVersion())), ("prelude", digest(text)))
    return Fingerprint(
        "cuda", "NVIDIA", model, arch, (), properties["multiProcessorCount"], partition,
        str(runtime.driverGetVersion()), "nvrtc {}.{}".format(*nvrtc.getVersion()), versions,
    )  # fmt: skip


def find_devices() -> list[Found]:
    """Every GPU that the driver shows this process."""
    remedy = "see whether nvidia-smi lists a GPU, and whether its driver is new enough for the installed CuPy"
    try:
        count = runtime.getDeviceCount()
    except _ERRORS as error:
        return [Found("cuda", None, f"cuda: CuPy cannot use the driver ({error})", remedy)]
    found = []
    for number in range(count):
        try:
            found.append(Found(f"cuda:{number}", CudaDevice(number)))
        except _ERRORS as error:
            found.append(Found(f"cuda:{number}", None, f"cuda:{number} cannot be opened ({error})", remedy))
    return found or [Found("cuda", None, "cuda: the driver shows no GPU", remedy)]
