"""Map: every output element from the input elements at the same index."""

from __future__ import annotations

from math import prod

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import Writer, bases, entry_name, iterations, parameters, unravel, values, work
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ends, serial, thread_counts

CPU_TILES = (2048, 4096, 8192, 16384, 32768, 65536, 131072)


class Map:
    """A group takes a tile of neighbours along the last axis of one row; with FLAT, of the whole space.

    The tile's length is a run-time argument: one binary serves a whole search.

    FLAT divides per element instead of per row, which pays where the last axis is shorter than a group.
    """

    name = "map"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "map":
            return EMPTY
        flat = (0, 1) if len(problem.space) > 1 else (0,)
        if serial(limits):
            return Space({"TILE": CPU_TILES, "FLAT": flat, "THREADS": (1,)})
        most = max(prod(problem.space) * 2, 64)
        fits = Rule("a group's tile is larger than the whole problem", lambda c: _tile(c) <= most)
        ended = ends(limits, lambda c: int(c["PER_THREAD"]) * iterations(problem))
        choices = {"THREADS": thread_counts(limits), "PER_THREAD": (1, 2, 4, 8, 16, 64), "FLAT": flat}
        return Space(choices, (fits, ended))

    def default(self, problem: Problem, limits: Limits) -> Config:
        short = len(problem.space) > 1 and problem.space[-1] < 16
        if serial(limits):
            return {"TILE": 16384, "FLAT": int(short), "THREADS": 1}
        threads = max(t for t in thread_counts(limits) if t <= 256)
        size = prod(problem.space)
        per_thread = next((p for p in (16, 4, 2) if size >= threads * p * limits.compute_units * 8), 1)
        while threads > 32 and threads * per_thread > max(size * 2, 64):
            threads //= 2
        flat = len(problem.space) > 1 and problem.space[-1] < threads * per_thread
        return {"THREADS": threads, "PER_THREAD": per_thread, "FLAT": int(flat)}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        rank = len(problem.space)
        axes = {axis: f"i{axis}" for axis in range(rank)}
        flat = rank > 1 and config["FLAT"]
        inner = {} if flat else {rank - 1: f"i{rank - 1}"}
        writer = Writer(problem, language, axes, inner)
        names: dict[int, str] = {}
        rows = "" if flat else writer.gathered_rows(names)
        body = writer.statements(problem.body, names)
        body += "".join(writer.store(k, names[id(root)]) for k, root in enumerate(problem.body))
        if flat:
            total = " * ".join(f"n{axis}" for axis in range(rank))
            text = language.let(total=total, begin="GROUP(0) * tile")
            text += language.let(end=language.choose("begin + tile < total", "begin + tile", "total"))
            place = unravel(language, "e", range(rank)) + bases(problem, language, axes)
            text += language.each("e", "begin", "end", place + body)
        else:
            last = rank - 1
            outer = {axis: f"i{axis}" for axis in range(last)}
            text = language.let(tiles=f"(n{last} + tile - 1) / tile", row="GROUP(0) / tiles")
            text += language.let(begin="(GROUP(0) - row * tiles) * tile")
            text += language.let(end=language.choose(f"begin + tile < n{last}", "begin + tile", f"n{last}"))
            text += unravel(language, "row", range(last)) + bases(problem, language, outer) + rows
            text += language.each(f"i{last}", "begin", "end", body)
        group = (int(config["THREADS"]), 1, 1)
        body, listed = language.kernel(text), parameters(problem, language, ("tile",))
        return Source(entry_name("map", problem), listed, body, (work(problem),), group, filename="map.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        tile = _tile(config)
        if len(problem.space) > 1 and config["FLAT"]:
            return (-(-prod(problem.space) // tile), 1, 1)
        return (-(-problem.space[-1] // tile) * prod(problem.space[:-1]), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem, (_tile(config),))


def _tile(config: Config) -> int:
    return int(config["TILE"]) if "TILE" in config else int(config["THREADS"]) * int(config["PER_THREAD"])


def _crossing(problem: Problem) -> int | None:
    """The axis before the last along which some operand is contiguous, where others are along the last."""
    last = len(problem.space) - 1
    operands = (*problem.inputs, *problem.outputs)
    if not any(o.strides[last] == 1 for o in operands):
        return None
    crossed = [a for a in range(last) for o in operands if o.strides[a] == 1 and o.strides[last] != 0]
    return max(crossed, default=None)


class Blocks:
    """Square blocks over the last axis and the one that crosses it (a transpose), so that a cache line that is read
    for one element is still there for its neighbours. INNER says which of the two the innermost loop walks.
    """

    name = "blocks"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "map" or _crossing(problem) is None:
            return EMPTY
        if serial(limits):
            return Space({"THREADS": (1,), "BLOCK": (8, 16, 32, 64, 128), "WIDE": (16, 32, 64, 256), "INNER": (0, 1)})
        full = Rule(
            "a group walks its block in full rounds",
            lambda c: int(c["BLOCK"]) * int(c["WIDE"]) % int(c["THREADS"]) == 0,
        )
        choices = {"THREADS": thread_counts(limits), "BLOCK": (8, 16, 32, 64), "WIDE": (16, 32, 64), "INNER": (0,)}
        return Space(choices, (full,))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            return {"THREADS": 1, "BLOCK": 8, "WIDE": 64, "INNER": 1}
        return {"THREADS": min(256, thread_counts(limits)[-1]), "BLOCK": 32, "WIDE": 32, "INNER": 0}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        last, cross = len(problem.space) - 1, _crossing(problem)
        assert cross is not None
        outer = [a for a in range(last) if a != cross]
        axes, inner = {a: f"i{a}" for a in range(last + 1)}, {cross: f"i{cross}", last: f"i{last}"}
        writer = Writer(problem, language, axes, inner)
        names: dict[int, str] = {}
        body = writer.statements(problem.body, names)
        body += "".join(writer.store(k, names[id(root)]) for k, root in enumerate(problem.body))
        head = language.let(wide=f"(n{last} + WIDE - 1) / WIDE", high=f"(n{cross} + BLOCK - 1) / BLOCK")
        head += language.let(row="GROUP(0) / (wide * high)")
        head += language.let(x="GROUP(0) % wide * WIDE", y="GROUP(0) / wide % high * BLOCK")
        head += language.let(x_end=language.choose(f"x + WIDE < n{last}", "x + WIDE", f"n{last}"))
        head += language.let(y_end=language.choose(f"y + BLOCK < n{cross}", "y + BLOCK", f"n{cross}"))
        head += unravel(language, "row", outer) + bases(problem, language, {a: f"i{a}" for a in outer})
        across, down = (f"i{last}", "x", "x_end"), (f"i{cross}", "y", "y_end")
        if config["THREADS"] != 1:
            place = language.let(**{f"i{last}": "x + e % WIDE", f"i{cross}": "y + e / WIDE"})
            inside = f"if (i{last} < x_end && i{cross} < y_end) {{\n{body}}}\n"
            loop = language.each("e", "0", "WIDE * BLOCK", place + inside)
        elif config["INNER"] == 0:
            loop = language.loop(*down, language.each(*across, body))
        else:
            loop = language.loop(*across, language.each(*down, body))
        sizes = tuple((name, language.size(int(config[name]))) for name in ("BLOCK", "WIDE"))
        group, text = (int(config["THREADS"]), 1, 1), language.kernel(head + loop)
        listed, defines = parameters(problem, language), (*sizes, work(problem))
        return Source(entry_name("blocks", problem), listed, text, defines, group, filename="blocks.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        cross = _crossing(problem)
        assert cross is not None
        rows = prod(problem.space[:-1]) // problem.space[cross]
        tiles = -(-problem.space[-1] // int(config["WIDE"])) * -(-problem.space[cross] // int(config["BLOCK"]))
        return (rows * tiles, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)
