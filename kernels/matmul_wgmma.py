"""Matrix product by warpgroups on Hopper's tensor cores, its tiles brought by the copy engine; see matmul_wgmma.c."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Parameter, Source, Unsupported, Value
from tilewright.backends.tensor_map import TENSOR_MAP, TensorMap
from tilewright.kernels.emit import entry_name, parameters, values
from tilewright.kernels.matmul_header import BATCH, DEPTH, Factor, dot_of, header, oriented, sum_type, template
from tilewright.kernels.matmul_mma import element, instruction
from tilewright.kernels.matmul_share import Sharing, Work, blocks_most
from tilewright.kernels.matmul_tile import OTHER_REGISTERS, transposed
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space

STEP_NBYTES = 32  # of depth that one instruction multiplies, whatever the elements
ROWS = 64  # of sums that one instruction makes
PATTERN_NBYTES = 1024  # what tiles' addresses are multiples of: 8 rows of 128 bytes
TURN_NBYTES = 16 * (32 + 8) * 4  # of shared memory, in which a warp turns sums

CHOICES: dict[str, tuple[int, ...]] = {
    "BLOCK_M": (64, 128, 256),
    "BLOCK_N": (32, 64, 96, 128, 160, 192, 224, 256),
    "DEPTH_NBYTES": (32, 64, 128),
    "STAGES": (2, 3, 4, 6, 8),
    "CONSUMERS": (1, 2),
    "SPLITS": (1, 2, 4, 8, 16),
    "SWIZZLE": (1, 8),
}
BLOCKS = ((128, 256, 2), (128, 128, 2), (128, 64, 2), (64, 128, 1), (64, 64, 1), (64, 32, 1))
"""What `default` tries, the largest first: BLOCK_M, BLOCK_N, CONSUMERS.

By counting, since none was measured: an SM multiplies 64 x N x 16 halves in N / 2 cycles, for which it reads 2 KiB of
A and N / 32 KiB of B from shared memory. Of the 128 bytes that it can read in a cycle those are 80 with N = 256, 96
with 128 and all 128 with 64. From further away a block loads (BLOCK_M + BLOCK_N) / (BLOCK_M BLOCK_N) elements a
product. So blocks are wide, and have 128 rows: a thread of two warpgroups with 64 of them each has 128 sums in its 168
registers. Smaller ones only keep more of the device at work.
"""


def group_threads(config: Config) -> int:
    return 128 * int(config["CONSUMERS"]) + 32


def shared_nbytes(config: Config) -> int:
    """The tiles under way, two barriers for each, room in which warps turn sums, and what alignment may take."""
    stages, depth = int(config["STAGES"]), int(config["DEPTH_NBYTES"])
    tiles = stages * (int(config["BLOCK_M"]) + int(config["BLOCK_N"])) * depth
    return PATTERN_NBYTES + tiles + stages * 16 + 4 * int(config["CONSUMERS"]) * TURN_NBYTES


def tile_map(problem: Problem, factor: Factor, rows: int, depth_nbytes: int) -> TensorMap | None:
    """How the copy engine finds tiles of a factor, `rows` of it or columns; None where it is computed or lies otherwise
    than with unit stride along one axis. Bytes cannot be transposed by the instruction: k must be that axis.
    """
    dtype, load = element(factor.root)
    nbytes = DTYPES[dtype].nbytes
    deep = factor.along_k
    if load is None or not (deep or (factor.along_axis and nbytes == 2)):
        return None
    operand, first = problem.inputs[load], len(problem.outputs)
    inner, outer = (DEPTH, factor.axis) if deep else (factor.axis, DEPTH)
    shape = [problem.space[inner], problem.space[outer], problem.space[BATCH] if operand.strides[BATCH] else 1]
    strides = [operand.strides[outer] * nbytes, operand.strides[BATCH] * nbytes]
    row_nbytes = -(-shape[0] * nbytes // 16) * 16
    for axis in (1, 2):
        if shape[axis] == 1:  # never walked along
            strides[axis - 1] = row_nbytes
    span = depth_nbytes if deep else 128 if rows * nbytes % 128 == 0 else 64
    box = (span // nbytes, rows if deep else depth_nbytes // nbytes, 1)
    place = operand.offset * nbytes
    return TensorMap(first + load, dtype, tuple(shape), tuple(strides), place, box, span)


def tile_maps(problem: Problem, config: Config) -> tuple[TensorMap, TensorMap] | None:
    """Of both factors as the template sees them; None where the copy engine cannot bring one of them."""
    first, second, _, _ = oriented(problem, transposed(problem))
    depth = int(config["DEPTH_NBYTES"])
    a = tile_map(problem, first, int(config["BLOCK_M"]), depth)
    b = tile_map(problem, second, int(config["BLOCK_N"]), depth)
    return (a, b) if a and b and a.refusal() is None and b.refusal() is None else None


def _needed_maps(problem: Problem, config: Config) -> tuple[TensorMap, TensorMap]:
    found = tile_maps(problem, config)
    if found is None:  # the space is empty there
        raise Unsupported(f"matmul_wgmma: the copy engine cannot bring the factors of {problem.title}")
    return found


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
            Rule("a warpgroup multiplies 64 rows at once, and two such matrices keep it busy", self.rows_fit),
            Rule("the block is larger than the whole result", self.block_is_used),
            Rule("blocks far from square load more than they need", self.nearly_square),
            Rule("the device takes no group of that many threads", self.fits_group),
            Rule("a thread has 255 registers, and a group no more than the device's file", self.fits_registers),
            Rule("there are fewer tiles than stages", self.stages_are_used),
            Rule("the tiles under way must fit into the shared memory that a launch may ask for", self.fits_shared),
            *Sharing(self.limits.compute_units, self.work, held=lambda c: 1).split_rules(),
            Rule("there are no more blocks than the device works on at once", self.groups_return),
            Rule("there are too few blocks to reorder", self.reorders),
        )

    def rows_fit(self, c: Config) -> bool:
        return int(c["BLOCK_M"]) in (ROWS * int(c["CONSUMERS"]), 2 * ROWS * int(c["CONSUMERS"]))

    def block_is_used(self, c: Config) -> bool:
        m, n = self.extents
        return int(c["BLOCK_M"]) <= max(ROWS, 2 * m - 1) and int(c["BLOCK_N"]) <= max(32, 2 * n - 1)

    def nearly_square(self, c: Config) -> bool:
        (m, n), block_m, block_n = self.extents, int(c["BLOCK_M"]), int(c["BLOCK_N"])
        wide = block_n <= 2 * block_m or block_m >= m  # along an axis that is there whole, nothing is loaded again
        return wide and (block_m <= 2 * block_n or block_n >= n)

    def fits_group(self, c: Config) -> bool:
        return group_threads(c) <= self.limits.threads_per_group

    def fits_registers(self, c: Config) -> bool:
        sums = int(c["BLOCK_M"]) * int(c["BLOCK_N"]) // (128 * int(c["CONSUMERS"]))
        threads = -(-group_threads(c) // 128) * 128
        file = self.limits.registers
        return sums + OTHER_REGISTERS <= 255 and (not file or (sums + OTHER_REGISTERS) * threads <= file)

    def work(self, c: Config) -> Work:
        block_m, block_n, depth = int(c["BLOCK_M"]), int(c["BLOCK_N"]), int(c["DEPTH_NBYTES"])
        tiles = ceil(_depth_nbytes(self.problem) / depth)
        return Work(_blocks(self.problem, c), tiles, block_m * block_n, (block_m + block_n) * depth)

    def stages_are_used(self, c: Config) -> bool:
        return int(c["STAGES"]) <= max(2, self.work(c).tiles)

    def fits_shared(self, c: Config) -> bool:
        return shared_nbytes(c) <= max(self.limits.launch_shared_nbytes, self.limits.shared_nbytes)

    def groups_return(self, c: Config) -> bool:
        return c["GROUPS"] == 0 or _blocks(self.problem, c) * int(c["SPLITS"]) > int(c["GROUPS"])

    def reorders(self, c: Config) -> bool:
        m, n = self.extents
        return c["SWIZZLE"] == 1 or (m > 2 * int(c["BLOCK_M"]) and n > 2 * int(c["BLOCK_N"]))


class MatmulWgmma:
    """BLOCK_M x BLOCK_N results a block by CONSUMERS warpgroups, in tiles DEPTH_NBYTES deep, STAGES of them under way.

    SPLITS: parts into which a block's depth is split. GROUPS: how many groups there are, each of which does one part of
    a block after the other; 0: as many as parts. SWIZZLE: rows of blocks that groups walk down before the next column.
    Where the result lies transposed, the transposed product is computed.
    """

    name = "matmul_wgmma"

    def space(self, problem: Problem, limits: Limits) -> Space:
        able = "wgmma" in limits.matrix_units and limits.language.name == C.name
        if not able or problem.kind != "matmul" or instruction(problem) is None:
            return EMPTY
        if tile_maps(problem, {"BLOCK_M": ROWS, "BLOCK_N": ROWS, "DEPTH_NBYTES": STEP_NBYTES}) is None:
            return EMPTY  # other boxes change nothing about that
        most = max(1, _depth_nbytes(problem) // (4 * STEP_NBYTES))
        splits = tuple(s for s in CHOICES["SPLITS"] if s <= most)  # the rules would refuse them one by one
        groups = (0, limits.compute_units)
        return Space({**CHOICES, "SPLITS": splits, "GROUPS": groups}, _Fit(problem, limits).rules())

    def default(self, problem: Problem, limits: Limits) -> Config:
        space, (m, n) = self.space(problem, limits), _Fit(problem, limits).extents
        for (block_m, block_n, consumers), split in _sizes(problem, limits):
            swizzle = 8 if m > 2 * block_m and n > 2 * block_n else 1
            sizes: Config = {"BLOCK_M": block_m, "BLOCK_N": block_n, "CONSUMERS": consumers, "SWIZZLE": swizzle}
            for depth, stages in itertools.product((128, 64, 32), (4, 3, 2)):
                config = sizes | {"DEPTH_NBYTES": depth, "STAGES": stages, "SPLITS": split}
                for groups in (limits.compute_units, 0):
                    alone = 2 * shared_nbytes(config) > limits.launch_shared_nbytes  # on a multiprocessor
                    if (alone or not groups) and space.refusal(config | {"GROUPS": groups}) is None:
                        return config | {"GROUPS": groups}
        return next(iter(space))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        text = wgmma_header(problem, config) + template("matmul_wgmma.c")
        fixed = {**config, "BLOCKS_MOST": blocks_most(config, _blocks(problem, config))}
        defines = tuple((name, int(value)) for name, value in fixed.items())
        entry, group = entry_name(self.name, problem), (group_threads(config), 1, 1)
        given = parameters(problem, language)
        split = len(given) - len(problem.scalars)
        maps = tuple(Parameter(name, TENSOR_MAP, "value") for name in ("map_a", "map_b"))
        return Source(
            entry, (*given[:split], *maps, *given[split:]), text, defines, group, filename="matmul_header.h",
            shared_nbytes=shared_nbytes(config),
        )  # fmt: skip

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        parts, groups = _blocks(problem, config) * int(config["SPLITS"]), int(config["GROUPS"])
        return (min(parts, groups) if groups else parts, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[Value, ...]:
        given, maps = values(problem), _needed_maps(problem, config)
        split = len(given) - len(problem.scalars)
        return (*given[:split], *maps, *given[split:])


def _sizes(problem: Problem, limits: Limits) -> list[tuple[tuple[int, int, int], int]]:
    """Blocks and splits that keep the device at work, the largest blocks in the fewest parts first; then what comes
    closest to that.
    """
    enough = limits.compute_units * 7 // 8  # an idle eighth costs less than smaller blocks, or sums of more parts
    splits = [s for s in CHOICES["SPLITS"] if s == 1 or 1024 * s <= _depth_nbytes(problem)]  # 8 tiles for each part
    fitting = [
        (block, split)
        for block, split in itertools.product(BLOCKS, splits)
        if _blocks(problem, {"BLOCK_M": block[0], "BLOCK_N": block[1]}) * split >= enough
    ]
    return fitting + [(BLOCKS[-1], split) for split in reversed(splits)]


def _depth_nbytes(problem: Problem) -> int:
    return problem.space[DEPTH] * DTYPES[element(dot_of(problem).src[0])[0]].nbytes


def _blocks(problem: Problem, config: Config) -> int:
    _, _, m, n = oriented(problem, transposed(problem))
    return problem.space[BATCH] * ceil(m / int(config["BLOCK_M"])) * ceil(n / int(config["BLOCK_N"]))


def wgmma_header(problem: Problem, config: Config) -> str:
    """The header of every template (see matmul_header.py), how tiles lie, and the instruction."""
    swap, maps = transposed(problem), _needed_maps(problem, config)
    factors = oriented(problem, swap)[:2]
    lines = [f"#define NBYTES {DTYPES[maps[0].dtype].nbytes}"]
    for letter, factor, tiles in zip("AB", factors, maps, strict=True):
        lines += [
            f"#define {letter}_DEEP {int(factor.along_k)}",
            f"#define {letter}_SPAN {tiles.span}",
            f"#define {letter}_BATCH {int(tiles.shape[2] > 1)}",
        ]
    turned = tuple(not factor.along_k for factor in factors)
    lines.append(product(int(config["BLOCK_N"]), (maps[0].dtype, maps[1].dtype), turned))
    return header(problem, swap) + "\n".join(lines) + "\n"


_PTX = {"float16": "f16", "bfloat16": "bf16", "int8": "s8", "uint8": "u8"}


def product(columns: int, dtypes: tuple[str, str], turned: tuple[bool, ...]) -> str:
    """The step of 64 x `columns` sums, as PTX asks for it: "wgmma.mma_async"."""
    halves = DTYPES[dtypes[0]].nbytes == 2
    depth, total, letter = (16, "f32", "f") if halves else (32, "s32", "r")
    count = columns // 2  # sums of a thread
    shape = f"m64n{columns}k{depth}.{total}.{_PTX[dtypes[0]]}.{_PTX[dtypes[1]]}"
    registers = ", ".join(f"%{k}" for k in range(count))
    flags = f", 1, 1, {int(turned[0])}, {int(turned[1])}" if halves else ""
    outputs = ", ".join(f'"+{letter}"(sum[{k}])' for k in range(count))
    operands = f"{{{registers}}}, %{count}, %{count + 1}, p{flags}"
    kind = sum_type("float32" if halves else "int32")
    return f'#define SUMS "{letter}"\nWARPGROUP_PRODUCT(multiply_step, {kind}, "{shape}", "{operands}", {outputs})'
