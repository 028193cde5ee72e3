"""Convolution as a matrix product that reads its patches where they lie: weights [o][taps] x patches [taps][pixels].

The templates are the matrix product's own; what is here is the product that a convolution is alike, whose rules and
defaults hold for it, and the header through which the templates read and store.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import address, entry_name, parameters, values
from tilewright.kernels.matmul_cpu import MatmulCpu
from tilewright.kernels.matmul_header import (
    PER_WORK,
    declarations,
    finisher,
    loader,
    names,
    oriented,
    stride_name,
    sum_type,
    template,
)
from tilewright.kernels.matmul_tile import MAX_BATCH, MatmulTile, group_threads, pad
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.problem import Operand, Problem
from tilewright.kernels.products import AXES, Window
from tilewright.kernels.space import EMPTY, Config, Rule, Space

CHANNEL_RUN = 16  # channels from which on copying them side by side is faster than turning pixels around


def conv_of(problem: Problem) -> Node:
    """The one conv node of a convolution problem."""
    (found,) = (node for node in toposort(problem.body) if node.op == "conv")
    return found


def as_matmul(problem: Problem) -> Problem:
    """The product (groups, o, pixels of all images, taps) that a convolution is alike.

    Taps lie side by side in the weights, pixels or (NHWC) taps in the input. A factor whose taps lie in the order in
    which the product counts them is a plain load: often the weights, and patches (NHWC) of one pixel.
    """
    node, space = conv_of(problem), problem.space
    at = AXES[node.arg[0]]
    m, n, k = space[at.o], space[at.n] * space[at.h] * space[at.w], prod(space[5:])
    batch, stored = space[at.group], problem.outputs[0].strides
    patches = (k * n, 0, 1, n) if node.arg[0] == "NCHW" else (k * n, 0, k, 1)
    inputs = (Operand(node.dtype, (m * k, k, 0, 1), 0, batch * m * k), Operand(node.dtype, patches, 0, batch * k * n))
    whole = (batch, m, n, k)
    loads = [Node("load", (), i, whole, node.dtype) for i in range(2)]
    plain = (k > 1 and _weights_in_order(problem), k > 1 and _patches_in_order(problem))
    factors = (x if p else Node("neg", (x,), None, whole, node.dtype) for x, p in zip(loads, plain, strict=True))
    dot = Node("dot", tuple(factors), None, whole[:3], node.dtype)
    strides = (stored[at.group], stored[at.o], stored[at.w], 0)
    output = Operand(problem.outputs[0].dtype, strides, 0, problem.outputs[0].count)
    return Problem("matmul", whole, inputs, (output,), (dot,))


def plain(problem: Problem, source: int) -> Operand | None:
    """The input (0) or the weights (1) where they are an operand as it lies, in the type of the sums."""
    node = conv_of(problem)
    root = node.src[source]
    operand = problem.inputs[root.arg] if root.op == "load" else None
    return operand if operand and operand.dtype == node.dtype and DTYPES[node.dtype].nbytes >= 4 else None


def dense(problem: Problem, operand: Operand, axes: tuple[int, ...], step: int) -> bool:
    """Whether elements along `axes`, the innermost first, lie in one run, `step` apart."""
    for axis in axes:
        if problem.space[axis] > 1 and operand.strides[axis] != step:
            return False
        step *= problem.space[axis]
    return True


def _weights_in_order(problem: Problem) -> bool:
    """Whether the weights of an output lie side by side in the order in which the product counts taps."""
    weights, at = plain(problem, 1), AXES[conv_of(problem).arg[0]]
    inner = (at.kw, at.kh, at.c) if at is AXES["NCHW"] else (at.c, at.kw, at.kh)
    return weights is not None and dense(problem, weights, inner, 1)


def _patches_in_order(problem: Problem) -> bool:
    """Whether a patch is one pixel, its channels side by side, and pixels lie evenly in the order of the result's."""
    node, x = conv_of(problem), plain(problem, 0)
    window, at, space = Window(*node.arg), AXES[node.arg[0]], problem.space
    sizes = tuple(int(problem.scalars[extent.arg][1]) for extent in node.src[2:])
    one = window[1:] == (1, 1, *window[3:5], 0, 0) and space[at.kh] == space[at.kw] == 1
    if x is None or window.layout != "NHWC" or not one or sizes != (space[at.h], space[at.w]):
        return False
    return x.strides[at.c] == 1 and dense(problem, x, (at.w, at.h, at.n), x.strides[at.w])


def _in_place(problem: Problem, swap: bool) -> list[str]:
    """A_AT of matmul_cpu.c, which is read only where that factor lies in the order of taps."""
    operand, at = plain(problem, int(not swap)), AXES[conv_of(problem).arg[0]]
    if operand is None:
        return []
    name, axis = f"in{conv_of(problem).src[int(not swap)].arg}", at.w if swap else at.o
    return [
        f"#define A_AT(b, i, p) ({name} + ({address(name, operand, {at.group: '(b)', axis: '(i)'})}) + (p))",
        f"#define A_ROW {stride_name(name, operand.strides, axis)}",
        "#define A_STEP 1",
    ]


def header(problem: Problem, swap: bool, in_place: Iterable[str] = ()) -> str:
    """Macros and functions through which the templates read and store: see conv_pack.c and matmul_tile.c."""
    node = conv_of(problem)
    window, acc = Window(*node.arg), sum_type(node.dtype)
    at = AXES[window.layout]
    x, weights, high, wide = node.src
    pixels, outputs = f"(n{at.n} * n{at.h} * n{at.w})", f"n{at.o}"
    is_float = acc in ("f32", "f64")
    geometry = zip(Window._fields[1:], window[1:], strict=True)
    lines = [
        f"#define PARAMETERS {declarations(problem)}",
        f"#define ARGUMENTS {names(problem)}",
        f"#define BATCH n{at.group}",
        f"#define M {pixels if swap else outputs}",
        f"#define N {outputs if swap else pixels}",
        f"#define K (n{at.c} * n{at.kh} * n{at.kw})",
        f"#define ACC {acc}",
        f"#define MULTIPLY_ADD(a, b, c) {'FMA(a, b, c)' if is_float else '((a) * (b) + (c))'}",
        f"#define SWAP {int(swap)}",
        f"#define C n{at.c}\n#define KH n{at.kh}\n#define KW n{at.kw}\n#define OH n{at.h}\n#define OW n{at.w}",
        f"#define IN_H c{high.arg}\n#define IN_W c{wide.arg}",
        f"#define TAPS_INNER {int(window.layout == 'NCHW')}",
        f"#define CHANNEL_RUNS {int(swap and window.layout == 'NHWC' and problem.space[at.c] >= CHANNEL_RUN)}",
        *(f"#define {name.upper()} {value}" for name, value in geometry),
        loader(problem, acc, x, "input_at", {at.group: "g", at.n: "n", at.c: "c", at.h: "y", at.w: "x"}),
        loader(problem, acc, weights, "weights_at", {at.group: "g", at.o: "o", at.c: "c", at.kh: "kh", at.kw: "kw"}),
        finisher(problem, acc, node, {at.group: "g", at.n: "n", at.o: "o", at.h: "y", at.w: "x"}),
        "#define LOAD_X(g, n, c, y, x) input_at(ARGUMENTS, g, n, c, y, x)",
        "#define LOAD_W(g, o, c, kh, kw) weights_at(ARGUMENTS, g, o, c, kh, kw)",
        "#define STORE_PIXEL(g, n, o, y, x, sum) finish(ARGUMENTS, g, n, o, y, x, sum)",
        *in_place,
    ]
    return "\n".join(lines) + "\n"


class _Conv:
    """What the kernels share: space, default and grid are those of the product that the convolution is alike."""

    name = ""
    product: MatmulCpu | MatmulTile

    def space(self, problem: Problem, limits: Limits) -> Space:
        return EMPTY if problem.kind != "conv" else self.product.space(as_matmul(problem), limits)

    def default(self, problem: Problem, limits: Limits) -> Config:
        return self.product.default(as_matmul(problem), limits)

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return self.product.grid(as_matmul(problem), config)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)

    def source(
        self,
        problem: Problem,
        config: Config,
        files: tuple[str, ...],
        more: dict[str, int],
        group: tuple[int, int, int],
    ) -> Source:
        swap = bool(config["SWAP"])
        text = header(problem, swap, _in_place(problem, swap)) + "".join(map(template, files))
        fixed = tuple((name, int(value)) for name, value in {**config, **more}.items() if name != "SWAP")
        defines: tuple[tuple[str, int | str], ...] = (*fixed, ("LAUNCH_WORK", f"(BATCH * M * N * K / {PER_WORK})"))
        entry = entry_name(self.name, problem)
        return Source(entry, parameters(problem, C), text, defines, group, filename="conv_header.h")


class ConvCpu(_Conv):
    """Packed panels of patches and weights through MatmulCpu's register tiles, under its rules; what lies in the order
    of taps is read in place."""

    name = "conv_cpu"
    product = MatmulCpu(lanes=False)

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        return self.source(problem, config, ("turn.c", "conv_pack.c", "matmul_cpu.c"), {}, (1, 1, 1))


class ConvTile(_Conv):
    """MatmulTile's shared and register tiles, whose elements are found by dividing indices."""

    name = "conv_tile"
    product = MatmulTile()

    def space(self, problem: Problem, limits: Limits) -> Space:
        alike = as_matmul(problem) if problem.kind == "conv" else problem
        if max(alike.space) >= 1 << 31:  # see conv_index.c
            return EMPTY
        return super().space(problem, limits)

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        alike, swap = as_matmul(problem), bool(config["SWAP"])
        first, second, _, _ = oriented(alike, swap)
        more = {
            "PAD": pad(alike, int(swap)), "MAX_BATCH": MAX_BATCH,
            "A_ALONG_K": int(first.along_k), "B_ALONG_K": int(second.along_k),
        }  # fmt: skip
        return self.source(problem, config, ("conv_index.c", "matmul_tile.c"), more, (group_threads(config), 1, 1))


class ConvDirect:
    """Sums tap by tap along a row of the result, ROWS of them a group: for groups with few outputs, as depthwise."""

    name = "conv_direct"
    OUTPUTS, CHANNELS = 2, 4  # of a group, from which on packing patches pays

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "conv" or limits.language.name != C.name or limits.threads_per_group != 1:
            return EMPTY
        at = AXES[conv_of(problem).arg[0]]
        if problem.space[at.o] > self.OUTPUTS or problem.space[at.c] > self.CHANNELS:
            return EMPTY
        rows = _rows(problem)
        few = Rule(
            "fewer groups than compute units leave some idle",
            lambda c: int(c["ROWS"]) <= max(1, rows // limits.compute_units),
        )
        return Space({"ROWS": (1, 2, 4, 8, 16, 32, 64, 128, 256)}, (few,))

    def default(self, problem: Problem, limits: Limits) -> Config:
        share = _rows(problem) // (8 * limits.compute_units)  # enough pieces to even out what threads are kept from
        return {"ROWS": next((r for r in (64, 32, 16, 8, 4, 2) if r <= share), 1)}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        at = AXES[conv_of(problem).arg[0]]
        more = f"#define IMAGES n{at.n}\n#define OUTPUTS n{at.o}\n"
        text = header(problem, False) + more + template("conv_direct.c")
        work = ("LAUNCH_WORK", f"(BATCH * M * N * K / {PER_WORK})")
        defines = (("ROWS", int(config["ROWS"])), ("TAPS_W", problem.space[at.kw]), work)
        entry = entry_name(self.name, problem)
        return Source(entry, parameters(problem, C), text, defines, (1, 1, 1), filename="conv_header.h")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (-(-_rows(problem) // int(config["ROWS"])), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


def _rows(problem: Problem) -> int:
    """Rows of the result: of all outputs, or (NHWC) of all images."""
    layout = conv_of(problem).arg[0]
    at, space = AXES[layout], problem.space
    planes = space[at.group] * space[at.o] if layout == "NCHW" else 1
    return space[at.n] * space[at.h] * planes
