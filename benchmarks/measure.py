"""Racing contestants against each other: interleaved, warmed up, told by the median with its spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

SLOW_SECONDS = 1.0  # so long a run is not disturbed by what a warm-up would prevent, which costs as much again
PATIENCE_SECONDS = 4.0
SAMPLE_SECONDS = 2e-3  # shorter runs are timed several at once: clocks and interrupts cost some microseconds
SETTLE_SECONDS = 10e-3  # OpenBLAS's threads spin for 7 ms after their work; libraries share the cores
BASELINE = "numpy"
OURS = "tilewright"


@dataclass(frozen=True, slots=True)
class Contestant:
    """`run` does the work once, and it is done on return. `clock`, where given, runs it and says how long it took:
    for a device's own clock."""

    name: str
    run: Callable[[], object]
    clock: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class Aim:
    """Contestants whose name starts with "tilewright" and ends with `of` are to be `ratio` times as fast as `rival`:
    a name, or "best" for the fastest that is not ours."""

    rival: str
    ratio: float
    of: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A sentence, and whether the aim in it was met; None where it could not be judged."""

    text: str
    met: bool | None


@dataclass(slots=True)
class Outcome:
    """One workload's result: seconds of every sample by contestant. `nbytes` moved and `operations` done at least by
    one run, 0 where that says nothing."""

    name: str
    samples: dict[str, list[float]]
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    nbytes: int = 0
    operations: int = 0
    broken: bool = False  # a contestant of ours failed or was wrong
    family: str = ""
    size: str = ""
    dtype: str = "float32"
    first: dict[str, float] = field(default_factory=dict)  # seconds of the first run, which compiles
    solo: dict[str, float] = field(default_factory=dict)  # seconds of a run among its own kind, nobody else's between
    launches: dict[str, int] = field(default_factory=dict)  # of our contestants
    left_out: list[str] = field(default_factory=list)  # peers that have no way, or failed, or were wrong

    def median(self, name: str) -> float:
        return statistics.median(self.samples[name])

    def spread(self, name: str) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        samples = self.samples[name]
        if len(samples) < 2:
            return 0.0
        low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
        return (high - low) / 2 / self.median(name)

    def rival(self) -> str:
        """The fastest that is not ours, "" where there is none."""
        return min((name for name in self.samples if not name.startswith(OURS)), key=self.median, default="")

    def ours(self, suffix: str = "") -> list[str]:
        """Our contestants: all of them, or those whose name ends with `suffix`."""
        return [name for name in self.samples if name.startswith(OURS) and name.endswith(suffix)]


def _once(contestant: Contestant, batch: int) -> float:
    """Seconds of one run, from a sample of `batch` of them."""
    if contestant.clock is not None:
        return contestant.clock()
    begin = time.perf_counter()
    for _ in range(batch):
        contestant.run()
    return (time.perf_counter() - begin) / batch


def race(
    contestants: Sequence[Contestant], rounds: int, solo: dict[str, float] | None = None
) -> dict[str, list[float]]:
    """Seconds per run, `rounds` samples for each contestant. Every round has all of them, each time another first,
    so that a machine that gets slower or faster meanwhile does so for all; each sample follows a pause and an untimed
    run, so that nobody pays for the threads or the caches of the one before. Who takes more than SLOW_SECONDS has as
    many rounds only as PATIENCE_SECONDS have room for. `solo` gets the best of three runs right after each other.
    """
    batches, slow, least = {}, {}, {}
    for contestant in contestants:
        seconds = _once(contestant, 1)
        if seconds < SLOW_SECONDS:
            seconds = min(seconds, _once(contestant, 1), _once(contestant, 1))
        if solo is not None:
            solo[contestant.name] = seconds
        slow[contestant.name] = seconds > SLOW_SECONDS
        least[contestant.name] = seconds
        batches[contestant.name] = max(1, min(10_000, round(SAMPLE_SECONDS / max(seconds, 1e-9))))
    samples: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        first = number % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            if slow[contestant.name] and number * least[contestant.name] > PATIENCE_SECONDS:
                continue
            time.sleep(SETTLE_SECONDS)
            if not slow[contestant.name]:
                contestant.run()
            samples[contestant.name].append(_once(contestant, batches[contestant.name]))
    return samples


def judge(outcome: Outcome, aims: Iterable[Aim]) -> list[Verdict]:
    """One verdict per aim and contestant of ours."""
    verdicts = []
    for aim in aims:
        rival = outcome.rival() if aim.rival == "best" else aim.rival
        for name in outcome.ours(aim.of):
            if aim.of == "" and "," in name:
                continue  # a part of the work, such as the kernel alone, is judged only where the aim says so
            if rival not in outcome.samples:
                verdicts.append(Verdict(f"{name}: {aim.ratio:g}x {aim.rival} wanted, which was not measured", None))
                continue
            ratio = outcome.median(rival) / outcome.median(name)
            best = " (the best of the others)" if aim.rival == "best" else ""
            verdicts.append(Verdict(f"{name}: {ratio:.2f}x {rival}{best}, aim {aim.ratio:g}x", ratio >= aim.ratio))
    return verdicts


def ceiling(name: str, found: float, most: float, scale: float, unit: str) -> Verdict:
    """A verdict on `found` seconds, of which there may be `most`, told in `unit`s of 1 / `scale` seconds."""
    return Verdict(f"{name}: {found * scale:.3g} {unit}, aim at most {most * scale:g} {unit}", found <= most)
