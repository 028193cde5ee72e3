"""The sum of squared deviations from the mean, in one pass over memory: what a variance is made of.

Everything is counted from the line's first element, so that a large mean costs no digits: float32 loses none to a mean
of 1e6 beside deviations of 1. However far that element lies from the others, it is itself among the deviations, so that
what it costs them is small beside the result. Rows go block by block, the mean of a block before its deviations from
that, columns some elements at a time. These, and parts of a line, are put together as Chan, Golub and LeVeque do
("Updating formulae and a pairwise algorithm for computing sample variances", 1979).

Both classes say what is put where in a kernel's text. `offset`, where a problem has one, is the mean itself, less the
first element; parts of a line need it.
"""

from __future__ import annotations

from collections.abc import Iterable

from tilewright.backends.language import Language
from tilewright.kernels.node import Node

BLOCK_OF_SPREAD = 2048  # elements, read twice: a block of float64 still lies in the smallest first-level cache


def matched(node: Node, nodes: Iterable[Node]) -> list[Node]:
    """The offsets among `nodes` of what `node` is the spread of."""
    return [n for n in nodes if n.arg == "offset" and n.src[0] is node.src[0]]


class RowSpread:
    """One spread of a row. `first`, `sum`, `squares` and `within` are variables; the caller sets and sums them up."""

    def __init__(self, language: Language, node: Node, k: int, offsets: list[Node]) -> None:
        self.language, self.dtype, self.k = language, node.dtype, k
        self.first, self.sum, self.squares, self.within = f"first{k}", f"sum{k}", f"squares{k}", f"v{k}"
        self.square = f"apart{k} * apart{k}"
        self.results = {id(node): f"v{k}"} | {id(offset): f"offset{k}" for offset in offsets}

    def declare(self) -> str:
        """Before the blocks; `first` is then set to the row's first element."""
        names = (self.first, self.within, f"between{self.k}", f"offset{self.k}", f"count{self.k}")
        return "".join(self.language.variable(self.dtype, name, "0") for name in names)

    def begin(self) -> str:
        """At a block's begin; `moved` of its elements is then added up in `sum`."""
        return self.language.variable(self.dtype, self.sum, "0")

    def moved(self, value: str) -> str:
        return f"({value} - {self.first})"

    def middle(self) -> str:
        """Behind that: the block's mean joins the row's; `square` is then added up in `squares`."""
        language, k = self.language, self.k
        size = language.convert("(block_end - block)", language.index, self.dtype)
        text = language.constant(self.dtype, f"size{k}", size)
        text += language.constant(self.dtype, f"mean{k}", f"{self.sum} / size{k}")
        text += language.constant(self.dtype, f"shift{k}", f"mean{k} - offset{k}")
        text += language.constant(self.dtype, f"share{k}", f"size{k} / (count{k} + size{k})")
        text += f"between{k} = between{k} + shift{k} * shift{k} * count{k} * share{k};\n"
        text += f"offset{k} = offset{k} + shift{k} * share{k};\ncount{k} = count{k} + size{k};\n"
        return text + language.variable(self.dtype, self.squares, "0")

    def apart(self, value: str) -> str:
        """Statements for each element of the block."""
        return self.language.constant(self.dtype, f"apart{self.k}", f"{self.moved(value)} - mean{self.k}")

    def end(self) -> str:
        return f"{self.within} = {self.within} + {self.squares};\n"

    def finish(self) -> str:
        """Behind the blocks, where every thread has the sum of all `within`."""
        return f"{self.within} = {self.within} + between{self.k};\n"


class ColumnSpread:
    """A spread of each of a group's columns; `slot` is a column's place among those of its thread."""

    def __init__(self, language: Language, node: Node, k: int, slot: str, offsets: list[Node]) -> None:
        self.language, self.node, self.dtype, self.k, self.value = language, node, node.dtype, k, f"y{k}"
        self.first, self.within, self.offset = (f"{name}{k}[{slot}]" for name in ("f", "a", "o"))
        self.results = {id(node): self.within} | {id(offset): self.offset for offset in offsets}

    def declare(self) -> str:
        return "".join(self.language.held(self.dtype, f"{name}{self.k}", "TILE") for name in "fao")

    def begin(self) -> str:
        """For each column; `first` is then set to its first element."""
        return f"{self.within} = 0;\n{self.offset} = 0;\n"

    def head(self, count: int) -> str:
        """Once for the `count` rows from `at` in all the columns."""
        before = self.language.convert("(at - first)", self.language.index, self.dtype)
        text = self.language.constant(self.dtype, f"count{self.k}", before)
        return text + self.language.constant(self.dtype, f"share{self.k}", f"{count} / (count{self.k} + {count})")

    def given(self, value: str) -> str:
        return f"{value} - {self.first}"

    def take(self, values: list[str]) -> str:
        """Those rows' values into a column's accumulators."""
        k, language = self.k, self.language
        text = language.constant(self.dtype, f"mean{k}", f"({' + '.join(values)}) / {len(values)}")
        text += language.constant(self.dtype, f"shift{k}", f"mean{k} - {self.offset}")
        squares = " + ".join(f"({value} - mean{k}) * ({value} - mean{k})" for value in values)
        between = f"shift{k} * shift{k} * count{k} * share{k}"
        text += f"{self.within} = {self.within} + ({squares}) + {between};\n"
        return text + f"{self.offset} = {self.offset} + shift{k} * share{k};\n"
