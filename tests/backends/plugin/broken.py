"""Devices broken on purpose: the cpu with one promise not kept, each named after what is wrong with it.

Registered as a plug-in through the metadata that lies beside this file, so that other processes find them as well.
"""

from __future__ import annotations

import itertools
import os
import time
import weakref
from dataclasses import replace

from tilewright.backends.cpu import CpuDevice, c_text
from tilewright.backends.cpu_launch import CpuLaunch, CpuProgram
from tilewright.backends.launching import SequentialReplay
from tilewright.backends.protocol import Buffer, CompileError, Found, LaunchError, OutOfMemory

DEVICES: dict[str, type[Broken]] = {}


class Broken(CpuDevice):
    """The cpu under another name. Compiled anew where the text differs, else the cpu's binaries serve."""

    text = staticmethod(c_text)
    own_text = False

    def __init_subclass__(cls):
        DEVICES[cls.__name__] = cls

    def __init__(self):
        super().__init__()
        self.name = f"broken:{type(self).__name__}"
        versions = (*self.fingerprint.versions, ("broken", type(self).__name__ if self.own_text else "no text"))
        self.fingerprint = replace(self.fingerprint, backend="broken", versions=versions)

    def build(self, source):
        return self.compiler.compile(self.text(source))


def changed(*pairs):
    """A text with strings of the cpu's replaced; each must be there."""

    def text(source):
        whole = c_text(source)
        for old, new in pairs:
            assert old in whole, old
            whole = whole.replace(old, new)
        return whole

    return staticmethod(text)


def program(launch):
    """A Program class whose bind makes launches of that class."""

    class Program(CpuProgram):
        def bind(self, grid, *arguments):
            super().bind(grid, *arguments)  # refuses what it must
            return launch(self, grid, arguments)

    return Program


class Loads(Broken):
    """A device with a program class of its own."""

    program = CpuProgram

    def load(self, binary, source):
        made = super().load(binary, source)
        made.__class__ = self.program
        return made

    def capture(self, launches):
        return SequentialReplay(launches)


# memory


class stale_read(Broken):
    """Reads come from a copy that is taken at the first read."""

    seen = None

    def read(self, buffer, nbytes, offset=0):
        self.seen = self.seen or {}
        data = super().read(buffer, nbytes, offset)
        key = (buffer.handle, nbytes, offset)
        if nbytes == 1000:
            return self.seen.setdefault(key, data)
        return data


class lost_write(Broken):
    """A write that does not start at the start does not happen."""

    def write(self, buffer, data, offset=0):
        if offset != 7:
            super().write(buffer, data, offset)


class short_write(Broken):
    """The last byte of an odd number of bytes is not written."""

    def write(self, buffer, data, offset=0):
        view = memoryview(data).cast("B") if memoryview(data).nbytes else data
        super().write(buffer, view[:-1] if len(view) % 2 and len(view) > 64 else view, offset)


class late_write(Broken):
    """A write of 1000 bytes is made when they are first read, from the caller's memory."""

    waiting = None

    def write(self, buffer, data, offset=0):
        super().write(buffer, data, offset)
        self.waiting = data if memoryview(data).nbytes == 1000 else None

    def read(self, buffer, nbytes, offset=0):
        if self.waiting is not None and nbytes == 1000:
            super().write(buffer, self.waiting)
            self.waiting = None
        return super().read(buffer, nbytes, offset)


class read_shares(Broken):
    """What is read is the device's own memory."""

    def read(self, buffer, nbytes, offset=0):
        super().read(buffer, nbytes, offset)
        return buffer.host[offset : offset + nbytes]


class copy_ignores_source_offset(Broken):
    def copy(self, source, target, nbytes, source_offset=0, target_offset=0):
        super().copy(source, target, nbytes, source_offset, target_offset)
        super().copy(source, target, nbytes, 0, target_offset)


class copy_ignores_target_offset(Broken):
    def copy(self, source, target, nbytes, source_offset=0, target_offset=0):
        super().copy(source, target, nbytes, source_offset, target_offset)
        super().copy(source, target, nbytes, source_offset, 0)


class ranges_unchecked(Broken):
    def read(self, buffer, nbytes, offset=0):
        return bytearray(buffer.host[max(offset, 0) : max(offset, 0) + nbytes])


class zero_refused(Broken):
    def allocate(self, nbytes):
        if nbytes == 0:
            raise LaunchError("an allocation of 0 bytes")
        return super().allocate(nbytes)


class overlapping(Broken):
    """Every fiftieth buffer lies inside an earlier one, if that is still in use."""

    count, large = 0, staticmethod(lambda: None)

    def allocate(self, nbytes):
        self.count += 1
        inside = self.large()
        if self.count % 50 == 0 and inside is not None and inside.nbytes >= nbytes:
            return Buffer(self, nbytes, inside.handle, inside.host)
        made = super().allocate(nbytes)
        if nbytes > 4096:
            self.large = weakref.ref(made)
        return made


class leak(Broken):
    """Large buffers are never let go."""

    held = ()

    def allocate(self, nbytes):
        buffer = super().allocate(nbytes)
        if nbytes == 1 << 20:
            self.held = [*self.held, buffer]
        return buffer


class memory_error(Broken):
    """Too much is refused with Python's error instead of the protocol's."""

    def allocate(self, nbytes):
        try:
            return super().allocate(nbytes)
        except OutOfMemory as error:
            raise MemoryError(str(error)) from None


class dead_after_out_of_memory(Broken):
    dead = False

    def allocate(self, nbytes):
        if self.dead:
            raise OutOfMemory(self.name, nbytes, 0)
        try:
            return super().allocate(nbytes)
        except OutOfMemory:
            self.dead = True
            raise


class Forgetful(CpuLaunch):
    """Holds addresses, not buffers."""

    __slots__ = ()

    def __init__(self, program, grid, arguments):
        super().__init__(program, grid, arguments)
        self._arguments = [None for _ in arguments]

    def set(self, index, argument):
        super().set(index, argument)
        self._arguments[index] = None


class launch_lets_go(Loads):
    program = program(Forgetful)


class narrow_addresses(Broken):
    own_text = True
    text = changed(("STORE_u8(p, i, v) ((p)[i] = (v))", "STORE_u8(p, i, v) ((p)[(i) & 0x7fffffff] = (v))"))


# programs


class Short(CpuLaunch):
    __slots__ = ()

    def __init__(self, program, grid, arguments):
        super().__init__(program, (grid[0] - (grid[0] > 1), *grid[1:]), arguments)


class last_group_missing(Loads):
    program = program(Short)


class Flat(CpuLaunch):
    __slots__ = ()

    def __init__(self, program, grid, arguments):
        super().__init__(program, (grid[0], grid[1], 1), arguments)


class third_axis_missing(Loads):
    program = program(Flat)


class Shared(CpuProgram):
    """All launches of a program have the arguments of the last one that was bound."""

    def bind(self, grid, *arguments):
        made = super().bind(grid, *arguments)
        self.last = getattr(self, "last", None) or made
        for k, argument in enumerate(arguments):
            self.last.set(k, argument)
        return self.last


class one_launch_per_program(Loads):
    program = Shared


class Fixed(CpuLaunch):
    """A number, once bound, stays."""

    __slots__ = ("made",)

    def set(self, index, argument):
        if isinstance(argument, Buffer) or self._arguments[index] is argument:
            super().set(index, argument)


class values_stay(Loads):
    program = program(Fixed)


class Narrow(CpuLaunch):
    __slots__ = ()

    def set(self, index, argument):
        if self._parameters[index].dtype == "int64" and self._parameters[index].access == "value":
            argument = (int(argument) + (1 << 31)) % (1 << 32) - (1 << 31)
        super().set(index, argument)


class integers_cut(Loads):
    program = program(Narrow)


class arguments_unchecked(Loads):
    def load(self, binary, source):
        made = super().load(binary, source)
        return Unchecked(made) if source.entry == "scale" else made


class Unchecked:
    def __init__(self, made):
        self.made = made

    def bind(self, grid, *arguments):
        try:
            return self.made.bind(grid, *arguments)
        except LaunchError:
            return None


class capture_drops_last(Broken):
    def capture(self, launches):
        return super().capture(list(launches)[:-1] if len(launches) > 1 else launches)


class capture_keeps_arguments(Broken):
    def capture(self, launches):
        return super().capture([CpuLaunch(x.program, tuple(x.slots[:3]), tuple(x._arguments)) for x in launches])


class cached_by_name(Broken):
    binaries = None

    def build(self, source):
        self.binaries = self.binaries or {}
        if source.entry not in self.binaries:
            self.binaries[source.entry] = super().build(source)
        return self.binaries[source.entry]


class defines_ignored(Broken):
    binaries = None

    def build(self, source):
        self.binaries = self.binaries or {}
        if source.body not in self.binaries:
            self.binaries[source.body] = super().build(source)
        return self.binaries[source.body]


class log_lost(Broken):
    def build(self, source):
        try:
            return super().build(source)
        except CompileError:
            raise CompileError("it does not compile") from None


class compile_raises_another(Broken):
    def build(self, source):
        try:
            return super().build(source)
        except CompileError as error:
            raise RuntimeError(error.log) from None


PLACE = []


class Racing(CpuLaunch):
    """A program's arguments lie in one place until it runs: one who finds those of another loses its launch."""

    __slots__ = ()
    place = PLACE

    def __call__(self):
        mine = self.place[:] = list(self.slots)
        for _ in range(20):
            time.sleep(1e-3)
            if self.place != mine:
                return
        super().__call__()


class not_thread_safe(Loads):
    program = program(Racing)


TABLE = {}


class binary_of_this_process(Broken):
    """What is built is a number that only this process knows."""

    table = TABLE

    def build(self, source):
        key = f"{id(self)}:{next(NUMBERS)}".encode()
        self.table[key] = super().build(source)
        return key

    def load(self, binary, source):
        return super().load(self.table.get(bytes(binary), b"not in this process"), source)


NUMBERS = itertools.count()


class fingerprint_of_this_process(Broken):
    def __init__(self):
        super().__init__()
        self.fingerprint = replace(self.fingerprint, driver=f"started at {time.time_ns()}")


class restless_fingerprint(Broken):
    @property
    def fingerprint(self):
        return replace(self._fingerprint, driver=str(next(NUMBERS)))

    @fingerprint.setter
    def fingerprint(self, value):
        self._fingerprint = value


# timing


class time_is_zero(Broken):
    def time(self, launch, repeats):
        return [0.0 for _ in super().time(launch, repeats)]


class time_is_constant(Broken):
    def time(self, launch, repeats):
        return [1e-5 for _ in super().time(launch, repeats)]


class time_in_milliseconds(Broken):
    def time(self, launch, repeats):
        return [1e3 * seconds for seconds in super().time(launch, repeats)]


class time_without_running(Broken):
    """One run is enough to know all times."""

    def time(self, launch, repeats):
        start = time.perf_counter()
        launch()
        return [time.perf_counter() - start] * repeats


class one_time_for_all(Broken):
    def time(self, launch, repeats):
        return [sum(super().time(launch, repeats))]


# what is computed


class fast_math(Broken):
    """NaN, infinity and -0 are said not to exist. (All of -ffast-math would flush subnormals in the whole process.)"""

    own_text = True

    def build(self, source):
        flags = ("-ffinite-math-only", "-fno-signed-zeros", "-fassociative-math")
        compiler = replace(self.compiler, command=(*self.compiler.command, *flags))
        return compiler.compile(self.text(source))


class float32_for_float64(Broken):
    own_text = True
    text = changed(("#define STORE_f64(p, i, v) ((p)[i] = (v))", "#define STORE_f64(p, i, v) ((p)[i] = (f32)(v))"))


class half_truncated(Broken):
    """A float16 is cut instead of rounded."""

    own_text = True
    text = changed(("0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13", "0x38000000u) >> 13"))


class loop_one_too_far(Broken):
    own_text = True
    text = changed(("simd) for (i64 i = (begin); i < (end); i++)", "simd) for (i64 i = (begin); i <= (end); i++)"))


class reduction_one_short(Broken):
    own_text = True
    text = changed((
        "PRAGMA(omp simd reduction(R : acc)) for (i64 i = (begin); i < (end); i++)",
        "for (i64 i = (begin); i < (end) - ((end) > 4000); i++)",
    ))  # fmt: skip


class max_forgets_nan(Broken):
    own_text = True
    text = changed(("((((a) > (b)) | ((a) != (a))) ? (a) : (b))", "(((a) > (b)) ? (a) : (b))"))


class wild_stores(Broken):
    """Every store of an int8 reaches one element further."""

    own_text = True
    text = changed(("STORE_i8(p, i, v) ((p)[i] = (v))", "STORE_i8(p, i, v) ((p)[i] = (v), (p)[(i) + 1] = (v))"))


class claims_what_it_lacks(Broken):
    own_text = True
    text = changed(("#define LOAD_f64(p, i) ((p)[i])", "#define LOAD_f64(p, i) ((p)[i] + no_float64_here)"))


class vendor_ignores_offsets(Broken):
    def vendor(self, call):
        flat = [replace(layout, offset=0) for layout in (*call.outputs, *call.inputs)]
        return super().vendor(replace(call, outputs=(flat[0],), inputs=(flat[1], flat[2])))


class crashes(Broken):
    """The process dies when four bytes are copied."""

    def copy(self, source, target, nbytes, source_offset=0, target_offset=0):
        if nbytes == 20:
            os.abort()
        super().copy(source, target, nbytes, source_offset, target_offset)


class hangs(Broken):
    def copy(self, source, target, nbytes, source_offset=0, target_offset=0):
        if nbytes == 20:
            time.sleep(3600)
        super().copy(source, target, nbytes, source_offset, target_offset)


def discover():
    return [Found(device.name, device) for device in (kind() for kind in DEVICES.values() if kind is not Loads)]
