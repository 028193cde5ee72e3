"""Row reductions: softmax, layer norm, sums and whatever else reduces one axis.

`Rows` gives a group one row at a time: each reduction is one pass over the row, which the first pass brought into
cache, and one more pass stores what is wanted per element.
"""

from __future__ import annotations

from functools import partial
from math import prod

from tilewright.backends.dtypes import DTYPES, PARTS
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
from tilewright.kernels.fold import Fold, reduction_name
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.phases import across, kept, phases
from tilewright.kernels.places import place_text, sought
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ends, serial, thread_counts
from tilewright.kernels.spread import BLOCK_OF_SPREAD, RowSpread, matched

LANES_OF_PLACES = 32  # at least; of rows for which fewer do, putting together lanes with their places costs more
BLOCK = 8192  # elements summed in one go: partial sums of blocks keep float32's error near that of pairwise summation


class Rows:
    """ROWS rows per group, one after the other; their number is a run-time argument.

    KEEP stores a costly intermediate in the output row instead of computing it again.

    LANES accumulators, those of some vectors, whose additions do not wait for each other; at the end they are combined
    by halves. With 1 all is left to FOR_REDUCE, which not every compiler makes vectors of.
    """

    name = "rows"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind not in ("reduce", "row") or across(problem, limits):
            return EMPTY
        keep = (0, 1) if kept(problem) else (0,)
        if serial(limits):
            most = max(1, _rows(problem) // limits.compute_units)
            rows = Rule("fewer groups than compute units leave some idle", lambda c: int(c["ROWS"]) <= most)
            lanes: tuple[int, ...] = (1, 16, 32, 64) if _reordered(problem, limits) else (8, 16, 32)
            lanes = tuple(limits.lanes * n for n in (1, 2, 4, 8)) if limits.lanes > 1 else lanes
            return Space(
                {"THREADS": (limits.lanes,), "ROWS": (1, 4, 16, 64, 256), "KEEP": keep, "LANES": lanes}, (rows,)
            )
        rules = (ends(limits, partial(_iterations, problem)),)
        return Space({"THREADS": thread_counts(limits, 1024), "ROWS": (1, 4), "KEEP": keep, "LANES": (1,)}, rules)

    def default(self, problem: Problem, limits: Limits) -> Config:
        keep = int(kept(problem) is not None)
        if serial(limits):
            rows = next((r for r in (64, 16, 4) if _rows(problem) >= r * limits.compute_units * 8), 1)
            rows = rows if problem.space[-1] < 4096 else 1
            return {"THREADS": limits.lanes, "ROWS": rows, "KEEP": keep, "LANES": _lanes(problem, limits)}
        counts = thread_counts(limits, 1024)
        threads = next((t for t in counts if t * 8 >= problem.space[-1]), counts[-1])
        config: Config = {"THREADS": min(threads, 256), "ROWS": 1, "KEEP": keep, "LANES": 1}
        space = self.space(problem, limits)
        return config if space.refusal(config) is None else max(space, key=lambda c: (c["THREADS"], -int(c["ROWS"])))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        threads = int(config["THREADS"])
        lanes = int(config["LANES"])
        text = _RowText(problem, language, kept(problem) if config["KEEP"] else None, threads, lanes)
        body = combiners(problem, language) + language.kernel(text.loop(), text.shared())
        defines = (("THREADS", threads), ("LANES", lanes), ("BLOCK", language.size(_block(problem))), work(problem))
        entry = entry_name("rows", problem)
        listed = parameters(problem, language, ("turn",))
        return Source(entry, listed, body, defines, (threads, 1, 1), filename="rows.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (-(-_rows(problem) // int(config["ROWS"])), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem, (int(config["ROWS"]),))


def _reordered(problem: Problem, limits: Limits) -> bool:
    """Whether the compiler makes vectors of the reductions: plain C has OpenMP's, which GCC knows for numbers only."""
    return limits.threads_per_group == 1 and not any(n.dtype in PARTS for level in phases(problem) for n in level)


def _lanes(problem: Problem, limits: Limits) -> int:
    """A vector of the widest there are, in longer rows two and four; one for compilers that spill them."""
    wide = any(DTYPES[DTYPES[n.dtype].compute].nbytes > 4 for level in phases(problem) for n in level)
    if not _reordered(problem, limits) and limits.lanes == 1:
        return 16
    extent = problem.space[-1]
    return (16 if extent < 256 else 32 if extent < 512 else 64) // (2 if wide else 1)


def _iterations(problem: Problem, config: Config) -> int:
    """Of one thread, about: each pass walks the row, block by block, and each reduction ends with halving steps."""
    passes = len(phases(problem)) + sum(map(len, phases(problem))) + len(problem.body)
    length = -(-problem.space[-1] // problem.parts)
    walked = -(-length // int(config["THREADS"])) * iterations(problem) + 2 * (-(-length // _block(problem))) + 16
    return int(config["ROWS"]) * passes * walked


def _block(problem: Problem) -> int:
    """How many elements are summed in one go."""
    return BLOCK_OF_SPREAD if any(n.arg == "spread" for level in phases(problem) for n in level) else BLOCK


def _rows(problem: Problem) -> int:
    return prod(problem.space[:-1]) * problem.parts


def combiners(problem: Problem, language: Language) -> str:
    """What goes in front of the kernel: combiners and declarations of its reductions, one per reduction and type."""
    lines: dict[str, None] = {}
    for node in (n for level in phases(problem) for n in level):
        name, definition = combiner(language, node.arg, node.dtype)
        lines[definition] = None
        declared = language.declare_reduction(
            reduction_name(node, language), node.dtype, name, start(language, node.arg, node.dtype)
        )
        lines[declared] = None
    return "".join(lines)


class _RowText:
    """The text of one row's passes."""

    def __init__(self, problem: Problem, language: Language, keep: Node | None, threads: int, lanes: int = 1) -> None:
        self.problem, self.language, self.keep, self.threads, self.lanes = problem, language, keep, threads, lanes
        self.rank = len(problem.space)
        self.last = self.rank - 1
        self.levels = phases(problem)
        axes = {axis: f"i{axis}" for axis in range(self.rank)}
        self.writer = Writer(problem, language, axes, {self.last: f"i{self.last}"})
        self.names: dict[int, str] = {}  # what is known once a row
        self.kept_at: str | None = None
        self.fold = Fold(language, f"i{self.last}", threads, lanes)
        at_once = self.fold.masks and problem.parts == 1 and lanes >= LANES_OF_PLACES
        self.places = sought(self.levels) if at_once else {}

    def shared(self) -> str:
        if self.threads == 1:
            return ""
        language = self.language
        kinds = {language.type(n.dtype): n.dtype for level in self.levels for n in level}
        return "".join(language.shared(dtype, f"shared_{t}", "THREADS") for t, dtype in kinds.items())

    def loop(self) -> str:
        problem, language = self.problem, self.language
        split = problem.parts > 1
        rows = " * ".join([f"n{axis}" for axis in range(self.last)] + (["parts"] if split else [])) or "1"
        behind = "(GROUP(0) + 1) * turn"
        head = language.let(rows=rows, stop=language.choose(f"{behind} < rows", behind, "rows"))
        outer = {axis: f"i{axis}" for axis in range(self.last)}
        n = f"n{self.last}"
        if split:
            setup = language.let(part="item % parts", row="item / parts")
            setup += language.let(chunk=f"({n} + parts - 1) / parts")
            end = language.choose(f"begin + chunk < {n}", "begin + chunk", n)
            setup += language.let(begin="part * chunk", end=end)
        else:
            setup = language.let(row="item", begin="0", end=n)
        setup += unravel(language, "row", range(self.last)) + bases(problem, language, outer)
        passes = "".join(self._level(level) for level in self.levels)
        return head + language.loop("item", "GROUP(0) * turn", "stop", setup + passes + self._stores())

    def _row_statements(self, nodes: list[Node]) -> str:
        """Declare what of `nodes` and below does not vary along the row."""
        found = [n for n in toposort(nodes) if len(n.shape) < self.rank and self._ready(n)]
        return self.writer.statements(found, self.names)

    def _ready(self, node: Node) -> bool:
        return all(n.op != "reduce" or id(n) in self.names for n in toposort([node]))

    def _element(self, root: Node) -> tuple[str, dict[int, str]]:
        """Statements that compute `root` at one element of the row."""
        names = dict(self.names)
        lines = ""
        if self.kept_at is not None and self.keep is not None and self.keep in toposort([root]):
            names[id(self.keep)] = "kept"
            held = self.language.load(self.keep.dtype, "out0", self.kept_at)
            lines = self.language.constant(self.keep.dtype, "kept", held)
        return lines + self.writer.statements([root], names), names

    def _level(self, nodes: list[Node]) -> str:
        """Reductions that wait for nothing of each other, block by block: the later ones find a block in cache."""
        language = self.language
        text = self._row_statements([n.src[0] for n in nodes])
        block = language.let(block_end=language.choose("block + BLOCK < end", "block + BLOCK", "end"))
        inner = behind = ""
        for node in nodes:
            if id(node) in self.names:
                continue
            if id(node) in self.places:
                text += self._place(node, self.places[id(node)])
                continue
            if node.arg == "spread":
                before, inside, after = self._spread(node, nodes)
            elif node.arg != "offset":
                before, inside, after = self._reduction(node)
            else:
                continue
            text, inner, behind = text + before, inner + inside, behind + after
        return text + (language.loop("block", "begin", "end", block + inner, "BLOCK") if inner else "") + behind

    def _place(self, best: Node, place: Node) -> str:
        """An extreme and the first place of it, which then wait for nothing."""
        names = tuple(f"v{self.writer.number[id(node)]}" for node in (best, place))
        text = "".join(self.language.variable(n.dtype, v, "0") for n, v in zip((best, place), names, strict=True))
        text += place_text(
            self.language, best, place, (names[0], names[1]), *self._first(best), f"i{self.last}", self.lanes,
            self.fold.each,
        )  # fmt: skip
        self.names |= {id(best): names[0], id(place): names[1]}
        return text

    def _reduction(self, node: Node) -> tuple[str, str, str]:
        """What is done before the blocks, for each, and behind them."""
        language, k = self.language, self.writer.number[id(node)]
        combine, _ = combiner(language, node.arg, node.dtype)
        neutral = start(language, node.arg, node.dtype)
        inside = language.variable(node.dtype, f"sum{k}", neutral) + self.fold.text(node, f"sum{k}", *self._first(node))
        inside += f"v{k} = {combine}(v{k}, sum{k});\n"
        self.names[id(node)] = f"v{k}"
        return language.variable(node.dtype, f"v{k}", neutral), inside, self._grouped(node, f"v{k}")

    def _spread(self, node: Node, nodes: list[Node]) -> tuple[str, str, str]:
        """Two walks through a block, which the first one brings into cache."""
        spread = RowSpread(self.language, node, self.writer.number[id(node)], matched(node, nodes))
        held = dict(self.names)
        first = self.language.let(**{f"i{self.last}": "0"}) + self.writer.statements([node.src[0]], held)
        before = spread.declare() + f"{{\n{first}{spread.first} = {held[id(node.src[0])]};\n}}\n"
        element, value = self._first(node)
        inside = spread.begin() + self.fold.text(node, spread.sum, element, spread.moved(value))
        inside += self._grouped(node, spread.sum) + spread.middle()
        element, names = self._element(node.src[0])
        inside += self.fold.text(node, spread.squares, element + spread.apart(names[id(node.src[0])]), spread.square)
        self.names |= spread.results
        return before, inside + spread.end(), self._grouped(node, spread.within) + spread.finish()

    def _grouped(self, node: Node, accumulator: str) -> str:
        """What every thread has, combined."""
        if self.threads == 1:
            return ""
        combine, _ = combiner(self.language, node.arg, node.dtype)
        shared = f"shared_{self.language.type(node.dtype)}"
        return self.language.group_reduce(node.dtype, combine, accumulator, shared)

    def _first(self, node: Node) -> tuple[str, str]:
        """Statements for the element that is reduced, and its name; they keep it if nothing did so before."""
        element, names = self._element(node.src[0])
        value = names[id(node.src[0])]
        if node.src[0] is self.keep and self.kept_at is None:
            self.kept_at = self.writer.place("out0", self.problem.outputs[0])
            element += self.language.store(self.keep.dtype, "out0", self.kept_at, value)
        return element, value

    def _stores(self) -> str:
        problem = self.problem
        text = self._row_statements(list(problem.body))
        rowwise = ""
        for k, root in enumerate(problem.body):
            if len(root.shape) < self.rank and problem.outputs[k].strides[-1] == 0:
                part = " + part" if problem.parts > 1 else ""
                dtype, value = problem.outputs[k].dtype, self.names[id(root)]
                rowwise += self.language.store(dtype, f"out{k}", f"out{k}_b{part}", value)
        if rowwise:
            text += f"if (LOCAL(0) == 0) {{\n{rowwise}}}\n"
        each = [(k, r) for k, r in enumerate(problem.body) if problem.outputs[k].strides[-1] != 0]
        for k, root in each:
            element, names = self._element(root)
            text += self.language.each(f"i{self.last}", "begin", "end", element + self.writer.store(k, names[id(root)]))
        return text
