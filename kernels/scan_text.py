"""The text of a scan's kernels: see scan.py."""

from __future__ import annotations

from tilewright.backends.language import Language
from tilewright.kernels.emit import Writer, bases, combiner, start, unravel
from tilewright.kernels.node import toposort
from tilewright.kernels.problem import Problem

_ALONE = """for (i64 block = begin; block < end; block += BLOCK) {{
const i64 block_end = block + BLOCK < end ? block + BLOCK : end;
{t} sum = {neutral};
FOR_SCAN({i}, block, block_end, {name}, sum) {{
{{ {element}sum = {macro}(sum, {value}); }}
SCANNED(sum)
{{ {store} }}
}}
carry = {macro}(carry, sum);
}}
"""


class ScanText:
    """The text of a scan: `column` is the axis that a group's threads walk side by side, if they do."""

    def __init__(self, problem: Problem, language: Language, column: int | None = None) -> None:
        self.problem, self.say = problem, language
        self.rank = len(problem.space)
        self.last = self.rank - 1
        self.column = column
        self.node = problem.body[0]
        self.dtype = self.node.dtype
        self.neutral = start(language, self.node.arg, self.dtype)
        self.macro, self._definition = combiner(language, self.node.arg, self.dtype)
        self.reduction = f"{self.node.arg}_{language.type(self.dtype)}"
        axes = {axis: f"i{axis}" for axis in range(self.rank)}
        inner = {axis: f"i{axis}" for axis in (column, self.last) if axis is not None}
        self.writer = Writer(problem, language, axes, inner)

    def macros(self) -> str:
        return self._definition + self.say.declare_reduction(self.reduction, self.dtype, self.macro, self.neutral)

    def shared(self) -> str:
        tile = self.say.shared(self.dtype, "tile", "THREADS * PER_THREAD + THREADS * PER_THREAD / 32 + 1")
        return tile + self.say.shared(self.dtype, "totals", "THREADS")

    def _pieces(self, names: dict[int, str]) -> tuple[str, str]:
        """What declares the element that is scanned, and its name; `names` holds what is known once a row."""
        source = self.node.src[0]
        element = self.writer.statements([source], names)
        return element, names[id(source)]

    def alone(self) -> str:
        names: dict[int, str] = {}
        head = self._once(names)
        element, value = self._pieces(names)
        return head + _ALONE.format(
            t=self.say.type(self.dtype), i=f"i{self.last}", name=self.reduction, macro=self.macro, element=element,
            neutral=self.neutral, value=value, store=self.writer.store(0, f"{self.macro}(carry, sum)"),
        )  # fmt: skip

    def vectors(self) -> str:
        """Block by block, a vector at a time: each lane's element, then what the lanes up to it give."""
        say, dtype, neutral, macro, i = self.say, self.dtype, self.neutral, self.macro, f"i{self.last}"
        names: dict[int, str] = {}
        t = say.type(dtype)
        head = self._once(names)
        element, value = self._pieces(names)
        element += f"own = {value};\n"
        store = self.writer.store(0, f"{macro}(carry, {macro}(sum, own))")
        place = say.let(**{i: "at + LOCAL(0)"}) + say.variable(dtype, "own", neutral)
        scan, inside = f"GROUP_SCAN({t}, {macro}, own);\n", f"if ({i} < block_end) {{\n"
        full = f"{place}{element}{scan}{store}sum = {macro}(sum, GROUP_LAST({t}, own));\n"
        rest = f"{place}{inside}{element}}}\n{scan}{inside}{store}}}\nsum = {macro}(sum, GROUP_LAST({t}, own));\n"
        block = say.let(block_end=say.choose("block + BLOCK < end", "block + BLOCK", "end"))
        block += say.variable(dtype, "sum", neutral) + say.let(last="block + (block_end - block) / THREADS * THREADS")
        block += say.loop("at", "block", "last", full, "THREADS") + say.loop("at", "last", "block_end", rest, "THREADS")
        return head + say.loop("block", "begin", "end", block + f"carry = {macro}(carry, sum);\n", "BLOCK")

    def together(self) -> str:
        """A tile at a time: loaded by neighbours, scanned by each thread for itself, then moved by what lies ahead."""
        say, dtype, neutral, macro, i = self.say, self.dtype, self.neutral, self.macro, f"i{self.last}"
        names: dict[int, str] = {}
        head = self._once(names)
        element, value = self._pieces(names)
        wide, own = _spread("k * THREADS + LOCAL(0)"), _spread("LOCAL(0) * PER_THREAD + k")
        place = say.let(**{i: "base + k * THREADS + LOCAL(0)"})
        load = place + say.variable(dtype, "loaded", neutral)
        load += f"if ({i} < end) {{\n{element}loaded = {value};\n}}\n{wide} = loaded;\n"
        text = f"BARRIER();\n{say.loop('k', '0', 'PER_THREAD', load)}BARRIER();\n{say.variable(dtype, 'sum', neutral)}"
        text += say.loop("k", "0", "PER_THREAD", f"sum = {macro}(sum, {own});\n{own} = sum;\n")
        text += f"totals[LOCAL(0)] = sum;\nBARRIER();\n{self._totals()}{say.variable(dtype, 'ahead', 'carry')}"
        text += f"if (LOCAL(0) > 0) {{\nahead = {macro}(carry, totals[LOCAL(0) - 1]);\n}}\n"
        text += say.loop("k", "0", "PER_THREAD", f"{own} = {macro}(ahead, {own});\n")
        text += f"carry = {macro}(carry, totals[THREADS - 1]);\nBARRIER();\n"
        store = f"{place}if ({i} < end) {{\n{self.writer.store(0, wide)}}}\n"
        text += say.loop("k", "0", "PER_THREAD", store)
        return head + say.loop("base", "begin", "end", text, "THREADS * PER_THREAD")

    def _totals(self) -> str:
        """Each thread's total becomes that of all threads up to it."""
        say = self.say
        text = say.variable(self.dtype, "before", self.neutral)
        text += "if (LOCAL(0) >= step) {\nbefore = totals[LOCAL(0) - step];\n}\nBARRIER();\n"
        text += (
            f"if (LOCAL(0) >= step) {{\ntotals[LOCAL(0)] = {self.macro}(before, totals[LOCAL(0)]);\n}}\nBARRIER();\n"
        )
        return say.variable(say.index, "step", "1") + f"while (step < THREADS) {{\n{text}step = step * 2;\n}}\n"

    def _once(self, names: dict[int, str]) -> str:
        """Declare what of the source does not vary along the row."""
        per_row = [n for n in toposort([self.node.src[0]]) if len(n.shape) < self.rank]
        return self.writer.statements(per_row, names)

    def _total(self) -> str:
        """The total of part `p`, a load of the input that holds one per row and part."""
        number = self.node.src[1].arg
        operand = self.problem.inputs[number]
        return self.say.load(operand.dtype, f"in{number}", f"{self.writer.place(f'in{number}', operand)} + p")

    def _bounds(self) -> str:
        """`begin` and `end` of the piece of the last axis that `item` stands for, and its `row`."""
        n, say = f"n{self.last}", self.say
        if self.problem.parts == 1:
            return say.let(row="item", begin="0", end=n)
        text = say.let(part="item % parts", row="item / parts", chunk=f"({n} + parts - 1) / parts")
        return (
            text + say.let(begin="part * chunk") + say.let(end=say.choose(f"begin + chunk < {n}", "begin + chunk", n))
        )

    def rows(self, walk: str, threads: int) -> str:
        split, say = self.problem.parts > 1, self.say
        rows = " * ".join([f"n{axis}" for axis in range(self.last)] + (["parts"] if split else [])) or "1"
        behind = "(GROUP(0) + 1) * turn"
        text = say.let(rows=rows) + say.let(stop=say.choose(f"{behind} < rows", behind, "rows"))
        each = self._bounds() + unravel(say, "row", range(self.last))
        each += bases(self.problem, say, {a: f"i{a}" for a in range(self.last)})
        each += say.variable(self.dtype, "carry", self.neutral)
        if split:
            before = f"carry = {self.macro}(carry, {self._total()});\n"
            each += say.loop("p", "LOCAL(0)", "part", before, "LOCAL_SIZE(0)")
            each += say.group_reduce(self.dtype, self.macro, "carry", "totals") if threads > 1 else ""
        return text + say.loop("item", "GROUP(0) * turn", "stop", each + walk)

    def columns(self) -> str:
        assert self.column is not None
        n, i, say = f"n{self.column}", f"i{self.column}", self.say
        slot = f"sums[{say.slot(i, 'first')}]"
        element, value = self._pieces({})
        text = say.let(tiles=f"({n} + TILE - 1) / TILE") + say.let(item="GROUP(0) / tiles") + self._bounds()
        text += say.let(first="GROUP(0) % tiles * TILE")
        text += say.let(behind=say.choose(f"first + TILE < {n}", "first + TILE", n))
        text += unravel(say, "row", range(self.column))
        text += bases(self.problem, say, {a: f"i{a}" for a in range(self.column)})
        text += say.held(self.dtype, "sums", "TILE")
        text += say.each(i, "first", "behind", f"{slot} = {self.neutral};\n")
        if self.problem.parts > 1:
            before = f"{slot} = {self.macro}({slot}, {self._total()});\n"
            text += say.loop("p", "0", "part", say.each(i, "first", "behind", before))
        step = f"{element}{slot} = {self.macro}({slot}, {value});\n{self.writer.store(0, slot)}"
        return text + say.loop(f"i{self.last}", "begin", "end", say.each(i, "first", "behind", step))


def _spread(k: str) -> str:
    """Element k of the tile, with a gap after every 32 so that the threads of a group meet in no bank."""
    return f"tile[({k}) + ({k}) / 32]"
