"""Node: one type from the user's expression to the body of a fused kernel.

Ops beside those of the op table:

    buffer    a leaf that holds data; arg is a Leaf-like object of the frontend (opaque here)
    const     a Python scalar, arg the value; shape ()
    iota      0, 1, 2, ...; arg None, shape (n,)
    cast      src to dtype
    view      arg a View over the C-contiguous src: slices, transposes, reshapes and broadcasts
    reduce    arg (reduction name, axis): one axis, removed from the shape
    scan      arg (reduction name, axis): that reduction of all elements up to each along one axis; the shape stays
    sort      arg (axis, descending, keep): in order along one axis; the first `keep` elements of each line, stable
    argsort   the same arg: where those elements are, as int64
    matmul, attention, conv    sums of products, see products.py
    gather    src (table, indices): table flattened to 1-d, indices int64 of any shape, result of that shape
    scatter   src (old, places, values): old, flattened to 1-d, with values stored at the int64 places of their shape
              in order: of equal places the last wins. Places outside are left out. arg: whether no two inside are equal
    write     src (old, value): old with the elements of the View arg replaced by value (shape of the view)

and inside a Problem's body, where leaves are operands: load (arg: operand index), scalar (arg: scalar index).
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple


class View(NamedTuple):
    """A strided window onto a C-contiguous array; strides and offset in elements, stride 0 broadcasts."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        return prod(self.shape)


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a C-contiguous array."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def whole(shape: tuple[int, ...]) -> View:
    """The view of everything, in order."""
    return View(shape, row_major(shape), 0)


class Node:
    """A value: `op` applied to `src`, of `shape` and `dtype` (NumPy's name). See the module for the ops.

    Immutable, save that evaluation turns a node in place into a "buffer" leaf. Compared by identity.
    `depth` is the longest way to a leaf. `seen` says that an evaluation computed it without storing it: the next one
    that needs it stores it, so that nothing is computed more than twice.
    """

    __slots__ = ("__weakref__", "arg", "depth", "dtype", "op", "seen", "shape", "src")

    def __init__(self, op: str, src: tuple[Node, ...], arg: Any, shape: tuple[int, ...], dtype: str) -> None:
        self.op = op  # one by one: a tuple of five would be made first, and this runs for every recorded op
        self.src = src
        self.arg = arg
        self.shape = shape
        self.dtype = dtype
        self.seen = False
        depth = 0
        for node in src:
            if node.depth >= depth:
                depth = node.depth + 1
        self.depth: int = depth

    def __repr__(self) -> str:
        return f"Node({self.op}, {self.arg!r}, {self.shape}, {self.dtype}, {len(self.src)} src)"


def toposort(roots: tuple[Node, ...] | list[Node]) -> list[Node]:
    """Every node reachable from `roots`, sources first, each once."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
            continue
        if id(node) in seen:
            continue
        seen.add(id(node))
        if not node.src:
            order.append(node)
            continue
        stack.append((node, True))
        for source in reversed(node.src):
            if id(source) not in seen:
                stack.append((source, False))
    return order


def merge_axes(shape: tuple[int, ...], strides: list[tuple[int, ...]]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Drop axes of extent 1 and join neighbours that every stride set walks as one. At least one axis is left."""
    keep = [axis for axis, extent in enumerate(shape) if extent != 1]
    if not keep:
        return (1,), [(0,) for _ in strides]
    groups: list[list[int]] = [[keep[0]]]
    for axis in keep[1:]:
        last = groups[-1][-1]
        if all(s[last] == s[axis] * shape[axis] for s in strides):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    merged = tuple(prod(shape[a] for a in group) for group in groups)
    return merged, [tuple(s[group[-1]] for group in groups) for s in strides]


def compose(inner: View, outer: View) -> View | None:
    """`outer`, a view onto the C-contiguous elements of `inner`'s result, as one view onto inner's source.

    None where no single set of strides can say it (a reshape across a transpose, say). Each stride of `outer` is
    written in the mixed radix of inner's (merged) shape; it holds if no digit can carry for any index.
    """
    if outer.size == 0:
        return View(outer.shape, (0,) * len(outer.shape), 0)
    shape, (strides,) = merge_axes(inner.shape, [inner.strides])
    radix = row_major(shape)
    offset, rest = inner.offset, outer.offset
    low, high = [], []
    for unit, stride in zip(radix, strides, strict=True):
        digit = rest // unit
        rest -= digit * unit
        offset += digit * stride
        low.append(digit)
        high.append(digit)
    result = []
    for count, step in zip(outer.shape, outer.strides, strict=True):
        if count == 1 or step == 0:
            result.append(0)
            continue
        sign, rest, total = (1, step, 0) if step > 0 else (-1, -step, 0)
        for axis, (unit, stride) in enumerate(zip(radix, strides, strict=True)):
            digit = sign * (rest // unit)
            rest %= unit
            total += digit * stride
            reach = digit * (count - 1)
            low[axis] += min(reach, 0)
            high[axis] += max(reach, 0)
        result.append(total)
    if any(lo < 0 or hi >= extent for lo, hi, extent in zip(low, high, shape, strict=True)):
        return None
    return View(outer.shape, tuple(result), offset)
