"""Matrix product on devices with groups of many threads: shared tiles in, a register tile per thread out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import entry_name, parameters, values
from tilewright.kernels.matmul_header import header, oriented, sum_nbytes, template
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, serial

MAX_BATCH = 65535  # groups that CUDA takes along axis 1; each then does several
PACKED_NBYTES = 70 << 10  # of local memory, from which on the packed product has configs
STATIC_SHARED = 48 << 10  # what CUDA lets a kernel declare by itself; more must be asked for at launch
OTHER_REGISTERS = 32  # addresses and loop counters of one thread, about


CHOICES: dict[str, tuple[int, ...]] = {
    "SHARED_TILES": (0, 1),
    "PREFETCH": (0, 1),
    "SWAP": (0, 1),
    "BLOCK_M": (8, 16, 32, 64, 128),
    "BLOCK_N": (16, 32, 64, 128),
    "BLOCK_K": (8, 16, 32),
    "TILE_M": (1, 2, 4, 8),
    "TILE_N": (1, 2, 4, 8),
    "WIDE": (1, 4),
    "SWIZZLE": (1, 8),
}
BLOCKS = ((128, 128, 8, 8, 8), (64, 64, 16, 4, 4), (32, 64, 16, 2, 4), (32, 32, 16, 2, 2), (16, 32, 16, 2, 2),
          (16, 16, 16, 1, 1), (8, 16, 16, 1, 1), (8, 16, 8, 1, 2))  # fmt: skip
"""What `default` tries, the largest first: BLOCK_M, BLOCK_N, BLOCK_K, TILE_M, TILE_N."""


def group_threads(config: Config) -> int:
    return int(config["BLOCK_M"]) // int(config["TILE_M"]) * (int(config["BLOCK_N"]) // int(config["TILE_N"]))


def _loads(config: Config) -> int:
    """Elements that each thread brings into shared memory per tile."""
    return int(config["BLOCK_K"]) * (int(config["BLOCK_M"]) + int(config["BLOCK_N"])) // group_threads(config)


@dataclass(frozen=True)
class _Fit:
    """What the rules look at: one problem on one device."""

    problem: Problem
    limits: Limits

    @cached_property
    def size(self) -> int:
        return sum_nbytes(self.problem)

    @cached_property
    def pads(self) -> tuple[int, int]:
        return pad(self.problem, 0), pad(self.problem, 1)

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("neighbouring threads must store neighbouring elements", self.stores_along),
            Rule("without shared tiles there is no depth of a tile and nothing to prefetch", self.means_something),
            Rule("the block is larger than the whole result", self.block_is_used),
            Rule("blocks and tiles far from square load more than they need", self.nearly_square),
            Rule("the device takes no group of that many threads", self.fits_group),
            Rule("fewer threads than a sub-group leave lanes idle", self.fills_subgroup),
            Rule("a thread's columns must be whole runs", self.runs_are_whole),
            Rule("each thread brings an equal number of elements into shared memory", self.divides),
            Rule("more than 32 loads of a thread at once make long text and spill registers", self.loads_are_few),
            Rule("the tiles of A and B must fit into what a kernel may declare as shared memory", self.fits_shared),
            Rule("a thread has 255 registers, and a group no more than the device's file", self.fits_registers),
            Rule("there are too few blocks to reorder", self.reorders),
        )  # fmt: skip

    def extents(self, c: Config) -> tuple[int, int]:
        _, m, n, _ = self.problem.space
        return (n, m) if c["SWAP"] else (m, n)

    def stores_along(self, c: Config) -> bool:
        return bool(c["SWAP"]) == transposed(self.problem) or min(self.problem.space[1:3]) == 1

    def means_something(self, c: Config) -> bool:
        return bool(c["SHARED_TILES"]) or (not c["PREFETCH"] and c["BLOCK_K"] == CHOICES["BLOCK_K"][0])

    def block_is_used(self, c: Config) -> bool:
        m, n = self.extents(c)
        return int(c["BLOCK_M"]) <= max(8, 2 * m - 1) and int(c["BLOCK_N"]) <= max(16, 2 * n - 1)

    def nearly_square(self, c: Config) -> bool:
        tile_m, tile_n = int(c["TILE_M"]), int(c["TILE_N"])
        return int(c["BLOCK_M"]) <= 2 * int(c["BLOCK_N"]) and tile_m <= 2 * tile_n <= 8 * tile_m

    def fits_group(self, c: Config) -> bool:
        return group_threads(c) <= self.limits.threads_per_group

    def fills_subgroup(self, c: Config) -> bool:
        small = int(c["BLOCK_M"]) * int(c["BLOCK_N"]) <= 128
        return group_threads(c) >= min(32, self.limits.threads_per_group) or small

    def runs_are_whole(self, c: Config) -> bool:
        return int(c["TILE_N"]) % int(c["WIDE"]) == 0

    def divides(self, c: Config) -> bool:
        depth, threads = int(c["BLOCK_K"]), group_threads(c)
        uneven = int(c["BLOCK_M"]) * depth % threads or int(c["BLOCK_N"]) * depth % threads
        return not c["SHARED_TILES"] or not uneven

    def loads_are_few(self, c: Config) -> bool:
        return not c["SHARED_TILES"] or _loads(c) <= 32

    def fits_shared(self, c: Config) -> bool:
        width = int(c["BLOCK_M"]) + int(c["BLOCK_N"]) + 2 * self.pads[int(c["SWAP"])]
        fits = int(c["BLOCK_K"]) * width * self.size <= min(self.limits.shared_nbytes, STATIC_SHARED)
        return not c["SHARED_TILES"] or fits

    def fits_registers(self, c: Config) -> bool:
        tile_m, tile_n = int(c["TILE_M"]), int(c["TILE_N"])
        ahead = _loads(c) if c["PREFETCH"] else 0
        words = (tile_m * tile_n + tile_m + tile_n + ahead) * self.size // 4 + OTHER_REGISTERS
        file = self.limits.registers if self.limits.subgroup > 1 else 0  # only a GPU's threads share one
        return words <= 255 and (not file or words * group_threads(c) <= file)

    def reorders(self, c: Config) -> bool:
        m, n = self.extents(c)
        return c["SWIZZLE"] == 1 or (m > 2 * int(c["BLOCK_M"]) and n > 2 * int(c["BLOCK_N"]))


class MatmulTile:
    """BLOCK_M x BLOCK_N results a group, TILE_M x TILE_N a thread, BLOCK_K deep at a time through shared memory.

    SHARED_TILES 0 leaves that to the caches. PREFETCH loads the next tile while this one is multiplied. SWIZZLE is the
    number of rows of blocks that groups walk down before the next column. WIDE: columns a thread takes side by side.
    SWAP computes the transposed product, whose rows are the problem's columns.
    """

    name = "matmul_tile"

    def space(self, problem: Problem, limits: Limits) -> Space:
        packed = serial(limits) and limits.shared_nbytes >= PACKED_NBYTES  # MatmulCpu's, many times as fast there
        if problem.kind != "matmul" or limits.language.name != C.name or limits.threads_per_group == 1 or packed:
            return EMPTY
        return Space(CHOICES, _Fit(problem, limits).rules())

    def default(self, problem: Problem, limits: Limits) -> Config:
        space = self.space(problem, limits)
        swap = transposed(problem)
        _, _, m, n = oriented(problem, swap)
        host = limits.subgroup <= 1  # a CPU behind this language: its caches are the shared memory
        for block_m, block_n, depth, tile_m, tile_n in BLOCKS:
            groups = problem.space[0] * -(-m // block_m) * -(-n // block_n)
            idle = groups < 2 * limits.compute_units and block_m * block_n > 256
            if block_m > 32 if host else idle:
                continue
            config: Config = {
                "SHARED_TILES": int(not host), "PREFETCH": 0, "SWAP": int(swap),
                "BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": CHOICES["BLOCK_K"][0] if host else depth,
                "TILE_M": tile_m, "TILE_N": tile_n, "WIDE": 4 if tile_n % 4 == 0 and not host else 1,
                "SWIZZLE": 8 if m > 2 * block_m and n > 2 * block_n else 1,
            }  # fmt: skip
            if space.refusal(config) is None:
                return config
        return next(iter(space))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        text = header(problem, bool(config["SWAP"])) + template("matmul_tile.c")
        fixed = {**config, "PAD": pad(problem, int(config["SWAP"])), "MAX_BATCH": MAX_BATCH}
        defines = tuple((name, int(value)) for name, value in fixed.items() if name != "SWAP")
        entry, group = entry_name(self.name, problem), (group_threads(config), 1, 1)
        return Source(entry, parameters(problem, language), text, defines, group, filename="matmul_header.h")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        _, _, m, n = oriented(problem, bool(config["SWAP"]))
        blocks = -(-m // int(config["BLOCK_M"])) * -(-n // int(config["BLOCK_N"]))
        return (blocks, min(problem.space[0], MAX_BATCH), 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


def transposed(problem: Problem) -> bool:
    """Whether the result lies along its rows' axis, so that the transposed product stores it in order."""
    _, along_m, along_n, _ = problem.outputs[0].strides
    return along_m == 1 != along_n


def pad(problem: Problem, swap: int) -> int:
    """One more column where tiles are transposed on their way into shared memory, else none."""
    first, second, _, _ = oriented(problem, bool(swap))
    return int(first.along_k or second.along_k)
