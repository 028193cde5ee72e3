"""einsum: opt_einsum finds the order, matmul, multiply and sum do the work where the operands are.

Inside, an operand is a term, which names its axes by one letter each, and an Array.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from tilewright.array import Array, layout, permuted, viewed
from tilewright.creation import asarray, astype
from tilewright.dtypes import HALVES, object_of
from tilewright.elementwise import device_of, multiply
from tilewright.evaluation import result_type
from tilewright.kernels.node import View
from tilewright.linalg import matmul
from tilewright.manipulation import reshape
from tilewright.statistical import any as any_of
from tilewright.statistical import sum as sum_of

float32 = object_of("float32")
Named = tuple[str, Array]
Path = tuple[tuple[int, ...], ...]


class _Plan(NamedTuple):
    """Terms of operands and result, every letter's extent, and which operands meet one after the other; what comes of
    them goes to the end of the list.
    """

    terms: tuple[str, ...]
    output: str
    extents: dict[str, int]
    path: Path


def einsum(*operands: Any, optimize: Any = True) -> Array:
    """Sums of products over named axes: einsum("ij,jk->ik", a, b), or einsum(a, [0, 1], b, [1, 2], [0, 2]).

    As NumPy's: an ellipsis stands for axes that broadcast, a letter twice in one operand for its diagonal, and without
    "->" the letters that are there once are kept, in alphabetical order. A result of one operand is a view of it where
    nothing is summed. `optimize` is True, or a strategy or path of opt_einsum's. Raises ValueError for subscripts that
    do not fit, TypeError where no operand is an Array.
    """
    from opt_einsum.parser import convert_interleaved_input  # late: few programs need it

    if operands and not isinstance(operands[0], str):
        subscripts, given = _refusing(lambda: convert_interleaved_input(operands))
        operands = (subscripts, *given)
    device = device_of("einsum", *operands[1:])
    arrays = [x if isinstance(x, Array) else asarray(x, device=device.name) for x in operands[1:]]
    for x in arrays:
        if x._device is not device:
            raise ValueError(f"einsum: operands are on {device.name} and on {x.device}; use to_device")
    if isinstance(optimize, list):  # a path, as NumPy's and opt_einsum's einsum_path give it
        optimize = tuple(tuple(step) for step in optimize if step != "einsum_path")
    plan = _plan(operands[0], tuple(x.shape for x in arrays), optimize)
    waiting = [_plain(term, x, plan.extents) for term, x in zip(plan.terms, arrays, strict=True)]
    for places in plan.path:
        group = [waiting.pop(k) for k in sorted(places, reverse=True)]
        waiting.append(_contracted(group, set(plan.output).union(*(term for term, _ in waiting))))
    ((term, result),) = waiting
    return permuted(result, tuple(term.index(label) for label in plan.output))


def _refusing(function: Any) -> Any:
    """`function()`, with opt_einsum's errors as ours."""
    try:
        return function()
    except (ValueError, TypeError) as error:
        raise type(error)(f"einsum: {error}") from None


@lru_cache(maxsize=1024)
def _plan(subscripts: str, shapes: tuple[tuple[int, ...], ...], optimize: Any) -> _Plan:
    from opt_einsum import contract_path
    from opt_einsum.parser import parse_einsum_input

    inputs, output, _ = _refusing(lambda: parse_einsum_input((subscripts, *shapes), shapes=True))
    terms = tuple(inputs.split(","))
    extents: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        if len(term) != len(shape):
            raise ValueError(f"einsum: {subscripts!r} names {len(term)} axes of an operand of shape {shape}")
        for label, extent in zip(term, shape, strict=True):
            if extents.setdefault(label, extent) == 1:
                extents[label] = extent
            if extent not in (1, extents[label]):
                raise ValueError(f"einsum: axis {label!r} has both {extents[label]} and {extent} elements in {shapes}")
    path: Path = (tuple(range(len(terms))),)
    if len(terms) > 2:
        how = "auto" if isinstance(optimize, bool) else list(optimize) if isinstance(optimize, tuple) else optimize
        full = [tuple(extents[label] for label in term) for term in terms]
        found = _refusing(lambda: contract_path(f"{inputs}->{output}", *full, shapes=True, optimize=how))
        path = tuple(tuple(step) for step in found[0])
    return _Plan(terms, output, extents, path)


def _plain(term: str, x: Array, extents: dict[str, int]) -> Named:
    """The operand as a view that has each letter once: diagonals, and no axis of 1 that is longer elsewhere."""
    shape, strides, offset = layout(x)
    steps: dict[str, int] = {}
    for label, extent, stride in zip(term, shape, strides, strict=True):
        if extent == extents[label]:
            steps[label] = steps.get(label, 0) + stride
    if len(steps) == len(term):
        return term, x
    labels = "".join(steps)
    return labels, viewed(x, View(tuple(extents[label] for label in labels), tuple(steps.values()), offset))


def _contracted(group: list[Named], needed: set[str]) -> Named:
    """All of `group` multiplied, summed over the letters that are not needed any more."""
    while len(group) > 1:
        right, left = group.pop(), group.pop()
        group.append(_pair(left, right, needed.union(*(term for term, _ in group))))
    return _summed(*group[0], needed)


def _summed(term: str, x: Array, needed: set[str]) -> Named:
    """`x` summed over the letters that are not in `needed`; booleans are added with or."""
    axes = tuple(k for k, label in enumerate(term) if label not in needed)
    if not axes:
        return term, x
    total = any_of(x, axis=axes) if x._cell.value.dtype == "bool" else sum_of(x, axis=axes, dtype=x.dtype)
    return "".join(label for label in term if label in needed), total


def _pair(left: Named, right: Named, needed: set[str]) -> Named:
    """The product of two, summed over what is not needed: one matmul where both have axes of their own."""
    (s, a), (t, b) = _summed(*left, needed | set(right[0])), _summed(*right, needed | set(left[0]))
    shared = [label for label in s if label in t]
    batch, inner = [c for c in shared if c in needed], [c for c in shared if c not in needed]
    rows, columns = [c for c in s if c not in t], [c for c in t if c not in s]
    labels = "".join((*batch, *rows, *columns))
    if not (inner and rows and columns):
        every = "".join((*labels, *inner))
        product = multiply(_spread(s, _unrounded(a, inner), every), _spread(t, _unrounded(b, inner), every))
        term, result = _summed(every, product, set(labels))
        return term, astype(result, result_type(a, b), copy=False)
    a, b = _ordered(s, a, (*batch, *rows, *inner)), _ordered(t, b, (*batch, *inner, *columns))
    outer, edge = a.shape[: len(batch)], len(batch) + len(rows)
    heights, widths = a.shape[len(batch) : edge], b.shape[len(batch) + len(inner) :]
    depth = prod(a.shape[edge:])
    product = matmul(reshape(a, (*outer, prod(heights), depth)), reshape(b, (*outer, depth, prod(widths))))
    return labels, reshape(product, (*outer, *heights, *widths))


def _unrounded(x: Array, summed: list[str]) -> Array:
    """Halves as float32, in which their products are exact, if these are going to be summed."""
    return astype(x, float32) if summed and x._cell.value.dtype in HALVES else x


def _ordered(term: str, x: Array, labels: Sequence[str]) -> Array:
    return permuted(x, tuple(term.index(label) for label in labels))


def _spread(term: str, x: Array, labels: str) -> Array:
    """A view with an axis for every one of `labels`, of extent 1 where `x` has none."""
    shown = _ordered(term, x, [label for label in labels if label in term])
    return shown[tuple(slice(None) if label in term else None for label in labels)]
