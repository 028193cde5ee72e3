"""Runs a problem on a device with poisoned, guarded outputs and compares with the oracle."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tests.kernels.graphs import store
from tilewright.backends.cache import load_program
from tilewright.backends.dtypes import DTYPES, PARTS, numpy_dtype
from tilewright.backends.protocol import Device
from tilewright.kernels import KERNELS, Kernel
from tilewright.kernels.oracle import reference
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import Config
from tilewright.kernels.step import Step

CANARY = 64  # bytes behind each output that nothing may touch
TOLERANCE = {"float16": 4 * 2.0**-11, "bfloat16": 4 * 2.0**-8, "float32": 512 * 2.0**-24, "float64": 512 * 2.0**-53}
TOLERANCE |= {dtype: TOLERANCE[part] for dtype, part in PARTS.items()}
"""Of max(1, |result|), in roundings: 2^-24 is one of float32. Values are of order 1.

Of 32 and 64 bits 512: a sum of n terms rounds n partial sums of order sqrt(n), up or down by chance, so that it errs by
about n / sqrt(2) roundings where it is made one by one, and 1 / 8 to 1 / 16 of that in as many lanes; 4096 terms make
360 at most. From there on blocks that err by themselves are added, and the bound grows with the root of n. Elementary
functions err by a few of their own. The most that was seen is 62.
Of 16 bits 4: computed as float32, they are rounded when they are stored, once in a kernel and once in what it reads.
"""


def pick(problem: Problem, device: Device) -> tuple[Kernel, Config]:
    """The first kernel that applies, with its default config."""
    for kernel in KERNELS[problem.kind]:
        if any(True for _ in kernel.space(problem, device.limits)):
            return kernel, kernel.default(problem, device.limits)
    raise AssertionError(f"no kernel for {problem.title} on {device.name}")


def check_steps(steps: list[Step], device: Device, kernel: Kernel | None = None, config: Config | None = None) -> None:
    """Run the steps one after the other on `device`; each result must match the oracle's."""
    data: dict[int, np.ndarray[Any, Any]] = {}
    for step in steps:
        inputs = []
        for node, operand in zip(step.inputs, step.problem.inputs, strict=True):
            if node.op == "buffer":
                inputs.append(np.ascontiguousarray(node.arg).reshape(-1))
            else:
                if id(node) not in data:  # a step taken out of its plan: any values do
                    values = np.random.default_rng(5).standard_normal(operand.count)
                    data[id(node)] = values.astype(numpy_dtype(operand.dtype))
                inputs.append(data[id(node)])
        before = [data.get(id(node)) for node in step.outputs]
        results = run_problem(step.problem, inputs, before, device, kernel, config)
        for node, result in zip(step.outputs, results, strict=True):
            data[id(node)] = result


def run_problem(
    problem: Problem, inputs: list[Any], before: list[Any], device: Device, kernel: Kernel | None = None,
    config: Config | None = None,
) -> list[Any]:  # fmt: skip
    """Launch once; compare all of every output buffer, and the canary behind it."""
    if kernel is None or config is None:
        kernel, config = pick(problem, device)
    program = load_program(device, kernel.render(problem, config, device.limits.language))
    buffers, filled = [], []
    for operand, old in zip(problem.outputs, before, strict=True):
        nbytes = operand.count * DTYPES[operand.dtype].nbytes
        image = np.full(nbytes + CANARY, 0xFF, np.uint8)
        if old is not None:
            image[:nbytes] = old.view(np.uint8)
        buffers.append(device.allocate(image.nbytes))
        device.write(buffers[-1], image)
        filled.append(image)
    sources = []
    for array in inputs:
        sources.append(device.allocate(array.nbytes))
        if array.nbytes:
            device.write(sources[-1], np.ascontiguousarray(array).view(np.uint8))
    program.bind(kernel.grid(problem, config), *buffers, *sources, *kernel.values(problem, config))()
    wanted = reference(problem, inputs)
    found = []
    for k, (operand, buffer, image) in enumerate(zip(problem.outputs, buffers, filled, strict=True)):
        raw = np.frombuffer(device.read(buffer, image.nbytes), np.uint8)
        assert (raw[-CANARY:] == 0xFF).all(), f"{problem.title}: {kernel.name} {config} wrote behind output {k}"
        dtype = numpy_dtype(operand.dtype)
        got = raw[:-CANARY].view(dtype)
        expected = image[:-CANARY].view(dtype).copy()
        store(expected, problem, operand, wanted[k])
        compare(
            got,
            expected,
            operand.dtype,
            f"{problem.title} on {device.name}: {kernel.name} {config}",
            prod(problem.space),
        )
        found.append(got.copy())
    return found


def compare(got: Any, expected: Any, dtype: str, what: str, terms: int) -> None:
    """Equal for integers and bools; for floats within a bound that grows with the root of the terms summed."""
    if dtype not in TOLERANCE:
        np.testing.assert_array_equal(got, expected, err_msg=what)
        return
    bound = TOLERANCE[dtype] * max(1.0, terms**0.5 / 64)
    wide = np.complex128 if dtype in PARTS else np.float64
    np.testing.assert_allclose(got.astype(wide), expected.astype(wide), rtol=bound, atol=bound, err_msg=what)
