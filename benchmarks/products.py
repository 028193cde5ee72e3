"""Matrix products: square, skinny, batched and transposed, of every dtype that has peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from benchmarks.measure import Aim
from benchmarks.workloads import BEST, Array, Shapes, Workload
from tilewright.backends.dtypes import DTYPES

KERNEL = (*BEST, Aim("numpy", 0.98, ", kernel"))
ONCE_SUMMED = {"torch.compile": None}  # it would call the same library function as torch does


def whole_numbers(rng: np.random.Generator, shapes: Shapes) -> list[Array]:
    """In -100..100, as float32."""
    return [rng.integers(-100, 101, shape).astype(np.float32) for shape in shapes]


def matmul(xp: Any, a: Any, b: Any) -> Any:
    return a @ b


def matmul_of_int8(xp: Any, a: Any, b: Any) -> Any:
    """Summed as int32, which every library spells in its own way."""
    return a @ b


def transposed(xp: Any, a: Any, b: Any) -> Any:
    return a.T @ b


def into(xp: Any) -> Callable[..., Any]:
    """NumPy's product into an array that is there: the allocation is no part of the kernel."""
    targets: dict[tuple[int, ...], Any] = {}

    def product(a: Any, b: Any) -> Any:
        shape = (*a.shape[:-1], b.shape[-1])
        if shape not in targets:
            targets[shape] = xp.empty(shape, a.dtype)
        return xp.matmul(a, b, out=targets[shape])

    return product


def _rounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy has no fast product of bfloat16: its users widen, multiply and round."""
    return lambda np: lambda a, b: function(np, a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)


INT8: dict[str, Any] = {
    "numpy": lambda np: lambda a, b: np.matmul(a, b, dtype=np.int32),
    "torch": lambda torch: torch._int_mm,
    "jax": lambda jnp: lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.int32),
    "tinygrad": lambda tiny: tiny.int8_product,
    "tilewright": lambda tw: lambda a, b: tw.nn.matmul(a, b, dtype=tw.int32),
    **ONCE_SUMMED,
}


def products(k: int, size: str) -> Iterator[Workload]:
    """Of the size that SIZES[k] names."""

    def make(family: str, a: tuple[int, ...], b: tuple[int, ...], function: Any = matmul, **more: Any) -> Workload:
        deep = a[0] if function is transposed else a[-1]
        rows = prod(a) // deep
        special = ONCE_SUMMED if function is transposed else {"numpy": into, **ONCE_SUMMED}
        label = (
            f"{family} {'x'.join(map(str, a))}" if len(a) > 2 or a[0] != a[1] or b[-1] != a[0] else f"{family} {a[0]}"
        )
        operations = 2 * rows * deep * b[-1]
        dtype = more.get("dtype", "float32")
        width = DTYPES[dtype].nbytes
        wide = 4 if dtype == "int8" else width
        nbytes = width * (prod(a) + prod(b)) + wide * rows * b[-1]
        return Workload(
            label, (a, b), function, nbytes=nbytes, operations=operations, family=family, size=size,
            **{"special": special, **more},
        )  # fmt: skip

    for n in ((64, 128), (256, 512), (1024, 2048))[k]:
        yield make("matmul", (n, n), (n, n), aims=KERNEL, kernel=True)
    n = (256, 1024, 4096)[k]
    yield make("matmul skinny", (n, n), (n, 8))
    yield make("matmul batched", *(((64, 32, 32), (64, 128, 128), (16, 512, 512))[k],) * 2)
    n = (128, 512, 2048)[k]
    yield make("matmul transposed", (n, n), (n, n), transposed)
    yield from _of_dtypes(k, make)


def _of_dtypes(k: int, make: Callable[..., Workload]) -> Iterator[Workload]:
    """Products of what is no float32: square ones of each size, the other shapes in the middle."""
    n = (128, 512, 1024)[k]
    shapes: list[tuple[str, Any, tuple[int, ...], tuple[int, ...]]] = [("matmul", matmul, (n, n), (n, n))]
    if k == 1:
        shapes.append(("matmul skinny", matmul, (1024, 1024), (1024, 8)))
        shapes.append(("matmul batched", matmul, (64, 128, 128), (64, 128, 128)))
        shapes.append(("matmul transposed", transposed, (512, 512), (512, 512)))
    for family, function, a, b in shapes:
        doubles = {"numpy": into, **ONCE_SUMMED} if function is matmul else ONCE_SUMMED
        yield make(f"{family} float64", a, b, function, dtype="float64", tolerance=1e-12, special=doubles)
        # tinygrad's needs a newer clang than most systems have
        halves = {"numpy": _rounded(function), "tinygrad": None, **ONCE_SUMMED}
        # half a unit in the last place of a bfloat16 is 2e-3 of it
        yield make(f"{family} bfloat16", a, b, function, dtype="bfloat16", tolerance=4e-3, special=halves)
        if function is matmul and len(a) == 2:  # torch has no other of int8
            yield make(
                f"{family} int8", a, b, matmul_of_int8, dtype="int8", tolerance=0.0, special=INT8, inputs=whole_numbers
            )
