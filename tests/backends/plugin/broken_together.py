"""Devices whose programs, threads or processes get in one another's way."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

from broken_frame import Broken, Loads, program

from tilewright.backends.cpu_launch import CpuLaunch

FILES = []


class one_file_for_all_builds(Broken):
    """Every build writes its source to one place and has the compiler read it from there."""

    place = FILES

    def build(self, source):
        self.place[:] = [source]
        time.sleep(5e-3)
        return super().build(self.place[0])


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


class Waiting(CpuLaunch):
    """Runs when its program's device is next read from."""

    __slots__ = ()

    def __call__(self):
        self.program.device.waiting.append(super().__call__)


PROGRAMS = {}


class Sibling(Loads):
    """Two devices of one backend, each with a queue, that look a program up by its source alone."""

    program, table = program(Waiting), PROGRAMS

    def __init__(self, number):
        super().__init__()
        self.name, self.waiting = f"siblings:{number}", []
        self.fingerprint = replace(self.fingerprint, backend="siblings")

    def load(self, binary, source):
        if source not in self.table:
            self.table[source] = super().load(binary, source)
            self.table[source].device = self
        return self.table[source]

    def read(self, buffer, nbytes, offset=0):
        while self.waiting:
            self.waiting.pop(0)()
        return super().read(buffer, nbytes, offset)
