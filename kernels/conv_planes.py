"""Convolution on CPUs through planes."""

from __future__ import annotations

from math import gcd, prod

from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.conv import conv_of, header, _plain, _dense
from tilewright.kernels.emit import address, entry_name, parameters, values
from tilewright.kernels.matmul_cpu import BLOCKS_K, BLOCKS_M, BLOCKS_N, STRIPS_N, register_file, up_to
from tilewright.kernels.matmul_header import PER_WORK, stride_name, template
from tilewright.kernels.node import toposort
from tilewright.kernels.problem import Problem
from tilewright.kernels.products import AXES, Window
from tilewright.kernels.space import EMPTY, Config, Rule, Space


def _ceil(a, b):
    return -(-a // b)


def _share(extent: int, block: int, tile: int) -> int:
    return _ceil(_ceil(extent, _ceil(extent, block)), tile) * tile


def _flat(problem: Problem) -> bool:
    node = conv_of(problem)
    at = AXES[node.arg[0]]
    if any(n.op == "iota" and n.arg in (at.h, at.w) for n in toposort(problem.body)):
        return False
    loads = {n.arg for root in problem.body for n in toposort([root]) if n.op == "load"}
    inner = {n.arg for s in node.src[:2] for n in toposort([s]) if n.op == "load"}
    operands = [*problem.outputs, *(problem.inputs[k] for k in loads - inner)]
    return all(o.strides[at.h] == o.strides[at.w] * problem.space[at.w] for o in operands)


class ConvPlanes:
    name = "conv_planes"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "conv" or limits.language.name != C.name or limits.threads_per_group != 1:
            return EMPTY
        at = AXES[conv_of(problem).arg[0]]
        s = problem.space
        m, n, k = s[at.o], s[at.n] * s[at.h] * s[at.w], prod(s[5:])
        return Space({
            "VECTOR": (64, 32, 16), "PACK_A": (0, 1), "BLOCK_M": (32, 64, 96, 128, 192, 256, 384, 512, 1024), "BLOCK_N": (64, 128, 256, 392, 512, 784, 1024, 2048, 4096), "BLOCK_K": (64, 128, 256, 512),
            "REST": (0, n % 16) if n % 16 in (1, 2, 3, 4) else (0,), "STRIP_N": (64, 128, 256, 512), "TILE_M": (1, 2, 4, 6, 8, 12, 24), "TILE_VECTORS": (1, 2, 3, 4, 8),
        })

    def default(self, problem: Problem, limits: Limits) -> Config:
        at = AXES[conv_of(problem).arg[0]]
        s = problem.space
        n = s[at.n] * s[at.h] * s[at.w]
        return {"REST": n % 16 if n % 16 in (1, 2, 3, 4) else 0, "VECTOR": 64, "PACK_A": 0, "BLOCK_M": 1024, "BLOCK_N": 512, "BLOCK_K": 256, "STRIP_N": 128, "TILE_M": 8, "TILE_VECTORS": 2}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        node = conv_of(problem)
        w = Window(*node.arg)
        at = AXES[w.layout]
        more = [f"#define PERIOD_H {w.stride_h // gcd(w.stride_h, w.dilation_h)}", f"#define PERIOD_W {w.stride_w // gcd(w.stride_w, w.dilation_w)}",
            f"#define PIXELS_FLAT {int(_flat(problem))}", "#define PACKS_ITSELF", "#define DRIVES_ITSELF", "#undef A_AT", "#undef A_ROW"]
        operand = _plain(problem, 1)
        name = f"in{node.src[1].arg}"
        more += [
            f"#define A_AT(b, i, p) ({name} + ({address(name, operand, {at.group: '(b)', at.o: '(i)'})}) + (p))",
            f"#define A_ROW {stride_name(name, operand.strides, at.o)}"]
        text = header(problem, False) + "\n".join(more) + "\n" + template("matmul_cpu.c") + template("conv_planes.c")
        fixed = tuple((n, int(v)) for n, v in config.items())
        defines = (*fixed, ("LAUNCH_WORK", f"(BATCH * M * N * K / {PER_WORK})"))
        return Source(entry_name(self.name, problem), parameters(problem, C), text, defines, (1, 1, 1), filename="conv_header.h")

    def grid(self, problem: Problem, config: Config):
        at, s = AXES[conv_of(problem).arg[0]], problem.space
        m, n = s[at.o], s[at.n] * s[at.h] * s[at.w]
        tile_n = int(config["TILE_VECTORS"]) * int(config["VECTOR"]) // 4
        return (_ceil(n, _share(n, config["BLOCK_N"], tile_n)), _ceil(m, _share(m, config["BLOCK_M"], config["TILE_M"])), s[at.group])

    def values(self, problem: Problem, config: Config):
        return values(problem)
