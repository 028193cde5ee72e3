"""Column reductions: `Columns` gives a group neighbouring columns and walks down the rows, so that memory is read in
its own order when the reduced axis is not the contiguous one. What needs the result of a reduction, as softmax does,
walks down again, through what the first walk has brought into cache.
"""

from __future__ import annotations

from math import prod

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import (
    Writer,
    bases,
    combiner,
    entry_name,
    iterations,
    parameters,
    start,
    unravel,
    values,
    work,
)
from tilewright.kernels.node import Node
from tilewright.kernels.phases import across, columnar, kept, phases
from tilewright.kernels.problem import Problem
from tilewright.kernels.reduce import combiners
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ends, serial, thread_counts
from tilewright.kernels.spread import ColumnSpread, matched

AT_ONCE = 8  # rows; each accumulator is loaded and stored once for so many, and so many streams of memory are open
TRIED = 64  # elements of a row up to which a thread may do it alone, even where rows have memory's order
MOST_NODES = 16  # of a body that is written so often


class Columns:
    """TILE neighbouring columns per group, one accumulator each for every reduction.

    KEEP stores a costly intermediate in the output instead of computing it again.
    """

    name = "columns"

    def space(self, problem: Problem, limits: Limits) -> Space:
        tried = problem.kind == "reduce" and len(phases(problem)) == 1 and problem.space[-1] <= TRIED
        if problem.kind not in ("reduce", "row") or not (tried or across(problem, limits)):
            return EMPTY
        keep = (0, 1) if kept(problem) else (0,)
        if serial(limits):
            tiles = (32, 64, 128, 256, 512, 1024, 2048)
            return Space({"THREADS": (limits.lanes,), "TILE": tiles, "KEEP": keep})
        whole = Rule(
            "every thread holds the same number of accumulators", lambda c: int(c["TILE"]) % int(c["THREADS"]) == 0
        )
        few = Rule(
            "more than 8 accumulators a thread spill registers", lambda c: int(c["TILE"]) <= 8 * int(c["THREADS"])
        )
        threads = thread_counts(limits)
        length = (-(-problem.space[-1] // problem.parts) + 2) * walks(problem)
        ended = ends(limits, lambda c: length * (int(c["TILE"]) // int(c["THREADS"]) * iterations(problem) + 1))
        choices = {"THREADS": threads, "TILE": (32, 64, 128, 256, 512, 1024), "KEEP": keep}
        return Space(choices, (whole, few, ended))

    def default(self, problem: Problem, limits: Limits) -> Config:
        keep = int(kept(problem) is not None)
        if serial(limits):
            tile = 1024 if problem.space[-2] >= 1024 * limits.compute_units else 64
            if not columnar(problem):  # as many runs of memory, each short, are under way
                tile = 128
            elif walks(problem) > 1:  # runs of a kilobyte in each row, though they come from a farther cache then
                tile = next((t for t in (256, 128) if prod(problem.space[:-1]) >= t * limits.compute_units), 64)
            return {"THREADS": limits.lanes, "TILE": tile, "KEEP": keep}
        threads = min(128, thread_counts(limits)[-1])
        return {"THREADS": threads, "TILE": threads, "KEEP": keep}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        last = len(problem.space) - 1
        column = last - 1
        axes = {axis: f"i{axis}" for axis in range(last + 1)}
        writer = Writer(problem, language, axes, {column: f"i{column}", last: f"i{last}"})
        split = problem.parts > 1
        head = language.let(tiles=f"(n{column} + TILE - 1) / TILE", tile="GROUP(0) % tiles")
        if split:
            head += language.let(item="GROUP(0) / tiles", part="item % parts", row="item / parts")
            head += language.let(chunk=f"(n{last} + parts - 1) / parts")
            behind = language.choose(f"first + chunk < n{last}", "first + chunk", f"n{last}")
            head += language.let(first="part * chunk", stop=behind)
        else:
            head += language.let(row="GROUP(0) / tiles", first="0", stop=f"n{last}")
        end = language.choose(f"begin + TILE < n{column}", "begin + TILE", f"n{column}")
        head += language.let(begin="tile * TILE", end=end) + unravel(language, "row", range(column))
        head += bases(problem, language, {axis: f"i{axis}" for axis in range(column)})
        body = head + _ColumnText(problem, writer, kept(problem) if config["KEEP"] else None).passes()
        defines = (("TILE", int(config["TILE"])), ("THREADS", int(config["THREADS"])), work(problem))
        group = (int(config["THREADS"]), 1, 1)
        entry, listed = entry_name("columns", problem), parameters(problem, language)
        whole = combiners(problem, language) + language.kernel(body)
        return Source(entry, listed, whole, defines, group, filename="columns.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        tiles = -(-problem.space[-2] // int(config["TILE"]))
        return (tiles * prod(problem.space[:-2]) * problem.parts, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


def walks(problem: Problem) -> int:
    """How often a group goes through its columns."""
    return len(phases(problem)) + any(o.strides[-1] != 0 for o in problem.outputs)


class _ColumnText:
    """For each level of reductions: start the accumulators, walk down some rows at a time. Then finish each column.

    Where something is stored for every element, walk down once more.
    """

    def __init__(self, problem: Problem, writer: Writer, keep: Node | None) -> None:
        self.problem, self.writer, self.language = problem, writer, writer.language
        self.last = len(problem.space) - 1
        self.column = f"i{self.last - 1}"
        self.slot = self.language.slot(self.column, "begin")
        self.known: dict[int, str] = {}  # what is there for a column
        self.keep, self.kept_at = keep, ""

    def passes(self) -> str:
        problem, text = self.problem, "".join(map(self._level, phases(self.problem)))
        each = [k for k, o in enumerate(problem.outputs) if o.strides[-1] != 0]
        names, finish = dict(self.known), ""
        roots = [r for k, r in enumerate(problem.body) if k not in each]
        finish += self.writer.statements([r for r in roots if id(r) not in names], names)
        for k, root in enumerate(problem.body):
            if k not in each:
                part, operand = " + part" if problem.parts > 1 else "", problem.outputs[k]
                place = self.writer.place(f"out{k}", operand) + part
                finish += self.language.store(operand.dtype, f"out{k}", place, names[id(root)])
        text += self._each(finish) if finish else ""
        return text + (self._stores(each) if each else "")

    def _each(self, body: str) -> str:
        return self.language.each(self.column, "begin", "end", body)

    def _stores(self, each: list[int]) -> str:
        names = dict(self.known)
        inside = self.language.let(**{f"i{self.last}": "at"})
        if self.keep is not None and self.kept_at:
            names[id(self.keep)] = "kept"
            held = self.language.load(self.keep.dtype, "out0", self.kept_at)
            inside += self.language.constant(self.keep.dtype, "kept", held)
        inside += self.writer.statements([self.problem.body[k] for k in each], names)
        inside += "".join(self.writer.store(k, names[id(self.problem.body[k])]) for k in each)
        return self.language.loop("at", "first", "stop", self._each(inside))

    def _level(self, reductions: list[Node]) -> str:
        problem, language, writer, last = self.problem, self.language, self.writer, self.last
        makers = [_maker(node, reductions, writer, self.slot) for node in reductions if node.arg != "offset"]
        declare = "".join(maker.declare() for maker in makers)
        begin = "".join(maker.begin() for maker in makers)
        firsts = [m for m in makers if isinstance(m, ColumnSpread)]
        if firsts:
            names = dict(self.known)
            begin += language.let(**{f"i{last}": "0"}) + writer.statements([m.node.src[0] for m in firsts], names)
            begin += "".join(f"{m.first} = {names[id(m.node.src[0])]};\n" for m in firsts)

        here = not self.kept_at and any(m.node.src[0] is self.keep for m in makers)
        place = writer.place("out0", problem.outputs[0])

        def store(names: dict[int, str]) -> str:
            """What later walks take from there."""
            if self.keep is None or not here:
                return ""
            return language.store(self.keep.dtype, "out0", place, names[id(self.keep)])

        def rows(count: int) -> str:
            """Once for `count` rows from `at`: their values first, so that an accumulator is fetched once for all."""
            text = ""
            for r in range(count):
                names = dict(self.known)
                inside = language.let(**{f"i{last}": f"at + {r}"})
                inside += writer.statements([m.node.src[0] for m in makers], names)
                inside += store(names)
                for m in makers:
                    text += language.variable(m.node.dtype, f"{m.value}_{r}", start(language, m.node.arg, m.node.dtype))
                    inside += f"{m.value}_{r} = {m.given(names[id(m.node.src[0])])};\n"
                text += f"{{\n{inside}}}\n"
            text += "".join(m.take([f"{m.value}_{r}" for r in range(count)]) for m in makers)
            return "".join(m.head(count) for m in makers) + self._each(text)

        # Down memory more streams gain nothing for a choice; of short rows the elements lie side by side.
        chosen = columnar(problem) and any(node.arg in ("max", "min") for node in reductions)
        count = 1 if chosen or len(writer.number) > MOST_NODES else AT_ONCE
        walk = language.loop("at", "first", f"stop - {count - 1}", rows(count), str(count))
        if count > 1:
            walk += language.loop("at", f"first + (stop - first) / {count} * {count}", "stop", rows(1))
        self.kept_at = place if here else self.kept_at
        for maker in makers:
            self.known |= maker.results
        return declare + self._each(begin) + walk


def _maker(node: Node, reductions: list[Node], writer: Writer, slot: str) -> _Column | ColumnSpread:
    kind = ColumnSpread if node.arg == "spread" else _Column
    return kind(writer.language, node, writer.number[id(node)], slot, matched(node, reductions))


class _Column:
    """A reduction with one accumulator a column, as ColumnSpread is one with several."""

    def __init__(self, language: Language, node: Node, k: int, slot: str, offsets: list[Node]) -> None:
        self.language, self.node, self.k, self.value = language, node, k, f"y{k}"
        self.held, self.results = f"a{k}[{slot}]", {id(node): f"a{k}[{slot}]"}

    def declare(self) -> str:
        return self.language.held(self.node.dtype, f"a{self.k}", "TILE")

    def begin(self) -> str:
        return f"{self.held} = {start(self.language, self.node.arg, self.node.dtype)};\n"

    def head(self, count: int) -> str:
        return ""

    def given(self, value: str) -> str:
        return value

    def take(self, values: list[str]) -> str:
        combine, _ = combiner(self.language, self.node.arg, self.node.dtype)
        text = ""
        for r, value in enumerate(values[1:], 1):
            text += self.language.constant(self.node.dtype, f"t{self.k}_{r}", f"{combine}({values[0]}, {value})")
            values = [f"t{self.k}_{r}"]
        return text + f"{self.held} = {combine}({self.held}, {values[0]});\n"
