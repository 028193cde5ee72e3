"""The configurations a kernel may take, and why the others may not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

from tilewright.backends.protocol import Limits

Config = dict[str, int | float | str | bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that a valid config meets, and the reason it is asked for (hardware fact, indexing need)."""

    reason: str
    holds: Callable[[Config], bool]


@dataclass(frozen=True)
class Space:
    """Every tunable with its values, and rules; iterating yields the valid configs in canonical order."""

    choices: Mapping[str, tuple[int | float | str | bool, ...]]
    rules: tuple[Rule, ...] = ()

    def __iter__(self) -> Iterator[Config]:
        names = tuple(self.choices)
        for values in itertools.product(*self.choices.values()):
            config = dict(zip(names, values, strict=True))
            if all(rule.holds(config) for rule in self.rules):
                yield config

    def refusal(self, config: Config) -> str | None:
        """Why `config` is not in this space, in one sentence; None if it is."""
        for name, value in config.items():
            if name not in self.choices:
                return f"there is no tunable {name!r}; there are {', '.join(self.choices)}"
            if value not in self.choices[name]:
                return f"{name}={value!r} is not one of {self.choices[name]}"
        missing = [name for name in self.choices if name not in config]
        if missing:
            return f"{', '.join(missing)} not given"
        return next((rule.reason for rule in self.rules if not rule.holds(config)), None)


def thread_counts(limits: Limits, most: int = 512) -> tuple[int, ...]:
    """The sizes of group worth trying on a device."""
    return tuple(t for t in (32, 64, 128, 256, 512, 1024) if t <= min(most, limits.threads_per_group))


def serial(limits: Limits) -> bool:
    """Whether one thread does the work of a group best: a CPU, behind whatever language.

    Its compiler makes vectors of a thread's loops; threads of a group would take turns between barriers. Where it makes
    vectors of neighbouring threads instead, a group of the generated kernels is the `lanes` threads of one.
    """
    return limits.subgroup == 1


def ends(limits: Limits, iterations: Callable[[Config], int]) -> Rule:
    """A thread's loops may not take more `iterations` than the device lets them."""
    most = limits.iterations
    return Rule("the device ends a thread's loops after fewer iterations", lambda c: not most or iterations(c) <= most)


EMPTY = Space({"NONE": ()})
"""The space of a kernel that does not apply."""


def register_file(limits: Limits) -> tuple[int, int]:
    """Bytes of a vector register and their number; where the device does not say, 32 of 64 bytes (AVX-512), else 16."""
    nbytes = max(limits.vector_nbytes, 16)
    return nbytes, limits.registers * 4 // nbytes or (32 if nbytes >= 64 else 16)


def ceil_div(extent: int, step: int) -> int:
    return -(-extent // step)


def share(extent: int, block: int, tile: int) -> int:
    """SHARE of matmul_cpu.c: blocks evened out, in whole tiles."""
    return ceil_div(ceil_div(extent, ceil_div(extent, block)), tile) * tile


def up_to(choices: tuple[int, ...], extent: int) -> tuple[int, ...]:
    """The choices below `extent`, and the first that covers it."""
    return tuple(c for k, c in enumerate(choices) if k == 0 or choices[k - 1] < extent)


def columns_fit(limits: Limits, kept: tuple[int, ...], extent: int) -> bool:
    """Whether neighbouring columns of `extent` elements stay near while a group walks through them again.

    Elements are taken to have 4 bytes. Every compute unit must have some columns.
    """
    tile = 64 if serial(limits) else 128
    near = limits.cache_nbytes[1] // 2 if len(limits.cache_nbytes) > 1 and serial(limits) else 1 << 19
    return prod(kept) >= tile * limits.compute_units and extent * tile * 4 <= near
