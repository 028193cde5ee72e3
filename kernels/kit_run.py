"""Running graphs for checks: every step on poisoned, guarded outputs, compared with the oracle in ulp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES, numpy_dtype
from tilewright.backends.kit import broken
from tilewright.backends.protocol import Device
from tilewright.kernels import kernels_for
from tilewright.kernels.fuse import fuse
from tilewright.kernels.node import Node, View
from tilewright.kernels.oracle import reference, scattered_places, window
from tilewright.kernels.problem import Kernel, Operand, Problem
from tilewright.kernels.ready import program_of
from tilewright.kernels.space import Config
from tilewright.kernels.step import Step

Array = np.ndarray[Any, Any]
CANARY_NBYTES = 64
_SIGNIFICANT = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}
_LEAST_EXPONENT = {"float16": -14, "bfloat16": -126, "float32": -126, "float64": -1022}


@dataclass(slots=True)
class Worst:
    """The largest error seen so far, in units of the last place of the result, and how many problems ran."""

    ulps: float = 0.0
    problems: int = 0


def ulp_errors(got: Array, expected: Array, dtype: str, parts: Array | float = 0.0) -> Array:
    """|got - expected| in units of the last place, as `dtype`, of `expected` or of `parts` where those are larger.

    Infinite where one is NaN or infinite and the other differs. `expected` may be wider than `dtype`.
    """
    with np.errstate(all="ignore"):
        wide: Any = np.longdouble if dtype == "float64" else np.float64
        value, wanted = got.astype(wide), expected.astype(wide)
        rounded = expected.astype(numpy_dtype(dtype)).astype(wide)  # what overflows is infinite
        size = np.maximum(np.abs(np.where(np.isfinite(wanted), wanted, 0)), parts)
        exponent = np.maximum(np.frexp(size)[1] - 1, _LEAST_EXPONENT[dtype])
        unit = np.ldexp(wide(1), exponent - _SIGNIFICANT[dtype])
        errors = np.abs(value - wanted) / unit
        same = (value == rounded) | (np.isnan(value) & np.isnan(rounded))
        off = ~np.isfinite(value) | ~np.isfinite(rounded)
        return np.where(same, np.where(np.isfinite(errors), np.minimum(errors, 1), 0), np.where(off, np.inf, errors))


def pick(problem: Problem, device: Device) -> tuple[Kernel, Config]:
    """The first kernel that applies, with its default config. Raises Broken where none does."""
    for kernel in kernels_for(problem.kind, device.limits):
        if any(True for _ in kernel.space(problem, device.limits)):
            return kernel, kernel.default(problem, device.limits)
    broken(f"no kernel applies to {problem.title} with these limits")


def run_graph(
    roots: list[Node], device: Device, ulps: float, worst: Worst, chosen: tuple[Kernel, Config] | None = None
) -> None:
    """Fuse `roots` (leaves hold NumPy arrays), run each step, and compare each output. Raises Broken.

    `ulps` is the error allowed of a float result; `chosen` replaces the default where a step's kind is the kernel's.
    """
    data: dict[int, Array] = {}
    for step in fuse(roots, device.limits):
        inputs = [_input(node, data) for node in step.inputs]
        before = [data.get(id(node)) for node in step.outputs]
        kernel, config = pick(step.problem, device)
        if chosen is not None and chosen[0].space(step.problem, device.limits).refusal(chosen[1]) is None:
            kernel, config = chosen
        results = run_problem(step, inputs, before, device, kernel, config, ulps, worst)
        for node, result in zip(step.outputs, results, strict=True):
            data[id(node)] = result


def _input(node: Node, data: dict[int, Array]) -> Array:
    return np.ascontiguousarray(node.arg).reshape(-1) if node.op == "buffer" else data[id(node)]


def run_problem(
    step: Step, inputs: list[Array], before: list[Any], device: Device, kernel: Kernel, config: Config, ulps: float,
    worst: Worst,
) -> list[Array]:  # fmt: skip
    """Launch once; compare all of every output's buffer, and the canary behind it."""
    problem = step.problem
    what = f"{problem.title}, kernel {kernel.name} {config}"
    images = [_image(o, old) for o, old in zip(problem.outputs, before, strict=True)]
    buffers = [device.allocate(image.nbytes) for image in images]
    for buffer, image in zip(buffers, images, strict=True):
        device.write(buffer, image)
    sources = [device.allocate(array.nbytes + CANARY_NBYTES) for array in inputs]
    for buffer, array in zip(sources, inputs, strict=True):
        device.write(buffer, array.view(np.uint8).tobytes() + bytes(CANARY_NBYTES))  # what a read too far would find
    program = program_of(kernel, problem, config, device)
    program.bind(kernel.grid(problem, config), *buffers, *sources, *kernel.values(problem, config))()
    device.synchronize()
    wanted = reference(problem, inputs)
    results = []
    for k, (operand, buffer, image) in enumerate(zip(problem.outputs, buffers, images, strict=True)):
        raw = np.frombuffer(device.read(buffer, image.nbytes), np.uint8)
        if (raw[-CANARY_NBYTES:] != image[-CANARY_NBYTES:]).any():
            broken(f"{what}: wrote behind the end of output {k}")
        dtype = numpy_dtype(operand.dtype)
        got, before_launch = (x[:-CANARY_NBYTES].view(dtype) for x in (raw, image))
        _compare(got, before_launch, problem, k, wanted[k], ulps, worst, what, inputs)
        results.append(got.copy())
    worst.problems += 1
    return results


def _image(operand: Operand, old: Array | None) -> Array:
    """What an output's buffer holds before the launch: poison, or what a write replaces part of; then the canary."""
    nbytes = operand.count * DTYPES[operand.dtype].nbytes
    image = np.full(nbytes + CANARY_NBYTES, 0xFF, np.uint8)
    if old is not None:
        image[:nbytes] = old.view(np.uint8)
    return image


def _compare(
    got: Array, before: Array, problem: Problem, k: int, wanted: Array, ulps: float, worst: Worst, what: str,
    inputs: list[Array],
) -> None:  # fmt: skip
    operand = problem.outputs[k]
    at = scattered_places(problem, inputs) if problem.kind == "scatter" else None
    strides = operand.strides[: wanted.ndim] if at is None else (1,)
    if problem.kind == "reduce" and problem.parts > 1:
        strides = (*operand.strides[: wanted.ndim - 1], 1)
    view = View(wanted.shape, strides, operand.offset)
    touched = np.zeros(got.size, bool)
    if at is None:
        window(touched, view)[...] = True
    else:
        touched[at] = True
    width = f"u{got.itemsize}"
    stray = ~touched & (got.view(width) != before.view(width))
    if stray.any():
        broken(f"{what}: wrote element {int(np.argmax(stray))} of output {k}, which is not part of the result")
    values = window(got, view) if at is None else got[at]
    if values.size == 0:
        return
    if DTYPES[operand.dtype].kind == "f":
        errors = ulp_errors(values, wanted, operand.dtype)
        worst.ulps = max(worst.ulps, float(errors.max()))
        wrong = errors > ulps
    else:
        errors, wrong = None, values.view(width) != np.ascontiguousarray(wanted).astype(got.dtype).view(width)
    if wrong.any():
        first = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        by = f", {errors[first]:.3g} ulp off where {ulps:.3g} are allowed" if errors is not None else ""
        place = tuple(map(int, first))
        count = f"{int(wrong.sum())} of {wrong.size} wrong"
        broken(f"{what}: element {place} is {values[first]} instead of {wanted[first]}{by} ({count})")
