"""Scatter: values stored at computed places of a buffer that holds the rest already; of equal places the last wins.

No kernel here needs atomics. `ScatterOwned` gives each thread a range of the buffer and lets it walk all places in
order, so that equal ones meet in one thread: it reads the places once per range, and stores each value once. The floor
of its time is that of reading all places and values and storing into as many cache lines as the places touch.
`ScatterTiles` splits the places instead, and needs them to be distinct (`unique`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import Writer, bases, entry_name, iterations, parameters, unravel, values, work
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ends, serial, thread_counts

WAITING = (64, 256, 1024)
FEW = 1 << 14  # places that one thread has stored before another has begun


def places_of(problem: Problem) -> Node:
    """The body's node that says where each value goes."""
    return problem.body[0].src[0]


def _row_start(problem: Problem) -> Node | None:
    """Where a row of neighbours along the last axis begins, if that is how the places lie: start + index."""
    last, place = len(problem.space) - 1, places_of(problem)
    if place.op != "add" or last == 0:
        return None
    start, step = place.src
    if step.op != "iota" or step.arg != last:
        return None
    for node in toposort([start]):
        loaded = node.op == "load" and problem.inputs[node.arg].strides[last] != 0
        if loaded or node.op == "gather" or (node.op == "iota" and node.arg == last):
            return None
    return start


class ScatterOwned:
    """GROUPS ranges, one a thread. Places that are rows are cut where a range ends and copied as vectors; others wait
    in a list of WAIT until it is full, so that whether a place is in the range is no branch that is guessed wrongly.
    """

    name = "scatter"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "scatter" or not serial(limits):
            return EMPTY
        most = 4 * limits.compute_units
        groups = tuple(g for g in (1, 2, 4, 8, 16, 32, 64, 128, 256) if g <= most)
        wait = (0,) if _row_start(problem) is not None else WAITING
        busy = Rule("a range has at least one element", lambda c: int(c["GROUPS"]) <= max(problem.outputs[0].count, 1))
        return Space({"THREADS": (limits.lanes,), "GROUPS": groups, "WAIT": wait}, (busy,))

    def default(self, problem: Problem, limits: Limits) -> Config:
        most = min(limits.compute_units, problem.outputs[0].count) if prod(problem.space) >= FEW else 1
        groups = max(1 << k for k in range(9) if 1 << k <= max(most, 1))
        wait = 0 if _row_start(problem) is not None else 256
        return {"THREADS": limits.lanes, "GROUPS": groups, "WAIT": wait}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        last = len(problem.space) - 1
        writer = Writer(problem, language, {a: f"i{a}" for a in range(last + 1)}, {last: f"i{last}"})
        head = language.let(begin="(GROUP(0) * LOCAL_SIZE(0) + LOCAL(0)) * chunk")
        head += language.let(end=language.choose("begin + chunk < extent", "begin + chunk", "extent"))
        start = _row_start(problem)
        each = _copied(writer, start, int(config["THREADS"])) if start is not None else _listed(writer)
        outer = {axis: f"i{axis}" for axis in range(last)}
        rows = " * ".join(f"n{axis}" for axis in outer) or "1"
        setup = unravel(language, "row", outer) + bases(problem, language, outer)
        head += _lists(language) if start is None else ""
        text = language.kernel(head + language.let(rows=rows) + language.loop("row", "0", "rows", setup + each))
        waiting = (("WAIT", language.size(int(config["WAIT"]))),) if start is None else ()
        group, listed = (int(config["THREADS"]), 1, 1), parameters(problem, language, ("extent", "chunk"))
        defines = (*waiting, work(problem))
        return Source(entry_name("scatter", problem), listed, text, defines, group, filename="scatter.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (int(config["GROUPS"]), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        count = problem.outputs[0].count
        return values(problem, (count, -(-count // (int(config["GROUPS"]) * int(config["THREADS"])))))


def _place(writer: Writer, names: dict[int, str]) -> str:
    """The declaration of `at`, where the current element goes."""
    place = places_of(writer.problem)
    text = writer.statements([place], names)
    return text + writer.language.let(at=_index(writer.language, names[id(place)], place.dtype))


def _index(language: Language, value: str, dtype: str) -> str:
    return value if dtype == language.index else language.convert(value, dtype, language.index)


def _stored(writer: Writer, names: dict[int, str], at: str) -> str:
    """The current element's value computed and stored at `at`."""
    value, dtype = writer.problem.body[0].src[1], writer.problem.outputs[0].dtype
    return writer.statements([value], names) + writer.language.store(dtype, "out0", at, names[id(value)])


def _copied(writer: Writer, start: Node, threads: int) -> str:
    """One row: what of it lies in the thread's range."""
    language, last, names = writer.language, len(writer.problem.space) - 1, dict[int, str]()
    text = writer.statements([start], names)
    text += language.let(start=_index(language, names[id(start)], start.dtype))
    text += language.let(low=language.choose("begin > start", "begin - start", "0"))
    text += language.let(high=language.choose(f"end - start < n{last}", "end - start", f"n{last}"))
    loop: Callable[..., str] = language.each if threads == 1 else language.loop  # a group's threads own ranges each
    return text + loop(f"i{last}", "low", "high", _stored(writer, names, f"start + i{last}"))


def _lists(language: Language) -> str:
    return language.array(language.index, "places", "WAIT") + language.array(language.index, "items", "WAIT")


def _listed(writer: Writer) -> str:
    """One row: WAIT elements at a time, first the list of those that go into the thread's range, then their stores."""
    language, last = writer.language, len(writer.problem.space) - 1
    i, n = f"i{last}", f"n{last}"
    find = _place(writer, {})
    find += f"places[found] = at;\nitems[found] = {i};\n"
    find += f"found += {language.choose('at >= begin && at < end', '1', '0')};\n"
    put = language.let(**{i: "items[k]", "at": "places[k]"}) + _stored(writer, {}, "at")
    text = language.let(stop=language.choose(f"first + WAIT < {n}", "first + WAIT", n))
    text += language.variable(language.index, "found", "0")
    text += language.loop(i, "first", "stop", find) + language.loop("k", "0", "found", put)
    return language.loop("first", "0", n, text, "WAIT")


class ScatterTiles:
    """A group takes a tile of the elements, whose places are distinct, so that no order among them matters."""

    name = "scatter_tiles"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "scatter" or not problem.body[0].arg:
            return EMPTY
        if serial(limits):
            if _row_start(problem) is not None:
                return EMPTY  # it would divide at every element of a row
            return Space({"THREADS": (limits.lanes,), "TILE": (2048, 8192, 32768, 131072)})
        most = max(prod(problem.space) * 2, 64)
        fits = Rule("a group's tile is larger than the whole problem", lambda c: _tile(c) <= most)
        ended = ends(limits, lambda c: int(c["PER_THREAD"]) * iterations(problem))
        return Space({"THREADS": thread_counts(limits), "PER_THREAD": (1, 2, 4, 8, 16)}, (fits, ended))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            return {"THREADS": limits.lanes, "TILE": 8192}
        threads = max(t for t in thread_counts(limits) if t <= 256)
        while threads > 32 and threads > max(prod(problem.space) * 2, 64):
            threads //= 2
        return {"THREADS": threads, "PER_THREAD": 1}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        rank = len(problem.space)
        axes = {axis: f"i{axis}" for axis in range(rank)}
        writer, names = Writer(problem, language, axes, {}), dict[int, str]()
        total = " * ".join(f"n{axis}" for axis in range(rank))
        text = language.let(total=total, begin="GROUP(0) * tile")
        text += language.let(end=language.choose("begin + tile < total", "begin + tile", "total"))
        one = unravel(language, "e", range(rank)) + bases(problem, language, axes) + _place(writer, names)
        one += f"if (at >= 0 && at < extent) {{\n{_stored(writer, names, 'at')}}}\n"
        text = language.kernel(text + language.each("e", "begin", "end", one))
        group, listed = (int(config["THREADS"]), 1, 1), parameters(problem, language, ("extent", "tile"))
        name = entry_name("scatter_tiles", problem)
        return Source(name, listed, text, (work(problem),), group, filename="scatter_tiles.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (-(-prod(problem.space) // _tile(config)), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem, (problem.outputs[0].count, _tile(config)))


def _tile(config: Config) -> int:
    return int(config["TILE"]) if "TILE" in config else int(config["THREADS"]) * int(config["PER_THREAD"])


def last_of_each(places: Node, dropped: int) -> tuple[Node, Node]:
    """`places` (n > 0, int64) in order, and where each was; of equal ones all but the last become `dropped`.

    The order is stable, so the last of a run of equal places is the one that was assigned last.
    """
    (n,) = places.shape
    order = Node("argsort", (places,), (0, False, n), (n,), "int64")
    ordered = Node("gather", (places, order), None, (n,), "int64")
    if n == 1:
        return ordered, order
    index = Node("iota", (), None, (n,), "int64")
    one, most = (Node("const", (), k, (), "int64") for k in (1, n - 1))
    beside = Node("min", (Node("add", (index, one), None, (n,), "int64"), most), None, (n,), "int64")
    follower = Node("gather", (ordered, beside), None, (n,), "int64")
    end = Node("eq", (index, most), None, (n,), "bool")
    last = Node("or", (Node("ne", (ordered, follower), None, (n,), "bool"), end), None, (n,), "bool")
    return Node("where", (last, ordered, Node("const", (), dropped, (), "int64")), None, (n,), "int64"), order
