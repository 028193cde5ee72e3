"""Checks of kernels on a device: every kind in every dtype it claims, where tiles end, and at random configs."""

from __future__ import annotations

import random
from functools import partial

import numpy as np

from tilewright.backends.dtypes import DTYPES, PARTS
from tilewright.backends.kit import Capability, Conformance, Facts, Tier
from tilewright.backends.protocol import Device
from tilewright.kernels import EVERYWHERE, KERNELS, kernels_for
from tilewright.kernels.fuse import fuse
from tilewright.kernels.kit_graphs import KINDS, Kind, data, matmul, products, scans, softmax_down, sorting, transposed
from tilewright.kernels.kit_ops import ops
from tilewright.kernels.kit_run import Worst, pick, run_graph
from tilewright.kernels.node import Node
from tilewright.kernels.problem import Kernel, Problem
from tilewright.kernels.products import PRODUCTS
from tilewright.kernels.sort import tile_of
from tilewright.kernels.space import Config

kernels = Tier("kernels", "what is computed, against NumPy")

CONFIGS = 20
PRIME = 13


def dtype_claimed(dtype: str) -> Capability:
    return Capability(dtype, lambda device: dtype in device.limits.dtypes)


def sizes(kind: Kind, dtype: str, chosen: tuple[Kernel, Config], device: Device) -> list[int]:
    """0, 1, a prime, and one less than, equal to and one more than every tunable of the config whose rules allow it."""
    kernel, config = chosen
    edges = {int(v) for v in config.values() if isinstance(v, int) and v > 1}
    near = {edge + step for edge in edges for step in (-1, 0, 1) if edge + 1 <= kind.largest}

    def allowed(n: int) -> bool:
        return kernel.space(_main(kind.graph(dtype, n), kind.kernels, device), device.limits).refusal(config) is None

    return sorted({0, 1, PRIME, *kind.more} | {n for n in near if allowed(n)})


def _main(roots: list[Node], kernels: str, device: Device) -> Problem:
    """The problem of that kind that the graph is fused to."""
    found = [step.problem for step in fuse(roots, device.limits)]
    return next((p for p in found if p.kind == kernels), found[-1])


def allowed_ulps(kind: Kind, dtype: str, n: int) -> float:
    """What `kind` allows in the dtype computed in; a 16-bit result has only its own rounding, and half a unit."""
    ulps = kind.ulps(n)
    narrow = DTYPES[dtype].compute != dtype
    return min(ulps, 1.0) if narrow else ulps


def check_kind(kind: Kind, dtype: str, device: Device) -> Facts:
    """One config for all sizes, so that its tiles' edges are met; where its rules refuse a size, the default."""
    chosen = pick(_main(kind.graph(dtype, 64), kind.kernels, device), device)
    worst, tried = Worst(), sizes(kind, dtype, chosen, device)
    for n in tried:
        run_graph(kind.graph(dtype, n), device, allowed_ulps(kind, dtype, n), worst, chosen)
    return {"worst ulp": worst.ulps, "sizes": tried}


def _made_for(kind: Kind) -> tuple[Capability]:
    """Whether the device has kernels of that kind; what it has none for, the host computes."""

    def has(device: Device) -> bool:
        problem = _main(kind.graph("float32", 64), kind.kernels, device)
        found = kernels_for(problem.kind, device.limits)
        return any(True for kernel in found for _ in kernel.space(problem, device.limits))

    return (Capability(f"kernels for {kind.name}", has),)


for _kind in KINDS:
    for _dtype in (name for name in DTYPES if name not in PARTS):
        _narrow = DTYPES[_dtype].kind == "f" and DTYPES[_dtype].compute != _dtype
        kernels.check(
            f"{_kind.name}: right in {_dtype} at 0, 1, a prime, and around every tile; nothing else is written.",
            dtype_claimed(_dtype),
            *(_made_for(_kind) if _kind.kernels not in EVERYWHERE else ()),
            name=f"{_kind.name} {_dtype}",
            bound="exact: integers and truth values" if DTYPES[_dtype].kind != "f"
            else f"1 ulp: computed in float32, rounded to {_dtype}" if _narrow else _kind.reason,
        )(partial(check_kind, _kind, _dtype))  # fmt: skip


@kernels.check("Of no elements nothing is computed, and a sum over none is 0.", bound="exact")
def no_elements(device: Device) -> Facts:
    worst = Worst()
    for roots in (KINDS[0].graph("float32", 0), [_reduced("sum", 0)], [_reduced("prod", 0)]):
        run_graph(roots, device, 0.0, worst)
    return {}


def _words(count: int) -> list[Node]:
    values = np.random.default_rng(4).integers(0, 1 << 32, (count, 5000), dtype=np.uint32)
    values[:, :4] = (0, 1, 0x80000000, 0xFFFFFFFF)
    return [Node("buffer", (), column, column.shape, "uint32") for column in values]


def _random(op: str, count: int, dtype: str = "uint32") -> Node:
    return Node(op, tuple(_words(count)), None, (5000,), dtype)


@kernels.check(
    "Random words and numbers below a bound are the same bits everywhere.", dtype_claimed("uint32"), bound="exact"
)
def random_words(device: Device) -> None:
    run_graph([_random(f"philox{k}", 6) for k in range(4)], device, 0.0, Worst())
    run_graph([_random("below64_0", 6), _random("below64_1", 6), _random("below32", 3)], device, 0.0, Worst())


def check_normal(op: str, count: int, dtype: str, device: Device) -> Facts:
    worst = Worst()
    run_graph([_random(op, count, dtype)], device, 8.0, worst)
    return {"worst ulp": worst.ulps}


for _op, _count, _dtype in (("normal32", 1, "float32"), ("normal64", 2, "float64")):
    kernels.check(
        f"Normal deviates in {_dtype} come from random words as everywhere.",
        dtype_claimed("uint32"), dtype_claimed(_dtype), name=f"normal deviates {_dtype}",
        bound="8 ulp: two functions and a product",
    )(partial(check_normal, _op, _count, _dtype))  # fmt: skip


def _reduced(name: str, n: int) -> Node:
    x = Node("buffer", (), np.zeros((5, n), np.float32), (5, n), "float32")
    return Node("reduce", (x,), (name, 1), (5,), "float32")


def templates() -> dict[str, tuple[str, Kernel]]:
    """Every kernel that is shipped, with the kind of its problems."""
    return {kernel.name: (kind, kernel) for kind, found in KERNELS.items() for kernel in found}


def _configs_graphs(name: str, device: Device) -> list[list[Node]]:
    """Graphs among which each kernel finds one that it applies to, of sizes that no tile divides."""
    if name == "matmul":
        x, vector = data((67, 133), "float32"), data((3, 133), "float32", 2)
        return [[matmul(x, data((133, 45), "float32", 1))], [matmul(vector, transposed(data((45, 133), "float32", 1)))]]
    if name in PRODUCTS:
        return products(name)
    if name == "scan":
        return scans()
    if name in ("sort", "select", "merge"):
        return sorting(tile_of(device.limits))
    found = [kind.graph("float32", 131) for kind in KINDS if kind.kernels == name]
    return [*found, softmax_down(128 * device.limits.compute_units)] if name == "row" else found


def _applicable(kind: str, kernel: Kernel, device: Device) -> list[Node] | None:
    if kernel not in kernels_for(kind, device.limits):
        return None
    for roots in _configs_graphs(kind, device):
        problem = _main(roots, kind, device)
        if problem.kind == kind and any(True for _ in kernel.space(problem, device.limits)):
            return roots
    return None


def _is_applicable(kind: str, kernel: Kernel, device: Device) -> bool:
    return _applicable(kind, kernel, device) is not None


def check_configs(kind: str, kernel: Kernel, device: Device) -> Facts:
    roots = _applicable(kind, kernel, device)
    assert roots is not None  # it was claimed
    problem, worst = _main(roots, kind, device), Worst()
    configs = list(kernel.space(problem, device.limits))
    chosen = random.Random(3).sample(configs, min(CONFIGS, len(configs)))
    for config in chosen:
        run_graph(roots, device, 16.0 + 133**0.5, worst, (kernel, config))
    return {"worst ulp": worst.ulps, "configs": len(chosen), "of": len(configs)}


for _name, (_family, _kernel) in templates().items():
    kernels.check(
        f"{_name}: right at {CONFIGS} random configs that its rules allow.",
        Capability(f"limits for which {_name} is made", partial(_is_applicable, _family, _kernel)),
        name=f"configs of {_name}",
        bound="28 ulp: as the kinds above, of 133 terms",
    )(partial(check_configs, _family, _kernel))  # fmt: skip


class KernelTests(Conformance):
    """Every op, kind, dtype and template: what is computed, against NumPy."""

    checks = (*ops, *kernels)
