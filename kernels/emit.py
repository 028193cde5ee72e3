"""The text that every kind of kernel shares: parameters, addresses, and the statements of an expression.

Names in the text: n0, n1, ... are the extents of the space; out0, in0, ... the buffers; in0_s1 the stride of in0 along
axis 1 where it is neither 0 nor 1; in0_o its offset where that is not 0; in0_n the length of a gather's table; c0, c1,
... the scalars, always the last values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from tilewright.backends.dtypes import DTYPES, PARTS
from tilewright.backends.language import Language
from tilewright.backends.protocol import Parameter
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.ops import OPS, REDUCTIONS
from tilewright.kernels.problem import Operand, Problem

_LOOPS = ("floordiv", "mod", "pow", "philox", "below")
_UNSIGNED = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}


def operands(problem: Problem) -> list[tuple[str, Operand]]:
    """Every operand with its name in the text, outputs first."""
    named = [(f"out{k}", o) for k, o in enumerate(problem.outputs)]
    return named + [(f"in{k}", o) for k, o in enumerate(problem.inputs)]


def _tables(problem: Problem) -> list[int]:
    return sorted({n.arg for n in toposort(problem.body) if n.op == "gather"})


def _scalar_dtype(dtype: str) -> str:
    """What a scalar travels as: an int64, or a float no wider than the device needs to have."""
    if DTYPES[dtype].kind != "f":
        return "int64"
    return "float64" if dtype == "float64" else "float32"


def parameters(problem: Problem, language: Language, extra: tuple[str, ...] = ()) -> tuple[Parameter, ...]:
    """Outputs, inputs, extents, strides, offsets and `extra` indices in the order of `values`, then the scalars."""
    found = [Parameter(name, o.dtype, "out" if name.startswith("out") else "in") for name, o in operands(problem)]
    names = [f"n{axis}" for axis in range(len(problem.space))]
    for name, o in operands(problem):
        names += [f"{name}_s{axis}" for axis, s in enumerate(o.strides) if s not in (0, 1)]
        names += [f"{name}_o"] if o.offset else []
    names += [f"in{k}_n" for k in _tables(problem)] + (["parts"] if problem.parts > 1 else [])
    found += [Parameter(name, language.index, "value") for name in (*names, *extra)]
    found += [Parameter(f"c{k}", _scalar_dtype(d), "value") for k, (d, _) in enumerate(problem.scalars)]
    return tuple(found)


def values(problem: Problem, extra: tuple[int, ...] = ()) -> tuple[int | float, ...]:
    """The values for `parameters` behind the buffers. The problem's scalars are the last ones."""
    found: list[int | float] = list(problem.space)
    for _, o in operands(problem):
        found += [s for s in o.strides if s not in (0, 1)]
        found += [o.offset] if o.offset else []
    found += [problem.inputs[k].count for k in _tables(problem)] + ([problem.parts] if problem.parts > 1 else [])
    return (*found, *extra, *(scalar_argument(dtype, value) for dtype, value in problem.scalars))


def scalar_argument(dtype: str, value: int | float | bool) -> int | float:
    """A scalar as it is bound: a float, or an integer wrapped into int64."""
    if DTYPES[dtype].kind == "f":
        return float(value)
    return (int(value) + (1 << 63)) % (1 << 64) - (1 << 63)


def address(name: str, operand: Operand, index: Mapping[int, str], base: str | None = None) -> str:
    """Where the element of `operand` lies whose index along each axis of `index` is that variable, as a sum.

    `base` replaces the offset: a variable that already holds it and the axes not in `index`.
    """
    terms = [base] if base else [f"{name}_o"] if operand.offset else []
    for axis, variable in index.items():
        stride = operand.strides[axis]
        if stride == 1:
            terms.append(variable)
        elif stride != 0:
            terms.append(f"{variable} * {name}_s{axis}")
    return " + ".join(terms) or "0"


def bases(problem: Problem, language: Language, index: Mapping[int, str]) -> str:
    """Declarations of `out0_b`, `in0_b`, ...: offset plus the outer axes of `index`, computed once a row."""
    return "".join(language.let(**{f"{name}_b": address(name, o, index)}) for name, o in operands(problem))


def unravel(language: Language, linear: str, axes: Iterable[int], prefix: str = "i") -> str:
    """Declarations of i0, i1, ... from a linear row number over `axes` (outermost first)."""
    lines, axes = [], list(axes)
    rest = linear
    for axis in reversed(axes[1:]):
        one, above = f"{prefix}{axis}", f"{prefix}{axis}_r"
        lines.append(language.let(**{one: f"{rest} % n{axis}", above: f"{rest} / n{axis}"}))
        rest = f"{prefix}{axis}_r"
    if axes:
        lines.append(language.let(**{f"{prefix}{axes[0]}": rest}))
    return "".join(lines)


class Writer:
    """Emits each body node once per scope. `names` maps node ids to variables already declared.

    `place(name, operand)` gives the address of an operand's element in the current scope, `axes` the name of the
    index along each axis.
    """

    def __init__(
        self, problem: Problem, language: Language, axes: Mapping[int, str], inner: Mapping[int, str],
        based: bool = True,
    ) -> None:  # fmt: skip
        self.problem, self.language, self.axes, self.inner, self.based = problem, language, axes, inner, based
        order = toposort(problem.body)
        self.number = {id(node): k for k, node in enumerate(order)}
        self.rows: dict[int, str] = {}  # gathers of neighbours along the last axis -> where the first one lies
        self.tiles: dict[int, str] = {}  # inputs that are read from arrays tile0, ... -> where their element lies
        self.exact: dict[
            str, str
        ] = {}  # variables of 16-bit floats -> what was rounded for them, which a store does too

    def place(self, name: str, operand: Operand) -> str:
        return address(name, operand, self.inner, f"{name}_b") if self.based else address(name, operand, self.axes)

    def statements(self, roots: Iterable[Node], names: dict[int, str]) -> str:
        """Declarations for all of `roots` that `names` does not hold yet; adds them to `names`."""
        lines = []
        stack = [(root, False) for root in reversed(list(roots))]
        while stack:
            node, ready = stack.pop()
            if id(node) in names:
                continue
            if not ready:
                stack.append((node, True))
                stack.extend((s, False) for s in reversed(node.src))
                continue
            name = f"v{self.number[id(node)]}"
            value = self._value(node, [names[id(s)] for s in node.src])
            lines.append(self.language.constant(node.dtype, name, value))
            names[id(node)] = name
        return "".join(lines)

    def _value(self, node: Node, source: list[str]) -> str:
        language = self.language
        if node.op == "load":
            operand, name = self.problem.inputs[node.arg], f"in{node.arg}"
            if node.arg in self.tiles:
                return language.load(operand.dtype, f"tile{node.arg}", self.tiles[node.arg])
            return language.load(operand.dtype, name, self.place(name, operand))
        if node.op == "gather":
            operand = self.problem.inputs[node.arg]
            if id(node) in self.rows:
                place = f"{self.rows[id(node)]} + {self.axes[len(self.problem.space) - 1]}"
            else:
                place = self._inside(node, node.src[0], source[0], "1")
            return language.load(operand.dtype, f"in{node.arg}", place)
        if node.op == "scalar":
            return language.convert(f"c{node.arg}", _scalar_dtype(self.problem.scalars[node.arg][0]), node.dtype)
        if node.op == "iota":
            return self._index(self.axes[node.arg], language.index, node.dtype)
        if node.op == "cast":
            if node.src[0].dtype == "float32":
                self.exact[f"v{self.number[id(node)]}"] = source[0]
            return language.convert(source[0], node.src[0].dtype, node.dtype)
        return spell(language, node.op, [s.dtype for s in node.src], source)

    def _inside(self, node: Node, index: Node, value: str, count: str) -> str:
        """Where a gather reads `count` neighbours. The frontend refuses places outside; memory stays safe."""
        language, n = self.language, f"in{node.arg}_n"
        at = self._index(value, index.dtype, language.index)
        most = f"{n} - {count}"
        return f"({language.choose(f'{at} < 0', '0', language.choose(f'{at} < {most}', at, most))})"

    def gathered_rows(self, names: dict[int, str]) -> str:
        """What comes before a loop over the last axis: where the rows lie that it takes from gathers' tables.

        Such a row is no longer than its table: of no other is every place inside.
        """
        last, text = len(self.problem.space) - 1, ""
        order = toposort(self.problem.body)
        varying: set[int] = set()
        for node in order:
            own = node.op == "iota" and node.arg == last
            own = own or (node.op == "load" and self.problem.inputs[node.arg].strides[last] != 0)
            if own or node.op == "gather" or any(id(s) in varying for s in node.src):
                varying.add(id(node))
        for node in order:
            if node.op != "gather" or node.src[0].op != "add":
                continue
            start, step = node.src[0].src
            if id(start) not in varying and step.op == "iota" and step.arg == last:
                text += self.statements([start], names)
                name = f"row{self.number[id(node)]}"
                text += self.language.let(**{name: self._inside(node, start, names[id(start)], f"n{last}")})
                self.rows[id(node)] = name
        return text

    def _index(self, value: str, source: str, target: str) -> str:
        return value if source == target else self.language.convert(value, source, target)

    def store(self, k: int, value: str) -> str:
        operand = self.problem.outputs[k]
        if operand.dtype in ("float16", "bfloat16"):
            value = self.exact.get(value, value)
        return self.language.store(operand.dtype, f"out{k}", self.place(f"out{k}", operand), value)


def spell(language: Language, op: str, dtypes: list[str], source: list[str]) -> str:
    """The spelling of an op of the table on those operands."""
    dtype = DTYPES[dtypes[-1]]  # where: its last operand; all others have equal dtypes
    compute = DTYPES[dtype.compute]
    template = language.ops.get(op, {}).get(dtype.kind) or OPS[op].c[dtype.kind]
    return template.format(*source, t=compute.c, u=_UNSIGNED.get(compute.nbytes, ""))


def start(language: Language, reduction: str, dtype: str) -> str:
    """The neutral element of a reduction, as an expression."""
    compute = DTYPES[DTYPES[dtype].compute]
    own = language.ops.get(f"start {reduction}", {})
    template = own.get(compute.kind) or REDUCTIONS[reduction].start[compute.kind]
    return template.format(t=compute.c, p=language.type(PARTS.get(dtype, dtype)))


def combiner(language: Language, reduction: str, dtype: str) -> tuple[str, str]:
    """Name and definition of what combines two partial results."""
    name = f"COMBINE_{reduction}_{language.type(dtype)}"
    combined = spell(language, REDUCTIONS[reduction].combine, [dtype, dtype], ["(a)", "(b)"])
    return name, language.combiner(name, dtype, combined)


def work(problem: Problem) -> tuple[str, str]:
    """The define LAUNCH_WORK, by which the cpu leaves a launch to one thread: an expression of the extents.

    Of 16 operations in vectors, each 15 to 30 ps on a current core, reading and storing an element counting as eight.
    """
    ops = [OPS[n.op] for n in toposort(problem.body) if n.op in OPS]
    each = 8 + len(ops) + sum(8 for op in ops if op.costly)
    return "LAUNCH_WORK", f"({' * '.join(f'n{axis}' for axis in range(len(problem.space)))} * {each} / 16)"


def counted(problem: Problem, language: Language) -> bool:
    """Whether the language's indices reach every element and every place; a last tile may go a little beyond."""
    if language.index == "int64":
        return True
    *outer, last = problem.space
    most = max(prod(outer) if problem.kind == "matmul" else prod(problem.space), last)
    return most + (1 << 20) < 1 << 31


def iterations(problem: Problem) -> int:
    """What a pass over one element counts as among a thread's iterations: some ops are loops themselves."""
    return 1 + sum(64 for n in toposort(problem.body) if n.op.startswith(_LOOPS))


def entry_name(kernel: str, problem: Problem) -> str:
    """An identifier that says which kernel and structure this is, in profilers and logs."""
    return f"tw_{kernel}_{problem.family}"
