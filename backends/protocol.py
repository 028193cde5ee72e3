"""What a device is: the one file to read before bringing new hardware.

A backend is a module with `discover() -> list[Found]`, registered in the entry-point group
`tilewright.backends`. Everything here is plain values plus one protocol, `Device`; nothing here knows of
arrays, of kernels' meaning, or of tuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tilewright.backends.language import C, Language
from tilewright.backends.tensor_map import TensorMap

PROTOCOL_VERSION = 1


class TilewrightError(Exception):
    """Base of every error that a device raises."""


class CompileError(TilewrightError):
    """The device's compiler refused a source. `log` is what the compiler said, whole."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(f"{message}\n{log}" if log else message)
        self.log = log


class LaunchError(TilewrightError):
    """A kernel could not be started, or failed while it ran."""


class OutOfMemory(TilewrightError):
    """An allocation did not fit. `asked` and `free` are bytes; `free` is -1 where the device cannot tell."""

    def __init__(self, device: str, asked: int, free: int = -1) -> None:
        left = f", {free} bytes are free" if free >= 0 else ""
        super().__init__(f"{device}: out of memory: {asked} bytes were asked for{left}")
        self.asked, self.free = asked, free


class DeviceLost(TilewrightError):
    """The device stopped answering; every buffer on it is gone."""


class Unsupported(TilewrightError):
    """The device cannot do this (a dtype, a capability), and says so by name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device offers. Sizes in bytes, counts as named; 0 where unknown."""

    threads_per_group: int  # 1: no groups, each group is one thread that loops (a CPU through plain C)
    shared_nbytes: int
    registers: int  # 32-bit registers per group
    compute_units: int
    subgroup: int  # threads that run in lockstep (warp, wavefront)
    vector_nbytes: int  # widest SIMD register of one thread
    cache_nbytes: tuple[int, ...]  # data caches from the nearest outwards
    memory_nbytes: int
    allocation_nbytes: int  # largest single buffer
    dtypes: frozenset[str]
    matrix_units: frozenset[str] = frozenset()  # "wgmma", "mma", "avx512_bf16", ...
    compiles: bool = True  # False: `build` refuses all text, and what is computed is computed on `Arrays`
    buffers: int = 0  # as many as one kernel may take
    iterations: int = 0  # of all its loops together, after which the device ends a thread's loops without a word
    language: Language = C  # in which sources are written for it: see language.py
    subnormals: bool = True  # False: what is smaller than the smallest normal number may count as 0
    launch_shared_nbytes: int = 0  # as much as a launch may ask for (Source.shared_nbytes); 0: nothing
    lanes: int = 1  # threads that make a vector, on a CPU whose compiler makes vectors of threads and not of loops


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a measurement depends on, field by field, so that reuse can say which field changed."""

    backend: str
    vendor: str
    model: str
    architecture: str
    isa: tuple[str, ...]
    threads: int
    partition: str  # MIG slice, sub-device; "" for a whole device
    driver: str
    compiler: str
    versions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One kernel parameter. `access` is "in", "out" or "inout" for a buffer, "value" for a scalar.

    A value's dtype is int64, float32 or float64, and int32 where that is the language's index; of a raw source's also
    any other integer's. Where a copy engine is to be told of a buffer, it is TENSOR_MAP (tensor_map.py).
    """

    name: str
    dtype: str
    access: str


@dataclass(frozen=True, slots=True)
class Source:
    """A kernel in the language of the device's limits, as a rule neutral C. The device puts its prelude, the `defines`
    and the signature in front.

    `body` holds helper functions and then `KERNEL { ... }`; the device defines KERNEL as the whole signature
    made from `entry` and `parameters`. `group` is the number of threads per group along each of three axes,
    (1, 1, 1) on a device whose groups are single threads. `raw`: the body is the device's own language, whole,
    and gets only the `defines` in front; it defines `entry` with these parameters. A device without groups calls
    it once per launch.
    `shared_nbytes`: shared memory that the text does not declare, and each launch must ask for.
    """

    entry: str
    parameters: tuple[Parameter, ...]
    body: str
    defines: tuple[tuple[str, int | str], ...]
    group: tuple[int, int, int]
    filename: str = "kernel.c"  # named in compiler errors
    raw: bool = False
    shared_nbytes: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """How one operand of a vendor call lies in its buffer; strides and offset in elements."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class VendorCall:
    """An operation offered to the device's own library. `op` is "matmul"; outputs come first in the bind."""

    op: str
    outputs: tuple[Layout, ...]
    inputs: tuple[Layout, ...]


class Buffer:
    """`nbytes` of device memory, returned to the device's pool with its last reference.

    `handle` is the device's own (an address, a cl.Buffer, ...). `host` is a writable NumPy uint8 array over the
    same memory, of at least `nbytes`, where the host can address it directly, else None.
    """

    __slots__ = ("__weakref__", "_block", "device", "handle", "host", "nbytes")

    def __init__(self, device: Device, nbytes: int, handle: Any, host: Any = None, block: Any = None) -> None:
        self.device = device  # one by one: a tuple of five would be made first, and this runs for every result
        self.nbytes = nbytes
        self.handle = handle
        self.host = host
        self._block = block

    @property
    def address(self) -> int:
        """Where `host` lies in memory; meaningless where that is None."""
        found = getattr(self._block, "address", None)
        return int(self.host.__array_interface__["data"][0]) if found is None else int(found)

    def __del__(self) -> None:
        block = self._block
        if block is not None:
            block.release()

    def __repr__(self) -> str:
        return f"Buffer({self.device.name}, {self.nbytes} bytes)"


Value = int | float | TensorMap
Argument = Buffer | Value


class Launch(Protocol):
    """A kernel with its grid and arguments bound. Calling it enqueues it and returns at once or when done."""

    def __call__(self) -> None: ...

    def set(self, index: int, argument: Argument) -> None:
        """Replace the argument at `index` (the order of `bind`), keeping everything else bound."""


class Program(Protocol):
    """A loaded kernel, or a vendor call; `bind` gives a Launch. `grid` counts groups along three axes."""

    def bind(self, grid: tuple[int, int, int], *arguments: Argument) -> Launch: ...


class Replay(Protocol):
    """Several launches as one call, in order. Their arguments are replaced through the launches themselves."""

    def __call__(self) -> None: ...


@runtime_checkable
class Device(Protocol):
    """A place where kernels run. Work on a device is done in the order in which it was given."""

    @property
    def name(self) -> str:
        """ "cpu", "opencl:0", "cuda:1": how users write it."""

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def limits(self) -> Limits: ...

    def allocate(self, nbytes: int) -> Buffer:
        """A buffer of at least `nbytes` (0 is allowed), contents undefined. Raises OutOfMemory."""

    def write(self, buffer: Buffer, data: Any, offset: int = 0) -> None:
        """Copy host bytes (a C-contiguous buffer-protocol object) into `buffer` at byte `offset`; done on return."""

    def read(self, buffer: Buffer, nbytes: int, offset: int = 0) -> bytearray:
        """Copy `nbytes` at byte `offset` to the host, after all work given before."""

    def copy(self, source: Buffer, target: Buffer, nbytes: int, source_offset: int = 0, target_offset: int = 0) -> None:
        """Copy bytes on the device, in order with the launches."""

    def build(self, source: Source) -> bytes:
        """Compile to a binary for `load` on an equal fingerprint, in this process or another. Raises CompileError."""

    def load(self, binary: bytes, source: Source) -> Program: ...

    def vendor(self, call: VendorCall) -> Program | None:
        """The device's own library for that call, or None where it has none."""

    def capture(self, launches: Sequence[Launch]) -> Replay: ...

    def time(self, launch: Launch, repeats: int) -> list[float]:
        """Seconds on the device's clock of each of `repeats` runs, less the cost of the call where it is known."""

    def synchronize(self) -> None:
        """Return when all work is done. Raises LaunchError or DeviceLost if some of it failed."""


@runtime_checkable
class Sharing(Protocol):
    """What a device offers beside `Device` if other libraries use its memory in place, and the host cannot.

    Where the host can (Buffer.host), NumPy does the sharing, and nothing is needed.
    """

    @property
    def dlpack_device(self) -> tuple[int, int]:
        """DLPack's type and number of this device, such as (2, 0) for the first of CUDA."""

    def view(self, layout: Layout, buffer: Buffer) -> Any:
        """`buffer` as an array of a library that exports it through `__dlpack__`; it keeps the buffer alive."""

    def adopt(self, exporter: Any) -> tuple[Layout, Buffer, Any]:
        """The memory of what has `__dlpack__` on this device, without a copy, and what keeps it alive."""


@runtime_checkable
class Arrays(Protocol):
    """What a device offers beside `Device` if an array library works on its memory: CuPy's on CUDA, or a wrapped one.

    What no kernel of ours does (sorting, decompositions, transforms) is then done by the library, on the device. A
    device that compiles nothing has everything done by it.
    """

    @property
    def namespace(self) -> Any:
        """The library's functions, under the array API's names or NumPy's."""

    def view(self, layout: Layout, buffer: Buffer) -> Any:
        """`buffer` as an array of the library."""

    def store(self, layout: Layout, buffer: Buffer, array: Any) -> None:
        """Put an array, broadcast and cast as need be, where `layout` says; the rest of `buffer` stays."""

    def scope(self) -> AbstractContextManager[Any]:
        """Within it the library works on this device, in order with the launches."""


@dataclass(frozen=True, slots=True)
class Found:
    """One line of `tilewright devices`: a usable device, or why there is none and what to type."""

    name: str
    device: Device | None
    reason: str = ""
    remedy: str = ""
    note: str = ""  # a usable device that misses something says so here
    protocol: int = 1  # the PROTOCOL_VERSION for which the plug-in was written
    faulty: bool = False  # not hardware that is absent but a plug-in that is wrong
