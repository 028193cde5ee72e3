"""Running launches against a clock, as a policy says."""

from __future__ import annotations

from time import perf_counter

from tilewright.backends.protocol import Device, Launch, Replay
from tilewright.tuner.policy import Policy

LEAST_SECONDS = 2e-4
"""A replay that is shorter is timed several times at once: the host's clock has some microseconds of its own."""

FLUSH_NBYTES = 64 << 20
"""Moved before a cold run on a device that does not tell the size of its caches; twice the last cache elsewhere."""


class Stopwatch:
    """Times candidates on `device` under `policy`. Raises OutOfMemory where a cold cache needs memory to flush it."""

    def __init__(self, device: Device, policy: Policy) -> None:
        self._device, self._policy = device, policy
        self._replays: dict[tuple[Launch, ...], Replay] = {}
        if policy.cache == "cold":
            self._nbytes = max(2 * max(device.limits.cache_nbytes, default=0), FLUSH_NBYTES)
            self._from, self._to = device.allocate(self._nbytes), device.allocate(self._nbytes)

    def times(self, launches: tuple[Launch, ...], repeats: int) -> list[float]:
        """Seconds of each of `repeats` runs of all launches."""
        if self._policy.cache == "cold":
            return [self._cold(launches) for _ in range(repeats)]
        if self._policy.launch == "replayed":
            replay = self._replay(launches)
            count = min(max(int(LEAST_SECONDS / max(self._wall(replay, 1), 1e-7)), 1), 1000)
            return [self._wall(replay, count) / count for _ in range(repeats)]
        rows = [self._device.time(launch, repeats) for launch in launches]
        return [sum(column) for column in zip(*rows, strict=True)]

    def _replay(self, launches: tuple[Launch, ...]) -> Replay:
        if launches not in self._replays:
            self._replays[launches] = self._device.capture(launches)
        return self._replays[launches]

    def _wall(self, replay: Replay, count: int) -> float:
        self._device.synchronize()
        begin = perf_counter()
        for _ in range(count):
            replay()
        self._device.synchronize()
        return perf_counter() - begin

    def _cold(self, launches: tuple[Launch, ...]) -> float:
        self._device.copy(self._from, self._to, self._nbytes)
        self._device.synchronize()
        replay = self._replay(launches) if self._policy.launch == "replayed" else None
        begin = perf_counter()
        if replay is not None:
            replay()
        else:
            for launch in launches:
                launch()
        self._device.synchronize()
        return perf_counter() - begin
