"""Matrix product on CPUs: packed panels and register tiles for matrices, dot products for vectors and thin matrices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import entry_name, parameters, values
from tilewright.kernels.matmul_header import DEPTH, PER_WORK, Factor, header, oriented, sum_nbytes, template
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space

BLOCKS_M, BLOCKS_N, BLOCKS_K = (24, 96, 192, 384, 1024), (64, 128, 256, 512, 1024, 2048), (128, 256, 512)
STRIPS_N = (64, 128, 256)
WIDE_TILES = ((8, 2), (12, 2), (8, 3))  # for 32 registers
TILES = ((6, 2), (8, 1), (4, 3), (2, 4), (4, 2), (1, 8), (2, 3), (4, 1), (1, 4), (2, 2), (2, 1), (1, 2), (1, 1))
"""TILE_M and TILE_VECTORS, best first as measured."""
SMALL_WORK = 1 << 15  # work (operations of a map) that a CPU does on the caller's thread, see prelude_cpu.h
SMALL = 128**3  # multiply-adds up to which packing costs more than it wins
FLAT = 32  # rows up to which B is used too seldom for packing to pay
THIN = 4  # rows or columns up to which MatmulDot applies


def register_file(limits: Limits) -> tuple[int, int]:
    """Bytes of a vector register and their number; where the device does not say, 32 of 64 bytes (AVX-512), else 16."""
    nbytes = max(limits.vector_nbytes, 16)
    return nbytes, limits.registers * 4 // nbytes or (32 if nbytes >= 64 else 16)


def shortest_vector(problem: Problem, limits: Limits, n: int) -> int:
    """Bytes of the shortest vector that holds `n` sums; those of a register where none does."""
    most, nbytes = register_file(limits)[0], max(n * sum_nbytes(problem), 16)
    return next((v for v in (16, 32, 64) if nbytes <= v <= most), most)


def _ceil(extent: int, step: int) -> int:
    return -(-extent // step)


def _share(extent: int, block: int, tile: int) -> int:
    """SHARE of matmul_cpu.c: blocks evened out, in whole tiles."""
    return _ceil(_ceil(extent, _ceil(extent, block)), tile) * tile


def up_to(choices: tuple[int, ...], extent: int) -> tuple[int, ...]:
    """The choices below `extent`, and the first that covers it."""
    return tuple(c for k, c in enumerate(choices) if k == 0 or choices[k - 1] < extent)


def _blocks(problem: Problem, limits: Limits, m: int, n: int, packs: tuple[int, int]) -> list[tuple[int, int]]:
    """Block sizes for `default`, the least packing first, those that keep every thread equally busy before others.

    Among equals several groups a thread, which evens out what one is kept from. `packs`: whether A and B are packed.
    """

    def key(pair: tuple[int, int]) -> tuple[float, ...]:
        rows, columns = _ceil(m, pair[0]), _ceil(n, pair[1])
        groups, units = problem.space[0] * rows * columns, limits.compute_units
        uneven = worth and groups % units != 0 and groups < 8 * units
        packing = rows * n * packs[1] + columns * m * packs[0]
        return uneven, packing, groups if groups > 4 * units or not worth else -groups, max(pair)

    worth = problem.operations >= 2 * PER_WORK * SMALL_WORK
    return sorted(((bm, bn) for bm in up_to(BLOCKS_M, m) for bn in up_to(BLOCKS_N, n)), key=key)


def _in_rows(problem: Problem, factor: Factor) -> bool:
    """Whether a factor lies in memory in rows along k."""
    return factor.load is not None and problem.inputs[factor.load].strides[DEPTH] == 1


def _near(problem: Problem, factor: Factor) -> bool:
    """Whether neighbours along k of a factor in memory are at most some cache lines apart."""
    return factor.load is not None and abs(problem.inputs[factor.load].strides[DEPTH]) <= 4 * FLAT


def _swapped(problem: Problem, limits: Limits) -> bool:
    """Whether `default` computes the transposed product.

    Vectors run along the longer side where the other is thinner than a vector and nothing has to be transposed for it,
    along what is stored in order, and such that a large factor that lies along k is read in place instead of being
    packed for a few uses.
    """
    _, m, n, _ = problem.space
    lanes = register_file(limits)[0] // sum_nbytes(problem)
    strides, (left, right, _, _) = problem.outputs[0].strides, oriented(problem, False)
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
        return _ceil(m, rows) * rows * _ceil(n, columns) * columns > 1.25 * m * max(n, lanes)

    return sorted([*(WIDE_TILES if registers >= 32 else ()), *TILES], key=wasteful)


def _source(kernel: str, problem: Problem, config: Config, extra: dict[str, int] | None = None) -> Source:
    """The template of `kernel` behind the header made from the problem; SWAP is spent in the header."""
    text = header(problem, bool(config["SWAP"])) + template("turn.c") + template(f"{kernel}.c")
    fixed = {**config, **(extra or {})}
    defines: tuple[tuple[str, int | str], ...] = tuple((n, int(value)) for n, value in fixed.items() if n != "SWAP")
    defines = (*defines, ("LAUNCH_WORK", f"(BATCH * M * N * K / {PER_WORK})"))
    return Source(
        entry_name(kernel, problem), parameters(problem, C), text, defines, (1, 1, 1), filename="matmul_header.h"
    )


@dataclass(frozen=True)
class _Fit:
    """What the rules of MatmulCpu look at: one problem on one device, as seen without and with SWAP."""

    problem: Problem
    limits: Limits

    @cached_property
    def seen(self) -> tuple[tuple[Factor, Factor, int, int], tuple[Factor, Factor, int, int]]:
        return oriented(self.problem, False), oriented(self.problem, True)

    @cached_property
    def choices(self) -> dict[str, tuple[int, ...]]:
        _, m, n, k = self.problem.space
        return {
            "VECTOR": tuple(v for v in (64, 32, 16) if v <= register_file(self.limits)[0]),
            "SWAP": (0, 1),
            "PACK_A": (0, 1) if self.limits.threads_per_group == 1 else (1,),
            "PACK_B": (0, 1) if self.limits.threads_per_group == 1 else (1,),
            "BLOCK_M": up_to(BLOCKS_M, max(m, n)),
            "BLOCK_N": up_to(BLOCKS_N, max(m, n)),
            "BLOCK_K": up_to(BLOCKS_K, k),
            "STRIP_N": up_to(STRIPS_N, max(m, n)),
            "TILE_M": (1, 2, 4, 6, 8, 12),
            "TILE_VECTORS": (1, 2, 3, 4, 8),
        }

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "a factor read in place must be a plain operand in the type of the sum, B along its rows", self.readable
            ),
            Rule("a shorter vector than the registers' is for results that are narrower", self.vector_is_filled),
            Rule("the block is larger than the whole result, or the strip than the block", self.block_is_used),
            Rule("the tile is larger than the whole result", self.tile_is_used),
            Rule("the accumulators, a row of B and an element of A must fit into the registers", self.fits_registers),
            Rule("fewer than 8 accumulators (4 cycles, 2 a cycle) leave multipliers idle", self.hides_latency),
            Rule("what a group works on must fit into its local memory", self.fits_shared),
            Rule("a panel of A must stay in the nearest cache, a strip of B in the next", self.panels_fit),
        )

    def readable(self, c: Config) -> bool:
        first, second, _, _ = self.seen[int(c["SWAP"])]
        b_is_plain = second.load is not None and second.along_axis
        return bool((c["PACK_A"] or first.load is not None) and (c["PACK_B"] or b_is_plain))

    def vector_is_filled(self, c: Config) -> bool:
        _, _, _, n = self.seen[int(c["SWAP"])]
        return int(c["VECTOR"]) in (register_file(self.limits)[0], shortest_vector(self.problem, self.limits, n))

    def block_is_used(self, c: Config) -> bool:
        _, _, m, n = self.seen[int(c["SWAP"])]
        strips = up_to(STRIPS_N, min(n, int(c["BLOCK_N"])))
        return c["BLOCK_M"] in up_to(BLOCKS_M, m) and c["BLOCK_N"] in up_to(BLOCKS_N, n) and c["STRIP_N"] in strips

    def tile_is_used(self, c: Config) -> bool:
        _, _, m, n = self.seen[int(c["SWAP"])]
        rows, vectors = int(c["TILE_M"]), int(c["TILE_VECTORS"])
        return rows < 2 * m and (vectors - 1) * self.lanes(c) < n

    def lanes(self, c: Config) -> int:
        return int(c["VECTOR"]) // sum_nbytes(self.problem)

    def fits_registers(self, c: Config) -> bool:
        rows, vectors = int(c["TILE_M"]), int(c["TILE_VECTORS"])
        row_of_b = vectors if rows > 1 else 0  # a vector that is used once comes straight from memory
        return rows * vectors + row_of_b + 1 <= register_file(self.limits)[1]

    def hides_latency(self, c: Config) -> bool:
        _, _, m, n = self.seen[int(c["SWAP"])]
        return int(c["TILE_M"]) * int(c["TILE_VECTORS"]) >= min(8, _ceil(n, self.lanes(c)) * m)

    def fits_shared(self, c: Config) -> bool:
        rows, columns, depth = (int(c[f"BLOCK_{letter}"]) for letter in "MNK")
        rows, columns = rows + int(c["TILE_M"]), columns + int(c["TILE_VECTORS"]) * self.lanes(c)  # whole tiles
        strip = int(c["STRIP_N"]) + int(c["TILE_VECTORS"]) * self.lanes(c)
        elements = rows * columns + (rows + strip) * depth
        return self.limits.threads_per_group == 1 or elements * sum_nbytes(self.problem) <= self.limits.shared_nbytes

    def panels_fit(self, c: Config) -> bool:
        near, middle = (*self.limits.cache_nbytes, 0, 0)[:2]
        depth = min(int(c["BLOCK_K"]), self.problem.space[3])
        panel = int(c["TILE_M"]) * depth * sum_nbytes(self.problem)
        strip = int(c["STRIP_N"]) * depth * sum_nbytes(self.problem)
        return (not near or panel <= near) and (not middle or strip <= middle)


class MatmulCpu:
    """Packed panels, a register tile of TILE_M rows x TILE_VECTORS vectors, blocks for each level of cache.

    SWAP computes the transposed product, which vectorises along the rows. PACK_A or PACK_B 0 reads that factor where it
    lies: less work for small matrices, more cache and TLB misses for large ones.
    """

    name = "matmul_cpu"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "matmul" or limits.language.name != C.name or limits.subgroup != 1:
            return EMPTY
        fit = _Fit(problem, limits)
        return Space(fit.choices, fit.rules())

    def default(self, problem: Problem, limits: Limits) -> Config:
        swap, k = _swapped(problem, limits), problem.space[3]
        first, second, m, n = oriented(problem, swap)
        vector = shortest_vector(problem, limits, n)
        small = m * n * k <= SMALL or (max(m, n) <= 2 * FLAT and _near(problem, first) and _near(problem, second))
        a_in_place = first.load is not None and (small or min(m, n) <= FLAT or _in_rows(problem, first))
        b_in_place = second.load is not None and second.along_axis and (small or m <= FLAT)
        packs = (int(not a_in_place), int(not b_in_place)) if limits.threads_per_group == 1 else (1, 1)
        tiles = _tiles(m, n, vector // sum_nbytes(problem), register_file(limits)[1])
        depths, strips = up_to(BLOCKS_K, k)[::-1], (128, 64, 256)
        space = self.space(problem, limits)
        blocks = _blocks(problem, limits, m, n, packs)
        for (block_m, block_n), (rows, vectors), depth, strip in product(blocks, tiles, depths, strips):
            config: Config = {
                "VECTOR": vector, "SWAP": int(swap), "PACK_A": packs[0], "PACK_B": packs[1], "BLOCK_M": block_m,
                "BLOCK_N": block_n, "BLOCK_K": depth, "STRIP_N": strip, "TILE_M": rows, "TILE_VECTORS": vectors,
            }  # fmt: skip
            if space.refusal(config) is None:
                return config
        return next(iter(space))

    def leads(self, problem: Problem, limits: Limits) -> bool:
        """On AVX-512 the default was ahead of OpenBLAS 0.3.31 in 60 of 65 shapes on a Zen 4, 1.25x in the geometric
        mean (benchmarks/results/2026-11-28-cpu-own.md); not where one factor is a vector, which it reads in short runs.
        """
        return limits.threads_per_group == 1 and limits.vector_nbytes >= 64 and min(problem.space[1:3]) > 1

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        return _source(self.name, problem, config)

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        _, _, m, n = oriented(problem, bool(config["SWAP"]))
        tile_n = int(config["TILE_VECTORS"]) * int(config["VECTOR"]) // sum_nbytes(problem)
        columns = _ceil(n, _share(n, int(config["BLOCK_N"]), tile_n))
        rows = _ceil(m, _share(m, int(config["BLOCK_M"]), int(config["TILE_M"])))
        return (columns, rows, problem.space[0])

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


class MatmulDot:
    """Dot products along k, for at most THIN rows or columns where the other factor lies along k."""

    name = "matmul_dot"
    BLOCKS_N = (8, 32, 128, 512, 2048)

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "matmul" or limits.language.name != C.name or limits.threads_per_group != 1:
            return EMPTY
        swap = problem.space[1] > problem.space[2]
        _, second, m, n = oriented(problem, swap)
        if m > THIN or second.along_axis:
            return EMPTY
        vector, registers = register_file(limits)
        fits = Rule(
            "the tile's accumulators and one vector of each factor must fit into the vector registers",
            lambda c: int(c["TILE_M"]) * int(c["TILE_N"]) + 2 <= registers,
        )
        choices = {
            "VECTOR": (vector,),
            "TILE_M": up_to((1, 2, 4), m),
            "TILE_N": up_to((1, 2, 4, 8), n),
            "BLOCK_N": up_to(self.BLOCKS_N, n),
            "SWAP": (int(swap),),
        }
        return Space(choices, (fits,))

    def default(self, problem: Problem, limits: Limits) -> Config:
        swap = problem.space[1] > problem.space[2]
        _, _, m, n = oriented(problem, swap)
        rows = up_to((1, 2, 4), m)[-1]
        columns = up_to((1, 2, 4) if rows < 4 else (1, 2), n)[-1]
        share = _ceil(n * problem.space[0], limits.compute_units)
        block = next((b for b in (512, 128, 32) if b <= share and b in up_to(self.BLOCKS_N, n)), self.BLOCKS_N[0])
        tile = {"TILE_M": rows, "TILE_N": columns, "BLOCK_N": block}
        return {"VECTOR": register_file(limits)[0], **tile, "SWAP": int(swap)}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        def in_place(factor: Factor) -> int:
            return int(factor.load is not None and problem.inputs[factor.load].strides[3] == 1)

        first, second, _, _ = oriented(problem, bool(config["SWAP"]))
        return _source(self.name, problem, config, {"A_IN_PLACE": in_place(first), "B_IN_PLACE": in_place(second)})

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        _, _, _, n = oriented(problem, bool(config["SWAP"]))
        return (_ceil(n, int(config["BLOCK_N"])), 1, problem.space[0])

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)
