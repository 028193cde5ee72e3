"""Nodes that sum products: how each reads its sources over the space of its group, which is its shape and then the
axes that are summed over.

    matmul     src (..., m, k) and (..., k, n) with equal batch axes; space (..., m, n | k)
    attention  src query (..., m, d), key (..., n, d), value (..., n, e), scale () and, if given, mask (..., m, n), with
               equal leading axes; arg: whether query i sees no key after i; space (..., m, e | n, d). A truth value of
               the mask says whether a query sees a key, a number is added to their score
    conv       src input and weights; arg a Window; space the shape and (| channels, height, width of the weights).
               NCHW: shape (n, groups, o, oh, ow) of input (n, groups, c, h, w); NHWC: (n, oh, ow, groups, o) of
               (n, h, w, groups, c); weights always (groups, o, c, kh, kw). The axes of the input's height and width
               stand where the output's do: which row is read for one of the output is the kernel's to know
"""

from __future__ import annotations

from typing import NamedTuple

from tilewright.kernels.node import Node, View, compose, row_major, whole

Read = tuple[Node, View]


class Window(NamedTuple):
    """The geometry of a convolution: the input's layout, then steps and what is missing above and to the left."""

    layout: str
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    padding_h: int
    padding_w: int


class Axes(NamedTuple):
    """Where the axes of a convolution are in its space."""

    n: int
    group: int
    o: int
    h: int
    w: int
    c: int = 5
    kh: int = 6
    kw: int = 7


AXES = {"NCHW": Axes(0, 1, 2, 3, 4), "NHWC": Axes(0, 3, 4, 1, 2)}


def reads(node: Node) -> tuple[tuple[int, ...], list[Read]]:
    """The space of the group that computes `node`, one of PRODUCTS, and what it reads, in the order of its sources."""
    return _READS[node.op](node)


def empty(node: Node) -> bool:
    """Whether nothing is summed, so that the result is 0."""
    space, _ = reads(node)
    return 0 in space[len(node.shape) :]


def _matmul(node: Node) -> tuple[tuple[int, ...], list[Read]]:
    a, b = node.src
    space = (*node.shape, a.shape[-1])
    *batch_a, a_row, a_column = row_major(a.shape)
    *batch_b, b_row, b_column = row_major(b.shape)
    return space, [(a, View(space, (*batch_a, a_row, 0, a_column))), (b, View(space, (*batch_b, 0, b_column, b_row)))]


def _attention(node: Node) -> tuple[tuple[int, ...], list[Read]]:
    query, key, value, scale, *masks = node.src
    space = (*node.shape, *key.shape[-2:])

    def over(source: Node, *places: int) -> Read:
        """`source`, whose last two axes are at those places from the end of the space."""
        *batch, row, column = row_major(source.shape)
        tail = [0, 0, 0, 0]
        tail[places[0]], tail[places[1]] = row, column
        return source, View(space, (*batch, *tail))

    found = [over(query, -4, -1), over(key, -2, -1), over(value, -2, -3), (scale, View(space, (0,) * len(space)))]
    return space, found + [over(mask, -4, -2) for mask in masks]


def _conv(node: Node) -> tuple[tuple[int, ...], list[Read]]:
    x, weights = node.src
    at = AXES[node.arg[0]]
    space = (*node.shape, *weights.shape[-3:])
    seen, steps = [1] * 8, [0] * 8
    order = (at.n, at.group, at.c, at.h, at.w) if at.group == 1 else (at.n, at.h, at.w, at.group, at.c)
    for axis, extent, step in zip(order, x.shape, row_major(x.shape), strict=True):
        seen[axis], steps[axis] = extent, step
    taps = [0] * 8
    for axis, step in zip((at.group, at.o, at.c, at.kh, at.kw), row_major(weights.shape), strict=True):
        taps[axis] = step
    return space, [(x, View(tuple(seen), tuple(steps))), (weights, View(space, tuple(taps)))]


_READS = {"matmul": _matmul, "attention": _attention, "conv": _conv}
PRODUCTS = frozenset(_READS)


def respaced(view: View, shape: tuple[int, ...]) -> View | None:
    """A view over some space as one over `shape`, a reshape of that space; None where strides cannot say it."""
    return whole(shape) if view == whole(view.shape) else compose(view, whole(shape))
