"""Ways to run problems that come as programs, not as text: native ops that somebody registers, and `arrays`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tilewright.backends.cache import load_program
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Device, Limits, Program, Source, Unsupported
from tilewright.kernels.emit import scalar_argument
from tilewright.kernels.problem import Kernel, Problem
from tilewright.kernels.space import Config, Space

Make = Callable[[Problem, Device], Program | None]
"""The program of a problem on a device, None where it does not take that one. It is bound as a kernel of ours is:
outputs, inputs, then the problem's scalars; its grid is (1, 1, 1) and may be ignored."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A kernel that has nothing to choose and nothing to compile. `version` is what its records are valid for."""

    name: str
    make: Make = field(compare=False)
    version: str = ""

    def space(self, problem: Problem, limits: Limits) -> Space:
        return Space({})

    def default(self, problem: Problem, limits: Limits) -> Config:
        return {}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        raise Unsupported(f"{self.name} has no text")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (1, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return tuple(scalar_argument(dtype, value) for dtype, value in problem.scalars)


def program_of(kernel: Kernel, problem: Problem, config: Config, device: Device) -> Program:
    """Built and loaded, from the cache or anew. Raises CompileError, Unsupported."""
    if not isinstance(kernel, Ready):
        return load_program(device, kernel.render(problem, config, device.limits.language))
    program = kernel.make(problem, device)
    if program is None:
        raise Unsupported(f"{kernel.name} does not take {problem.title} on {device.name}")
    return program
