"""Three array libraries as devices of tilewright, by one call of `wrap` each: PyTorch, dask and JAX."""

from __future__ import annotations

from typing import Any

from tilewright.backends import wrap
from tilewright.backends.protocol import Found

TORCH_ON_HOST = ("mod float32", "mod float64", "sinh float64", "cosh float64", "add complex64", "add complex128",
                 "sub complex64", "sub complex128")  # fmt: skip
"""Where PyTorch's answers are not IEEE's, as `tilewright certify torch` found: 1 % 4e-45 is NaN, 0 + inf i as well."""

DASK_ON_HOST = ("pow int8", "pow int16", "pow int32", "pow int64", "cholesky")
"""Negative powers are refused, but only when the result is read, where it is too late for the host to step in; and
its cholesky gives the upper triangle, the standard's the lower."""


WHOLE = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
JAX_ON_HOST = (*(f"{op} {dtype}" for op in ("floordiv", "pow") for dtype in WHOLE),
               *(f"{op} {dtype}" for op in ("exp2", "sinh", "cosh") for dtype in ("float32", "float64")),
               "log1p float64", "atanh float64", "div complex64", "div complex128", "abs complex64",
               "abs complex128")  # fmt: skip
"""What XLA's compiler for CPUs answers otherwise: quotients by 0, negative powers, functions that miss by hundreds of
units in the last place, infinite complex numbers. It also takes subnormal numbers for 0, and there is no flag for that.
"""


def torch() -> list[Found]:
    """PyTorch on the CPU, eager; array-api-compat gives it the standard's names."""
    try:
        import array_api_compat.torch as xp
        import torch as library
    except ImportError as error:
        return [Found("torch", None, f"torch: {error}", "pip install torch array-api-compat")]
    return [Found("torch", wrap(xp, name="torch", device="cpu", version=library.__version__, on_host=TORCH_ON_HOST))]


def dask() -> list[Found]:
    """dask.array, which computes when it is asked to, in chunks."""
    try:
        import array_api_compat.dask.array as xp
    except ImportError as error:
        return [Found("dask", None, f"dask: {error}", "pip install 'dask[array]' array-api-compat")]
    return [Found("dask", wrap(xp, name="dask", finish=lambda x: x.persist(), on_host=DASK_ON_HOST))]


def jax() -> list[Found]:
    """JAX on whatever it finds; its arrays cannot be written to, and tilewright does not ask for that."""
    try:
        import jax as library
        import jax.numpy as xp
    except ImportError as error:
        return [Found("jax", None, f"jax: {error}", "pip install jax")]
    library.config.update("jax_enable_x64", True)  # without it there are no 64-bit numbers

    def wait(x: Any) -> Any:
        return x.block_until_ready()

    version = library.__version__
    return [Found("jax", wrap(xp, name="jax", finish=wait, version=version, on_host=JAX_ON_HOST, subnormals=False))]
