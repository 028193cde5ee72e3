"""The C text that every kind of kernel shares: parameters, addresses, and the statements of an expression.

Names in the text: n0, n1, ... are the extents of the space; out0, in0, ... the buffers; in0_s1 the stride of in0 along
axis 1 where it is neither 0 nor 1; in0_o its offset where that is not 0; in0_n the length of a gather's table; c0, c1,
... the scalars, always the last values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tilewright.backends.dtypes import DTYPES, PARTS
from tilewright.backends.protocol import Parameter
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.ops import OPS, REDUCTIONS
from tilewright.kernels.problem import Operand, Problem

_UNSIGNED = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}


def c_type(dtype: str) -> str:
    """The C type in which a kernel computes with `dtype`."""
    return DTYPES[DTYPES[dtype].compute].c


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


def parameters(problem: Problem, extra: tuple[str, ...] = ()) -> tuple[Parameter, ...]:
    """Outputs, inputs, extents, strides, offsets and `extra` int64s in the order of `values`, then the scalars."""
    found = [Parameter(name, o.dtype, "out" if name.startswith("out") else "in") for name, o in operands(problem)]
    names = [f"n{axis}" for axis in range(len(problem.space))]
    for name, o in operands(problem):
        names += [f"{name}_s{axis}" for axis, s in enumerate(o.strides) if s not in (0, 1)]
        names += [f"{name}_o"] if o.offset else []
    names += [f"in{k}_n" for k in _tables(problem)] + (["parts"] if problem.parts > 1 else [])
    found += [Parameter(name, "int64", "value") for name in (*names, *extra)]
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
    """Where the element of `operand` lies whose index along each axis of `index` is that variable, as a C sum.

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


def bases(problem: Problem, index: Mapping[int, str]) -> str:
    """Declarations of `out0_b`, `in0_b`, ...: offset plus the outer axes of `index`, computed once a row."""
    return "".join(f"const i64 {name}_b = {address(name, o, index)};\n" for name, o in operands(problem))


def unravel(linear: str, axes: Iterable[int], prefix: str = "i") -> str:
    """Declarations of i0, i1, ... from a linear row number over `axes` (outermost first)."""
    lines, axes = [], list(axes)
    rest = linear
    for axis in reversed(axes[1:]):
        lines.append(f"const i64 {prefix}{axis} = {rest} % n{axis}, {prefix}{axis}_r = {rest} / n{axis};\n")
        rest = f"{prefix}{axis}_r"
    if axes:
        lines.append(f"const i64 {prefix}{axes[0]} = {rest};\n")
    return "".join(lines)


class Writer:
    """Emits each body node once per scope. `names` maps node ids to C variables already declared.

    `place(name, operand)` gives the address of an operand's element in the current scope, `axes` the C name of the
    index along each axis.
    """

    def __init__(self, problem: Problem, axes: Mapping[int, str], inner: Mapping[int, str], based: bool = True) -> None:
        self.problem, self.axes, self.inner, self.based = problem, axes, inner, based
        order = toposort(problem.body)
        self.number = {id(node): k for k, node in enumerate(order)}

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
            lines.append(
                f"const {c_type(node.dtype)} {name} = {self._value(node, [names[id(s)] for s in node.src])};\n"
            )
            names[id(node)] = name
        return "".join(lines)

    def _value(self, node: Node, source: list[str]) -> str:
        if node.op == "load":
            operand = self.problem.inputs[node.arg]
            return f"LOAD({DTYPES[operand.dtype].c}, in{node.arg}, {self.place(f'in{node.arg}', operand)})"
        if node.op == "gather":
            operand = self.problem.inputs[node.arg]
            at, n = source[0], f"in{node.arg}_n"
            inside = f"({at} < 0 ? 0 : {at} < {n} ? {at} : {n} - 1)"  # the frontend refuses these; memory stays safe
            return f"LOAD({DTYPES[operand.dtype].c}, in{node.arg}, {inside})"
        if node.op == "scalar":
            return convert(f"c{node.arg}", _scalar_dtype(self.problem.scalars[node.arg][0]), node.dtype)
        if node.op == "iota":
            return self.axes[node.arg]
        if node.op == "cast":
            return convert(source[0], node.src[0].dtype, node.dtype)
        return spell(node.op, [s.dtype for s in node.src], source)

    def store(self, k: int, value: str) -> str:
        operand = self.problem.outputs[k]
        return f"STORE({DTYPES[operand.dtype].c}, out{k}, {self.place(f'out{k}', operand)}, {value});\n"


def spell(op: str, dtypes: list[str], source: list[str]) -> str:
    """The C spelling of an op of the table on those operands."""
    dtype = DTYPES[dtypes[-1]]  # where: its last operand; all others have equal dtypes
    compute = DTYPES[dtype.compute]
    template = OPS[op].c[dtype.kind]
    return template.format(*source, t=compute.c, u=_UNSIGNED.get(compute.nbytes, ""))


def convert(value: str, source: str, target: str) -> str:
    """A cast in C. To bool is a test; to a 16-bit float rounds, since such values are computed in float32."""
    if target == "bool":
        return value if source == "bool" else f"(b8)({value} != 0)"
    if target in PARTS:
        part = c_type(PARTS[target])
        re, im = (f"{value}.re", f"{value}.im") if source in PARTS else (value, "0")
        return f"complex_{part}(({part}){re}, ({part}){im})"
    rounded = f"ROUND_{DTYPES[target].c}(({c_type(target)}){value})"
    return rounded if target in ("float16", "bfloat16") and source != target else f"({c_type(target)}){value}"


def start(reduction: str, dtype: str) -> str:
    """The neutral element of a reduction, as a C expression."""
    compute = DTYPES[DTYPES[dtype].compute]
    return REDUCTIONS[reduction].start[compute.kind].format(t=compute.c, p=c_type(PARTS.get(dtype, dtype)))


def combine_macro(reduction: str, dtype: str) -> tuple[str, str]:
    """Name and definition of the macro that combines two partial results."""
    name = f"COMBINE_{reduction}_{c_type(dtype)}"
    return name, f"#define {name}(a, b) {spell(REDUCTIONS[reduction].combine, [dtype, dtype], ['(a)', '(b)'])}\n"


def work(problem: Problem) -> tuple[str, str]:
    """The define LAUNCH_WORK: operations of a launch, as an expression of the extents."""
    ops = [OPS[n.op] for n in toposort(problem.body) if n.op in OPS]
    each = 1 + len(ops) + sum(8 for op in ops if op.costly)
    return "LAUNCH_WORK", f"({' * '.join(f'n{axis}' for axis in range(len(problem.space)))} * {each})"


def entry_name(kernel: str, problem: Problem) -> str:
    """A C identifier that says which kernel and structure this is, in profilers and logs."""
    return f"tw_{kernel}_{problem.family}"
