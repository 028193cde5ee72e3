"""Matrix product for a CPU whose compiler makes vectors of neighbouring threads: MatmulCpu's, told in threads."""

from __future__ import annotations

from dataclasses import replace

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.matmul_cpu import MatmulCpu
from tilewright.kernels.matmul_header import sum_nbytes
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Space


class MatmulLanes(MatmulCpu):
    """The same blocks, panels and tiles; a group has a thread for every lane of a vector, and all of them pack."""

    name = "matmul_lanes"

    def space(self, problem: Problem, limits: Limits) -> Space:
        return super().space(problem, limits) if limits.lanes > 1 else EMPTY

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        lanes = int(config["VECTOR"]) // sum_nbytes(problem)
        return replace(super().render(problem, config, language), group=(lanes, 1, 1))
