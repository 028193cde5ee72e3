"""A device whose kernels misbehave as asked: NumPy does the work, a define of the kernel says what goes wrong.

Registered as a plug-in through the metadata that lies beside it, so that the worker process finds it as any other.
The fault is chosen by the environment variable FAULTS: JSON, from the map kernel's TILE to the fault's name; where a
tile is not named all goes well.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace

import numpy as np

from tilewright.backends.launching import SequentialReplay
from tilewright.backends.protocol import CompileError, DeviceLost, Fingerprint, Found, Limits, OutOfMemory
from tilewright.kernels import KERNELS
from tilewright.kernels.map import Map

GONE = []  # once the device is lost it stays so, for this process
LEAKED = []
MEMORY = [1 << 30]  # bytes that are free on the device

FAULTS = json.loads(os.environ.get("FAULTS", "{}"))


class Tiled(Map):
    """The map kernel with its tile among the defines, so that a build knows which config it is for."""

    def render(self, problem, config, *language):
        return replace(super().render(problem, config, *language), defines=(("TILE", int(config["TILE"])),))


class Buffer:
    def __init__(self, device, nbytes):
        self.device, self.nbytes, self.host = device, nbytes, np.zeros(nbytes, np.uint8)


class Launch:
    """Doubles its input, the last buffer, into its output, the first: the one kernel this device knows."""

    def __init__(self, device, fault, arguments):
        self.device, self.fault, self.arguments = device, fault, list(arguments)

    def set(self, index, argument):
        self.arguments[index] = argument

    def __call__(self):
        out, source = self.arguments[0], self.arguments[1]
        values = source.host.view(np.float32)
        result = values + values
        act(self.fault, result)
        if GONE:
            raise DeviceLost("faulty: the device stopped answering")
        count = 4 * len(values)
        if self.fault == "short":
            count -= 4
        out.host[:count] = result.view(np.uint8)[:count]
        if self.fault == "past":
            out.host[count : count + 4] = 0


def act(fault, result):
    if fault == "hang":
        time.sleep(3600)
    elif fault == "segfault":
        import ctypes

        ctypes.string_at(0)
    elif fault == "abort":
        os.abort()
    elif fault == "exit":
        os._exit(3)
    elif fault == "wrong":
        result[len(result) // 2] += 1
    elif fault == "off":
        result[:] = np.nextafter(result, np.float32(np.inf))
    elif fault == "nan":
        result[3] = np.nan
    elif fault == "print":
        print('{"ok": true, "seconds": 0}', flush=True)
        os.write(1, b"\x00\xffgarbage without end")
    elif fault == "memory":
        raise OutOfMemory("faulty", 1 << 50, 1)
    elif fault == "lost":
        GONE.append(True)
    elif fault == "leak":
        LEAKED.append(bytearray(b"x") * (2 << 20))
    elif fault == "leak there":
        MEMORY[0] = 0
    elif fault == "raise":
        raise RuntimeError("the driver does not like this")


class Program:
    def __init__(self, device, source):
        self.device, self.source = device, source
        self.tile = str(dict(source.defines).get("TILE", ""))

    def bind(self, grid, *arguments):
        return Launch(self.device, FAULTS.get(self.tile, ""), arguments)


class Faulty:
    name = "faulty"
    fingerprint = Fingerprint("faulty", "tests", "model", "none", (), 1, "", "1", "1")
    limits = Limits(1, 0, 16, 1, 1, 32, (1 << 15,), 1 << 30, 1 << 30, frozenset({"float32", "int64"}))

    def allocate(self, nbytes):
        if nbytes > MEMORY[0]:
            raise OutOfMemory("faulty", nbytes, MEMORY[0])
        return Buffer(self, nbytes)

    def write(self, buffer, data, offset=0):
        data = np.frombuffer(data, np.uint8)
        buffer.host[offset : offset + len(data)] = data

    def read(self, buffer, nbytes, offset=0):
        return bytearray(buffer.host[offset : offset + nbytes])

    def copy(self, source, target, nbytes, source_offset=0, target_offset=0):
        target.host[target_offset : target_offset + nbytes] = source.host[source_offset : source_offset + nbytes]

    def build(self, source):
        tile = Program(self, source).tile
        if FAULTS.get(tile) == "compile":
            raise CompileError(
                "faulty: it does not compile", "kernel.c:1: note: here\nkernel.c:3:7: error: no such thing"
            )
        if FAULTS.get(tile) == "slow build":
            time.sleep(3600)
        return tile.encode()

    def load(self, binary, source):
        return Program(self, source)

    def vendor(self, call):
        return None

    def capture(self, launches):
        return SequentialReplay(launches)

    def time(self, launch, repeats):
        """A millisecond, or as many as the fault says after "slow", whatever the clock shows."""
        for _ in range(repeats):
            launch()
        fault = launch.fault
        seconds = int(fault.removeprefix("slow")) * 1e-3 if fault.startswith("slow") else 1e-3
        return [seconds] * repeats

    def synchronize(self):
        sys.stdout.flush()


def discover():
    if getattr(sys.modules["__main__"].__spec__, "name", "") == "tilewright.tuner.worker":
        KERNELS["map"] = (Tiled(),)  # only there: the tests' own process keeps its kernels
    return [Found("faulty", Faulty())]
