"""What the broken devices are made of: the cpu under another name, with its text or its launches changed."""

from __future__ import annotations

from dataclasses import replace

from tilewright.backends import cpu_team
from tilewright.backends.cpu import CpuDevice, c_text
from tilewright.backends.cpu_launch import CpuProgram
from tilewright.backends.launching import SequentialReplay

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
        sound = source is cpu_team.SOURCE  # its threads are no kernel
        return self.compiler.compile(c_text(source) if sound else self.text(source))


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
