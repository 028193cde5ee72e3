"""Column reductions: `Columns` gives a group neighbouring columns and walks down the rows, so that memory is read in
its own order when the reduced axis is not the contiguous one.
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
from tilewright.kernels.problem import Problem
from tilewright.kernels.reduce import columnar, combiners, phases
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ends, serial, thread_counts


class Columns:
    """TILE neighbouring columns per group, one accumulator each, for reductions with a single pass."""

    name = "columns"

    def space(self, problem: Problem, limits: Limits) -> Space:
        short = problem.space[-1] <= 64  # a row so short costs more to start than to reduce
        if problem.kind != "reduce" or len(phases(problem)) != 1 or not (columnar(problem) or short):
            return EMPTY
        if serial(limits):
            return Space({"THREADS": (1,), "TILE": (32, 64, 128, 256, 512, 1024, 2048)})
        whole = Rule(
            "every thread holds the same number of accumulators", lambda c: int(c["TILE"]) % int(c["THREADS"]) == 0
        )
        few = Rule(
            "more than 8 accumulators a thread spill registers", lambda c: int(c["TILE"]) <= 8 * int(c["THREADS"])
        )
        threads = thread_counts(limits)
        length = -(-problem.space[-1] // problem.parts) + 2
        ended = ends(limits, lambda c: length * (int(c["TILE"]) // int(c["THREADS"]) * iterations(problem) + 1))
        return Space({"THREADS": threads, "TILE": (32, 64, 128, 256, 512, 1024)}, (whole, few, ended))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            return {"THREADS": 1, "TILE": 512 if problem.space[-2] >= 1024 * limits.compute_units else 64}
        threads = min(128, thread_counts(limits)[-1])
        return {"THREADS": threads, "TILE": threads}

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
        body = head + _column_passes(problem, writer, phases(problem)[0], column, last)
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


def _column_passes(problem: Problem, writer: Writer, reductions: list[Node], column: int, last: int) -> str:
    """Start the accumulators, walk down the rows, then finish and store each column."""
    language, slot = writer.language, f"(i{column} - begin) / LOCAL_SIZE(0)"
    declare = begin = element = ""
    names: dict[int, str] = {}
    for node in reductions:
        k = writer.number[id(node)]
        combine, _ = combiner(language, node.arg, node.dtype)
        declare += language.array(node.dtype, f"a{k}", "TILE / THREADS")
        begin += f"a{k}[{slot}] = {start(language, node.arg, node.dtype)};\n"
        element += writer.statements([node.src[0]], names)
        element += f"a{k}[{slot}] = {combine}(a{k}[{slot}], {names[id(node.src[0])]});\n"
    results = {id(node): f"a{writer.number[id(node)]}[{slot}]" for node in reductions}
    finish = writer.statements([r for r in problem.body if id(r) not in results], results)
    for k, root in enumerate(problem.body):
        part, operand = " + part" if problem.parts > 1 else "", problem.outputs[k]
        finish += language.store(operand.dtype, f"out{k}", writer.place(f"out{k}", operand) + part, results[id(root)])

    def each(body: str) -> str:
        return language.each(f"i{column}", "begin", "end", body)

    return declare + each(begin) + language.loop(f"i{last}", "first", "stop", each(element)) + each(finish)
