"""Convolution on CPUs by packed panels of patches, which come from planes of the input: see conv_planes.c."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import gcd, prod

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.conv import conv_of, dense, header, plain
from tilewright.kernels.emit import address, entry_name, parameters, values
from tilewright.kernels.matmul_header import PER_WORK, stride_name, sum_type, template
from tilewright.kernels.node import toposort
from tilewright.kernels.problem import Operand, Problem
from tilewright.kernels.products import AXES, Axes, Window
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ceil_div, register_file, share, up_to

BLOCKS_M, BLOCKS_N = (16, 32, 64, 128, 256, 512, 1024), (64, 128, 256, 512, 1024, 2048, 4096)
BLOCKS_K, STRIPS_N = (512, 256, 128), (128, 64, 256, 512)
TILES = ((8, 3), (8, 2), (12, 2), (4, 3), (6, 2), (4, 2), (2, 4), (8, 1), (4, 1), (2, 1), (1, 8), (1, 4), (1, 1))
"""TILE_M and TILE_VECTORS, among which a default chooses."""
MOST_TAPS = 512  # of a channel: its panels have to stay in a cache


@dataclass(frozen=True)
class _Shape:
    """One problem as conv_planes.c sees it."""

    problem: Problem

    @cached_property
    def window(self) -> Window:
        return Window(*conv_of(self.problem).arg)

    @cached_property
    def at(self) -> Axes:
        return AXES[self.window.layout]

    @cached_property
    def sizes(self) -> tuple[int, int, int, int]:
        """Outputs and channels of a group, pixels of all images, taps of a channel."""
        space, at = self.problem.space, self.at
        return space[at.o], space[at.c], space[at.n] * space[at.h] * space[at.w], space[at.kh] * space[at.kw]

    @cached_property
    def nbytes(self) -> int:
        return 8 if sum_type(conv_of(self.problem).dtype) in ("f64", "u64") else 4

    @cached_property
    def weights(self) -> Operand | None:
        """The weights, where those of an output may be read in place."""
        operand, at = plain(self.problem, 1), self.at
        return operand if operand and dense(self.problem, operand, (at.kw, at.kh, at.c), 1) else None

    @cached_property
    def weights_flat(self) -> bool:
        """Whether all that an output's weights are computed from lies evenly along their taps."""
        nodes, at = toposort([conv_of(self.problem).src[1]]), self.at
        loads = [self.problem.inputs[n.arg] for n in nodes if n.op == "load"]
        even = all(dense(self.problem, o, (at.kw, at.kh, at.c), 1) for o in loads)
        return even and not any(n.op in ("iota", "gather") for n in nodes)

    @cached_property
    def pixels(self) -> Operand | None:
        """The input, where one tap sees one pixel and pixels lie side by side."""
        node, at, space = conv_of(self.problem), self.at, self.problem.space
        seen = tuple(int(self.problem.scalars[extent.arg][1]) for extent in node.src[2:])
        one = self.sizes[3] == 1 and self.window[1:3] == (1, 1) and self.window[5:] == (0, 0)
        operand = plain(self.problem, 0)
        if operand is None or not one or seen != (space[at.h], space[at.w]):
            return None
        return operand if dense(self.problem, operand, (at.w, at.h), 1) else None

    @cached_property
    def pixels_flat(self) -> bool:
        """Whether what the epilogue reads and stores lies evenly from row to row of an image."""
        node, at = conv_of(self.problem), self.at
        own = {id(n) for source in node.src for n in toposort([source])}
        outer = [n for n in toposort(self.problem.body) if id(n) not in own]
        operands = [*self.problem.outputs, *(self.problem.inputs[n.arg] for n in outer if n.op == "load")]
        steps = all(o.strides[at.h] == o.strides[at.w] * self.problem.space[at.w] for o in operands)
        return steps and not any(n.op in ("iota", "gather") for n in outer)

    def lanes(self, c: Config) -> int:
        return int(c["VECTOR"]) // self.nbytes

    def few(self, vector: int) -> int:
        """Last pixels that are so few of a vector that they are better summed along the taps, else 0."""
        lanes = vector // self.nbytes
        rest = self.sizes[2] % lanes
        return rest if self.weights and 4 * rest <= lanes else 0

    def blocks(self, c: Config) -> tuple[int, int, int]:
        """Outputs and pixels of a group, in whole tiles, and channels at a time."""
        m, channels, n, taps = self.sizes
        rows, columns = int(c["TILE_M"]), int(c["TILE_VECTORS"]) * self.lanes(c)
        at_once = ceil_div(channels, ceil_div(channels, max(1, int(c["BLOCK_K"]) // taps)))
        return share(m, int(c["BLOCK_M"]), rows), share(n, int(c["BLOCK_N"]), columns), at_once


@dataclass(frozen=True)
class _Fit(_Shape):
    """What the rules look at, and what a config is expected to cost."""

    limits: Limits

    @cached_property
    def vectors(self) -> tuple[int, ...]:
        """Bytes of a register, and of the shortest that holds all pixels, which comes first."""
        most, nbytes = register_file(self.limits)[0], self.sizes[2] * self.nbytes
        return tuple(dict.fromkeys((next((v for v in (16, 32, 64) if nbytes <= v <= most), most), most)))

    def planes(self, columns: int) -> tuple[int, int]:
        """About how many rows of one channel's planes a group of so many pixels sees, and their length."""
        space, at, window = self.problem.space, self.at, self.window
        lines = min(space[at.n] * space[at.h], columns // space[at.w] + 2)
        reach_h = (space[at.kh] - 1) * window.dilation_h // window.stride_h
        reach_w = (space[at.kw] - 1) * window.dilation_w // window.stride_w
        phases = min(space[at.kh], window.stride_h) * min(space[at.kw], window.stride_w)
        return phases * (lines + (lines // space[at.h] + 1) * reach_h), min(space[at.w], columns) + reach_w

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("a block is larger than the whole result, or the strip than the block", self.blocks_are_used),
            Rule("the accumulators, a row of B and an element of A must fit into the registers", self.fits_registers),
            Rule("fewer than 8 accumulators (4 cycles, 2 a cycle) leave multipliers idle", self.hides_latency),
            Rule("planes, sums and a strip of a group must stay in the second cache", self.fits_cache),
            Rule("the last pixels are too many, or none, for vectors of that length", self.rest_is_few),
        )

    def blocks_are_used(self, c: Config) -> bool:
        m, _, n, _ = self.sizes
        used = c["BLOCK_M"] in up_to(BLOCKS_M, m) and c["BLOCK_N"] in up_to(BLOCKS_N, n)
        strips = up_to(tuple(sorted(STRIPS_N)), min(n, int(c["BLOCK_N"])))
        packed = c["PACK_B"] or c["STRIP_N"] == min(strips[-1], STRIPS_N[0])  # else there are no strips
        return bool(used and c["STRIP_N"] in strips and int(c["TILE_M"]) < 2 * m and packed)

    def fits_registers(self, c: Config) -> bool:
        rows, vectors = int(c["TILE_M"]), int(c["TILE_VECTORS"])
        return rows * vectors + (vectors if rows > 1 else 0) + 1 <= register_file(self.limits)[1]

    def hides_latency(self, c: Config) -> bool:
        m, _, n, _ = self.sizes
        return int(c["TILE_M"]) * int(c["TILE_VECTORS"]) >= min(8, ceil_div(n, self.lanes(c)) * m)

    def fits_cache(self, c: Config) -> bool:
        rows, columns, channels = self.blocks(c)
        sums = rows * columns if channels < self.sizes[1] else 0
        planes = 0 if self.pixels else channels * prod(self.planes(columns))
        strip = min(int(c["STRIP_N"]), columns) * channels * self.sizes[3] * int(c["PACK_B"])
        cache = (*self.limits.cache_nbytes, 0, 0)[1] or 1 << 20
        often = 1 if c["PACK_B"] else 2  # planes in the tiles' own loop want to stay, whatever else comes by
        return (sums + often * planes + strip) * self.nbytes <= cache

    def rest_is_few(self, c: Config) -> bool:
        return c["REST"] == 0 or (c["REST"] == self.few(int(c["VECTOR"])) and c["PACK_B"] == 1)

    def cost(self, c: Config) -> float:
        """About how many vectors' multiply-adds the busiest thread has time for until all is done."""
        (m, _, n, taps), k, lanes = self.sizes, prod(self.problem.space[5:]), self.lanes(c)
        tile_m, tile_v, rest = int(c["TILE_M"]), int(c["TILE_VECTORS"]), int(c["REST"])
        rows, columns, _ = self.blocks(c)
        lines, length = self.planes(columns)
        width, loads = min(self.problem.space[self.at.w], columns), 2 - int(c["PACK_B"])  # those in place lie anywhere
        seen = min(columns, n) - rest if c["PACK_B"] else min(columns, n) * length // width
        tiles, left = divmod(seen, tile_v * lanes)
        half = (tile_v + 1) // 2
        last = 0 if left == 0 else half if left <= half * lanes else tile_v
        parts = ((tile_v, tiles), (last, 1))
        tile = sum(count * max(tile_m * v, tile_m + loads * v + 1) for v, count in parts if v)
        packing = 4 * (tiles * tile_v + last) * int(c["PACK_B"])
        weights = rows / lanes * (2 * ceil_div(columns, int(c["STRIP_N"])) + 1.5 * rest)  # as they are fetched and used
        planes = 0 if self.pixels else lines * (12 + 4 * length / lanes) / taps
        busy = k * (ceil_div(rows, tile_m) * tile + weights + packing + planes)
        groups = ceil_div(m, rows) * ceil_div(n, columns) * self.problem.space[self.at.group]
        uneven = 1 + 0.05 * self.limits.compute_units / groups  # what a thread is kept from, others can do
        return busy * ceil_div(groups, self.limits.compute_units) * uneven


class ConvPlanes:
    """MatmulCpu's register tiles over panels packed from planes, or from the input where one pixel is a patch."""

    name = "conv_planes"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "conv" or limits.language.name != C.name or limits.threads_per_group != 1:
            return EMPTY
        fit = _Fit(problem, limits)
        m, _, n, taps = fit.sizes
        if taps > MOST_TAPS:
            return EMPTY
        choices = {
            "VECTOR": fit.vectors,
            "PACK_A": (0, 1) if fit.weights else (1,),
            "PACK_B": (1,) if fit.pixels else (0, 1),
            "REST": tuple(dict.fromkeys([0, *(fit.few(v) for v in fit.vectors)])),
            "TILE_M": (1, 2, 4, 6, 8, 12),
            "TILE_VECTORS": (1, 2, 3, 4, 8),
            "BLOCK_M": up_to(BLOCKS_M, m),
            "BLOCK_N": up_to(BLOCKS_N, n),
            "BLOCK_K": BLOCKS_K,
            "STRIP_N": STRIPS_N,
        }
        return Space(choices, fit.rules())

    def default(self, problem: Problem, limits: Limits) -> Config:
        """The least cost of those with the deepest blocks that there are."""
        space, fit = self.space(problem, limits), _Fit(problem, limits)
        m, _, n, _ = fit.sizes
        vector, packs = fit.vectors[0], int(fit.weights is None)
        blocks = tuple(product(up_to(BLOCKS_M, m), up_to(BLOCKS_N, n)))
        for depth, strip in product(BLOCKS_K, STRIPS_N):
            found: list[tuple[float, int, Config]] = []
            ways = {(fit.few(vector), 1), (0, 1), (0, 0)}
            for (rows, vectors), (rest, there), (block_m, block_n) in product(TILES, ways, blocks):
                config: Config = {
                    "VECTOR": vector, "PACK_A": packs, "REST": rest, "TILE_M": rows, "TILE_VECTORS": vectors,
                    "BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_K": depth, "STRIP_N": strip, "PACK_B": there,
                }  # fmt: skip
                if space.refusal(config) is None:
                    found.append((fit.cost(config), len(found), config))
            if found:
                return min(found)[2]
        return next(iter(space))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        files = ("turn.c", "matmul_pack.c", "matmul_cpu.c", "conv_planes.c", "conv_blocks.c")
        text = header(problem, False) + _more(problem) + "".join(map(template, files))
        fixed = tuple((name, int(value)) for name, value in config.items())
        defines: tuple[tuple[str, int | str], ...] = (*fixed, ("LAUNCH_WORK", f"(BATCH * M * N * K / {PER_WORK})"))
        entry = entry_name(self.name, problem)
        return Source(entry, parameters(problem, C), text, defines, (1, 1, 1), filename="conv_header.h")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        shape = _Shape(problem)
        m, _, n, _ = shape.sizes
        rows, columns, _ = shape.blocks(config)
        return (ceil_div(n, columns), ceil_div(m, rows), problem.space[shape.at.group])

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


def _more(problem: Problem) -> str:
    """What conv_planes.c asks for besides the header of all convolutions."""
    shape, node = _Shape(problem), conv_of(problem)
    at, window = shape.at, shape.window
    lines = [
        "#define PACKS_ITSELF\n#define DRIVES_ITSELF\n#define LANE_K 1",
        f"#define PERIOD_H {window.stride_h // gcd(window.stride_h, window.dilation_h)}",
        f"#define PERIOD_W {window.stride_w // gcd(window.stride_w, window.dilation_w)}",
        f"#define PIXELS_FLAT {int(shape.pixels_flat)}",
    ]
    if shape.weights_flat:  # along the innermost axis that is one: the others' strides say nothing
        space = problem.space
        tap = "c, 0, p" if space[at.kw] > 1 else "c, p, 0" if space[at.kh] > 1 else "(c) + (p), 0, 0"
        lines += [f"#define TAP_AT(g, o, c, p) LOAD_W(g, o, {tap})"]
    if shape.weights:
        name = f"in{node.src[1].arg}"
        where = address(name, shape.weights, {at.group: "(g)", at.o: "(i)"})
        lines += [f"#define A_AT(g, i, p) ({name} + ({where}) + (p))"]
        lines += [f"#define A_ROW {stride_name(name, shape.weights.strides, at.o)}"]
    if shape.pixels:
        name = f"in{node.src[0].arg}"
        where = address(name, shape.pixels, {at.group: "(g)", at.c: "(c)"})
        lines += [f"#define X_AT(g, c) ({name} + ({where}))"]
        lines += [f"#define X_C {stride_name(name, shape.pixels.strides, at.c)}"]
        lines += [f"#define X_N {stride_name(name, shape.pixels.strides, at.n)}"]
    return "\n".join(lines) + "\n"
