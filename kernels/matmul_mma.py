"""Matrix product on tensor cores: 16-bit floats with float32 sums, bytes with 32-bit sums; see matmul_mma.c."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import address, entry_name, parameters, values
from tilewright.kernels.matmul_header import BATCH, DEPTH, Factor, dot_of, header, oriented, stride_name, template
from tilewright.kernels.matmul_share import RESERVED_NBYTES, SPLITS, Sharing, Work, share_defines, share_grid, streams
from tilewright.kernels.matmul_tile import OTHER_REGISTERS, transposed
from tilewright.kernels.node import Node
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space

STEP_NBYTES = 32  # of depth that one instruction multiplies, whatever the elements
PIECE_NBYTES = 16

CHOICES: dict[str, tuple[int, ...]] = {
    "BLOCK_M": (16, 32, 64, 128, 256),
    "BLOCK_N": (16, 32, 64, 128, 256),
    "WARP_M": (16, 32, 64),
    "WARP_N": (16, 32, 64),
    "DEPTH_NBYTES": (32, 64, 128),
    "STAGES": (2, 3, 4),
    "SLICES": (1, 2, 4),
    "SPLITS": SPLITS,
    "STREAM": (0,),  # and see `streams`
    "SWIZZLE": (1, 8),
}
BLOCKS = ((128, 128, 64, 64), (128, 64, 64, 32), (64, 128, 32, 64), (64, 64, 32, 32), (32, 64, 16, 32),
          (64, 32, 32, 16), (32, 32, 16, 16), (16, 32, 16, 16), (32, 16, 16, 16), (16, 16, 16, 16))  # fmt: skip
"""What `default` tries, the largest first: BLOCK_M, BLOCK_N, WARP_M, WARP_N."""


def group_threads(config: Config) -> int:
    warps = int(config["BLOCK_M"]) // int(config["WARP_M"]) * (int(config["BLOCK_N"]) // int(config["WARP_N"]))
    return 32 * warps * int(config["SLICES"])


def shared_nbytes(config: Config) -> int:
    """The tiles under way; in their place, at the end, the sums that slices hand over and warps turn."""
    block_m, block_n, warp_m, warp_n = (int(config[x]) for x in ("BLOCK_M", "BLOCK_N", "WARP_M", "WARP_N"))
    tiles = int(config["STAGES"]) * (block_m + block_n) * int(config["DEPTH_NBYTES"])
    handed = 4 * block_m * block_n if config["SLICES"] != 1 else 0
    turned = block_m // warp_m * (block_n // warp_n) * 16 * (warp_n + 8) * 4
    return max(tiles, handed, turned)


def element(root: Node) -> tuple[str, int | None]:
    """As what a factor's values go to the tensor cores, and the operand's index where they lie in memory as such.

    Values that were widened are taken as they were before: their products are exact in the wider type.
    """
    wide = DTYPES[root.dtype]
    while root.op == "cast" and DTYPES[root.src[0].dtype].kind in ("f" if wide.kind == "f" else "iu"):
        if DTYPES[root.src[0].dtype].nbytes >= DTYPES[root.dtype].nbytes:
            break
        root = root.src[0]
    return root.dtype, root.arg if root.op == "load" else None


def instruction(problem: Problem, swap: bool = False) -> str | None:
    """The name of the warp's instruction, None where there is none for the factors' types."""
    dot = dot_of(problem)
    kinds = [DTYPES[element(root)[0]] for root in dot.src]
    names = {kind.name for kind in kinds}
    halves = len(names) == 1 and names <= {"float16", "bfloat16"} and dot.dtype in (*names, "float32")
    bytes_ = names <= {"int8", "uint8"} and DTYPES[dot.dtype].nbytes <= 4  # sums wrap at 32 bits: no wider ones
    a, b = reversed(kinds) if swap else kinds
    return f"mma_{a.c}_{b.c}" if halves or bytes_ else None


@dataclass(frozen=True)
class _Fit:
    """What the rules look at: one problem on one device."""

    problem: Problem
    limits: Limits

    @cached_property
    def extents(self) -> tuple[int, int]:
        _, _, m, n = oriented(self.problem, transposed(self.problem))
        return m, n

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("a block is made of whole warps", self.warps_fit),
            Rule("the block is larger than the whole result", self.block_is_used),
            Rule("blocks and warps far from square load more than they need", self.nearly_square),
            Rule("the device takes no group of that many threads", self.fits_group),
            *Sharing(self.limits.compute_units, self.work, self.held).rules(),
            Rule("each slice takes whole steps of 32 bytes of a tile", self.slices_are_whole),
            Rule("there are enough blocks to fill the device without slices of their depth", self.slices_are_needed),
            Rule("each thread brings an equal number of pieces of 16 bytes into shared memory", self.divides),
            Rule("there are fewer tiles than stages", self.stages_are_used),
            Rule("the tiles under way must fit into the shared memory that a launch may ask for", self.fits_shared),
            Rule("a thread has 255 registers, and a group no more than the device's file", self.fits_registers),
            Rule("there are too few blocks to reorder", self.reorders),
        )  # fmt: skip

    def warps_fit(self, c: Config) -> bool:
        return int(c["WARP_M"]) <= int(c["BLOCK_M"]) and int(c["WARP_N"]) <= int(c["BLOCK_N"])

    def block_is_used(self, c: Config) -> bool:
        m, n = self.extents
        return int(c["BLOCK_M"]) <= max(16, 2 * m - 1) and int(c["BLOCK_N"]) <= max(16, 2 * n - 1)

    def nearly_square(self, c: Config) -> bool:
        m, n = self.extents
        block_m, block_n, warp_m, warp_n = (int(c[x]) for x in ("BLOCK_M", "BLOCK_N", "WARP_M", "WARP_N"))
        wide = block_n <= 2 * block_m or block_m >= m  # along an axis that is there whole, nothing is loaded again
        high = block_m <= 2 * block_n or block_n >= n
        return wide and high and warp_m <= 4 * warp_n <= 16 * warp_m

    def fits_group(self, c: Config) -> bool:
        return group_threads(c) <= self.limits.threads_per_group

    def slices_are_whole(self, c: Config) -> bool:
        return int(c["DEPTH_NBYTES"]) % (STEP_NBYTES * int(c["SLICES"])) == 0

    def slices_are_needed(self, c: Config) -> bool:
        return c["SLICES"] == 1 or _groups(self.problem, c) < self.limits.compute_units

    def work(self, c: Config) -> Work:
        block_m, block_n = int(c["BLOCK_M"]), int(c["BLOCK_N"])
        tile_nbytes = (block_m + block_n) * int(c["DEPTH_NBYTES"])
        return Work(_groups(self.problem, c), self.tiles(c), block_m * block_n, tile_nbytes)

    def held(self, c: Config) -> int:
        by_memory = (self.limits.launch_shared_nbytes + RESERVED_NBYTES) // (shared_nbytes(c) + RESERVED_NBYTES)
        return min(by_memory, self.limits.registers // (_registers(c) * group_threads(c)))

    def tiles(self, c: Config) -> int:
        return ceil(_depth_nbytes(self.problem) / int(c["DEPTH_NBYTES"]))

    def divides(self, c: Config) -> bool:
        threads, depth = group_threads(c), int(c["DEPTH_NBYTES"])
        return not any(int(c[block]) * depth // PIECE_NBYTES % threads for block in ("BLOCK_M", "BLOCK_N"))

    def stages_are_used(self, c: Config) -> bool:
        return int(c["STAGES"]) <= max(2, self.tiles(c))

    def fits_shared(self, c: Config) -> bool:
        return shared_nbytes(c) <= max(self.limits.launch_shared_nbytes, self.limits.shared_nbytes)

    def fits_registers(self, c: Config) -> bool:
        words, file = _registers(c), self.limits.registers
        return words <= 255 and (not file or words * group_threads(c) <= file)

    def reorders(self, c: Config) -> bool:
        m, n = self.extents
        return c["SWIZZLE"] == 1 or (m > 2 * int(c["BLOCK_M"]) and n > 2 * int(c["BLOCK_N"]))


class MatmulMma:
    """BLOCK_M x BLOCK_N results a group, WARP_M x WARP_N a warp, in tiles DEPTH_NBYTES deep, STAGES of them under way.

    SLICES: warps that share a place in the block and split its depth. SPLITS: groups that share a block and split its
    depth. STREAM: groups that share the depth of all (see matmul_share.py). SWIZZLE: rows of blocks that groups walk
    down before the next column. Where the result lies transposed, the transposed product is computed.
    """

    name = "matmul_mma"

    def space(self, problem: Problem, limits: Limits) -> Space:
        able = "mma" in limits.matrix_units and limits.language.name == C.name
        if not able or problem.kind != "matmul" or instruction(problem) is None:
            return EMPTY
        choices, most = dict(CHOICES), max(1, _depth_nbytes(problem) // (4 * STEP_NBYTES))
        fewest = _groups(problem, {"BLOCK_M": 256, "BLOCK_N": 256})
        if fewest >= limits.compute_units:
            choices["SLICES"], most = (1,), 1
        choices["SPLITS"] = tuple(s for s in CHOICES["SPLITS"] if s <= most)  # the rules would refuse them one by one
        choices["STREAM"] = streams(fewest, limits)
        return Space(choices, _Fit(problem, limits).rules())

    def default(self, problem: Problem, limits: Limits) -> Config:
        space = self.space(problem, limits)
        _, _, m, n = oriented(problem, transposed(problem))
        for block_m, block_n, warp_m, warp_n in BLOCKS:
            sizes: Config = {"BLOCK_M": block_m, "BLOCK_N": block_n, "WARP_M": warp_m, "WARP_N": warp_n}
            splittable = max(1, _depth_nbytes(problem) // 1024)  # 16 tiles for each part
            if _groups(problem, sizes) * splittable < limits.compute_units and block_m * block_n > 1024:
                continue  # smaller blocks keep more of the device at work
            swizzle = 8 if m > 2 * block_m and n > 2 * block_n else 1
            for splits, stages in itertools.product(reversed(CHOICES["SPLITS"]), (4, 3, 2)):
                cuts = {"DEPTH_NBYTES": 64, "STAGES": stages, "SLICES": 1, "SPLITS": splits, "STREAM": 0}
                config = sizes | cuts | {"SWIZZLE": swizzle}
                if space.refusal(config) is None:
                    return config
        return next(iter(space))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        text = mma_header(problem) + template("matmul_share.c") + template("matmul_mma.c")
        holders = group_threads(config) // int(config["SLICES"])
        fixed = config | share_defines(config, _groups(problem, config), holders)
        defines = tuple((name, int(value)) for name, value in fixed.items())
        entry, group = entry_name(self.name, problem), (group_threads(config), 1, 1)
        return Source(
            entry, parameters(problem, language), text, defines, group, filename="matmul_header.h",
            shared_nbytes=shared_nbytes(config),
        )  # fmt: skip

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return share_grid(config, _groups(problem, config))

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


def _depth_nbytes(problem: Problem) -> int:
    return problem.space[DEPTH] * DTYPES[element(dot_of(problem).src[0])[0]].nbytes


def _registers(config: Config) -> int:
    """Of a thread: its sums, one step of both factors, and all else."""
    warp_m, warp_n = int(config["WARP_M"]), int(config["WARP_N"])
    return warp_m * warp_n // 32 + (warp_m + warp_n) // 4 + OTHER_REGISTERS


def _groups(problem: Problem, config: Config) -> int:
    _, _, m, n = oriented(problem, transposed(problem))
    return problem.space[0] * -(-m // int(config["BLOCK_M"])) * -(-n // int(config["BLOCK_N"]))


def mma_header(problem: Problem) -> str:
    """The header of every template (see matmul_header.py), and how both factors come as the instruction wants them."""
    swap = transposed(problem)
    first, second, _, _ = oriented(problem, swap)
    nbytes = DTYPES[element(first.root)[0]].nbytes
    lines = [
        f"#define MMA {instruction(problem, swap)}",
        f"#define NBYTES {nbytes}",
        *_factor(problem, first, "A", "b, i, p", "i", nbytes),
        *_factor(problem, second, "B", "b, p, j", "j", nbytes),
    ]
    return header(problem, swap) + "\n".join(lines) + "\n"


def _factor(problem: Problem, factor: Factor, letter: str, given: str, index: str, nbytes: int) -> list[str]:
    dtype, load = element(factor.root)
    deep = factor.along_k or nbytes == 1
    in_place = load is not None and (factor.along_k if deep else factor.along_axis)
    lines = [
        f"#define {letter}_DEEP {int(deep)}",
        f"#define {letter}_BY_ROWS {int(deep and not factor.along_k)}",
        f"#define {letter}_IN_PLACE {int(in_place)}",
    ]
    if load is None or not in_place:
        bits = f"f32_to_{DTYPES[dtype].c}" if DTYPES[dtype].kind == "f" else "(u8)"
        return [*lines, f"#define ELEMENT_{letter}({given}) {bits}(LOAD_{letter}({given}))"]
    operand, name = problem.inputs[load], f"in{load}"
    where = address(name, operand, {BATCH: "(b)", factor.axis: f"({index})", DEPTH: "(p)"})
    apart = stride_name(name, operand.strides, factor.axis if deep else DEPTH)
    return [
        *lines,
        f"#define {letter}_PLACE({given}) ({name} + ({where}))",
        f"#define {letter}_APART {apart}",
        f"#define ELEMENT_{letter}({given}) (u{8 * nbytes})*{letter}_PLACE({given})",
    ]
