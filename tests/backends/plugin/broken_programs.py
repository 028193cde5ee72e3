"""Devices that break a promise about programs, launches or the clock."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

from broken_frame import Broken, Loads, program

from tilewright.backends.cpu_launch import CpuLaunch, CpuProgram
from tilewright.backends.protocol import Buffer, CompileError, LaunchError


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
        if self._values[index] == "int64":
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
