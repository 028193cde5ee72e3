"""Every kernel of the cpu at an odd size under AddressSanitizer: `python -m tests.kernels.sanitized`, preloaded.

Buffers end where their last element does, and arrays on the stack have gaps between them, so that a read or a write
outside ends the process with the compiler's report. Compiled without vectors: what is checked is our text. A word
"broken" among the arguments runs a kernel that reads one element too many.
"""

from __future__ import annotations

import ctypes
import random
import sys
from typing import Any

import numpy as np

from tests.kernels.graphs import fused, matmul, transpose
from tests.kernels.test_conv import EDGES
from tests.kernels.test_kernels import GRAPHS
from tests.kernels.test_matmul_narrow import numbers, product
from tests.kernels.test_products import ATTENTION, CONV, floats
from tests.kernels.test_scan import GRAPHS as SCANS
from tilewright.backends.cpu import CpuDevice, c_text
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Buffer, Parameter, Source
from tilewright.kernels import KERNELS
from tilewright.kernels.node import Node
from tilewright.kernels.step import Step

FLAGS = ("-O1", "-g", "-fPIC", "-shared", "-fopenmp-simd", "-pthread", "-std=gnu11", "-w", "-fwrapv", "-march=native",
         "-fsanitize=address,bounds", "-fno-sanitize-recover=all", "-DVECTOR_MATH=0")  # fmt: skip
SIZE, CONFIGS, ALIGNMENT = 37, 1, 64
libc = ctypes.CDLL(None)


class Exact(CpuDevice):
    """The cpu with buffers of exactly the bytes that were asked for, and kernels that watch their accesses."""

    def allocate(self, nbytes: int) -> Buffer:
        place = ctypes.c_void_p()
        assert libc.posix_memalign(ctypes.byref(place), ALIGNMENT, max(nbytes, 1)) == 0 and place.value
        host = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(place.value))
        return Buffer(self, nbytes, place.value, host)

    def build(self, source: Source) -> bytes:
        assert self.compiler is not None
        log, library = self.compiler._run(c_text(source), FLAGS)
        assert library is not None, log
        return library


def graphs() -> list[list[Node]]:
    products = [matmul(floats(SIZE, 29), floats(29, 41)), matmul(transpose(floats(29, SIZE)), floats(29, 5))]
    products += [matmul(floats(3, 1, 29), floats(3, 29, 11)), matmul(floats(SIZE, 300), transpose(floats(33, 300)))]
    products += [matmul(floats(41, 530), floats(530, 70)), matmul(floats(50, 60), floats(60, 10))]
    narrow = (("bfloat16",) * 3, ("float16",) * 3, ("int8", "int8", "int32"), ("int16", "uint8", "int32"))
    for left, right, summed in narrow:
        for k in (29, 64):  # words in part, and read in place
            products += [product(numbers(left, SIZE, k), numbers(right, k, 41), summed)]
            turned = transpose(numbers(left, k, SIZE)), transpose(numbers(right, 41, k))
            products += [product(*turned, summed)]
    products += [ATTENTION[name]() for name in ("odd sizes", "causal, more keys", "number mask")]
    for name in ("3x3", "strided", "padded at the end only", "depthwise, dilated", "depthwise, channels"):
        products += [CONV[name](layout) for layout in ("NCHW", "NHWC")]
    for name in ("one tap, images", "residues", "49 pixels", "three pixels", "stored otherwise", "prologues"):
        products += [EDGES[name](layout) for layout in ("NCHW", "NHWC")]
    scans = [[make(SIZE)] for make in SCANS.values()]
    return [*(make(SIZE) for make in GRAPHS.values()), *scans, *([product] for product in products)]


def run(step: Step, device: Exact) -> int:
    """Launch every kernel with its default and some other configs; how many that was."""
    problem, done = step.problem, 0
    operands = (*problem.outputs, *problem.inputs)
    for kernel in KERNELS[problem.kind]:
        configs = list(kernel.space(problem, device.limits))
        if not configs:
            continue
        others = random.Random(SIZE).sample(configs, min(CONFIGS, len(configs)))
        for config in (kernel.default(problem, device.limits), *others):
            buffers = [device.allocate(o.count * DTYPES[o.dtype].nbytes) for o in operands]
            for buffer, node in zip(buffers[len(problem.outputs) :], step.inputs, strict=True):
                buffer.host[:] = 0
                if node.op == "buffer":
                    device.write(buffer, np.ascontiguousarray(node.arg).reshape(-1).view(np.uint8))
            source = kernel.render(problem, config, device.limits.language)
            program = device.load(device.build(source), source)
            program.bind(kernel.grid(problem, config), *buffers, *kernel.values(problem, config))()
            done += 1
    return done


def broken(device: Exact) -> None:
    parameters = (Parameter("out", "float32", "out"), Parameter("x", "float32", "in"))
    source = Source("broken", parameters, "KERNEL { out[0] = x[SIZE]; }\n", (("SIZE", SIZE),), (1, 1, 1))
    device.load(device.build(source), source).bind((1, 1, 1), device.allocate(4), device.allocate(4 * SIZE))()


def main(arguments: list[Any]) -> None:
    device = Exact()
    if "broken" in arguments:
        broken(device)
    steps = [step for roots in graphs() for step in fused(*roots, limits=device.limits)]
    print(f"{sum(run(step, device) for step in steps)} launches, every access inside")


if __name__ == "__main__":
    main(sys.argv[1:])
