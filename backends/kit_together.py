"""Checks of what stands beside one another: programs of one name, threads, devices of one backend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tilewright.backends import registry
from tilewright.backends.kit import TEXT, Capability, Facts, Tier, broken, expect_equal
from tilewright.backends.kit_sources import download, groups, run, scale, upload
from tilewright.backends.protocol import Device

together = Tier("runtime", "memory, programs and launches", TEXT)

SIBLINGS = Capability("another device of its backend", lambda device: len(siblings(device)) > 0)


def siblings(device: Device) -> list[Device]:
    """The other usable devices of the same backend."""
    backend = device.name.partition(":")[0]
    found = registry.discover_backend(backend) if backend in registry.backends() else ()
    return [x.device for x in found if x.device is not None and x.name != device.name]


@together.check("Programs are told apart by their whole text and defines, not by their name.")
def programs_of_one_name(device: Device) -> None:
    first = scale(device)
    other, times = scale(device, plus=" + 7"), scale(device, "FACTOR * a")
    five, ten = (replace(times, defines=(*times.defines, ("FACTOR", k))) for k in (5, 10))
    x = np.arange(300, dtype=np.float32)
    for what, factor, plus in ((first, 2, 0), (other, 2, 7), (five, 10, 0), (ten, 20, 0), (first, 2, 0)):
        y, program = device.allocate(x.nbytes), device.load(device.build(what), what)
        program.bind(groups(300), y, upload(device, x), 2.0, 300)()
        expect_equal(
            download(device, y, np.float32), factor * x + plus, f"the kernel scale that gives {factor} x + {plus}"
        )


def _in_two_threads(turn: Callable[[int, int], str], turns: int) -> None:
    """`turn(thread, number)` so many times in each of two threads that start together; what it says is wrong."""
    failures: list[str] = []
    together = threading.Barrier(2)

    def work(thread: int) -> None:
        together.wait()
        try:
            failures.extend(text for number in range(turns) if (text := turn(thread, number)))
        except Exception as error:  # a thread's error would be lost
            failures.append(f"thread {thread}: {type(error).__name__}: {error}")

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        broken(f"{failures[0]} ({len(failures)} of {2 * turns} turns went wrong)")


@together.check("Two threads may launch and read at the same time.")
def two_threads(device: Device) -> None:
    given = [np.random.default_rng(thread).random(5000, np.float32) for thread in range(2)]

    def turn(thread: int, number: int) -> str:
        (y,) = run(device, scale(device), [(5000, np.float32)], [given[thread]], 5000, float(number))
        right = np.array_equal(y, given[thread] * np.float32(number))
        return "" if right else f"thread {thread} got a wrong result in turn {number}"

    _in_two_threads(turn, 40)


@together.check("Two threads may compile different kernels at the same time.")
def two_threads_compile(device: Device) -> None:
    times, x = scale(device, "FACTOR * a"), np.arange(300, dtype=np.float32)

    def turn(thread: int, number: int) -> str:
        factor = 10 * number + thread + 1
        what = replace(times, defines=(*times.defines, ("FACTOR", factor)))
        y, program = device.allocate(x.nbytes), device.load(device.build(what), what)
        program.bind(groups(300), y, upload(device, x), 1.0, 300)()
        right = np.array_equal(download(device, y, np.float32), factor * x)
        return "" if right else f"thread {thread} asked for {factor} x and got another kernel"

    _in_two_threads(turn, 3)


@together.check("Devices of one backend keep apart: each runs its own programs, in its own memory.", SIBLINGS)
def devices_keep_apart(device: Device) -> Facts:
    x = np.arange(500, dtype=np.float32)
    for other in siblings(device):
        for turn, one in enumerate((device, other, device)):
            (y,) = run(one, scale(one), [(500, np.float32)], [x + turn], 500, 2.0)
            expect_equal(y, 2 * (x + turn), f"2 x on {one.name}, after {turn} of three turns on two devices")
        held = [upload(one, x + k) for k, one in enumerate((device, other))]
        for k, one in enumerate((device, other)):
            expect_equal(download(one, held[k], np.float32), x + k, f"a buffer of {one.name}, after both were written")
    return {"beside": [other.name for other in siblings(device)]}
