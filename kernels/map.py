"""Map: every output element from the input elements at the same index."""

from __future__ import annotations

from math import prod

from tilewright.backends.dtypes import PARTS
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import Writer, bases, entry_name, iterations, parameters, unravel, values, work
from tilewright.kernels.node import toposort
from tilewright.kernels.ops import OPS
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ends, serial, thread_counts

TURNS = (1, 4, 16, 64)
LANES = 16  # of the widest vectors there are, of float32
CPU_TILES = (2048, 4096, 8192, 16384, 32768, 65536, 131072)


class Map:
    """A group takes a tile of neighbours along the last axis of one row, or of TURN rows, one after the other; with
    FLAT, a tile of the whole space.

    The tile's length and the number of rows are run-time arguments: one binary serves a whole search.

    FLAT divides per element instead of per row, which pays where the last axis is shorter than a group. TAIL does the
    last elements of a row, too few to fill a vector, as one vector of which some lanes are masked.
    """

    name = "map"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "map":
            return EMPTY
        flat = (0, 1) if len(problem.space) > 1 else (0,)
        if serial(limits):
            return _cpu_space(problem, limits, flat)
        most = max(prod(problem.space) * 2, 64)
        fits = Rule("a group's tile is larger than the whole problem", lambda c: _tile(c) <= most)
        ended = ends(limits, lambda c: int(c["PER_THREAD"]) * iterations(problem))
        choices = {"THREADS": thread_counts(limits), "PER_THREAD": (1, 2, 4, 8, 16, 64), "FLAT": flat}
        return Space(choices, (fits, ended))

    def default(self, problem: Problem, limits: Limits) -> Config:
        short = len(problem.space) > 1 and problem.space[-1] < 16
        if serial(limits):
            config: Config = {"TILE": 16384, "FLAT": int(short), "TURN": 1, "TAIL": 0, "THREADS": limits.lanes}
            if not short:
                rows, length = prod(problem.space[:-1]), problem.space[-1]
                turns = (t for t in TURNS if t * length <= 16384 and rows >= 4 * t * limits.compute_units)
                config |= {"TURN": max(turns, default=1), "TAIL": int(_masked(problem, limits))}
            return config
        threads = max(t for t in thread_counts(limits) if t <= 256)
        size = prod(problem.space)
        per_thread = next((p for p in (16, 4, 2) if size >= threads * p * limits.compute_units * 8), 1)
        while threads > 32 and threads * per_thread > max(size * 2, 64):
            threads //= 2
        flat = len(problem.space) > 1 and problem.space[-1] < threads * per_thread
        return {"THREADS": threads, "PER_THREAD": per_thread, "FLAT": int(flat)}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        rank = len(problem.space)
        flat = rank > 1 and config["FLAT"]
        axes, last = {axis: f"i{axis}" for axis in range(rank)}, rank - 1
        writer = Writer(problem, language, axes, {} if flat else {last: f"i{last}"})
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
            outer = {axis: f"i{axis}" for axis in range(last)}
            text = language.let(tiles=f"(n{last} + tile - 1) / tile", item="GROUP(0) / tiles")
            text += language.let(begin="(GROUP(0) - item * tiles) * tile")
            text += language.let(end=language.choose(f"begin + tile < n{last}", "begin + tile", f"n{last}"))
            setup = unravel(language, "row", range(last)) + bases(problem, language, outer) + rows
            loop = _tailed(language, f"i{last}", body) if config.get("TAIL") else None
            one = setup + (loop or language.each(f"i{last}", "begin", "end", body))
            text += _turns(language, last, one) if "TURN" in config else language.let(row="item") + one
        group = (int(config["THREADS"]), 1, 1)
        extra = ("tile", "turn") if "TURN" in config else ("tile",)
        body, listed = language.kernel(text), parameters(problem, language, extra)
        return Source(entry_name("map", problem), listed, body, (work(problem),), group, filename="map.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        tile = _tile(config)
        if len(problem.space) > 1 and config["FLAT"]:
            return (-(-prod(problem.space) // tile), 1, 1)
        turns = -(-prod(problem.space[:-1]) // int(config.get("TURN", 1)))
        return (-(-problem.space[-1] // tile) * turns, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        extra = (_tile(config), int(config["TURN"])) if "TURN" in config else (_tile(config),)
        return values(problem, extra)


def _cpu_space(problem: Problem, limits: Limits, flat: tuple[int, ...]) -> Space:
    rows, length = prod(problem.space[:-1]), problem.space[-1]
    busy = Rule(
        "fewer groups than compute units leave some idle",
        lambda c: int(c["TURN"]) == 1 or int(c["TURN"]) * limits.compute_units <= rows,
    )
    whole = Rule(
        "a row that is cut into tiles is long enough alone", lambda c: c["TURN"] == 1 or int(c["TILE"]) >= length
    )
    rowwise = Rule("FLAT knows no rows", lambda c: not c["FLAT"] or (c["TURN"], c["TAIL"]) == (1, 0))
    turns, tail = TURNS if rows > 1 else (1,), (0, 1) if _masked(problem, limits) else (0,)
    choices = {"TILE": CPU_TILES, "FLAT": flat, "TURN": turns, "TAIL": tail, "THREADS": (limits.lanes,)}
    return Space(choices, (busy, whole, rowwise))


def _masked(problem: Problem, limits: Limits) -> bool:
    """Whether a compiler makes masked vectors of the body: in plain C, where nothing in it is a call or a loop."""
    if limits.threads_per_group != 1 or len(problem.space) < 2:
        return False
    nodes = toposort(problem.body)
    return not any((n.op in OPS and OPS[n.op].costly) or n.op == "gather" or n.dtype in PARTS for n in nodes)


def _tailed(language: Language, i: str, body: str) -> str:
    """The loop over a row, and its last elements under a mask."""
    rest = f"if ({i} < end) {{\n{body}}}\n"
    text = language.let(full=f"begin + (end - begin) / {LANES} * {LANES}") + language.each(i, "begin", "full", body)
    return f"{text}if (full < end) {{\n{language.each(i, 'full', f'full + {LANES}', rest)}}}\n"


def _turns(language: Language, last: int, one: str) -> str:
    """`one` row after the other: `turn` of them from item * turn on."""
    rows = " * ".join(f"n{axis}" for axis in range(last)) or "1"
    head = language.let(rows=rows, behind="(item + 1) * turn")
    head += language.let(stop=language.choose("behind < rows", "behind", "rows"))
    return head + language.loop("row", "item * turn", "stop", one)


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
    for one element is still there for its neighbours. INNER says which of the two the innermost loop walks:
    1 the crossing one, 2 the last. With 0 a group of threads walks both at once, a single thread the last.
    """

    name = "blocks"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "map" or _crossing(problem) is None:
            return EMPTY
        if serial(limits):
            inner = (0, 1) if limits.lanes == 1 else (1, 2)
            sizes = {"BLOCK": (8, 16, 32, 64, 128), "WIDE": (16, 32, 64, 256)}
            return Space({"THREADS": (limits.lanes,), **sizes, "INNER": inner})
        full = Rule(
            "a group walks its block in full rounds",
            lambda c: int(c["BLOCK"]) * int(c["WIDE"]) % int(c["THREADS"]) == 0,
        )
        choices = {"THREADS": thread_counts(limits), "BLOCK": (8, 16, 32, 64), "WIDE": (16, 32, 64), "INNER": (0,)}
        return Space(choices, (full,))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            return {"THREADS": limits.lanes, "BLOCK": 8, "WIDE": 64, "INNER": 1}
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
        if config["THREADS"] != 1 and config["INNER"] == 0:
            place = language.let(**{f"i{last}": "x + e % WIDE", f"i{cross}": "y + e / WIDE"})
            inside = f"if (i{last} < x_end && i{cross} < y_end) {{\n{body}}}\n"
            loop = language.each("e", "0", "WIDE * BLOCK", place + inside)
        elif config["INNER"] != 1:
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
