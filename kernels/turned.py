"""Maps that read across memory on a CPU: each block of such an operand is transposed in registers first."""

from __future__ import annotations

from functools import partial
from math import prod

from tilewright.backends.dtypes import DTYPES, PARTS
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import Writer, bases, entry_name, parameters, unravel, values, work
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space

TILE_NBYTES = 1 << 16  # all blocks together: more does not stay in a first- and second-level cache beside the output
_UNSIGNED = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
_LANES = {1: 8, 2: 8, 4: 8, 8: 4}  # at most 32 bytes a vector; compilers halve them where registers are shorter
_SHUFFLE = """#ifdef __clang__
#define SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif
"""


class Turned:
    """BLOCK rows of WIDE elements of the output per group. Operands that cross it are first turned, a few rows of a
    vector at a time, into an array in cache, from which the map then reads along its own rows. Of a group that is a
    vector of threads each turns, and reads, its own columns.
    """

    name = "turned"

    def space(self, problem: Problem, limits: Limits) -> Space:
        vectors = limits.language.name == C.name and (limits.threads_per_group == 1 or limits.lanes > 1)
        found = _turned(problem) if problem.kind == "map" and vectors else None
        if found is None or min(problem.space[found[0]], problem.space[-1]) < 8:  # too narrow to be turned in vectors
            return EMPTY
        element = sum(DTYPES[problem.inputs[k].dtype].nbytes for k in found[1])
        fits = Rule(
            f"blocks of more than {TILE_NBYTES >> 10} KiB fall out of the cache",
            lambda c: int(c["BLOCK"]) * int(c["WIDE"]) * element <= TILE_NBYTES,
        )
        return Space(
            {"THREADS": (limits.lanes,), "BLOCK": (16, 32, 64, 128, 256), "WIDE": (16, 32, 64, 128, 256)}, (fits,)
        )

    def default(self, problem: Problem, limits: Limits) -> Config:
        space = self.space(problem, limits)
        sizes = ((256, 64), (128, 64), (64, 64), (32, 32), (16, 16))
        configs: list[Config] = [{"THREADS": limits.lanes, "BLOCK": block, "WIDE": wide} for block, wide in sizes]
        return next(c for c in configs if space.refusal(c) is None)

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        found = _turned(problem)
        assert found is not None
        (cross, crossing), last = found, len(problem.space) - 1
        outer = [a for a in range(last) if a != cross]
        axes, inner = {a: f"i{a}" for a in range(last + 1)}, {cross: f"i{cross}", last: f"i{last}"}
        writer = Writer(problem, language, axes, inner)
        writer.tiles = dict.fromkeys(crossing, f"(i{cross} - y) * WIDE + i{last} - x")
        names: dict[int, str] = {}
        body = writer.statements(problem.body, names)
        body += "".join(writer.store(k, names[id(root)]) for k, root in enumerate(problem.body))
        head = language.let(wide=f"(n{last} + WIDE - 1) / WIDE", high=f"(n{cross} + BLOCK - 1) / BLOCK")
        head += language.let(row="GROUP(0) / (wide * high)")
        head += language.let(x="GROUP(0) % wide * WIDE", y="GROUP(0) / wide % high * BLOCK")
        head += language.let(x_end=language.choose(f"x + WIDE < n{last}", "x + WIDE", f"n{last}"))
        head += language.let(y_end=language.choose(f"y + BLOCK < n{cross}", "y + BLOCK", f"n{cross}"))
        head += unravel(language, "row", outer) + bases(problem, language, {a: f"i{a}" for a in outer})
        threads = int(config["THREADS"])
        fill = _fill if threads == 1 else partial(_fill_lanes, lanes=threads)
        head += "".join(fill(problem, k, last) for k in crossing)
        loop = language.loop(f"i{cross}", "y", "y_end", language.each(f"i{last}", "x", "x_end", body))
        types = {k: DTYPES[problem.inputs[k].dtype] for k in crossing}
        shared = "".join(f"SHARED({t.c}, tile{k}, BLOCK * WIDE);\n" for k, t in types.items())
        widths = sorted({t.nbytes for t in types.values()})
        turns = _SHUFFLE + "".join(map(_transpose, widths)) if threads == 1 else ""
        text = turns + language.kernel(head + loop, shared)
        sizes = tuple((name, language.size(int(config[name]))) for name in ("BLOCK", "WIDE"))
        listed, defines = parameters(problem, language), (*sizes, work(problem))
        return Source(entry_name("turned", problem), listed, text, defines, (threads, 1, 1), filename="turned.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        found = _turned(problem)
        assert found is not None
        across = problem.space[found[0]]
        tiles = -(-problem.space[-1] // int(config["WIDE"])) * -(-across // int(config["BLOCK"]))
        return (prod(problem.space[:-1]) // across * tiles, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


def _turned(problem: Problem) -> tuple[int, list[int]] | None:
    """The axis along which inputs are contiguous that are not along the last, and those; None where nothing is."""
    last = len(problem.space) - 1
    if any(o.strides[last] != 1 for o in problem.outputs):
        return None
    for axis in reversed(range(last)):
        crossing = [
            k for k, o in enumerate(problem.inputs)
            if o.strides[axis] == 1 and o.strides[last] not in (0, 1) and o.dtype not in PARTS
        ]  # fmt: skip
        if crossing:
            return axis, crossing
    return None


def _fill(problem: Problem, k: int, last: int) -> str:
    """Turn operand `k`'s block into its array: whole squares of vectors, then the elements that are left."""
    nbytes = DTYPES[problem.inputs[k].dtype].nbytes
    lanes, word, step = _LANES[nbytes], _UNSIGNED[nbytes], f"in{k}_s{last}"
    to, source = f"tile{k} + (v - y) * WIDE + u - x", f"in{k} + in{k}_b + u * {step} + v"
    return (
        f"for (i64 u = x; u < x_end; u += {lanes}) {{\n"
        f"i64 v = y;\n"
        f"if (u + {lanes} <= x_end)\n"
        f"for (; v + {lanes} <= y_end; v += {lanes}) "
        f"turn_{word}(({word} *)({to}), WIDE, (const {word} *)({source}), {step});\n"
        f"for (; v < y_end; ++v)\n"
        f"for (i64 w = u; w < u + {lanes} && w < x_end; ++w) "
        f"tile{k}[(v - y) * WIDE + w - x] = in{k}[in{k}_b + w * {step} + v];\n"
        f"}}\n"
    )


def _fill_lanes(problem: Problem, k: int, last: int, lanes: int) -> str:
    """The same by a vector of threads: squares of as many rows in variables, whose lanes then exchange halves."""
    t, step = DTYPES[problem.inputs[k].dtype].c, f"in{k}_s{last}"
    to, source = f"tile{k}[(v - y) * WIDE + u - x + LOCAL(0)", f"in{k}[in{k}_b + v"
    square = "".join(f"{t} a{r} = {source} + LOCAL(0) + (u + {r}) * {step}];\n" for r in range(lanes))
    block = 1
    while block < lanes:
        square += "".join(f"LANES_EXCHANGE({t}, a{r}, a{r + block}, {block});\n" for r in range(lanes) if not r & block)
        block *= 2
    square += "".join(f"{to} + {r} * WIDE] = a{r};\n" for r in range(lanes))
    return (
        f"for (i64 u = x; u < x_end; u += {lanes}) {{\n"
        f"i64 v = y;\n"
        f"if (u + {lanes} <= x_end) for (; v + {lanes} <= y_end; v += {lanes}) {{\n{square}}}\n"
        f"if (u + LOCAL(0) < x_end) for (; v < y_end; ++v) {to}] = {source} + (u + LOCAL(0)) * {step}];\n"
        f"}}\n"
    )


def _transpose(nbytes: int) -> str:
    """A function that transposes a square of words: blocks of 1, 2, 4, ... words change places across the diagonal.

    After Eklundh, "A fast computer method for matrix transposing", 1972.
    """
    word, lanes = _UNSIGNED[nbytes], _LANES[nbytes]
    many, loose = f"many_{word}", f"loose_{word}"
    size = f"vector_size({nbytes * lanes})"
    text = f"typedef {word} {many} __attribute__(({size}));\n"
    text += f"typedef {word} {loose} __attribute__(({size}, aligned({nbytes}), may_alias));\n"
    text += f"DEVICE void turn_{word}({word} *to, i64 to_step, const {word} *from, i64 from_step) {{\n"
    for r in range(lanes):
        text += f"{many} a{r} = *(const {loose} *)(from + {r} * from_step);\n"
    text += f"{many} low;\n"
    block = 1
    while block < lanes:
        low = ", ".join(str(lanes + j - block if j & block else j) for j in range(lanes))
        high = ", ".join(str(lanes + j if j & block else j + block) for j in range(lanes))
        for r in (r for r in range(lanes) if not r & block):
            text += f"low = SHUFFLE({many}, a{r}, a{r + block}, {low});\n"
            text += f"a{r + block} = SHUFFLE({many}, a{r}, a{r + block}, {high});\na{r} = low;\n"
        block *= 2
    stores = "".join(f"*({loose} *)(to + {r} * to_step) = a{r};\n" for r in range(lanes))
    return f"{text}{stores}}}\n"
