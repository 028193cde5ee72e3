"""Checks of `Device.time`, which the tuner believes: positive, growing with the work, and true to the wall clock."""

from __future__ import annotations

import math
from time import perf_counter

import numpy as np

from tilewright.backends.cache import load_program
from tilewright.backends.kit import TEXT, Facts, Tier, broken
from tilewright.backends.kit_sources import busy, counted, download, groups, upload
from tilewright.backends.protocol import Device, Launch

timing = Tier("timing", "the clock that the tuner believes", TEXT)

LONG_SECONDS = 0.02
"""A launch of at least so long: next to it, what it costs to start is nothing."""


def _busy(device: Device, turns: int) -> Launch:
    """One group only: other programs on the machine and the scheduling of groups must not decide."""
    x = upload(device, np.ones(64, np.float32))
    return load_program(device, busy(device)).bind(groups(64), device.allocate(x.nbytes), x, turns, 64)


def _long_turns(device: Device) -> int:
    """So many turns take LONG_SECONDS by the wall clock, which no device can bend."""
    turns = 1000
    while turns < 1 << 40:
        launch = _busy(device, turns)
        start = perf_counter()
        launch()
        device.synchronize()
        taken = perf_counter() - start
        if taken >= LONG_SECONDS:
            return turns
        turns = int(turns * min(max(1.5 * LONG_SECONDS / max(taken, 1e-6), 2.0), 100.0))
    broken(f"{turns} dependent steps were done in less than {LONG_SECONDS} s: the kernel does not run")


@timing.check("time() gives one positive, finite number of seconds per repeat.")
def positive(device: Device) -> Facts:
    for turns, repeats in ((1, 1), (1, 7), (5000, 3)):
        times = device.time(_busy(device, turns), repeats)
        if len(times) != repeats:
            broken(f"{len(times)} times for {repeats} repeats")
        wrong = [t for t in times if not (math.isfinite(t) and t > 0)]
        if wrong:
            broken(f"a launch is said to have taken {wrong[0]} seconds")
    return {"smallest seconds": min(times)}


@timing.check("time() runs the launch at least as often as it gives times.")
def runs_what_it_times(device: Device) -> None:
    counts = upload(device, np.zeros(8, np.int32))
    launch = load_program(device, counted(device)).bind(groups(8), counts, 8)
    device.time(launch, 5)
    least = int(download(device, counts, np.int32).min())
    if least < 5:
        broken(f"5 times were given, and the launch ran {least} times")


@timing.check("Eight times the work takes between 4 and 16 times as long.", bound="a factor of 2: clock rates vary")
def grows_with_the_work(device: Device) -> Facts:
    turns = max(_long_turns(device) // 32, 1)  # eight times as much still fits between two turns of another program
    launches, least = [_busy(device, n) for n in (turns, 8 * turns)], [math.inf, math.inf]
    for _ in range(10):  # other programs may disturb some of these, not all
        least = [min(best, *device.time(launch, 3)) for best, launch in zip(least, launches, strict=True)]
        ratio = least[1] / least[0] if least[0] > 0 else math.inf
        if 4 <= ratio <= 16:
            return {"ratio": ratio}
    broken(f"eight times the work takes {ratio:.3g} times as long")


@timing.check(
    "The device's clock agrees with the wall clock on long launches.",
    bound="0.5 to 1.05 of the wall time: time() may leave out what the call costs, never more than all of it",
)
def agrees_with_the_wall_clock(device: Device) -> Facts:
    launch = _busy(device, 2 * _long_turns(device))
    shares = []
    for _ in range(5):
        start = perf_counter()
        times = device.time(launch, 3)
        shares.append(sum(times) / (perf_counter() - start))
        if 0.5 <= shares[-1] <= 1.05:
            return {"share of the wall clock": shares[-1]}
    broken(f"launches that take a second by the wall clock take {sorted(shares)[2]:.3g} s by the device's")
