"""Devices that break a promise about programs, launches or the clock."""

from __future__ import annotations

import ctypes
import struct
import threading
import time
import weakref

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


class capture_keeps_the_list(Broken):
    """What is replayed is what the caller's list holds by then."""

    def capture(self, launches):
        return lambda: [launch() for launch in launches] and None


class Unloaded(CpuProgram):
    """Its code goes with the last reference to the program, which its launches do not hold."""

    def bind(self, grid, *arguments):
        super().bind(grid, *arguments)
        return Orphan(self, grid, arguments)


class Orphan(CpuLaunch):
    __slots__ = ("alive",)

    def __init__(self, program, grid, arguments):
        super().__init__(program, grid, arguments)
        self.alive, self.program = weakref.ref(program), None

    def __call__(self):
        if self.alive() is None:
            raise LaunchError("the code is not there any more")
        super().__call__()


class program_unloaded(Loads):
    program = Unloaded


class Late(CpuLaunch):
    """Runs on a thread of its own, some time later."""

    __slots__ = ()

    def __call__(self):
        slots = (type(self.slots))(*self.slots)
        held, PENDING[:] = list(self._arguments), [t for t in PENDING if t.is_alive()]

        def work(before=tuple(PENDING)):
            time.sleep(2e-3)
            for thread in before:
                thread.join()
            self._run(ctypes.addressof(slots))
            held.clear()

        PENDING.append(threading.Thread(target=work))
        PENDING[-1].start()


PENDING = []


class read_does_not_wait(Loads):
    """Launches are in order among themselves; copies, writes and reads wait for none of them."""

    program = program(Late)

    def synchronize(self):
        for thread in PENDING:
            thread.join()


class doubles_as_singles(Loads):
    """A float64 among a launch's values is rounded to float32."""

    class program(CpuProgram):
        def bind(self, grid, *arguments):
            made = super().bind(grid, *arguments)
            for k, argument in enumerate(arguments):
                if self.values[k] == "float64":
                    made.set(k, struct.unpack("f", struct.pack("f", argument))[0])
            return made


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
