"""Matrix product on CPUs of vectors and thin matrices: dot products along k."""

from __future__ import annotations

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import values
from tilewright.kernels.matmul_cpu import source
from tilewright.kernels.matmul_header import Factor, oriented
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ceil_div, register_file, up_to

THIN = 4  # rows or columns up to which it applies


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
        share = ceil_div(n * problem.space[0], limits.compute_units)
        block = next((b for b in (512, 128, 32) if b <= share and b in up_to(self.BLOCKS_N, n)), self.BLOCKS_N[0])
        tile = {"TILE_M": rows, "TILE_N": columns, "BLOCK_N": block}
        return {"VECTOR": register_file(limits)[0], **tile, "SWAP": int(swap)}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        def in_place(factor: Factor) -> int:
            return int(factor.load is not None and problem.inputs[factor.load].strides[3] == 1)

        first, second, _, _ = oriented(problem, bool(config["SWAP"]))
        return source(self.name, problem, config, extra={"A_IN_PLACE": in_place(first), "B_IN_PLACE": in_place(second)})

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        _, _, _, n = oriented(problem, bool(config["SWAP"]))
        return (ceil_div(n, int(config["BLOCK_N"])), 1, problem.space[0])

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)
