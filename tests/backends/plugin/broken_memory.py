"""Devices that break a promise about memory."""

from __future__ import annotations

import weakref

from broken_frame import Broken, Loads, changed, program

from tilewright.backends.cpu_launch import CpuLaunch
from tilewright.backends.protocol import Buffer, LaunchError, OutOfMemory


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


class narrow_offsets(Broken):
    """Offsets are taken to the driver as 32 bits with a sign."""

    def write(self, buffer, data, offset=0):
        super().write(buffer, data, offset & 0x7FFFFFFF)


class counts_items(Broken):
    """What is written is taken for bytes, of which it has as many as items."""

    def write(self, buffer, data, offset=0):
        view = memoryview(data)
        super().write(buffer, view.cast("B")[: len(view)] if view.nbytes else view, offset)


class read_only(Broken):
    """What is read cannot be written to."""

    def read(self, buffer, nbytes, offset=0):
        return bytes(super().read(buffer, nbytes, offset))
