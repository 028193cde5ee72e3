"""The libraries that are compared: how each takes arrays, compiles a function, and says that it is done.

None but NumPy is required; one that cannot be imported is left out, and the reason is told. Every library gets the
same number of threads: OMP_NUM_THREADS if that is set, else one for each processor that this process may use. NumPy's
BLAS is told through threadpoolctl (without it, it takes all processors), torch, numexpr and numba through their own
settings; tilewright's kernels and XLA go by the processors, OpenCL runtimes by those of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np

import tilewright as tw
from benchmarks.measure import OURS
from tilewright.backends.registry import get_device

NAMES = ("torch", "torch.compile", "jax", "numexpr", "numba")


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


def _torch(threads: int) -> Peer:
    import torch

    torch.set_num_threads(threads)
    return Peer("torch", "torch", torch.__version__, torch, put=torch.from_numpy)


def _torch_compile(threads: int) -> Peer:
    import torch

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        """Afresh for these shapes: what it remembers of a race before would make it compile for any shape."""
        torch.compiler.reset()
        return torch.compile(function, dynamic=False)

    torch.set_num_threads(threads)
    return Peer("torch.compile", "torch", torch.__version__, torch, put=torch.from_numpy, compile=compiled)


def _jax(threads: int) -> Peer:
    import jax

    return Peer(
        "jax", "jax", jax.__version__, jax.numpy, put=jax.numpy.asarray, compile=jax.jit, wait=jax.block_until_ready
    )


def _numexpr(threads: int) -> Peer:
    import numexpr

    numexpr.set_num_threads(threads)
    return Peer("numexpr", "numexpr", numexpr.__version__, numexpr)


def _numba(threads: int) -> Peer:
    import numba

    from benchmarks import loops  # late: importing it needs numba

    numba.set_num_threads(min(threads, numba.get_num_threads()))
    return Peer("numba", "numba", numba.__version__, loops)


_MAKERS = {"torch": _torch, "torch.compile": _torch_compile, "jax": _jax, "numexpr": _numexpr, "numba": _numba}


def find(names: Sequence[str], threads: int) -> tuple[list[Peer], list[str]]:
    """The peers of these names that can be imported, NumPy before all, and a sentence for each that cannot."""
    found, missing = [numpy_peer(threads)], []
    for name in names:
        try:
            found.append(_MAKERS[name](threads))
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
