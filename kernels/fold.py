"""One reduction's walk through a block of a row, in lanes whose results do not wait for each other."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.backends.language import C, Language
from tilewright.kernels.emit import combiner, start
from tilewright.kernels.node import Node


def reduction_name(node: Node, language: Language) -> str:
    return f"{node.arg}_{language.type(node.dtype)}"


@dataclass(frozen=True, slots=True)
class Fold:
    """`index` is the variable of the row's axis; `lanes` those of all `threads` together, 1 where a fold of the
    language's has to do.
    """

    language: Language
    index: str
    threads: int
    lanes: int

    @property
    def masks(self) -> bool:
        """Whether lanes are a loop's, which the compiler makes vectors of, also where only some have an element."""
        return self.lanes > self.threads == 1 and self.language.name == C.name

    def text(self, node: Node, accumulator: str, element: str, value: str) -> str:
        """Combine `value` of every element from `block` to `block_end`, as the statements `element` make it, into
        `accumulator`.
        """
        language = self.language
        combine, _ = combiner(language, node.arg, node.dtype)
        neutral, name = start(language, node.arg, node.dtype), reduction_name(node, language)
        step = f"{element}{accumulator} = {combine}({accumulator}, {value});\n"
        each, place = self.lanes // self.threads, "at + lane"
        if each <= 1:
            return language.fold(self.index, "block", "block_end", name, accumulator, step)
        if self.threads > 1:
            place += " * THREADS + LOCAL(0)"
        one = language.let(**{self.index: place}) + f"{element}lanes[lane] = {combine}(lanes[lane], {value});\n"
        text = language.array(node.dtype, "lanes", str(each)) + self.each(each, f"lanes[lane] = {neutral};\n")
        text += language.loop("at", "block", "block_end - LANES + 1", self.each(each, one), "LANES")
        rest = language.let(rest="block + (block_end - block) / LANES * LANES")
        halves = self._halves(each, combine) + f"{accumulator} = {combine}({accumulator}, lanes[0]);\n"
        if self.masks:
            return f"{{\n{text}{rest}{self._some(node, element, value, combine, neutral)}{halves}}}\n"
        fold = language.fold(self.index, "rest", "block_end", name, accumulator, step)
        # Only behind this question does a compiler know that the lanes were set here, and keeps them in registers.
        return (
            f"{{\nif (block_end - block >= LANES) {{\n{text}{halves}}}\n{rest}if (rest < block_end) {{\n{fold}}}\n}}\n"
        )

    def _some(self, node: Node, element: str, value: str, combine: str, neutral: str) -> str:
        """What is left from `rest` on, as one more step of all lanes of which only some have an element.

        The others combine the neutral one, so that accumulators are written without a question and stay in registers.
        """
        one = self.language.let(**{self.index: "rest + lane"}) + f"{element}taken = {value};\n"
        lane = self.language.variable(node.dtype, "taken", neutral) + f"if ((i32)lane < left) {{\n{one}}}\n"
        lane += f"lanes[lane] = {combine}(lanes[lane], taken);\n"
        return f"if (rest < block_end) {{\nconst i32 left = block_end - rest;\n{self.each(self.lanes, lane)}}}\n"

    def _halves(self, each: int, combine: str) -> str:
        text, half = "", each // 2
        while half:
            text += self.each(half, f"lanes[lane] = {combine}(lanes[lane], lanes[lane + {half}]);\n")
            half //= 2
        return text

    def each(self, count: int, body: str) -> str:
        hint = "" if self.language.name != C.name else "VECTOR_LOOP " if self.threads == 1 else "UNROLL "
        return hint + self.language.loop("lane", "0", str(count), body)
