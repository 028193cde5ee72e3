"""Checking and timing the configs of a raw problem; runs inside the worker process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.backends.cache import load_program
from tilewright.backends.dtypes import DTYPES, numpy_dtype
from tilewright.backends.protocol import Argument, Buffer, Device, Launch
from tilewright.kernels.problem import Operand, Problem
from tilewright.kernels.raw import RawArgument, RawProblem
from tilewright.kernels.space import Config
from tilewright.tuner.bench import Bench
from tilewright.tuner.check import WrongResult, poison
from tilewright.tuner.numerics import Deviation, ulps, worst
from tilewright.tuner.policy import Policy
from tilewright.tuner.prepare import Bound, Candidate

Array = np.ndarray[Any, Any]


def problem_of(data: dict[str, Any]) -> Problem:
    """The problem that `to_json` gave as `data`."""
    if data["kind"] != "raw":
        return Problem.from_json(data)
    return RawProblem.load(json.loads((Path(data["folder"]) / "problem.json").read_text()), data["folder"])


def bench_of(data: dict[str, Any], device: Device, stage: Callable[[str], None], policy: Policy) -> Bench:
    problem = problem_of(data)
    return (RawBench if isinstance(problem, RawProblem) else Bench)(problem, device, stage, policy)


def bind(
    problem: RawProblem, config: Config, device: Device, buffers: Sequence[Buffer], values: Sequence[int | float]
) -> Launch:
    """The kernel's launch, with array and scalar arguments in their order. Raises what building and binding raise."""
    program = load_program(device, problem.kernel.render(problem, config))
    arrays, scalars = iter(buffers), iter(values)
    access = [a.access for a in problem.kernel.arguments]
    arguments: list[Argument] = [next(scalars) if a == "value" else next(arrays) for a in access]
    return program.bind(problem.kernel.grid(problem, config), *arguments)


class RawBench(Bench):
    """A raw problem with its arguments on `device`, all of them written anew before each check.

    What is right comes from expected_K.npy, else from the default config, which then must work. Raises OutOfMemory.
    """

    problem: RawProblem

    def _allocate(self) -> None:
        self._arrays = [(k, a) for k, a in enumerate(self.problem.kernel.arguments) if a.access != "value"]
        self._contents = [_content(Path(self.problem.folder), k, a) for k, a in self._arrays]
        self._buffers = [self.device.allocate(len(content)) for content in self._contents]
        self._expected: dict[int, Array] | None = None

    def _ready(self, candidate: Candidate) -> Bound:
        """Built, loaded, bound, run once and found right, which is remembered."""
        name = candidate.name
        if name in self._checked:
            return self._bound[name]
        if self._expected is None:
            self._stage("prepare")  # a failure here is the problem's, not the candidate's
            self._expected = self._known() or self._first_results()
        self._stage("build")
        launch = self._launch(candidate.config)
        results = self._run(launch)
        self._checked[name] = worst(
            compare(a, self._expected[k], results[k], k, self.problem.tolerance) for k, a in self._written()
        )
        self._bound[name] = Bound((launch,), (), (), ())
        return self._bound[name]

    def _launch(self, config: Config) -> Launch:
        values = self.problem.kernel.values(self.problem, config)
        return bind(self.problem, config, self.device, self._buffers, values)

    def _written(self) -> list[tuple[int, RawArgument]]:
        return [(k, a) for k, a in self._arrays if a.access != "in"]

    def _run(self, launch: Launch) -> dict[int, Array]:
        """The written arrays after one run from the arguments as they were given. Raises WrongResult."""
        self._stage("check")
        for buffer, content in zip(self._buffers, self._contents, strict=True):
            self.device.write(buffer, content)
        self._stage("run")
        launch()
        self.device.synchronize()
        self._stage("check")
        results = {}
        for (k, a), buffer, content in zip(self._arrays, self._buffers, self._contents, strict=True):
            data = self.device.read(buffer, len(content))
            if a.access == "in":
                if data != content:
                    raise WrongResult(f"argument {k}: was changed, and is not among the outputs or updates")
            else:
                results[k] = _result(k, a, data, content)
        return results

    def _known(self) -> dict[int, Array]:
        paths = {k: Path(self.problem.folder) / f"expected_{k}.npy" for k, _ in self._written()}
        return {k: np.load(path).reshape(-1) for k, path in paths.items() if path.exists()}

    def _first_results(self) -> dict[int, Array]:
        """What the default config writes. Its failure is told as what keeps all others from being checked."""
        results = self._run(self._launch(self.problem.kernel.rows[0].config))
        self._stage("prepare")
        return results


def _content(folder: Path, k: int, a: RawArgument) -> bytes:
    """What argument `k` holds before each check: its data or poison, and behind what may be written a canary."""
    data = b"" if a.access == "out" else np.load(folder / f"argument_{k}.npy").tobytes()
    if a.access == "in":
        return data
    return data + poison(Operand(a.dtype, (1,), 0, a.count if a.access == "out" else 0))


def _result(k: int, a: RawArgument, data: bytes | bytearray, content: bytes) -> Array:
    if data[a.nbytes :] != content[a.nbytes :]:
        raise WrongResult(f"argument {k}: wrote past the end of its buffer")
    if a.access == "out" and DTYPES[a.dtype].kind in "fbc":
        marks = np.dtype((np.void, DTYPES[a.dtype].nbytes))
        if stale := int((np.frombuffer(data, marks, a.count) == np.frombuffer(content, marks, 1)).sum()):
            raise WrongResult(f"argument {k}: {stale} elements were not written; what is changed in part, or read "
                              "first, belongs among the updates")  # fmt: skip
    return np.frombuffer(data, numpy_dtype(a.dtype), a.count)


@np.errstate(all="ignore")  # among the values may be anything
def compare(a: RawArgument, expected: Array, got: Array, k: int, tolerance: float) -> Deviation:
    """The largest error. What is tolerated is `tolerance`, or eps ** 0.6, of each value's size.

    A value counts as no smaller than the root mean square of all: where terms cancel, the error is that of the terms.
    eps ** 0.6 is 7e-5 for float32 and 4e-10 for float64. Integers must be equal. Raises WrongResult.
    """
    kind = DTYPES[a.dtype].kind
    if kind not in "fc":
        if wrong := int((got != expected).sum()):
            raise WrongResult(f"argument {k}: {wrong} of {got.size} elements are wrong{_first(a, got, expected)}")
        return Deviation(0.0, 0.0)
    wide, right = (x.astype(np.complex128 if kind == "c" else np.float64) for x in (got, expected))
    finite = np.isfinite(right)
    scale = float(np.sqrt(np.mean(np.square(np.abs(right[finite]))))) if finite.any() else 1.0
    eps = 2.0**-7 if a.dtype == "bfloat16" else float(np.finfo(a.dtype).eps)
    allowed = (tolerance or eps**0.6) * np.maximum(np.abs(right), scale) + 1e-37
    same = (wide == right) | (np.isnan(wide) & np.isnan(right))
    share = np.where(same, 0.0, np.where(finite & np.isfinite(wide), np.abs(wide - right) / allowed, np.inf))
    if wrong := int((share > 1).sum()):
        raise WrongResult(f"argument {k}: {wrong} of {got.size} elements are wrong{_first(a, got, expected, share)}")
    return Deviation(float(share.max(initial=0.0)), ulps(got, expected))


def _first(a: RawArgument, got: Array, expected: Array, share: Array | None = None) -> str:
    """Where it is worst, and how."""
    at = int(np.argmax(got != expected if share is None else share))
    where = ", ".join(str(int(i)) for i in np.unravel_index(at, a.shape))
    return f", such as [{where}]: {got[at]} where {expected[at]} is right"
