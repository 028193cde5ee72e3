"""Row and column reductions: softmax, layer norm, sums and whatever else reduces one axis.

`Rows` gives a group one row at a time: each reduction is one pass over the row, which the first pass brought into
cache, and one more pass stores what is wanted per element. `Columns` gives a group neighbouring columns and walks
down the rows, so that memory is read in its own order when the reduced axis is not the contiguous one.
"""

from __future__ import annotations

from math import prod

from tilewright.backends.dtypes import DTYPES, PARTS
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import (
    Writer,
    bases,
    c_type,
    combine_macro,
    entry_name,
    parameters,
    start,
    unravel,
    values,
    work,
)
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.ops import OPS
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, serial

BLOCK = 8192  # elements summed in one go: partial sums of blocks keep float32's error near that of pairwise summation


def phases(problem: Problem) -> list[list[Node]]:
    """The reductions in the order they must be done: each level needs the results of the levels before."""
    level: dict[int, int] = {}
    found: list[list[Node]] = []
    for node in toposort(problem.body):
        depth = max((level[id(s)] for s in node.src), default=0)
        if node.op == "reduce":
            while len(found) <= depth:
                found.append([])
            found[depth].append(node)
            depth += 1
        level[id(node)] = depth
    return found


def _group_threads(limits: Limits) -> tuple[int, ...]:
    return tuple(t for t in (32, 64, 128, 256, 512, 1024) if t <= limits.threads_per_group)


class Rows:
    """ROWS rows per group, one after the other; their number is a run-time argument.

    KEEP stores a costly intermediate in the output row instead of computing it again.

    LANES accumulators, one per lane of a vector, for compilers that may not reorder a sum of floats themselves; with 1
    that is left to FOR_REDUCE.
    """

    name = "rows"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind not in ("reduce", "row") or (_columnar(problem) and len(phases(problem)) == 1):
            return EMPTY
        keep = (0, 1) if _kept(problem) else (0,)
        if serial(limits):
            most = max(1, _rows(problem) // limits.compute_units)
            rows = Rule("fewer groups than compute units leave some idle", lambda c: int(c["ROWS"]) <= most)
            lanes = (1,) if _reordered(problem, limits) else (8, 16, 32)
            return Space({"THREADS": (1,), "ROWS": (1, 4, 16, 64, 256), "KEEP": keep, "LANES": lanes}, (rows,))
        return Space({"THREADS": _group_threads(limits), "ROWS": (1, 4), "KEEP": keep, "LANES": (1,)})

    def default(self, problem: Problem, limits: Limits) -> Config:
        keep = int(_kept(problem) is not None)
        if serial(limits):
            rows = next((r for r in (64, 16, 4) if _rows(problem) >= r * limits.compute_units * 8), 1)
            rows = rows if problem.space[-1] < 4096 else 1
            return {"THREADS": 1, "ROWS": rows, "KEEP": keep, "LANES": 1 if _reordered(problem, limits) else 16}
        threads = next((t for t in _group_threads(limits) if t * 8 >= problem.space[-1]), _group_threads(limits)[-1])
        return {"THREADS": min(threads, 256), "ROWS": 1, "KEEP": keep, "LANES": 1}

    def render(self, problem: Problem, config: Config) -> Source:
        threads = int(config["THREADS"])
        lanes = int(config["LANES"])
        text = _RowText(problem, _kept(problem) if config["KEEP"] else None, threads, lanes)
        body = f"{text.macros()}KERNEL {{\n{text.shared()}{text.loop()}}}\n"
        defines = (("THREADS", threads), ("LANES", lanes), ("BLOCK", f"((i64){BLOCK})"), work(problem))
        entry = entry_name("rows", problem)
        listed = parameters(problem, ("turn",))
        return Source(entry, listed, body, defines, (threads, 1, 1), filename="rows.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (-(-_rows(problem) // int(config["ROWS"])), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem, (int(config["ROWS"]),))


def _reordered(problem: Problem, limits: Limits) -> bool:
    """Whether the compiler makes vectors of the reductions: plain C has OpenMP's, which GCC knows for numbers only."""
    return limits.threads_per_group == 1 and not any(n.dtype in PARTS for level in phases(problem) for n in level)


def _rows(problem: Problem) -> int:
    return prod(problem.space[:-1]) * problem.parts


def _columnar(problem: Problem) -> bool:
    """Whether neighbours in memory belong to different results, so that walking along a row misses the cache."""
    loads = [o for o in problem.inputs if o.strides[-1] != 0]
    return bool(loads) and all(o.strides[-1] != 1 for o in loads) and any(o.strides[-2] == 1 for o in loads)


def _kept(problem: Problem) -> Node | None:
    """A costly per-element value that a reduction and a later pass both need, and that the output row can hold."""
    if problem.kind != "row":
        return None
    rank = len(problem.space)
    root = problem.body[0]
    output = problem.outputs[0]
    if len(root.shape) < rank or output.strides[-1] != 1 or DTYPES[output.dtype].compute != output.dtype:
        return None
    for level in reversed(phases(problem)):
        for reduction in level:
            node = reduction.src[0]
            costly = any(n.op in OPS and OPS[n.op].costly and len(n.shape) == rank for n in toposort([node]))
            if costly and node.dtype == output.dtype and node in toposort([root]) and _used_after(root, node):
                return node
    return None


def _used_after(root: Node, node: Node) -> bool:
    """Whether the stored value needs `node` other than through a reduction."""
    stack, seen = [root], set()
    while stack:
        at = stack.pop()
        if at is node:
            return True
        if id(at) in seen or at.op == "reduce":
            continue
        seen.add(id(at))
        stack.extend(at.src)
    return False


_LANES = """{t} lanes[LANES];
for (int lane = 0; lane < LANES; ++lane) lanes[lane] = {neutral};
i64 at = block;
for (; at + LANES <= block_end; at += LANES)
for (int lane = 0; lane < LANES; ++lane) {{
const i64 {i} = at + lane;
{element}lanes[lane] = {macro}(lanes[lane], {value});
}}
for (int lane = 0; lane < LANES; ++lane) sum = {macro}(sum, lanes[lane]);
for (; at < block_end; ++at) {{
const i64 {i} = at;
{element}sum = {macro}(sum, {value});
}}
"""


class _RowText:
    """The text of one row's passes."""

    def __init__(self, problem: Problem, keep: Node | None, threads: int, lanes: int = 1) -> None:
        self.problem, self.keep, self.threads, self.lanes = problem, keep, threads, lanes
        self.rank = len(problem.space)
        self.last = self.rank - 1
        self.levels = phases(problem)
        axes = {axis: f"i{axis}" for axis in range(self.rank)}
        self.writer = Writer(problem, axes, {self.last: f"i{self.last}"})
        self.names: dict[int, str] = {}  # what is known once a row
        self.kept_at: str | None = None

    def macros(self) -> str:
        """Combine macros and reduction declarations, one per reduction and type."""
        lines: dict[str, None] = {}
        for node in (n for level in self.levels for n in level):
            macro, definition = combine_macro(node.arg, node.dtype)
            t = c_type(node.dtype)
            lines[definition] = None
            lines[f"DECLARE_REDUCTION({node.arg}_{t}, {t}, {macro}, {start(node.arg, node.dtype)})\n"] = None
        return "".join(lines)

    def shared(self) -> str:
        if self.threads == 1:
            return ""
        kinds = dict.fromkeys(c_type(n.dtype) for level in self.levels for n in level)
        return "".join(f"SHARED({t}, shared_{t}, THREADS);\n" for t in kinds)

    def loop(self) -> str:
        problem = self.problem
        split = problem.parts > 1
        rows = " * ".join([f"n{axis}" for axis in range(self.last)] + (["parts"] if split else [])) or "1"
        head = f"const i64 rows = {rows}, stop = (GROUP(0) + 1) * turn < rows ? (GROUP(0) + 1) * turn : rows;\n"
        outer = {axis: f"i{axis}" for axis in range(self.last)}
        n = f"n{self.last}"
        if split:
            setup = (
                f"const i64 part = item % parts, row = item / parts;\nconst i64 chunk = ({n} + parts - 1) / parts;\n"
            )
            setup += f"const i64 begin = part * chunk, end = begin + chunk < {n} ? begin + chunk : {n};\n"
        else:
            setup = f"const i64 row = item, begin = 0, end = {n};\n"
        setup += unravel("row", range(self.last)) + bases(problem, outer)
        passes = "".join(self._reduction(node) for level in self.levels for node in level)
        return f"{head}for (i64 item = GROUP(0) * turn; item < stop; ++item) {{\n{setup}{passes}{self._stores()}}}\n"

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
            lines = f"const {c_type(self.keep.dtype)} kept = LOAD({DTYPES[self.keep.dtype].c}, out0, {self.kept_at});\n"
        return lines + self.writer.statements([root], names), names

    def _reduction(self, node: Node) -> str:
        t, k, i = c_type(node.dtype), self.writer.number[id(node)], f"i{self.last}"
        macro, _ = combine_macro(node.arg, node.dtype)
        neutral = start(node.arg, node.dtype)
        text = self._row_statements([node.src[0]])
        element, names = self._element(node.src[0])
        value = names[id(node.src[0])]
        if node.src[0] is self.keep and self.kept_at is None:
            self.kept_at = self.writer.place("out0", self.problem.outputs[0])
            element += f"STORE({DTYPES[self.keep.dtype].c}, out0, {self.kept_at}, {value});\n"
        text += f"{t} v{k} = {neutral};\nfor (i64 block = begin; block < end; block += BLOCK) {{\n"
        text += f"const i64 block_end = block + BLOCK < end ? block + BLOCK : end;\n{t} sum = {neutral};\n"
        if self.lanes == 1:
            text += f"FOR_REDUCE({i}, block, block_end, {node.arg}_{t}, sum) {{\n"
            text += f"{element}sum = {macro}(sum, {value});\n}}\n"
        else:
            text += _LANES.format(t=t, i=i, macro=macro, neutral=neutral, element=element, value=value)
        text += f"v{k} = {macro}(v{k}, sum);\n}}\n"
        if self.threads > 1:
            text += f"GROUP_REDUCE({t}, {macro}, v{k}, shared_{t});\n"
        self.names[id(node)] = f"v{k}"
        return text

    def _stores(self) -> str:
        problem = self.problem
        text = self._row_statements(list(problem.body))
        rowwise = ""
        for k, root in enumerate(problem.body):
            if len(root.shape) < self.rank and problem.outputs[k].strides[-1] == 0:
                part = " + part" if problem.parts > 1 else ""
                c = DTYPES[problem.outputs[k].dtype].c
                rowwise += f"STORE({c}, out{k}, out{k}_b{part}, {self.names[id(root)]});\n"
        if rowwise:
            text += f"if (LOCAL(0) == 0) {{\n{rowwise}}}\n"
        each = [(k, r) for k, r in enumerate(problem.body) if problem.outputs[k].strides[-1] != 0]
        for k, root in each:
            element, names = self._element(root)
            text += f"FOR_EACH(i{self.last}, begin, end) {{\n{element}{self.writer.store(k, names[id(root)])}}}\n"
        return text


class Columns:
    """TILE neighbouring columns per group, one accumulator each, for reductions with a single pass."""

    name = "columns"

    def space(self, problem: Problem, limits: Limits) -> Space:
        short = problem.space[-1] <= 64  # a row so short costs more to start than to reduce
        if problem.kind != "reduce" or len(phases(problem)) != 1 or not (_columnar(problem) or short):
            return EMPTY
        if serial(limits):
            return Space({"THREADS": (1,), "TILE": (32, 64, 128, 256, 512, 1024, 2048)})
        whole = Rule(
            "every thread holds the same number of accumulators", lambda c: int(c["TILE"]) % int(c["THREADS"]) == 0
        )
        few = Rule(
            "more than 8 accumulators a thread spill registers", lambda c: int(c["TILE"]) <= 8 * int(c["THREADS"])
        )
        threads = tuple(t for t in _group_threads(limits) if t <= 512)
        return Space({"THREADS": threads, "TILE": (32, 64, 128, 256, 512, 1024)}, (whole, few))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            return {"THREADS": 1, "TILE": 512 if problem.space[-2] >= 1024 * limits.compute_units else 64}
        threads = min(128, _group_threads(limits)[-1])
        return {"THREADS": threads, "TILE": threads}

    def render(self, problem: Problem, config: Config) -> Source:
        last = len(problem.space) - 1
        column = last - 1
        text = _RowText(problem, None, int(config["THREADS"]))
        axes = {axis: f"i{axis}" for axis in range(last + 1)}
        writer = Writer(problem, axes, {column: f"i{column}", last: f"i{last}"})
        split = problem.parts > 1
        head = f"const i64 tiles = (n{column} + TILE - 1) / TILE, tile = GROUP(0) % tiles;\n"
        if split:
            head += "const i64 item = GROUP(0) / tiles, part = item % parts, row = item / parts;\n"
            head += f"const i64 chunk = (n{last} + parts - 1) / parts;\n"
            head += f"const i64 first = part * chunk, stop = first + chunk < n{last} ? first + chunk : n{last};\n"
        else:
            head += f"const i64 row = GROUP(0) / tiles, first = 0, stop = n{last};\n"
        head += f"const i64 begin = tile * TILE, end = begin + TILE < n{column} ? begin + TILE : n{column};\n"
        head += unravel("row", range(column)) + bases(problem, {axis: f"i{axis}" for axis in range(column)})
        body = head + _column_passes(problem, writer, phases(problem)[0], column, last)
        defines = (("TILE", int(config["TILE"])), ("THREADS", int(config["THREADS"])), work(problem))
        group = (int(config["THREADS"]), 1, 1)
        source = f"{text.macros()}KERNEL {{\n{body}}}\n"
        return Source(entry_name("columns", problem), parameters(problem), source, defines, group, filename="columns.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        tiles = -(-problem.space[-2] // int(config["TILE"]))
        return (tiles * prod(problem.space[:-2]) * problem.parts, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


def _column_passes(problem: Problem, writer: Writer, reductions: list[Node], column: int, last: int) -> str:
    """Start the accumulators, walk down the rows, then finish and store each column."""
    slot = f"(i{column} - begin) / LOCAL_SIZE(0)"
    declare = begin = element = ""
    names: dict[int, str] = {}
    for node in reductions:
        t, k = c_type(node.dtype), writer.number[id(node)]
        macro, _ = combine_macro(node.arg, node.dtype)
        declare += f"{t} a{k}[TILE / THREADS];\n"
        begin += f"a{k}[{slot}] = {start(node.arg, node.dtype)};\n"
        element += writer.statements([node.src[0]], names)
        element += f"a{k}[{slot}] = {macro}(a{k}[{slot}], {names[id(node.src[0])]});\n"
    results = {id(node): f"a{writer.number[id(node)]}[{slot}]" for node in reductions}
    finish = writer.statements([r for r in problem.body if id(r) not in results], results)
    for k, root in enumerate(problem.body):
        part = " + part" if problem.parts > 1 else ""
        c = DTYPES[problem.outputs[k].dtype].c
        finish += f"STORE({c}, out{k}, {writer.place(f'out{k}', problem.outputs[k])}{part}, {results[id(root)]});\n"
    loop = f"FOR_EACH(i{column}, begin, end) {{\n"
    walk = f"for (i64 i{last} = first; i{last} < stop; ++i{last}) {{\n{loop}{element}}}\n}}\n"
    return f"{declare}{loop}{begin}}}\n{walk}{loop}{finish}}}\n"
