"""The libraries that are compared: how each takes arrays, compiles a function, and says that it is done.

None but NumPy is required; one that cannot be imported is left out, and the reason is told. Every library gets the
same number of threads: OMP_NUM_THREADS if that is set, else one for each processor that this process may use. NumPy's
BLAS is told through threadpoolctl (without it, it takes all processors), torch, numexpr and numba through their own
settings; tilewright's kernels and XLA go by the processors, OpenCL runtimes by those of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import tilewright as tw
from benchmarks.measure import OURS
from tilewright.backends.registry import get_device

NAMES = ("torch", "torch.compile", "jax", "numexpr", "numba", "tinygrad", "pyopencl.array", "clblast")


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to run a function of arrays. `library` says how the function is spelled, `xp` is its namespace;
    `wait` returns when a result is there."""

    name: str
    library: str
    version: str
    xp: Any
    put: Callable[[np.ndarray], Any] = _same
    compile: Callable[[Callable[..., Any]], Callable[..., Any]] = _same
    wait: Callable[[Any], Any] = _same
    get: Callable[[Any], np.ndarray] = np.asarray


def version(distribution: str) -> str:
    """As installed; "unknown" where it is imported from a place without metadata."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def numpy_peer(threads: int) -> Peer:
    if find_spec("threadpoolctl"):  # without it OpenBLAS takes one thread per processor
        from threadpoolctl import threadpool_limits  # late: an extra

        threadpool_limits(threads, user_api="blas")
    return Peer("numpy", "numpy", np.__version__, np)


def _of_numpy(torch: Any, x: np.ndarray) -> Any:
    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def _torch(threads: int, compiled: bool = False) -> Peer:
    import torch

    def compile_afresh(function: Callable[..., Any]) -> Callable[..., Any]:
        """For these shapes: what it remembers of a race before would make it compile for any shape."""
        torch.compiler.reset()
        return torch.compile(function, dynamic=False)

    torch.set_num_threads(threads)
    return Peer(
        "torch.compile" if compiled else "torch", "torch", torch.__version__, torch, put=partial(_of_numpy, torch),
        compile=compile_afresh if compiled else _same, get=lambda x: x.float() if x.dtype == torch.bfloat16 else x,
    )  # fmt: skip


def _jax(threads: int) -> Peer:
    import jax

    def put(x: np.ndarray) -> Any:
        with jax.enable_x64(x.dtype == np.float64):
            return jax.numpy.asarray(x)

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        """Of float64, which JAX knows in a mode of its own, in that mode."""
        jitted = jax.jit(function)

        def run(*arrays: Any) -> Any:
            if arrays[0].dtype != np.float64:
                return jitted(*arrays)
            with jax.enable_x64(True):
                return jitted(*arrays)

        return run

    return Peer("jax", "jax", jax.__version__, jax.numpy, put=put, compile=compiled, wait=jax.block_until_ready)


def _numexpr(threads: int) -> Peer:
    import numexpr

    numexpr.set_num_threads(threads)
    return Peer("numexpr", "numexpr", numexpr.__version__, numexpr)


def _numba(threads: int) -> Peer:
    import numba

    from benchmarks import loops  # late: importing it needs numba

    numba.set_num_threads(min(threads, numba.get_num_threads()))
    return Peer("numba", "numba", numba.__version__, loops)


def _tinygrad(threads: int) -> Peer:
    os.environ.setdefault("CPU_COUNT", str(threads))  # tinygrad reads it when it is imported
    from benchmarks import tiny  # late: importing it needs tinygrad

    return Peer(
        "tinygrad", "tinygrad", version("tinygrad"), tiny, put=tiny.put, compile=tiny.compiled, wait=tiny.wait,
        get=tiny.get,
    )  # fmt: skip


_MAKERS: dict[str, Callable[[int], Peer]] = {
    "torch": _torch, "torch.compile": partial(_torch, compiled=True), "jax": _jax, "numexpr": _numexpr,
    "numba": _numba, "tinygrad": _tinygrad,
}  # fmt: skip


def _on_opencl(name: str, device_name: str, tuned: Sequence[Path]) -> Peer:
    """PyOpenCL's arrays or CLBlast on a device of ours. Raises ImportError where they are not installed."""
    from benchmarks import on_opencl  # late: importing it needs PyOpenCL

    queue = on_opencl.queue_of(device_name)
    there: Any = on_opencl.Clblast(queue) if name == "clblast" else on_opencl.Arrays(queue)
    for path in tuned if name == "clblast" else ():
        there.tuned(path)
    return Peer(
        name, name, there.version, there, put=there.put, wait=lambda _: there.queue.finish(), get=lambda x: x.get()
    )


def find(
    names: Sequence[str], threads: int, devices: Sequence[str] = (), tuned: Sequence[Path] = ()
) -> tuple[list[Peer], list[str]]:
    """The peers of these names that can be imported, NumPy before all, and a sentence for each that cannot.

    What runs on OpenCL does so on the first such device of `devices`, and is left out where there is none; `tuned` is
    what CLBlast's tuners saved. Raises ValueError for files that are not theirs.
    """
    found, missing = [numpy_peer(threads)], []
    opencl = next((device for device in devices if device.startswith("opencl")), None)
    for name in names:
        try:
            if name in _MAKERS:
                found.append(_MAKERS[name](threads))
            elif opencl:
                found.append(_on_opencl(name, opencl, tuned))
        except ImportError as error:
            missing.append(f"{name} is left out: {error}")
    return found, missing


def tilewright_peer(device: str) -> Peer:
    """Our own on one device: a tw.jit function on arrays that are there already."""
    synchronize = get_device(device).synchronize
    return Peer(
        f"{OURS} {device}", OURS, version(OURS), tw,
        put=lambda x: tw.asarray(x, device=device), compile=tw.jit, wait=lambda _: synchronize(),
    )  # fmt: skip
