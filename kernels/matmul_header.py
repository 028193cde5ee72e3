"""What a matmul template needs to know of its problem: a header of C in front of it.

The templates (matmul_cpu.c, matmul_dot.c, matmul_tile.c) see only LOAD_A, LOAD_B and STORE_C; any prologue and
epilogue hide behind those. Swapped, the header presents the transposed product: C^T = B^T A^T, so that the template's
columns, along which it vectorises, are the rows of the problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C
from tilewright.kernels.emit import Writer, address, parameters
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.problem import Problem

PER_WORK = 16  # multiply-adds of a product take a core about as long as one operation of a map

BATCH, ROW, COLUMN, DEPTH = range(4)  # the axes of a matmul problem's space


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of the product. `axis` is ROW for the left one, COLUMN for the right one.

    `load` is the operand's index where the factor is that operand as it lies, with nothing to compute or convert, else
    None. `along_k` and `along_axis`: some operand in it has unit stride there.
    """

    root: Node
    axis: int
    load: int | None
    along_k: bool
    along_axis: bool


def dot_of(problem: Problem) -> Node:
    """The one dot node of a matmul problem."""
    (dot,) = (node for node in toposort(problem.body) if node.op == "dot")
    return dot


def factors(problem: Problem) -> tuple[Factor, Factor]:
    """The left and the right factor."""
    dot = dot_of(problem)

    def factor(root: Node, axis: int) -> Factor:
        loads = [problem.inputs[node.arg] for node in toposort([root]) if node.op == "load"]
        plain = root.op == "load" and problem.inputs[root.arg].dtype == dot.dtype and _stored_as_summed(dot.dtype)
        unit_k = any(o.strides[DEPTH] == 1 and problem.space[DEPTH] > 1 for o in loads)
        unit_axis = any(o.strides[axis] == 1 and problem.space[axis] > 1 for o in loads)
        return Factor(root, axis, root.arg if plain else None, unit_k and not unit_axis, unit_axis)

    return factor(dot.src[0], ROW), factor(dot.src[1], COLUMN)


def oriented(problem: Problem, swap: bool) -> tuple[Factor, Factor, int, int]:
    """The factors and the extents m, n as the template sees them."""
    left, right = factors(problem)
    _, m, n, _ = problem.space
    return (right, left, n, m) if swap else (left, right, m, n)


def sum_type(dtype: str) -> str:
    """The C type products are summed in: unsigned for integers, since those wrap and overflow is defined there."""
    kind = DTYPES[dtype]
    if kind.kind == "f":
        return C.type(dtype)
    return "u64" if kind.nbytes == 8 else "u32"


def sum_nbytes(problem: Problem) -> int:
    """Bytes of one element of that type."""
    return 8 if sum_type(dot_of(problem).dtype) in ("f64", "u64") else 4


def _stored_as_summed(dtype: str) -> bool:
    return DTYPES[dtype].nbytes >= 4


@lru_cache
def template(name: str) -> str:
    """The text of a template that lies beside this file, after a `#line` that names it in compiler errors."""
    return f'#line 1 "{name}"\n' + (Path(__file__).parent / name).read_text()


def header(problem: Problem, swap: bool = False) -> str:
    """Macros and functions through which a template reads the factors and stores the result.

    PARAMETERS ARGUMENTS; BATCH M N K; ACC; MULTIPLY_ADD(a, b, c); LOAD_A(b, i, p) LOAD_B(b, p, j)
    STORE_C(b, i, j, sum); A_ALONG_K B_ALONG_K; for a factor that can be read in place, A_AT(b, i, p) with A_ROW and
    A_STEP, the strides along its rows and along k, and B_AT(b, p, j) with B_COLUMN and B_STEP; where the sums are the
    result and lie side by side along the columns, C_AT(b, i, j) with C_ROW.
    """
    dot = dot_of(problem)
    acc, (left, right) = sum_type(dot.dtype), dot.src
    first, second, _, _ = oriented(problem, swap)
    is_float = acc in ("f32", "f64")
    lines = [
        f"#define PARAMETERS {declarations(problem)}",
        f"#define ARGUMENTS {names(problem)}",
        "#define BATCH n0",
        f"#define M {'n2' if swap else 'n1'}",
        f"#define N {'n1' if swap else 'n2'}",
        "#define K n3",
        f"#define ACC {acc}",
        f"#define MULTIPLY_ADD(a, b, c) {'FMA(a, b, c)' if is_float else '((a) * (b) + (c))'}",
        f"#define A_ALONG_K {int(first.along_k)}",
        f"#define B_ALONG_K {int(second.along_k)}",
        loader(problem, acc, left, "left", {BATCH: "b", ROW: "i", DEPTH: "p"}),
        loader(problem, acc, right, "right", {BATCH: "b", COLUMN: "j", DEPTH: "p"}),
        finisher(problem, acc, dot, {BATCH: "b", ROW: "i", COLUMN: "j"}),
        f"#define LOAD_A(b, i, p) {'right' if swap else 'left'}(ARGUMENTS, b, i, p)",
        f"#define LOAD_B(b, p, j) {'left' if swap else 'right'}(ARGUMENTS, b, j, p)",
        f"#define STORE_C(b, i, j, sum) finish(ARGUMENTS, b, {'j, i' if swap else 'i, j'}, sum)",
        *_in_place(problem, first, "A", "A_AT(b, i, p)", "i", "A_ROW"),
        *_in_place(problem, second, "B", "B_AT(b, p, j)", "j", "B_COLUMN"),
        *_stored_in_place(problem, dot, swap),
        *_halves(problem, dot, swap),
    ]
    return "\n".join(lines) + "\n"


def declarations(problem: Problem) -> str:
    """The kernel's parameters as those of a helper function."""
    found = []
    for p in parameters(problem, C):
        name = DTYPES[p.dtype].c
        qualifier = "const " if p.access == "in" else ""
        found.append(f"{name} {p.name}" if p.access == "value" else f"GLOBAL {qualifier}{name} *{p.name}")
    return ", ".join(found)


def names(problem: Problem) -> str:
    """The kernel's parameters as arguments of a helper function."""
    return ", ".join(p.name for p in parameters(problem, C))


def loader(problem: Problem, result: str, root: Node, name: str, axes: dict[int, str]) -> str:
    """A function `name` that computes `root` at an index: a variable for each of `axes`."""
    writer = Writer(problem, C, axes, {}, based=False)
    known: dict[int, str] = {}
    statements = writer.statements([root], known)
    given = ", ".join(["PARAMETERS", *(f"i64 {axis}" for axis in axes.values())])
    return f"DEVICE {result} {name}({given}) {{\n{statements}return ({result}){known[id(root)]};\n}}"


def finisher(problem: Problem, acc: str, product: Node, axes: dict[int, str]) -> str:
    """The epilogue as a function `finish`: from the sum, that of `product` in its own dtype, to what is stored."""
    writer = Writer(problem, C, axes, {}, based=False)
    known = {id(product): "product"}
    statements = writer.statements(problem.body, known)
    stores = "".join(writer.store(k, known[id(root)]) for k, root in enumerate(problem.body))
    value = "(b8)(sum != 0)" if product.dtype == "bool" else f"({C.type(product.dtype)})sum"
    given = ", ".join(["PARAMETERS", *(f"i64 {axis}" for axis in axes.values()), f"{acc} sum"])
    return f"DEVICE void finish({given}) {{\nconst {C.type(product.dtype)} product = {value};\n{statements}{stores}}}"


def _in_place(problem: Problem, factor: Factor, letter: str, place: str, index: str, stride: str) -> list[str]:
    if factor.load is None:
        return []
    operand, name = problem.inputs[factor.load], f"in{factor.load}"
    where = address(name, operand, {BATCH: "(b)", factor.axis: f"({index})", DEPTH: "(p)"})
    return [
        f"#define {place} ({name} + ({where}))",
        f"#define {stride} {stride_name(name, operand.strides, factor.axis)}",
        f"#define {letter}_STEP {stride_name(name, operand.strides, DEPTH)}",
    ]


def _stored_in_place(problem: Problem, dot: Node, swap: bool) -> list[str]:
    row, column = (COLUMN, ROW) if swap else (ROW, COLUMN)
    output = problem.outputs[0]
    plain = problem.body == (dot,) and output.dtype == dot.dtype and _stored_as_summed(dot.dtype)
    if not plain or output.strides[column] != 1:
        return []
    where = address("out0", output, {BATCH: "(b)", row: "(i)", column: "(j)"})
    return [f"#define C_AT(b, i, j) (out0 + ({where}))", f"#define C_ROW {stride_name('out0', output.strides, row)}"]


def _halves(problem: Problem, dot: Node, swap: bool) -> list[str]:
    """A_HALVES_AT, B_HALVES_AT and C_HALVES_AT of matmul_pack.c, where they are float16 and as plain as said there."""
    if sum_type(dot.dtype) != "f32":
        return []
    lines = []
    for letter, factor in zip("AB", oriented(problem, swap)[:2], strict=True):
        root, run = factor.root, DEPTH if factor.along_k else factor.axis
        while root.op == "cast" and (root.dtype, root.src[0].dtype) == ("float32", "float16"):
            root = root.src[0]
        operand = problem.inputs[root.arg] if root.op == "load" else problem.outputs[0]
        if root.op == "load" and operand.dtype == "float16" and operand.strides[run] == 1:
            index, order = ("i", "b, i, p") if letter == "A" else ("j", "b, p, j")
            place = address(f"in{root.arg}", operand, {BATCH: "(b)", factor.axis: f"({index})", DEPTH: "(p)"})
            lines.append(f"#define {letter}_HALVES_AT({order}) (in{root.arg} + ({place}))")
    output, body, (row, column) = problem.outputs[0], problem.body[0], (COLUMN, ROW) if swap else (ROW, COLUMN)
    plain = body is dot or (body.op == "cast" and body.src[0] is dot)
    if plain and output.dtype == "float16" and output.strides[column] == 1:
        place = address("out0", output, {BATCH: "(b)", row: "(i)", column: "(j)"})
        lines.append(f"#define C_HALVES_AT(b, i, j) (out0 + ({place}))")
    return lines


def stride_name(name: str, strides: tuple[int, ...], axis: int) -> str:
    return str(strides[axis]) if strides[axis] in (0, 1) else f"{name}_s{axis}"
