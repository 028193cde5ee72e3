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
    Writer,
    bases,
    combiner,
    entry_name,
    parameters,
    start,
    unravel,
    values,
    work,
)
from tilewright.kernels.node import toposort
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, serial, thread_counts

BLOCK = 4096


class ScanRows:
    """ROWS rows, or parts of rows, per group, one after the other; their number is a run-time argument.

    Threads of a group load a tile of THREADS * PER_THREAD neighbours together, scan PER_THREAD of them each in shared
    memory, then each other's totals (Hillis and Steele, "Data parallel algorithms", 1986), and store together.
    """

    name = "scan"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "scan" or limits.language.name != C.name or _columnar(problem):
            return EMPTY
        if serial(limits):
            most = max(1, _rows(problem) // limits.compute_units)
            rows = Rule("fewer groups than compute units leave some idle", lambda c: int(c["ROWS"]) <= most)
            return Space({"THREADS": (1,), "PER_THREAD": (1,), "ROWS": (1, 4, 16, 64, 256)}, (rows,))
        width = DTYPES[DTYPES[problem.body[0].dtype].compute].nbytes
        fits = Rule(
            "a tile and the threads' totals are more than a group's shared memory",
            lambda c: _shared_count(c) * width <= limits.shared_nbytes,
        )
        return Space({"THREADS": thread_counts(limits), "PER_THREAD": (1, 2, 4, 8, 16), "ROWS": (1,)}, (fits,))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            rows = next((r for r in (64, 16, 4) if _rows(problem) >= r * limits.compute_units * 8), 1)
            return {"THREADS": 1, "PER_THREAD": 1, "ROWS": rows if problem.space[-1] < BLOCK else 1}
        threads = next((t for t in thread_counts(limits) if t * 4 >= problem.space[-1]), thread_counts(limits)[-1])
        return {"THREADS": min(threads, 256), "PER_THREAD": 4, "ROWS": 1}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        threads, per_thread = int(config["THREADS"]), int(config["PER_THREAD"])
        text = _ScanText(problem)
        walk = text.alone() if threads == 1 else text.together()
        body = f"{text.macros()}KERNEL {{\n{text.shared() if threads > 1 else ''}{text.rows(walk, threads)}}}\n"
        defines = (("THREADS", threads), ("PER_THREAD", per_thread), ("BLOCK", f"((i64){BLOCK})"), work(problem))
        listed = parameters(problem, C, ("turn",))
        return Source(entry_name("scan", problem), listed, body, defines, (threads, 1, 1), filename="scan.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (-(-_rows(problem) // int(config["ROWS"])), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem, (int(config["ROWS"]),))


class ScanColumns:
    """TILE neighbouring columns per group, one accumulator each."""

    name = "scan_columns"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if (
            problem.kind != "scan"
            or limits.language.name != C.name
            or len(problem.space) < 2
            or not (_columnar(problem) or _short(problem, limits))
        ):
            return EMPTY
        if serial(limits):
            return Space({"THREADS": (1,), "TILE": (16, 32, 64, 128, 256, 512, 1024, 2048)})
        full = Rule(
            "every thread holds the same number of accumulators", lambda c: int(c["TILE"]) % int(c["THREADS"]) == 0
        )
        few = Rule(
            "more than 8 accumulators a thread spill registers", lambda c: int(c["TILE"]) <= 8 * int(c["THREADS"])
        )
        return Space({"THREADS": thread_counts(limits), "TILE": (32, 64, 128, 256, 512, 1024)}, (full, few))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            return {"THREADS": 1, "TILE": 512 if problem.space[-2] >= 1024 * limits.compute_units else 64}
        threads = min(128, thread_counts(limits)[-1])
        return {"THREADS": threads, "TILE": threads}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        threads = int(config["THREADS"])
        text = _ScanText(problem, column=len(problem.space) - 2)
        body = f"{text.macros()}KERNEL {{\n{text.columns()}}}\n"
        defines = (("TILE", int(config["TILE"])), ("THREADS", threads), work(problem))
        listed = parameters(problem, C)
        return Source(entry_name("scan_columns", problem), listed, body, defines, (threads, 1, 1), filename="scan.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        tiles = -(-problem.space[-2] // int(config["TILE"]))
        return (tiles * prod(problem.space[:-2]) * problem.parts, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


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


_ALONE = """for (i64 block = begin; block < end; block += BLOCK) {{
const i64 block_end = block + BLOCK < end ? block + BLOCK : end;
{t} sum = {neutral};
FOR_SCAN({i}, block, block_end, {name}_{t}, sum) {{
{{ {element}sum = {macro}(sum, {value}); }}
SCANNED(sum)
{{ {store} }}
}}
carry = {macro}(carry, sum);
}}
"""

_TOGETHER = """for (i64 base = begin; base < end; base += THREADS * PER_THREAD) {{
BARRIER();
for (int k = 0; k < PER_THREAD; ++k) {{
const i64 {i} = base + k * THREADS + LOCAL(0);
{t} loaded = {neutral};
if ({i} < end) {{
{element}loaded = {value};
}}
tile[SPREAD(k * THREADS + LOCAL(0))] = loaded;
}}
BARRIER();
{t} sum = {neutral};
for (int k = 0; k < PER_THREAD; ++k) {{
sum = {macro}(sum, tile[SPREAD(LOCAL(0) * PER_THREAD + k)]);
tile[SPREAD(LOCAL(0) * PER_THREAD + k)] = sum;
}}
totals[LOCAL(0)] = sum;
BARRIER();
for (i64 step = 1; step < THREADS; step *= 2) {{
{t} before = {neutral};
if (LOCAL(0) >= step) before = totals[LOCAL(0) - step];
BARRIER();
if (LOCAL(0) >= step) totals[LOCAL(0)] = {macro}(before, totals[LOCAL(0)]);
BARRIER();
}}
{t} ahead = carry;
if (LOCAL(0) > 0) ahead = {macro}(carry, totals[LOCAL(0) - 1]);
for (int k = 0; k < PER_THREAD; ++k)
tile[SPREAD(LOCAL(0) * PER_THREAD + k)] = {macro}(ahead, tile[SPREAD(LOCAL(0) * PER_THREAD + k)]);
carry = {macro}(carry, totals[THREADS - 1]);
BARRIER();
for (int k = 0; k < PER_THREAD; ++k) {{
const i64 {i} = base + k * THREADS + LOCAL(0);
if ({i} < end) {{
{store}}}
}}
}}
"""


class _ScanText:
    """The text of a scan: `column` is the axis that a group's threads walk side by side, if they do."""

    def __init__(self, problem: Problem, column: int | None = None) -> None:
        self.problem = problem
        self.rank = len(problem.space)
        self.last = self.rank - 1
        self.column = column
        self.node = problem.body[0]
        self.t = C.type(self.node.dtype)
        self.neutral = start(C, self.node.arg, self.node.dtype)
        self.macro, self._definition = combiner(C, self.node.arg, self.node.dtype)
        axes = {axis: f"i{axis}" for axis in range(self.rank)}
        inner = {axis: f"i{axis}" for axis in (column, self.last) if axis is not None}
        self.writer = Writer(problem, C, axes, inner)

    def macros(self) -> str:
        declared = f"DECLARE_REDUCTION({self.node.arg}_{self.t}, {self.t}, {self.macro}, {self.neutral})\n"
        return f"{self._definition}{declared}#define SPREAD(k) ((k) + (k) / 32)\n"

    def shared(self) -> str:
        count = "THREADS * PER_THREAD"
        return f"SHARED({self.t}, tile, {count} + {count} / 32 + 1);\nSHARED({self.t}, totals, THREADS);\n"

    def _pieces(self, names: dict[int, str], result: str) -> dict[str, str]:
        """What the templates are filled with; `names` holds what is known once a row, `result` is what is stored."""
        source = self.node.src[0]
        element = self.writer.statements([source], names)
        return {
            "t": self.t, "i": f"i{self.last}", "name": self.node.arg, "macro": self.macro, "neutral": self.neutral,
            "element": element, "value": names[id(source)], "store": self.writer.store(0, result),
        }  # fmt: skip

    def alone(self) -> str:
        names: dict[int, str] = {}
        head = self._once(names)
        return head + _ALONE.format(**self._pieces(names, f"{self.macro}(carry, sum)"))

    def together(self) -> str:
        names: dict[int, str] = {}
        head = self._once(names)
        return head + _TOGETHER.format(**self._pieces(names, "tile[SPREAD(k * THREADS + LOCAL(0))]"))

    def _once(self, names: dict[int, str]) -> str:
        """Declare what of the source does not vary along the row."""
        per_row = [n for n in toposort([self.node.src[0]]) if len(n.shape) < self.rank]
        return self.writer.statements(per_row, names)

    def _total(self) -> str:
        """The total of part `p`, a load of the input that holds one per row and part."""
        number = self.node.src[1].arg
        operand = self.problem.inputs[number]
        return f"LOAD({DTYPES[operand.dtype].c}, in{number}, {self.writer.place(f'in{number}', operand)} + p)"

    def _bounds(self) -> str:
        """`begin` and `end` of the piece of the last axis that `item` stands for, and its `row`."""
        n = f"n{self.last}"
        if self.problem.parts == 1:
            return f"const i64 row = item, begin = 0, end = {n};\n"
        text = f"const i64 part = item % parts, row = item / parts, chunk = ({n} + parts - 1) / parts;\n"
        return text + f"const i64 begin = part * chunk, end = begin + chunk < {n} ? begin + chunk : {n};\n"

    def rows(self, walk: str, threads: int) -> str:
        split = self.problem.parts > 1
        rows = " * ".join([f"n{axis}" for axis in range(self.last)] + (["parts"] if split else [])) or "1"
        text = f"const i64 rows = {rows}, stop = (GROUP(0) + 1) * turn < rows ? (GROUP(0) + 1) * turn : rows;\n"
        text += f"for (i64 item = GROUP(0) * turn; item < stop; ++item) {{\n{self._bounds()}"
        text += unravel(C, "row", range(self.last)) + bases(self.problem, C, {a: f"i{a}" for a in range(self.last)})
        text += f"{self.t} carry = {self.neutral};\n"
        if split:
            text += "for (i64 p = LOCAL(0); p < part; p += LOCAL_SIZE(0)) "
            text += f"carry = {self.macro}(carry, {self._total()});\n"
            text += f"GROUP_REDUCE({self.t}, {self.macro}, carry, totals);\n" if threads > 1 else ""
        return f"{text}{walk}}}\n"

    def columns(self) -> str:
        assert self.column is not None
        column = self.column
        slot = f"sums[(i{column} - first) / LOCAL_SIZE(0)]"
        pieces = self._pieces({}, slot)
        text = f"const i64 tiles = (n{column} + TILE - 1) / TILE, item = GROUP(0) / tiles;\n{self._bounds()}"
        text += f"const i64 first = GROUP(0) % tiles * TILE, behind = first + TILE < n{column} ? first + TILE "
        text += f": n{column};\n"
        text += unravel(C, "row", range(column)) + bases(self.problem, C, {a: f"i{a}" for a in range(column)})
        across = f"FOR_EACH(i{column}, first, behind)"
        text += f"{self.t} sums[TILE / THREADS];\n{across} {slot} = {self.neutral};\n"
        if self.problem.parts > 1:
            text += f"for (i64 p = 0; p < part; ++p)\n{across} {slot} = {self.macro}({slot}, {self._total()});\n"
        text += f"for (i64 i{self.last} = begin; i{self.last} < end; ++i{self.last})\n{across} {{\n"
        return text + "{element}{slot} = {macro}({slot}, {value});\n{store}}}\n".format(slot=slot, **pieces)
