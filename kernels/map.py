"""Map: every output element from the input elements at the same index."""

from __future__ import annotations

from math import prod

from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import Writer, bases, entry_name, parameters, unravel, values, work
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, serial

CPU_TILES = (2048, 4096, 8192, 16384, 32768, 65536, 131072)


def _threads(limits: Limits) -> tuple[int, ...]:
    return tuple(t for t in (32, 64, 128, 256, 512) if t <= limits.threads_per_group)


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
        return Space({"THREADS": _threads(limits), "PER_THREAD": (1, 2, 4, 8, 16, 64), "FLAT": flat}, (fits,))

    def default(self, problem: Problem, limits: Limits) -> Config:
        short = len(problem.space) > 1 and problem.space[-1] < 16
        if serial(limits):
            return {"TILE": 16384, "FLAT": int(short), "THREADS": 1}
        threads = max(t for t in _threads(limits) if t <= 256)
        size = prod(problem.space)
        per_thread = next((p for p in (16, 4, 2) if size >= threads * p * limits.compute_units * 8), 1)
        while threads > 32 and threads * per_thread > max(size * 2, 64):
            threads //= 2
        flat = len(problem.space) > 1 and problem.space[-1] < threads * per_thread
        return {"THREADS": threads, "PER_THREAD": per_thread, "FLAT": int(flat)}

    def render(self, problem: Problem, config: Config) -> Source:
        rank = len(problem.space)
        axes = {axis: f"i{axis}" for axis in range(rank)}
        flat = rank > 1 and config["FLAT"]
        inner = {} if flat else {rank - 1: f"i{rank - 1}"}
        writer = Writer(problem, axes, inner)
        names: dict[int, str] = {}
        body = writer.statements(problem.body, names)
        body += "".join(writer.store(k, names[id(root)]) for k, root in enumerate(problem.body))
        if flat:
            total = " * ".join(f"n{axis}" for axis in range(rank))
            loop = f"FOR_EACH(e, begin, end) {{\n{unravel('e', range(rank))}{bases(problem, axes)}{body}}}\n"
            head = f"const i64 total = {total}, begin = GROUP(0) * tile;\n"
            head += "const i64 end = begin + tile < total ? begin + tile : total;\n"
            text = head + loop
        else:
            last = rank - 1
            outer = {axis: f"i{axis}" for axis in range(last)}
            head = f"const i64 tiles = (n{last} + tile - 1) / tile, row = GROUP(0) / tiles;\n"
            head += "const i64 begin = (GROUP(0) - row * tiles) * tile;\n"
            head += f"const i64 end = begin + tile < n{last} ? begin + tile : n{last};\n"
            head += unravel("row", range(last)) + bases(problem, outer)
            text = f"{head}FOR_EACH(i{last}, begin, end) {{\n{body}}}\n"
        group = (int(config["THREADS"]), 1, 1)
        body, listed = f"KERNEL {{\n{text}}}\n", parameters(problem, ("tile",))
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
        choices = {"THREADS": _threads(limits), "BLOCK": (8, 16, 32, 64), "WIDE": (16, 32, 64), "INNER": (0,)}
        return Space(choices, (full,))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            return {"THREADS": 1, "BLOCK": 8, "WIDE": 64, "INNER": 1}
        return {"THREADS": min(256, _threads(limits)[-1]), "BLOCK": 32, "WIDE": 32, "INNER": 0}

    def render(self, problem: Problem, config: Config) -> Source:
        last, cross = len(problem.space) - 1, _crossing(problem)
        assert cross is not None
        outer = [a for a in range(last) if a != cross]
        writer = Writer(problem, {a: f"i{a}" for a in range(last + 1)}, {cross: f"i{cross}", last: f"i{last}"})
        names: dict[int, str] = {}
        body = writer.statements(problem.body, names)
        body += "".join(writer.store(k, names[id(root)]) for k, root in enumerate(problem.body))
        head = f"const i64 wide = (n{last} + WIDE - 1) / WIDE, high = (n{cross} + BLOCK - 1) / BLOCK;\n"
        head += "const i64 row = GROUP(0) / (wide * high);\n"
        head += "const i64 x = GROUP(0) % wide * WIDE, y = GROUP(0) / wide % high * BLOCK;\n"
        head += f"const i64 x_end = x + WIDE < n{last} ? x + WIDE : n{last};\n"
        head += f"const i64 y_end = y + BLOCK < n{cross} ? y + BLOCK : n{cross};\n"
        head += unravel("row", outer) + bases(problem, {a: f"i{a}" for a in outer})
        across, down = f"i{last}, x, x_end", f"i64 i{cross} = y; i{cross} < y_end; ++i{cross}"
        if config["THREADS"] != 1:
            loop = f"const i64 i{last} = x + e % WIDE, i{cross} = y + e / WIDE;\n"
            loop = f"FOR_EACH(e, 0, WIDE * BLOCK) {{\n{loop}if (i{last} < x_end && i{cross} < y_end) {{\n{body}}}\n}}\n"
        elif config["INNER"] == 0:
            loop = f"for ({down}) {{\nFOR_EACH({across}) {{\n{body}}}\n}}\n"
        else:
            loop = f"for (i64 i{last} = x; i{last} < x_end; ++i{last}) {{\n"
            loop += f"FOR_EACH(i{cross}, y, y_end) {{\n{body}}}\n}}\n"
        sizes = (("BLOCK", f"((i64){config['BLOCK']})"), ("WIDE", f"((i64){config['WIDE']})"))
        defines = (*sizes, work(problem))
        group = (int(config["THREADS"]), 1, 1)
        text = f"KERNEL {{\n{head}{loop}}}\n"
        return Source(entry_name("blocks", problem), parameters(problem), text, defines, group, filename="blocks.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        cross = _crossing(problem)
        assert cross is not None
        rows = prod(problem.space[:-1]) // problem.space[cross]
        tiles = -(-problem.space[-1] // int(config["WIDE"])) * -(-problem.space[cross] // int(config["BLOCK"]))
        return (rows * tiles, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)
