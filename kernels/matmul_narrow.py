"""Narrow factors whose neighbours along k share a 32-bit lane, for the processors that multiply and sum them there.

AVX-512's vdpbf16ps multiplies pairs of bfloat16 and adds both products to a float32; vpdpbusd does so with four bytes,
vpdpwssd with two 16-bit integers, and an int32. What a product sums may be declared wider than its factors are: those
are what they were before casts that lose nothing. The instructions a device has are among its `Limits.matrix_units`;
which of them the text uses is decided by the compiler's own macros, so that it is right with any compiler.
"""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Limits
from tilewright.kernels.emit import address
from tilewright.kernels.matmul_header import BATCH, COLUMN, DEPTH, ROW, Factor, dot_of, oriented, stride_name, sum_type
from tilewright.kernels.node import Node
from tilewright.kernels.problem import Problem

HELD: dict[str, frozenset[str]] = {
    "bfloat16": frozenset(("int8", "uint8")),
    "float16": frozenset(("int8", "uint8")),
    "float32": frozenset(("int8", "uint8", "int16", "uint16", "bfloat16", "float16")),
    "int16": frozenset(("int8", "uint8")),
    "int32": frozenset(("int8", "uint8", "int16", "uint16")),
    "uint16": frozenset(("uint8",)),
    "uint32": frozenset(("uint8", "uint16")),
}
"""The narrower dtypes all of whose values a dtype holds."""


@dataclass(frozen=True, slots=True)
class Parts:
    """How lanes are filled: `count` elements of `dtype`, as the matrix unit of that name takes them."""

    dtype: str
    count: int
    unit: str


BRAINS, BYTES, SHORTS = (
    Parts(*row) for row in (("bfloat16", 2, "avx512_bf16"), ("int8", 4, "avx512_vnni"), ("int16", 2, "avx512_vnni"))
)


def parts_of(problem: Problem) -> Parts | None:
    """What the lanes of a product may be filled with; None where a factor's values need a lane of their own."""
    dot = dot_of(problem)
    kinds = tuple(narrow(root) for root in dot.src)
    if sum_type(dot.dtype) == "f32":
        return BRAINS if all(_fits(kind, "bfloat16") for kind in kinds) else None
    if sum_type(dot.dtype) != "u32" or dot.dtype == "bool":
        return None
    if set(kinds) <= {"int8", "uint8"} and "int8" in kinds:  # one of them has to be signed
        return BYTES
    return SHORTS if all(_fits(kind, "int16") for kind in kinds) else None


def lane_k(problem: Problem, limits: Limits) -> int:
    """How many neighbours along k share a lane where the device is fastest: 1 where it cannot."""
    parts = parts_of(problem) if limits.matrix_units and limits.threads_per_group == 1 else None
    return parts.count if parts and parts.unit in limits.matrix_units else 1


def narrow(root: Node) -> str:
    """The dtype of a factor before casts that lose nothing; "" where values are wider than their dtype says.

    Computed 16-bit floats are: only a load, a cast or a store rounds them.
    """
    if root.op == "cast" and _fits(root.src[0].dtype, root.dtype):
        found = narrow(root.src[0])
        if found:
            return found
    rounded = root.op in ("load", "cast", "gather") or DTYPES[root.dtype].compute == root.dtype
    return root.dtype if rounded else ""


def _fits(dtype: str, wide: str) -> bool:
    return dtype == wide or dtype in HELD.get(wide, ())


def in_lanes(problem: Problem, swap: bool) -> tuple[Factor, Factor, int, int]:
    """`oriented` as panels of lanes see it: a plain factor is an operand whose elements are a lane's parts."""
    first, second, m, n = oriented(problem, swap)
    parts = parts_of(problem)

    def seen(factor: Factor) -> Factor:
        operand = _operand(problem, factor.root, parts)
        return Factor(factor.root, factor.axis, operand, factor.along_k, factor.along_axis)

    return seen(first), seen(second), m, n


def _operand(problem: Problem, root: Node, parts: Parts | None) -> int | None:
    """The input that a factor is but for casts that lose nothing, where it has the lane's parts."""
    while root.op == "cast" and _fits(root.src[0].dtype, root.dtype):
        root = root.src[0]
    if root.op != "load" or parts is None:
        return None
    dtype = problem.inputs[root.arg].dtype
    return root.arg if dtype == parts.dtype or (dtype == "uint8" and parts.dtype == "int8") else None


def lane_header(problem: Problem, swap: bool) -> str:
    """What matmul_narrow.c asks for, behind the product's own header."""
    parts = parts_of(problem)
    assert parts is not None
    first, second, _, _ = in_lanes(problem, swap)
    lines = [f"#define FLOAT_PARTS {int(parts is BRAINS)}"]
    for letter, factor in (("A", first), ("B", second)):
        lines += _parts_of_factor(problem, parts, letter, factor)
    row, column = (COLUMN, ROW) if swap else (ROW, COLUMN)
    output, root = problem.outputs[0], problem.body[0]
    plain = root.op == "dot" or (root.op == "cast" and root.src[0].op == "dot")
    if plain and output.dtype == "bfloat16" and output.strides[column] == 1:
        place = address("out0", output, {BATCH: "(b)", row: "(i)", column: "(j)"})
        lines.append(f"#define ROUNDED_AT(b, i, j) (out0 + ({place}))")
    return "\n".join(lines) + "\n"


def _parts_of_factor(problem: Problem, parts: Parts, letter: str, factor: Factor) -> list[str]:
    """PART_, _IN_WORDS, SIGNED_ and, where words lie in memory, _AT and _ROW_PARTS of one factor."""
    index, side, bits = (
        ("i" if letter == "A" else "j"),
        ("right" if factor.axis == COLUMN else "left"),
        32 // parts.count,
    )
    load = f"{side}(ARGUMENTS, b, {index}, p)"
    part = f"f32_to_bf16({load})" if parts is BRAINS else f"(u{bits}){load}"
    lines, in_words = [], False
    if factor.load is not None:
        operand, name = problem.inputs[factor.load], f"in{factor.load}"
        part = f"(u{bits}){name}[{address(name, operand, {BATCH: 'b', factor.axis: index, DEPTH: 'p'})}]"
        in_words = operand.strides[DEPTH] == 1
        place = address(name, operand, {BATCH: "(b)", factor.axis: f"({index})", DEPTH: "(word) * LANE_K"})
        order = "b, i, word" if letter == "A" else "b, word, j"
        lines = [
            f"#define {letter}_AT({order}) ({name} + ({place}))",
            f"#define {letter}_ROW_PARTS {stride_name(name, operand.strides, factor.axis)}",
        ]
    order = "b, i, p" if letter == "A" else "b, p, j"
    return [
        *(lines if in_words else []),
        f"#define {letter}_IN_WORDS {int(in_words)}",
        f"#define SIGNED_{letter} {int(not narrow(factor.root).startswith('u'))}",
        f"DEVICE u32 part_{letter.lower()}(PARAMETERS, i64 b, i64 {index}, i64 p) {{ return {part}; }}",
        f"#define PART_{letter}({order}) part_{letter.lower()}(ARGUMENTS, b, {index}, p)",
    ]
