"""Attention for a CPU whose compiler makes vectors of neighbouring threads: AttentionCpu's, told in threads."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.attention import BLOCKS_M, TILES, WIDE_TILES, AttentionCpu, attention_of, header
from tilewright.kernels.emit import entry_name, parameters
from tilewright.kernels.matmul_header import template
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, register_file, up_to


class AttentionLanes(AttentionCpu):
    """The same blocks and tiles; a group has a thread for every lane of a vector."""

    name = "attention_lanes"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "attention" or limits.lanes == 1:
            return EMPTY
        found = super().space(problem, replace(limits, threads_per_group=1))
        fits = Rule(
            "scores, keys, values, queries and their sums must fit into a group's local memory",
            lambda c: _local_nbytes(problem, c) <= limits.shared_nbytes,
        )
        return Space(found.choices, (*found.rules, fits))

    def default(self, problem: Problem, limits: Limits) -> Config:
        """As large blocks of queries as leave every thread a few, and of keys as then fit."""
        space, (m, _, n, _), groups = self.space(problem, limits), problem.space[-4:], prod(problem.space[:-4])
        heights = up_to(BLOCKS_M, m)[::-1]
        busy = [b for b in heights if groups * -(-m // b) >= 4 * limits.compute_units]
        vector, registers = register_file(limits)
        for height in busy or heights[-1:]:
            for keys in (k for k in (256, 128, 64, 32) if k <= up_to((32, 64, 128, 256), n)[-1]):
                for rows, width in (*(WIDE_TILES if registers >= 32 else ()), *TILES):
                    config: Config = {
                        "VECTOR": vector, "BLOCK_M": height, "BLOCK_N": keys, "TILE_M": rows, "TILE_VECTORS": width,
                    }  # fmt: skip
                    if space.refusal(config) is None:
                        return config
        return next(iter(space))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        _, element, _, depth = problem.space[-4:]
        text = header(problem) + template("attention_lanes.c")
        fixed = {**config, "HEAD_D": depth, "HEAD_E": element}
        defines = tuple((name, int(value)) for name, value in fixed.items())
        group = (int(config["VECTOR"]) // _nbytes(problem), 1, 1)
        entry = entry_name(self.name, problem)
        return Source(entry, parameters(problem, C), text, defines, group, filename="attention_header.h")


def _nbytes(problem: Problem) -> int:
    """Bytes of a score."""
    return DTYPES[DTYPES[attention_of(problem).dtype].compute].nbytes


def _local_nbytes(problem: Problem, config: Config) -> int:
    """Of the arrays in attention_lanes.c."""
    _, element, _, depth = problem.space[-4:]
    lanes = int(config["VECTOR"]) // _nbytes(problem)
    tile_n = int(config["TILE_VECTORS"]) * lanes
    rows = -(-int(config["BLOCK_M"]) // int(config["TILE_M"])) * int(config["TILE_M"])
    keys, width = (-(-extent // tile_n) * tile_n for extent in (int(config["BLOCK_N"]), element))
    return (rows * (keys + width + depth + 2 * lanes) + keys * (depth + width)) * _nbytes(problem)
