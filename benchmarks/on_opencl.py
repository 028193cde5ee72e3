"""What one writes with PyOpenCL's arrays and with CLBlast, on the context and the queue of a device of ours.

Imported late: PyOpenCL is an extra. CLBlast is called in its C library (Debian: libclblast1), since its package on
PyPI builds only where that library's headers are; which of the installed OpenCL loaders it is linked to does not
matter, for every OpenCL object carries the table of its own driver's functions.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyopencl as cl
from pyopencl import array
from pyopencl.elementwise import ElementwiseKernel
from pyopencl.scan import InclusiveScanKernel

from benchmarks.workloads import COEFFICIENTS, CUBIC, RATE, SLOPE, VOLATILITY
from tilewright.backends.registry import get_device

ROW_MAJOR, PLAIN, TURNED = 101, 111, 112  # CLBlast's names for layouts and transpositions, as BLAS has them
_REALS = {"float32": ("S", ctypes.c_float), "float64": ("D", ctypes.c_double)}


def queue_of(device_name: str) -> cl.CommandQueue:
    """The queue of an OpenCL device of ours, which the peers share with it."""
    device: Any = get_device(device_name)
    return device.queue


class Arrays:
    """PyOpenCL's arrays, and kernels of one pass where its arithmetic would take many."""

    version = cl.VERSION_TEXT

    def __init__(self, queue: cl.CommandQueue) -> None:
        self.queue = queue

    def put(self, x: np.ndarray) -> Any:
        return array.to_device(self.queue, np.ascontiguousarray(x))

    @cache  # noqa: B019  a contestant's few kernels, for as long as the race
    def _map(self, inputs: tuple[str, ...], value: str, preamble: str = "") -> Callable[..., Any]:
        arguments = "".join(f"const float *{name}, " for name in inputs)
        kernel = ElementwiseKernel(self.queue.context, f"{arguments}float *out", f"out[i] = {value}", preamble=preamble)

        def run(*arrays: Any) -> Any:
            out = array.empty_like(arrays[0])
            kernel(*arrays, out)
            return out

        return run

    def gelu(self, x: Any) -> Any:
        inner = f"{_f(SLOPE)} * (x[i] + {_f(CUBIC)} * (x[i] * x[i] * x[i]))"
        return self._map(("x",), f"0.5f * x[i] * (1.0f + tanh({inner}))")(x)

    def polynomial(self, x: Any) -> Any:
        value = _f(COEFFICIENTS[0])
        for coefficient in COEFFICIENTS[1:]:
            value = f"({value} * x[i] + {_f(coefficient)})"
        return self._map(("x",), value)(x)

    def black_scholes(self, price: Any, strike: Any, years: Any) -> Any:
        value = "option(price[i], strike[i], years[i])"
        return self._map(("price", "strike", "years"), value, _OPTION)(price, strike, years)

    def total(self, x: Any) -> Any:
        return array.sum(x)

    def cumulative(self, x: Any) -> Any:
        return self._scan()(x)

    @cache  # noqa: B019
    def _scan(self) -> Callable[..., Any]:
        kernel = InclusiveScanKernel(self.queue.context, np.dtype(np.float32), "a + b", neutral="0")

        def run(x: Any) -> Any:
            out = array.empty_like(x)
            kernel(x, out)
            return out

        return run


def _f(value: float) -> str:
    return f"{value!r}f"


_OPTION = f"""
float below(float d) {{
    float k = 1.0f / (1.0f + 0.2316419f * fabs(d));
    float last = -1.821255978f + k * 1.330274429f;
    float terms = k * (0.319381530f + k * (-0.356563782f + k * (1.781477937f + k * last)));
    float tail = 0.39894228f * exp(-0.5f * d * d) * terms;
    return d > 0 ? 1.0f - tail : tail;
}}
float option(float price, float strike, float years) {{
    float deviation = {_f(VOLATILITY)} * sqrt(years);
    float d1 = (log(price / strike) + {_f(RATE + 0.5 * VOLATILITY**2)} * years) / deviation;
    return price * below(d1) - strike * exp(-{_f(RATE)} * years) * below(d1 - deviation);
}}
"""


class Clblast:
    """CLBlast's products. Raises ImportError where there is no such library, RuntimeError where it refuses a call."""

    def __init__(self, queue: cl.CommandQueue) -> None:
        name = ctypes.util.find_library("clblast")
        if name is None:
            raise ImportError("libclblast is not installed (Debian, Ubuntu: apt install libclblast1)")
        try:
            self.library = ctypes.CDLL(name)
        except OSError as error:
            raise ImportError(str(error)) from error
        self.queue, self.version = queue, Path(name).resolve().name.partition(".so.")[2]
        self._queue = ctypes.c_void_p(queue.int_ptr)

    def put(self, x: np.ndarray) -> Any:
        return array.to_device(self.queue, np.ascontiguousarray(x))

    def matmul(self, a: Any, b: Any) -> Any:
        return self._product(a, b, a.shape[-2], a.shape[-1], PLAIN)

    def transposed(self, a: Any, b: Any) -> Any:
        return self._product(a, b, a.shape[-1], a.shape[-2], TURNED)

    def _product(self, a: Any, b: Any, m: int, k: int, turned: int) -> Any:
        n, count = b.shape[-1], prod(a.shape[:-2])
        out = array.empty(self.queue, (*a.shape[:-2], m, n), a.dtype)
        letter, real = _REALS[a.dtype.name]
        sizes = [(a, a.shape[-1], m * k), (b, n, k * n), (out, n, m * n)]
        arguments: list[Any] = [ROW_MAJOR, turned, PLAIN, *map(ctypes.c_size_t, (m, n, k)), real(1)]
        for operand, leading, step in sizes:
            arguments += [real(0)] if operand is out else []
            arguments += [ctypes.c_void_p(operand.data.int_ptr), ctypes.c_size_t(0), ctypes.c_size_t(leading)]
            arguments += [ctypes.c_size_t(step)] if count > 1 else []
        arguments += [ctypes.c_size_t(count)] if count > 1 else []
        routine = f"CLBlast{letter}gemm{'StridedBatched' if count > 1 else ''}"
        status = getattr(self.library, routine)(*arguments, ctypes.byref(self._queue), None)
        if status:
            raise RuntimeError(f"{routine} answered {status}")
        return out

    def tuned(self, path: Path) -> None:
        """Take from now on the best config that a tuner of CLBlast's own (clblast_tuner_xgemm and others) has saved.

        Raises ValueError for another file, or what the library refuses.
        """
        try:
            found = json.loads(path.read_text())
            best = min(found["results"], key=lambda result: result["time"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no file of a CLBlast tuner: {error!r}") from error
        chosen = {name: value for name, value in best["parameters"].items() if name != "PRECISION"}
        names = (ctypes.c_char_p * len(chosen))(*(name.encode() for name in chosen))
        values = (ctypes.c_size_t * len(chosen))(*chosen.values())
        count, handle = ctypes.c_size_t(len(chosen)), ctypes.c_void_p(self.queue.device.int_ptr)
        override = self.library.CLBlastOverrideParameters
        status = override(handle, best["kernel"].encode(), int(found["precision"]), count, names, values)
        if status:
            raise ValueError(f"CLBlast answered {status} to the parameters of {best['kernel']} in {path}")
        self.version += f" tuned by {path.name}"
