"""Matrix product for a CPU whose compiler makes vectors of neighbouring threads: MatmulCpu's, told in threads."""

from __future__ import annotations

from dataclasses import replace

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.matmul_cpu import MatmulCpu, source
from tilewright.kernels.matmul_header import DEPTH, sum_nbytes, template
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space


class MatmulLanes(MatmulCpu):
    """The same blocks, panels and tiles; a group has a thread for every lane of a vector, and all of them pack."""

    name = "matmul_lanes"

    def __init__(self) -> None:
        super().__init__(lanes=False)  # narrow factors are widened

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "matmul" or limits.lanes == 1:
            return EMPTY
        found = super().space(problem, _alone(limits))
        fits = Rule(
            "what a group works on must fit into its local memory",
            lambda c: _local_count(problem, c) * sum_nbytes(problem) <= limits.shared_nbytes,
        )
        return Space(found.choices, (*found.rules, fits))

    def default(self, problem: Problem, limits: Limits) -> Config:
        return super().default(problem, _alone(limits))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        nbytes = sum_nbytes(problem)
        extra = {"PARTIAL": int(_partial(problem, config)), "ACC_NBYTES": nbytes}
        made = source(self.name, problem, config, template("turn.c"), extra)
        return replace(made, group=(int(config["VECTOR"]) // nbytes, 1, 1))


def _alone(limits: Limits) -> Limits:
    """As seen by a template whose factors may be read in place, which has rules of its own for local memory."""
    return replace(limits, threads_per_group=1)


def _partial(problem: Problem, config: Config) -> bool:
    """Whether sums are added to, one block of the depth after the other."""
    return problem.space[DEPTH] > int(config["BLOCK_K"])


def _local_count(problem: Problem, config: Config) -> int:
    """Elements of the arrays in matmul_lanes.c."""
    tile_m, lanes = int(config["TILE_M"]), int(config["VECTOR"]) // sum_nbytes(problem)
    tile_n, depth = int(config["TILE_VECTORS"]) * lanes, int(config["BLOCK_K"])
    rows, columns, strip = (
        -(-int(config[name]) // tile) * tile
        for name, tile in (("BLOCK_M", tile_m), ("BLOCK_N", tile_n), ("STRIP_N", tile_n))
    )
    panels = (rows * int(config["PACK_A"]) + strip * int(config["PACK_B"])) * depth
    return panels + (rows * columns if _partial(problem, config) else tile_m * tile_n)
