"""Matrix product on CPUs: packed panels, register tiles, and lanes that narrow factors share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import entry_name, parameters, values
from tilewright.kernels.matmul_header import DEPTH, PER_WORK, Factor, header, oriented, sum_nbytes, template
from tilewright.kernels.matmul_narrow import in_lanes, lane_header, lane_k
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ceil_div, register_file, share, up_to

BLOCKS_M, BLOCKS_N = (24, 32, 96, 192, 384, 1024), (64, 128, 256, 512, 1024, 2048)
DEPTHS = {1: (128, 256, 512), 2: (128, 256, 512, 1024), 4: (128, 256, 512, 1024, 2048)}
"""BLOCK_K by the elements of a lane: as many bytes."""
WHOLE = 4096  # words of a lane: the depth of a result that is one tile wide, where A's rows had best be read to the end
STRIPS_N = (64, 128, 256)
WIDE_TILES = ((8, 2), (12, 2), (8, 3))  # for 32 registers
TILES = ((6, 2), (8, 1), (4, 3), (2, 4), (4, 2), (1, 8), (2, 3), (4, 1), (1, 4), (2, 2), (2, 1), (1, 2), (1, 1))
"""TILE_M and TILE_VECTORS, best first as measured."""
SMALL_WORK = 1 << 14  # work (operations of a map) that a CPU does on the caller's thread, see prelude_cpu.h
SMALL = 128**3  # multiply-adds up to which packing costs more than it wins
FLAT = 32  # rows up to which B is used too seldom for packing to pay


def shortest_vector(problem: Problem, limits: Limits, n: int) -> int:
    """Bytes of the shortest vector that holds `n` sums; those of a register where none does."""
    most, nbytes = register_file(limits)[0], max(n * sum_nbytes(problem), 16)
    return next((v for v in (16, 32, 64) if nbytes <= v <= most), most)


def _blocks(
    problem: Problem, limits: Limits, extents: tuple[int, int], packs: tuple[int, int], tile: tuple[int, int], lane: int
) -> list[tuple[int, int]]:
    """Block sizes for `default`, the least packing first, those that keep every thread equally busy before others.

    Among equals several groups a thread, which evens out what one is kept from. `packs`: whether A and B are packed;
    `tile`: rows and columns of what they are made of.
    """
    m, n = extents

    def key(pair: tuple[int, int]) -> tuple[float, ...]:
        rows, columns = ceil_div(m, pair[0]), ceil_div(n, pair[1])
        groups, units = problem.space[0] * rows * columns, limits.compute_units
        most = ceil_div(groups, units) * share(m, pair[0], tile[0]) * share(n, pair[1], tile[1])  # of one thread
        uneven = worth and most * units > 1.1 * problem.space[0] * m * n and groups < 8 * units
        packing = rows * n * packs[1] + columns * m * packs[0]
        return uneven, packing, groups if groups > 4 * units or not worth else -groups, max(pair)

    worth = problem.operations >= 2 * PER_WORK * lane * SMALL_WORK
    return sorted(((bm, bn) for bm in up_to(BLOCKS_M, m) for bn in up_to(BLOCKS_N, n)), key=key)


def _depths(k: int, n: int, lanes: int, lane: int) -> tuple[int, ...]:
    """The choices of BLOCK_K for a result `n` wide."""
    return up_to((*DEPTHS[lane], WHOLE * lane) if n <= lanes else DEPTHS[lane], k)


def _in_rows(problem: Problem, factor: Factor) -> bool:
    """Whether a factor lies in memory in rows along k."""
    return factor.load is not None and problem.inputs[factor.load].strides[DEPTH] == 1


def _near(problem: Problem, factor: Factor) -> bool:
    """Whether neighbours along k of a factor in memory are at most some cache lines apart."""
    return factor.load is not None and abs(problem.inputs[factor.load].strides[DEPTH]) <= 4 * FLAT


def _seen(problem: Problem, swap: bool, lane: int) -> tuple[Factor, Factor, int, int]:
    """The factors as the panels see them, with `lane` neighbours along k in a lane."""
    return in_lanes(problem, swap) if lane > 1 else oriented(problem, swap)


def _swapped(problem: Problem, limits: Limits, lane: int) -> bool:
    """Whether `default` computes the transposed product.

    Vectors run along the longer side where the other is thinner than a vector and nothing has to be transposed for it,
    along what is stored in order, and such that a large factor that lies along k is read in place instead of being
    packed for a few uses.
    """
    _, m, n, _ = problem.space
    lanes = register_file(limits)[0] // sum_nbytes(problem)
    strides, (left, right, _, _) = problem.outputs[0].strides, _seen(problem, False, lane)
    if n < lanes <= m and not _in_rows(problem, left):
        return True
    if m <= FLAT < n and right.along_k:
        return True
    few = n <= 2 * FLAT and right.along_k and _in_rows(problem, left)
    return m >= lanes and strides[1] == 1 != strides[2] and not few


def _tiles(m: int, n: int, lanes: int, registers: int) -> list[tuple[int, int]]:
    """TILE_M and TILE_VECTORS, the best first; rows and columns that are not there cost as much as others."""

    def wasteful(tile: tuple[int, int]) -> bool:
        rows, columns = tile[0], tile[1] * lanes
        return ceil_div(m, rows) * rows * ceil_div(n, columns) * columns > 1.25 * m * max(n, lanes)

    return sorted([*(WIDE_TILES if registers >= 32 else ()), *TILES], key=wasteful)


def source(
    kernel: str, problem: Problem, config: Config, more: str = "", extra: dict[str, int] | None = None
) -> Source:
    """The template of `kernel` behind the header made from the problem and `more`; SWAP is spent in the header."""
    text = header(problem, bool(config["SWAP"])) + more + template(f"{kernel}.c")
    fixed = {**config, **(extra or {})}
    defines: tuple[tuple[str, int | str], ...] = tuple((n, int(value)) for n, value in fixed.items() if n != "SWAP")
    defines = (*defines, ("LAUNCH_WORK", f"(BATCH * M * N * K / {PER_WORK * int(config.get('LANE_K', 1))})"))
    return Source(
        entry_name(kernel, problem), parameters(problem, C), text, defines, (1, 1, 1), filename="matmul_header.h"
    )


@dataclass(frozen=True)
class _Fit:
    """What the rules of MatmulCpu look at: one problem on one device, `lane` neighbours along k in a lane at most."""

    problem: Problem
    limits: Limits
    lane: int

    @cached_property
    def seen(self) -> dict[tuple[int, int], tuple[Factor, Factor, int, int]]:
        """The factors by SWAP and LANE_K."""
        return {(s, lane): _seen(self.problem, bool(s), lane) for s in (0, 1) for lane in {1, self.lane}}

    def extents(self, c: Config) -> tuple[int, int]:
        _, m, n, _ = self.problem.space
        return (n, m) if c["SWAP"] else (m, n)

    @cached_property
    def choices(self) -> dict[str, tuple[int, ...]]:
        _, m, n, k = self.problem.space
        return {
            "VECTOR": tuple(v for v in (64, 32, 16) if v <= register_file(self.limits)[0]),
            "LANE_K": tuple(dict.fromkeys((self.lane, 1))),
            "SWAP": (0, 1),
            "PACK_A": (0, 1) if self.limits.threads_per_group == 1 else (1,),
            "PACK_B": (0, 1) if self.limits.threads_per_group == 1 else (1,),
            "BLOCK_M": up_to(BLOCKS_M, max(m, n)),
            "BLOCK_N": up_to(BLOCKS_N, max(m, n)),
            "BLOCK_K": _depths(k, min(m, n), register_file(self.limits)[0] // sum_nbytes(self.problem), self.lane),
            "STRIP_N": up_to(STRIPS_N, max(m, n)),
            "TILE_M": (1, 2, 4, 6, 8, 12),
            "TILE_VECTORS": (1, 2, 3, 4, 8),
        }

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "a factor read in place must be a plain operand in the type of the sum, B along its rows; where lanes "
                "are shared, A along its rows",
                self.readable,
            ),
            Rule("a shorter vector than the registers' is for results that are narrower", self.vector_is_filled),
            Rule("the block is larger than the whole result, or the strip than the block", self.block_is_used),
            Rule("the tile is larger than the whole result", self.tile_is_used),
            Rule("the accumulators, a row of B and an element of A must fit into the registers", self.fits_registers),
            Rule("fewer than 8 accumulators (4 cycles, 2 a cycle) leave multipliers idle", self.hides_latency),
            Rule("what a group works on must fit into its local memory", self.fits_shared),
            Rule(
                "a panel of A that is used again must stay in the nearest cache, a strip of B in the next",
                self.panels_fit,
            ),
        )

    def readable(self, c: Config) -> bool:
        lane = int(c["LANE_K"])
        first, second, _, _ = self.seen[int(c["SWAP"]), lane]
        a_is_plain = _in_rows(self.problem, first) if lane > 1 else first.load is not None
        b_is_plain = second.load is not None and second.along_axis and lane == 1
        return bool((c["PACK_A"] or a_is_plain) and (c["PACK_B"] or b_is_plain))

    def vector_is_filled(self, c: Config) -> bool:
        _, n = self.extents(c)
        return int(c["VECTOR"]) in (register_file(self.limits)[0], shortest_vector(self.problem, self.limits, n))

    def block_is_used(self, c: Config) -> bool:
        m, n = self.extents(c)
        strips = up_to(STRIPS_N, min(n, int(c["BLOCK_N"])))
        return c["BLOCK_M"] in up_to(BLOCKS_M, m) and c["BLOCK_N"] in up_to(BLOCKS_N, n) and c["STRIP_N"] in strips

    def tile_is_used(self, c: Config) -> bool:
        m, n = self.extents(c)
        rows, vectors = int(c["TILE_M"]), int(c["TILE_VECTORS"])
        return rows < 2 * m and (vectors - 1) * self.lanes(c) < n

    def lanes(self, c: Config) -> int:
        return int(c["VECTOR"]) // sum_nbytes(self.problem)

    def fits_registers(self, c: Config) -> bool:
        rows, vectors = int(c["TILE_M"]), int(c["TILE_VECTORS"])
        row_of_b = vectors if rows > 1 else 0  # a vector that is used once comes straight from memory
        return rows * vectors + row_of_b + 1 <= register_file(self.limits)[1]

    def hides_latency(self, c: Config) -> bool:
        m, n = self.extents(c)
        return int(c["TILE_M"]) * int(c["TILE_VECTORS"]) >= min(8, ceil_div(n, self.lanes(c)) * m)

    def fits_shared(self, c: Config) -> bool:
        rows, columns, depth = (int(c[f"BLOCK_{letter}"]) for letter in "MNK")
        rows, columns = rows + int(c["TILE_M"]), columns + int(c["TILE_VECTORS"]) * self.lanes(c)  # whole tiles
        strip = int(c["STRIP_N"]) + int(c["TILE_VECTORS"]) * self.lanes(c)
        elements = rows * columns + (rows + strip) * (depth // int(c["LANE_K"]))
        return self.limits.threads_per_group == 1 or elements * sum_nbytes(self.problem) <= self.limits.shared_nbytes

    def panels_fit(self, c: Config) -> bool:
        near, middle = (*self.limits.cache_nbytes, 0, 0)[:2]
        depth = ceil_div(min(int(c["BLOCK_K"]), self.problem.space[3]), int(c["LANE_K"]))
        _, n = self.extents(c)
        panel = int(c["TILE_M"]) * depth * sum_nbytes(self.problem) if n > self.lanes(c) or c["PACK_A"] else 0
        strip = min(int(c["STRIP_N"]), ceil_div(n, self.lanes(c)) * self.lanes(c)) * depth * sum_nbytes(self.problem)
        return (not near or panel <= near) and (not middle or strip <= middle)


class MatmulCpu:
    """Packed panels, a register tile of TILE_M rows x TILE_VECTORS vectors, blocks for each level of cache.

    SWAP computes the transposed product, which vectorises along the rows. PACK_A or PACK_B 0 reads that factor where it
    lies: less work for small matrices, more cache and TLB misses for large ones. LANE_K neighbours along k share a lane
    of narrow factors' panels. `lanes`: whether they may, for a kernel that packs by itself.
    """

    name = "matmul_cpu"

    def __init__(self, lanes: bool = True) -> None:
        self._lanes = lanes

    def _lane(self, problem: Problem, limits: Limits) -> int:
        return lane_k(problem, limits) if self._lanes else 1

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "matmul" or limits.language.name != C.name or limits.subgroup != 1:
            return EMPTY
        fit = _Fit(problem, limits, self._lane(problem, limits))
        return Space(fit.choices, fit.rules())

    def default(self, problem: Problem, limits: Limits) -> Config:
        lane, k = self._lane(problem, limits), problem.space[3]
        swap = _swapped(problem, limits, lane)
        first, second, m, n = _seen(problem, swap, lane)
        vector = shortest_vector(problem, limits, n)
        dense = max(m, n) <= 2 * FLAT and _near(problem, first) and _near(problem, second)
        small = lane == 1 and (m * n * k <= SMALL or dense)
        a_in_place = first.load is not None and (small or min(m, n) <= FLAT or _in_rows(problem, first))
        b_in_place = second.load is not None and second.along_axis and (small or m <= FLAT)
        if lane > 1:
            a_in_place, b_in_place = _in_rows(problem, first), False
        packs = (int(not a_in_place), int(not b_in_place)) if limits.threads_per_group == 1 else (1, 1)
        tiles = _tiles(m, n, vector // sum_nbytes(problem), register_file(limits)[1])
        depths = _depths(k, n, vector // sum_nbytes(problem), lane)[::-1]
        strips = (64, 128, 256) if lane == 4 else (128, 64, 256)
        space = self.space(problem, limits)
        tile = tiles[0][0], tiles[0][1] * vector // sum_nbytes(problem)
        blocks = _blocks(problem, limits, (m, n), packs, tile, lane)
        for (block_m, block_n), (rows, vectors), depth, strip in product(blocks, tiles, depths, strips):
            config: Config = {
                "VECTOR": vector, "LANE_K": lane, "SWAP": int(swap), "PACK_A": packs[0], "PACK_B": packs[1],
                "BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": depth, "STRIP_N": strip, "TILE_M": rows,
                "TILE_VECTORS": vectors,
            }  # fmt: skip
            if space.refusal(config) is None:
                return config
        return next(iter(space))

    def leads(self, problem: Problem, limits: Limits) -> bool:
        """On AVX-512 the default is ahead of OpenBLAS 0.3.31, as measured on a Zen 4 (benchmarks/results has both side
        by side); not where one factor is a vector, which it reads in short runs.
        """
        return limits.threads_per_group == 1 and limits.vector_nbytes >= 64 and min(problem.space[1:3]) > 1

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        shared = int(config["LANE_K"]) > 1
        text = lane_header(problem, bool(config["SWAP"])) if shared else ""
        files = ("narrow.c", "matmul_narrow.c") if shared else ("halves.c",)
        return source(self.name, problem, config, text + "".join(map(template, ("turn.c", *files, "matmul_pack.c"))))

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        _, _, m, n = oriented(problem, bool(config["SWAP"]))
        tile_n = int(config["TILE_VECTORS"]) * int(config["VECTOR"]) // sum_nbytes(problem)
        columns = ceil_div(n, share(n, int(config["BLOCK_N"]), tile_n))
        rows = ceil_div(m, share(m, int(config["BLOCK_M"]), int(config["TILE_M"])))
        return (columns, rows, problem.space[0])

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)
