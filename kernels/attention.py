"""Attention: softmax(scale * q k^T, masked) v, a block of queries at a time, whose scores never leave the cache."""

from __future__ import annotations

from math import prod

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import entry_name, parameters, unravel, values
from tilewright.kernels.matmul_header import PER_WORK, declarations, finisher, loader, names, template
from tilewright.kernels.matmul_tile import MAX_BATCH, OTHER_REGISTERS, STATIC_SHARED, group_threads
from tilewright.kernels.node import Node, toposort
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, register_file, up_to

BLOCKS_M, BLOCKS_N = (6, 24, 48, 96, 192), (32, 64, 128, 256, 512)
TILES = ((6, 2), (4, 3), (4, 2), (6, 1), (4, 1), (2, 2), (2, 1), (1, 2), (1, 1))
"""TILE_M and TILE_VECTORS, best first with 16 registers; with 32 WIDE_TILES come before them."""
WIDE_TILES = ((8, 2), (12, 2), (8, 3))


def attention_of(problem: Problem) -> Node:
    """The one attention node of an attention problem."""
    (found,) = (node for node in toposort(problem.body) if node.op == "attention")
    return found


def header(problem: Problem) -> str:
    """Macros and functions through which the templates read and store: see attention_cpu.c."""
    node, rank = attention_of(problem), len(problem.space)
    row, element, key, depth = range(rank - 4, rank)
    query, keys, vals, scale, *masks = node.src
    acc, outer = C.type(node.dtype), range(rank - 4)
    place = {axis: f"b{axis}" for axis in outer}
    given = "ARGUMENTS, AT"
    lines = [
        f"#define PARAMETERS {declarations(problem)}",
        f"#define ARGUMENTS {names(problem)}",
        f"#define PLACE {', '.join(f'i64 {name}' for name in place.values())}",
        f"#define AT {', '.join(place.values())}",
        f"#define UNRAVEL(o) {unravel(C, 'o', outer, 'b')}".replace("\n", " ").replace(" o ", " (o) "),
        *(f"#define {letter} n{axis}" for letter, axis in zip("MEND", (row, element, key, depth), strict=True)),
        f"#define ACC {acc}",
        f"#define INFINITE INF_{acc}",
        f"#define EXP(x) exp_{acc}(x)",
        f"#define CAUSAL {int(node.arg)}",
        f"#define MASK {(1 if masks[0].dtype == 'bool' else 2) if masks else 0}",
        loader(problem, acc, query, "query", {**place, row: "i", depth: "p"}),
        loader(problem, acc, keys, "key", {**place, key: "j", depth: "p"}),
        loader(problem, acc, vals, "value", {**place, key: "j", element: "e"}),
        loader(problem, acc, scale, "scale", {}),
        *(loader(problem, C.type(m.dtype), m, "mask", {**place, row: "i", key: "j"}) for m in masks),
        finisher(problem, acc, node, {**place, row: "i", element: "e"}),
        f"#define LOAD_Q(i, p) query({given}, i, p)",
        f"#define LOAD_K(j, p) key({given}, j, p)",
        f"#define LOAD_V(j, e) value({given}, j, e)",
        "#define SCALE scale(ARGUMENTS)",
        f"#define LOAD_MASK(i, j) mask({given}, i, j)",
        f"#define STORE_O(i, e, sum) finish({given}, i, e, sum)",
    ]
    return "\n".join(lines) + "\n"


class AttentionCpu:
    """BLOCK_M queries a group against BLOCK_N keys at a time; register tiles of TILE_M rows x TILE_VECTORS vectors."""

    name = "attention_cpu"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "attention" or limits.language.name != C.name or limits.threads_per_group != 1:
            return EMPTY
        m, _, n, _ = problem.space[-4:]
        vector, registers = register_file(limits)
        lanes = vector // _nbytes(problem)
        choices = {
            "VECTOR": (vector,),
            "BLOCK_M": up_to(BLOCKS_M, m),
            "BLOCK_N": up_to(BLOCKS_N, n),
            "TILE_M": (1, 2, 4, 6, 8, 12),
            "TILE_VECTORS": (1, 2, 3, 4),
        }
        fits = Rule(
            "the accumulators, a row of keys and an element of a query must fit into the registers",
            lambda c: int(c["TILE_M"]) * int(c["TILE_VECTORS"]) + int(c["TILE_VECTORS"]) + 1 <= registers,
        )
        used = Rule(
            "the tile is larger than the block", lambda c: int(c["TILE_M"]) <= min(int(c["BLOCK_M"]), max(m, 1))
        )
        narrow = Rule("the tile is wider than the keys", lambda c: (int(c["TILE_VECTORS"]) - 1) * lanes < max(n, 1))
        return Space(choices, (fits, used, narrow))

    def default(self, problem: Problem, limits: Limits) -> Config:
        space = self.space(problem, limits)
        m, _, n, _ = problem.space[-4:]
        vector, registers = register_file(limits)
        # Blocks of queries as large as leave every thread a few of them: each packs the keys for itself.
        groups = prod(problem.space[:-4])
        wanted = 4 * limits.compute_units
        heights = up_to(BLOCKS_M, m)[::-1]
        height = next((b for b in heights if groups * -(-m // b) >= wanted), heights[-1] if groups * m < wanted else 24)
        for rows, width in (*(WIDE_TILES if registers >= 32 else ()), *TILES):
            config: Config = {
                "VECTOR": vector, "BLOCK_M": min(height, heights[0]), "BLOCK_N": min(256, up_to(BLOCKS_N, n)[-1]),
                "TILE_M": rows, "TILE_VECTORS": width,
            }  # fmt: skip
            if space.refusal(config) is None:
                return config
        return next(iter(space))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        text = header(problem) + template("turn.c") + template("attention_cpu.c")
        every = " * ".join(f"n{axis}" for axis in range(len(problem.space) - 3))  # outer axes and queries
        work = ("LAUNCH_WORK", f"({every} * N * (D + E) / {PER_WORK})")
        defines: tuple[tuple[str, int | str], ...] = (*((name, int(value)) for name, value in config.items()), work)
        entry = entry_name(self.name, problem)
        return Source(entry, parameters(problem, C), text, defines, (1, 1, 1), filename="attention_header.h")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (-(-problem.space[-4] // int(config["BLOCK_M"])), prod(problem.space[:-4]), 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


class AttentionTile:
    """BLOCK_M queries a group against BLOCK_N keys at a time in shared memory; scores of TILE_M x TILE_N a thread."""

    name = "attention_tile"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "attention" or limits.language.name != C.name or limits.threads_per_group == 1:
            return EMPTY
        _, element, _, depth = problem.space[-4:]
        words = _nbytes(problem) // 4

        def shared(c: Config) -> bool:
            rows, columns = int(c["BLOCK_M"]), int(c["BLOCK_N"])
            elements = rows * (depth + columns + 5) + columns * (max(depth, element) + 1)
            return elements * _nbytes(problem) <= min(limits.shared_nbytes, STATIC_SHARED)

        def registers(c: Config) -> bool:
            width = -(-element * int(c["TILE_N"]) // int(c["BLOCK_N"]))
            held = int(c["TILE_M"]) * (width + int(c["TILE_N"]) + 1) + int(c["TILE_N"])
            return held * words + OTHER_REGISTERS <= 255

        rules = (
            Rule("a block must be whole tiles", lambda c: int(c["TILE_M"]) <= int(c["BLOCK_M"])),
            Rule(
                "the device takes no group of that many threads",
                lambda c: group_threads(c) <= limits.threads_per_group,
            ),
            Rule(
                "fewer threads than a sub-group leave lanes idle",
                lambda c: group_threads(c) >= min(32, limits.subgroup) or int(c["BLOCK_M"]) <= 8,
            ),
            Rule("queries, scores and a tile of keys must fit into what a kernel may declare as shared memory", shared),
            Rule("a thread has 255 registers for its scores and sums", registers),
        )
        blocks = (4, 8, 16, 32, 64, 128)
        choices = {"BLOCK_M": blocks, "BLOCK_N": blocks[:5], "TILE_M": (1, 2, 4, 8), "TILE_N": (1, 2, 4)}
        return Space(choices, rules)

    def default(self, problem: Problem, limits: Limits) -> Config:
        space = self.space(problem, limits)
        for rows, columns, tile_m, tile_n in ((64, 32, 4, 2), (32, 32, 2, 2), (32, 16, 2, 1), (16, 16, 1, 1)):
            config: Config = {"BLOCK_M": rows, "BLOCK_N": columns, "TILE_M": tile_m, "TILE_N": tile_n}
            if space.refusal(config) is None:
                return config
        return next(iter(space))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        _, element, _, depth = problem.space[-4:]
        outer = " * ".join(f"n{axis}" for axis in range(len(problem.space) - 4))
        text = header(problem) + f"#define OUTER ({outer})\n" + template("attention_tile.c")
        fixed = {**config, "HEAD_D": depth, "HEAD_E": element, "MAX_BATCH": MAX_BATCH}
        defines = tuple((name, int(value)) for name, value in fixed.items())
        entry, group = entry_name(self.name, problem), (group_threads(config), 1, 1)
        return Source(entry, parameters(problem, C), text, defines, group, filename="attention_header.h")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (-(-problem.space[-4] // int(config["BLOCK_M"])), min(prod(problem.space[:-4]), MAX_BATCH), 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


def _nbytes(problem: Problem) -> int:
    """Bytes of a score."""
    return DTYPES[DTYPES[attention_of(problem).dtype].compute].nbytes
