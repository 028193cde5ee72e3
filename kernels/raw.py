"""A kernel that somebody else wrote, in the device's own language, as a problem with one kernel: for `tune_kernel`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Parameter, Source
from tilewright.kernels.problem import Operand, Problem
from tilewright.kernels.space import Config, Space

Three = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class RawArgument:
    """What the kernel is called with at one position: a buffer's dtype, access and shape, or a scalar's `value`."""

    dtype: str
    access: str  # as Parameter's
    shape: tuple[int, ...] = ()
    value: int | float = 0

    @property
    def count(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.count * DTYPES[self.dtype].nbytes


@dataclass(frozen=True, slots=True)
class RawConfig:
    """A valid config, and the groups and the threads per group that go with it."""

    config: Config
    grid: Three
    group: Three


@dataclass(frozen=True)
class Listed(Space):
    """A space whose valid configs have been found already."""

    configs: tuple[Config, ...] = ()

    def __iter__(self) -> Iterator[Config]:
        return iter(self.configs)


@dataclass(frozen=True)
class RawKernel:
    """The one kernel of a raw problem, under the name of its entry; the first of `rows` is the default."""

    name: str
    text: str
    filename: str
    arguments: tuple[RawArgument, ...]
    choices: dict[str, tuple[int | float | str | bool, ...]]
    rows: tuple[RawConfig, ...] = field(repr=False)

    @cached_property
    def _row(self) -> dict[str, RawConfig]:
        return {_canonical(row.config): row for row in self.rows}

    def space(self, problem: Problem, limits: Limits) -> Space:
        return Listed(self.choices, (), tuple(row.config for row in self.rows))

    def default(self, problem: Problem, limits: Limits) -> Config:
        return self.rows[0].config

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        """In the language that the text is in. Raises KeyError for a config that is not among the valid ones."""
        parameters = tuple(Parameter(f"argument_{k}", a.dtype, a.access) for k, a in enumerate(self.arguments))
        defines = tuple((name, int(v) if isinstance(v, bool) else str(v)) for name, v in config.items())
        group = self._row[_canonical(config)].group
        return Source(self.name, parameters, self.text, defines, group, filename=self.filename, raw=True)

    def grid(self, problem: Problem, config: Config) -> Three:
        return self._row[_canonical(config)].grid

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return tuple(a.value for a in self.arguments if a.access == "value")


def _canonical(config: Config) -> str:
    """Equal for configs that differ in the order of their names only; 1, 1.0 and True are told apart."""
    return repr(sorted((name, repr(value)) for name, value in config.items()))


@dataclass(frozen=True, eq=False)
class RawProblem(Problem):
    """What a raw kernel computes from its arguments, known by the `digest` of their data and of what is right.

    A worker process reads the data in `folder`: argument_K.npy of every array, expected_K.npy of what is known to be
    right. `tolerance` is the largest error of a float result that is right, as a share of its size; 0: by its dtype.
    """

    kernel: RawKernel = field(kw_only=True)
    digest: str = field(kw_only=True)
    folder: str = field(kw_only=True)
    tolerance: float = field(kw_only=True)

    @staticmethod
    def of(kernel: RawKernel, digest: str, folder: str, tolerance: float) -> RawProblem:
        operands = [Operand(a.dtype, (1,), 0, a.count) for a in kernel.arguments if a.access != "value"]
        access = [a.access for a in kernel.arguments if a.access != "value"]
        inputs = tuple(o for o, a in zip(operands, access, strict=True) if a != "out")
        outputs = tuple(o for o, a in zip(operands, access, strict=True) if a != "in")
        space = tuple(o.count for o in operands)
        return RawProblem(
            "raw", space, inputs, outputs, (), kernel=kernel, digest=digest, folder=folder, tolerance=tolerance
        )

    @cached_property
    def family(self) -> str:
        """Entry and signature: what other sizes and other data of this kernel share."""
        data = ["raw", self.kernel.name, [[a.dtype, a.access, len(a.shape)] for a in self.kernel.arguments]]
        return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:12]

    @cached_property
    def key(self) -> str:
        """All that a time depends on. A text or a space that changes makes another problem, the nearest to this one."""
        whole = hashlib.sha256(json.dumps(self.dump()).encode()).hexdigest()[:12]
        return f"{self.family}:{'x'.join(map(str, self.space))}:{whole}"

    @cached_property
    def title(self) -> str:
        shapes = ", ".join("x".join(map(str, a.shape)) for a in self.kernel.arguments if a.access in ("out", "inout"))
        return f"raw {self.kernel.name} {shapes} {self.outputs[0].dtype}"

    @property
    def operations(self) -> int:
        """0: nobody counted them."""
        return 0

    @property
    def nbytes(self) -> int:
        """Every array read or written once."""
        return sum(o.count * DTYPES[o.dtype].nbytes for o in (*self.inputs, *self.outputs))

    def to_json(self) -> dict[str, Any]:
        """For a worker process, which finds the rest in `folder`."""
        return {"kind": "raw", "folder": self.folder, "nbytes": self.nbytes, "title": self.title}

    def dump(self) -> dict[str, Any]:
        """All of it but the data, as plain values; `load` makes it again."""
        kernel = self.kernel
        return {
            "name": kernel.name, "text": kernel.text, "filename": kernel.filename,
            "arguments": [[a.dtype, a.access, list(a.shape), a.value] for a in kernel.arguments],
            "choices": {name: list(values) for name, values in kernel.choices.items()},
            "rows": [[row.config, row.grid, row.group] for row in kernel.rows],
            "digest": self.digest, "tolerance": self.tolerance,
        }  # fmt: skip

    @staticmethod
    def load(data: dict[str, Any], folder: str) -> RawProblem:
        arguments = tuple(RawArgument(d, access, tuple(shape), v) for d, access, shape, v in data["arguments"])
        rows = tuple(RawConfig(config, tuple(grid), tuple(group)) for config, grid, group in data["rows"])
        choices = {name: tuple(values) for name, values in data["choices"].items()}
        kernel = RawKernel(data["name"], data["text"], data["filename"], arguments, choices, rows)
        return RawProblem.of(kernel, data["digest"], folder, data["tolerance"])
