"""`tw.tune_kernel`: kernels that are not ours, tuned like ours. Imported when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.array import Array, wrap
from tilewright.backends.protocol import Buffer
from tilewright.creation import asarray
from tilewright.dtypes import object_of
from tilewright.kernels.node import Node
from tilewright.kernels.raw import RawArgument
from tilewright.kernels.space import Config
from tilewright.leaf import Leaf
from tilewright.transfer import settled
from tilewright.tuner.raw_bench import bind
from tilewright.tuner.tune_problem import Result, Status
from tilewright.tuner.tune_raw import Extents, Tuned, tune_raw

__all__ = ["TunedKernel", "tune_kernel"]


def tune_kernel(
    source: str | Path, entry: str, arguments: Sequence[Any], choices: Mapping[str, Sequence[Any]], *,
    rules: Sequence[Any] = (), grid: Extents = (1,), group: Extents = (1,), outputs: Sequence[int] | None = None,
    updates: Sequence[int] = (), device: str | None = None, reference: Any = None, tolerance: float | None = None,
    budget: float | None = 30.0, effort: str = "full", progress: Callable[[Status], None] | None = None,
    numerics: str = "tolerance",
) -> TunedKernel:  # fmt: skip
    """Find the config for which your own kernel is fastest, and return it ready to be called.

    `source` (text, or the path of a file) is in the device's own language: OpenCL C with a `__kernel void entry(...)`,
    CUDA C++ with an `extern "C" __global__ void entry(...)`, and on the cpu C with a `void entry(...)` that is called
    once and threads itself (OpenMP). Each tunable of `choices` is a `#define` in front of it.

    `arguments`, in the kernel's order: arrays, and scalars (a Python int is int32, a float float32; NumPy's scalars are
    what they are). `outputs` are the positions of the arrays that the kernel writes whole, without `outputs` those of
    the pointers that are not const; `updates` of those that it reads and changes.

    `grid` (groups, or blocks) and `group` (threads in each): up to three numbers or names of tunables, or a function of
    the config that returns them. `rules` are functions of a config that say whether it is valid, or pairs (reason,
    function).

    Every config runs in a process of its own and is checked on poisoned outputs against `reference`: a function of the
    arguments that returns what the kernel writes (or writes it into its arguments), or those arrays. Floats may be off
    by `tolerance` of their size, by default 7e-5 for float32 and 4e-10 for float64. Without a reference the default
    config, the first valid one, says what is right. `numerics` asks for more: "bitwise" equal to that, or "4 ulp" away.

    Everything measured is kept, failures too, and holds for the same text, choices and data: give random data a seed.
    `budget` is in seconds; `effort` as for `tune`. Raises ValueError for arguments that make no sense (a rule that
    raises, a space without a valid config, ...), Unmeasurable where no config works, with the first one's reason.
    """
    tuned = tune_raw(
        source, entry, arguments, choices, rules=rules, grid=grid, group=group, outputs=outputs, updates=updates,
        device=device, reference=reference, tolerance=tolerance, effort=effort, budget=budget, progress=progress,
        numerics=numerics,
    )  # fmt: skip
    return TunedKernel(tuned)


class TunedKernel:
    """A kernel with its fastest config: called with its inputs, scalars and updates, it returns what it writes.

    `config` is the winner, `seconds` its time, `device` the name of where it runs, `result` how the search ended.
    """

    def __init__(self, tuned: Tuned) -> None:
        self._problem, self._device = tuned.problem, tuned.device
        self.config: Config = tuned.config
        self.device: str = tuned.device.name
        self.result: Result = tuned.result

    @property
    def seconds(self) -> float:
        assert self.result.best is not None  # tune_raw raises where nothing works
        return self.result.best.seconds

    def __call__(self, *arguments: Any) -> Any:
        """What the kernel writes: one array, or a tuple in the order of its parameters; nothing is changed in place.

        `arguments` are the kernel's without its outputs, of the shapes and dtypes that it was tuned for; numbers
        become the scalars' dtypes. Arrays of this device are read where they lie; if there is one, the results are such
        arrays, else NumPy's. Raises TypeError for a wrong number of arguments, ValueError for wrong shapes and dtypes.
        """
        kernel = self._problem.kernel
        taken = [a for a in kernel.arguments if a.access != "out"]
        if len(arguments) != len(taken):
            raise TypeError(f"{kernel.name} takes {len(taken)} arguments besides its outputs, not {len(arguments)}")
        ours = any(type(x) is Array for x in arguments)
        given, buffers, written, values = iter(arguments), [], [], []
        for k, a in enumerate(kernel.arguments):
            if a.access == "value":
                values.append(_scalar(k, a, next(given)))
                continue
            buffer = self._input(k, a, next(given)) if a.access != "out" else self._device.allocate(a.nbytes)
            if a.access == "inout":
                buffer = self._copied(buffer, a)
            buffers.append(buffer)
            if a.access != "in":
                written.append((a, buffer))
        launch = bind(self._problem, self.config, self._device, buffers, values)
        launch()
        results = tuple(self._array(a, b) if ours else self._host(a, b) for a, b in written)
        return results[0] if len(results) == 1 else results

    def _input(self, k: int, a: RawArgument, value: Any) -> Buffer:
        array = value if type(value) is Array else asarray(np.asarray(value), device=self.device)
        if array.device != self.device or array.shape != a.shape or array.dtype != object_of(a.dtype):
            wanted = f"{a.dtype}{list(a.shape)} on {self.device}"
            raise ValueError(f"argument {k} is {array.dtype}{list(array.shape)} on {array.device}, not {wanted}")
        buffer = settled(array.node(), self._device).arg.buffer
        assert buffer is not None
        return buffer

    def _copied(self, buffer: Buffer, a: RawArgument) -> Buffer:
        made = self._device.allocate(a.nbytes)
        self._device.copy(buffer, made, a.nbytes)
        return made

    def _array(self, a: RawArgument, buffer: Buffer) -> Array:
        return wrap(Node("buffer", (), Leaf(buffer, self._device), a.shape, a.dtype), self._device)

    def _host(self, a: RawArgument, buffer: Buffer) -> np.ndarray[Any, Any]:
        data = self._device.read(buffer, a.nbytes)
        return np.frombuffer(data, object_of(a.dtype), prod(a.shape)).reshape(a.shape)

    def __repr__(self) -> str:
        return f"TunedKernel({self._problem.kernel.name!r} on {self.device}, {self.config})"


def _scalar(k: int, a: RawArgument, value: Any) -> int | float:
    """Raises ValueError for what the parameter's dtype cannot hold."""
    try:
        number: int | float = np.asarray(value).astype(a.dtype, casting="same_kind").item()
    except (TypeError, ValueError, OverflowError):
        number = value if isinstance(value, int | float) else float("nan")
    if a.dtype.startswith("float") or number == value:
        return number
    raise ValueError(f"argument {k} is {value!r}, which {a.dtype} cannot hold")
