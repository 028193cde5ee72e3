"""How times are taken, and of what: part of every record, since what was measured in different ways is not compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tilewright.tuner.numerics import most_ulp

CACHES = ("warm", "cold")
LAUNCHES = ("eager", "replayed")


@dataclass(frozen=True, slots=True)
class Policy:
    """`warmup` runs go before the first that counts; at most `repeats` count, fewer where the interval is narrow.

    `cache` "warm": runs follow one another, so that data which fits the caches is found there; "cold": before each run
    more than the largest cache holds is moved. `launch` "eager": the device's own clock, less the cost of the call;
    "replayed": all launches of a candidate captured and replayed, wall time. A cold run is timed on the host's clock,
    the cost of the call included: there is one run at a time.

    `numerics` says how far results may be from the reference: "bitwise" (equal, once the reference is rounded to their
    dtype), "N ulp" (at most N units in the last place), or "tolerance" (what `check.Reference` tolerates, which nobody
    may exceed). Candidates farther away are not timed, and do not win. Raises ValueError for anything else.
    """

    warmup: int = 1
    repeats: int = 1000
    cache: str = "warm"
    launch: str = "eager"
    numerics: str = "tolerance"

    def __post_init__(self) -> None:
        if type(self.warmup) is not int or not 0 <= self.warmup <= 1000:
            raise ValueError(f"a policy's warmup is a number of runs from 0 to 1000, not {self.warmup!r}")
        if type(self.repeats) is not int or not 3 <= self.repeats <= 100_000:
            raise ValueError(f"a policy's repeats are a number of runs from 3 to 100000, not {self.repeats!r}")
        if self.cache not in CACHES or self.launch not in LAUNCHES:
            raise ValueError(
                f"a policy's cache is one of {', '.join(CACHES)} and its launch one of {', '.join(LAUNCHES)}, "
                f"not {self.cache!r} and {self.launch!r}"
            )
        most_ulp(self.numerics)

    @property
    def most_ulp(self) -> float:
        """The largest distance from the reference, in ulp."""
        return most_ulp(self.numerics)

    def __str__(self) -> str:
        kept = "" if self.numerics == "tolerance" else f", numerics {self.numerics}"
        return f"{self.cache} cache, {self.launch} launch, {self.warmup} warm-up, at most {self.repeats} runs{kept}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


DEFAULT = Policy()
