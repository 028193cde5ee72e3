"""Running sums and products, largest and smallest so far: one reduction of a row, stored at every step.

`ScanRows` gives a group one row, or with `parts` one part of it; what lies before the part comes from a reduction in
parts that ran first. `ScanColumns` gives a group neighbouring columns and walks down the rows, where those are what
memory has side by side. A float's error is that of adding at most BLOCK elements and then n / BLOCK block sums:
(BLOCK + n / BLOCK) eps times the sum of magnitudes at worst, and its square root in the mean.
"""

from __future__ import annotations

from math import prod

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import (
    entry_name,
    iterations,
    parameters,
    values,
    work,
)
from tilewright.kernels.problem import Problem
from tilewright.kernels.scan_text import ScanText
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ends, serial, thread_counts

BLOCK = 4096


class ScanRows:
    """ROWS rows, or parts of rows, per group, one after the other; their number is a run-time argument.

    Threads of a group load a tile of THREADS * PER_THREAD neighbours together, scan PER_THREAD of them each in shared
    memory, then each other's totals (Hillis and Steele, "Data parallel algorithms", 1986), and store together. With
    PER_THREAD 0 they are the lanes of a vector, and scan that without memory.
    """

    name = "scan"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "scan" or _columnar(problem) or (serial(limits) and not limits.language.is_c):
            return EMPTY
        if serial(limits):
            most = max(1, _rows(problem) // limits.compute_units)
            rows = Rule("fewer groups than compute units leave some idle", lambda c: int(c["ROWS"]) <= most)
            each = (int(limits.lanes == 1),)
            return Space({"THREADS": (limits.lanes,), "PER_THREAD": each, "ROWS": (1, 4, 16, 64, 256)}, (rows,))
        width = DTYPES[DTYPES[problem.body[0].dtype].compute].nbytes
        fits = Rule(
            "a tile and the threads' totals are more than a group's shared memory",
            lambda c: _shared_count(c) * width <= limits.shared_nbytes,
        )
        length = -(-problem.space[-1] // problem.parts)

        def walked(c: Config) -> int:
            threads, each = int(c["THREADS"]), int(c["PER_THREAD"])
            turn = 4 + 2 * each * (iterations(problem) + 1) + threads.bit_length()
            return -(-length // (threads * each)) * turn + problem.parts + 1

        choices = {"THREADS": thread_counts(limits), "PER_THREAD": (1, 2, 4, 8, 16), "ROWS": (1,)}
        return Space(choices, (fits, ends(limits, walked)))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            rows = next((r for r in (64, 16, 4) if _rows(problem) >= r * limits.compute_units * 8), 1)
            return {
                "THREADS": limits.lanes,
                "PER_THREAD": int(limits.lanes == 1),
                "ROWS": rows if problem.space[-1] < BLOCK else 1,
            }
        threads = next((t for t in thread_counts(limits) if t * 4 >= problem.space[-1]), thread_counts(limits)[-1])
        return _allowed({"THREADS": min(threads, 256), "PER_THREAD": 4, "ROWS": 1}, self.space(problem, limits))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        threads, per_thread = int(config["THREADS"]), int(config["PER_THREAD"])
        text = ScanText(problem, language)
        in_shared = per_thread > 0 and threads > 1
        walk = text.together() if in_shared else text.alone() if threads == 1 else text.vectors()
        body = text.macros() + language.kernel(text.rows(walk, threads), text.shared() if in_shared else "")
        defines = (("THREADS", threads), ("PER_THREAD", per_thread), ("BLOCK", language.size(BLOCK)), work(problem))
        listed = parameters(problem, language, ("turn",))
        return Source(entry_name("scan", problem), listed, body, defines, (threads, 1, 1), filename="scan.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (-(-_rows(problem) // int(config["ROWS"])), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem, (int(config["ROWS"]),))


class ScanColumns:
    """TILE neighbouring columns per group, one accumulator each."""

    name = "scan_columns"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "scan" or len(problem.space) < 2 or not (_columnar(problem) or _short(problem, limits)):
            return EMPTY
        if serial(limits):
            return Space({"THREADS": (limits.lanes,), "TILE": (16, 32, 64, 128, 256, 512, 1024, 2048)})
        full = Rule(
            "every thread holds the same number of accumulators", lambda c: int(c["TILE"]) % int(c["THREADS"]) == 0
        )
        few = Rule(
            "more than 8 accumulators a thread spill registers", lambda c: int(c["TILE"]) <= 8 * int(c["THREADS"])
        )
        length = -(-problem.space[-1] // problem.parts)

        def walked(c: Config) -> int:
            each = int(c["TILE"]) // int(c["THREADS"]) + 1
            return (length + problem.parts + 1) * (each * iterations(problem) + 1)

        choices = {"THREADS": thread_counts(limits), "TILE": (32, 64, 128, 256, 512, 1024)}
        return Space(choices, (full, few, ends(limits, walked)))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            return {"THREADS": limits.lanes, "TILE": 512 if problem.space[-2] >= 1024 * limits.compute_units else 64}
        threads = min(128, thread_counts(limits)[-1])
        return _allowed({"THREADS": threads, "TILE": threads}, self.space(problem, limits))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        threads = int(config["THREADS"])
        text = ScanText(problem, language, column=len(problem.space) - 2)
        body = text.macros() + language.kernel(text.columns())
        defines = (("TILE", int(config["TILE"])), ("THREADS", threads), work(problem))
        listed = parameters(problem, language)
        return Source(entry_name("scan_columns", problem), listed, body, defines, (threads, 1, 1), filename="scan.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        tiles = -(-problem.space[-2] // int(config["TILE"]))
        return (tiles * prod(problem.space[:-2]) * problem.parts, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


def _allowed(config: Config, space: Space) -> Config:
    """The config where the rules allow it, else the first that they do."""
    return config if space.refusal(config) is None else next(iter(space), config)


def _rows(problem: Problem) -> int:
    return prod(problem.space[:-1]) * problem.parts


def _shared_count(config: Config) -> int:
    """Elements of shared memory: a tile with a gap after every 32 that spreads it over the banks, and the totals."""
    tile = int(config["THREADS"]) * int(config["PER_THREAD"])
    return tile + tile // 32 + 1 + int(config["THREADS"])


def _columnar(problem: Problem) -> bool:
    """Whether neighbours in memory belong to different rows."""
    every = [o for o in (*problem.inputs, *problem.outputs) if o.strides[-1] != 0]
    return len(problem.space) > 1 and all(o.strides[-1] != 1 and o.strides[-2] == 1 for o in every)


def _short(problem: Problem, limits: Limits) -> bool:
    """Whether a row costs more to start than to scan: for a vector's loop it is, or for a group of threads."""
    return problem.space[-1] <= (8 if serial(limits) else 32)
