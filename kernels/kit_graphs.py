"""The graphs on which kernels are checked: one for each way in which a kind of kernel reads and writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES, numpy_dtype
from tilewright.kernels.node import Node, View, row_major
from tilewright.kernels.products import Window
from tilewright.kernels.reduce import BLOCK
from tilewright.kernels.scatter import WAITING, last_of_each
from tilewright.kernels.sort import SERIAL_TILE

Sizes = tuple[int, ...]


def data(shape: Sizes, dtype: str, seed: int = 0, sparse: bool = False) -> Node:
    """A leaf with values that every bound is stated for: floats in [1/2, 2), small whole numbers, random truth.

    `sparse`: 0 but for a few ones at both ends and in between, so that sums are exact in 16 bits too.
    """
    rng, size = np.random.default_rng(seed), int(np.prod(shape))
    kind = DTYPES[dtype].kind
    values: Any
    if sparse:
        values = np.zeros(size)
        values[:2] = values[-3:] = values[:: max(size // 16, 1)] = 1
    elif kind == "f":
        values = rng.uniform(0.5, 2, size)
    elif kind == "b":
        values = rng.random(size) < 0.5
    else:
        values = rng.integers(-100 if kind == "i" else 0, 100, size)
    return Node("buffer", (), values.astype(numpy_dtype(dtype)).reshape(shape), shape, dtype)


def op(name: str, *src: Node) -> Node:
    whole = max(src, key=lambda s: len(s.shape))
    return Node(name, src, None, whole.shape, src[-1].dtype)


def view(node: Node, shape: Sizes, strides: Sizes, offset: int = 0) -> Node:
    return Node("view", (node,), View(shape, strides, offset), shape, node.dtype)


def reduce(name: str, node: Node, axis: int) -> Node:
    shape = node.shape[:axis] + node.shape[axis + 1 :]
    return Node("reduce", (node,), (name, axis), shape, node.dtype)


def matmul(a: Node, b: Node) -> Node:
    return Node("matmul", (a, b), None, (*a.shape[:-1], b.shape[-1]), a.dtype)


def transposed(node: Node) -> Node:
    strides = row_major(node.shape)
    return view(node, node.shape[::-1], strides[::-1])


def _mixed(x: Node, y: Node) -> Node:
    """x * y + x; of truth values x and y or not x."""
    if x.dtype == "bool":
        return op("or", op("and", x, y), op("not", x))
    return op("add", op("mul", x, y), x)


def _sum(dtype: str) -> str:
    return "max" if dtype == "bool" else "sum"


def _summed(shape: Sizes, dtype: str) -> Node:
    return data(shape, dtype, 3, sparse=DTYPES[dtype].kind == "f" and DTYPES[dtype].nbytes == 2)


def _map(dtype: str, n: int) -> list[Node]:
    return [_mixed(data((n,), dtype), data((n,), dtype, 1))]


def _broadcast(dtype: str, n: int) -> list[Node]:
    row, column = view(data((n,), dtype, 1), (5, n), (0, 1)), view(data((5,), dtype, 2), (5, n), (1, 0))
    return [_mixed(_mixed(data((5, n), dtype), row), column)]


def _strided(dtype: str, n: int) -> list[Node]:
    """Every second element from behind, of a larger buffer."""
    return [_mixed(view(data((2 * n + 3,), dtype), (n,), (-2,), 2 * n + 1), data((n,), dtype, 1))]


def _transpose(dtype: str, n: int) -> list[Node]:
    return [_mixed(transposed(data((n, 33), dtype)), data((33, n), dtype, 1))]


def _gather(dtype: str, n: int) -> list[Node]:
    shape = (3, 11) if n else (3, 0)  # of nothing nothing can be taken
    index = np.random.default_rng(7).integers(0, max(n, 1), shape)
    return [Node("gather", (data((n,), dtype), Node("buffer", (), index, shape, "int64")), None, shape, dtype)]


def _write(dtype: str, n: int) -> list[Node]:
    """Two columns of five replaced: what lies between them must stay."""
    value = _mixed(data((n, 2), dtype, 1), data((n, 2), dtype, 2))
    return [Node("write", (data((n, 5), dtype), value), View((n, 2), (5, 2), 1), (n, 5), dtype)]


def _scatter(dtype: str, n: int) -> list[Node]:
    """Places in any order, among them negative ones that are left out; of repeated ones the last is kept by a sort."""
    index = np.random.default_rng(8).integers(-2, max(n // 2, 1), n)
    places = Node("buffer", (), index, (n,), "int64")
    order = Node("buffer", (), np.arange(n), (n,), "int64")
    if n:
        places, order = last_of_each(places, -5)
    value = Node("gather", (_mixed(data((n,), dtype, 1), data((n,), dtype, 2)), order), None, (n,), dtype)
    return [Node("scatter", (data((n + 3,), dtype), places, value), True, (n + 3,), dtype)]


def _scatter_in_order(dtype: str, n: int) -> list[Node]:
    """Single elements and rows of 5 at repeated places, as where one thread stores what is given to a place."""
    rng = np.random.default_rng(9)
    one = Node("buffer", (), rng.integers(-2, n + 5, 3 * n), (3 * n,), "int64")
    rows = Node("buffer", (), rng.integers(0, max(n // 2, 1), n), (n,), "int64")
    five = Node("const", (), 5, (), "int64")
    start = view(Node("mul", (rows, five), None, (n,), "int64"), (n, 5), (1, 0))
    step = view(Node("iota", (), None, (5,), "int64"), (n, 5), (0, 1))
    places = Node("add", (start, step), None, (n, 5), "int64")
    return [
        Node("scatter", (data((n + 3,), dtype), one, data((3 * n,), dtype, 1)), False, (n + 3,), dtype),
        Node("scatter", (data((n, 5), dtype), places, data((n, 5), dtype, 1)), False, (n, 5), dtype),
    ]


def _rows(dtype: str, n: int) -> list[Node]:
    return [reduce(_sum(dtype), _summed((7, n), dtype), 1)]


def _largest(dtype: str, n: int) -> list[Node]:
    x = data((5, n), dtype)
    return [reduce("max", x, 1), reduce("min", x, 1)]


def _columns(dtype: str, n: int) -> list[Node]:
    return [reduce(_sum(dtype), _summed((n, 70), dtype), 0)]


def _everything(dtype: str, n: int) -> list[Node]:
    return [reduce(_sum(dtype), _summed((n * 997,), dtype), 0)]


def _row(dtype: str, n: int) -> list[Node]:
    """Of floats a softmax, of others how far each element is from its row's largest."""
    x = data((6, n), dtype)
    largest = view(reduce("max", x, 1), (6, n), (1, 0))
    if DTYPES[dtype].kind != "f":
        return [op("xor" if dtype == "bool" else "sub", x, largest)]
    e = op("exp", op("sub", x, largest))
    return [op("div", e, view(reduce("sum", e, 1), (6, n), (1, 0)))]


def softmax_down(columns: int) -> list[Node]:
    """Along the first axis."""
    shape = (37, columns)
    x = data(shape, "float32")
    e = op("exp", op("sub", x, view(reduce("max", x, 0), shape, (0, 1))))
    return [op("div", e, view(reduce("sum", e, 0), shape, (0, 1)))]


def _matmul(dtype: str, n: int) -> list[Node]:
    return [matmul(data((19, n), dtype), data((n, 35), dtype, 1))]


def _wide_matmul(dtype: str, n: int) -> list[Node]:
    return [matmul(data((n, 13), dtype), transposed(data((n, 13), dtype, 1)))]


def _batched_matmul(dtype: str, n: int) -> list[Node]:
    bias = view(data((n,), dtype, 2), (3, 5, n), (0, 0, 1))
    product = matmul(data((3, 5, 8), dtype), data((3, 8, n), dtype, 1))
    return [op("or" if dtype == "bool" else "add", product, bias)]


def products(name: str) -> list[list[Node]]:
    """An attention, or convolutions of which one is depthwise, of sizes that no tile divides."""
    if name == "attention":
        query, key, value = (data((2, *shape), "float32", k) for k, shape in enumerate(((37, 13), (67, 13), (67, 29))))
        scale = Node("const", (), 0.125, (), "float32")
        return [[Node("attention", (query, key, value, scale), True, (2, 37, 29), "float32")]]
    found = []
    for groups, channels, outputs in ((2, 7, 13), (7, 1, 1)):
        x, w = data((2, groups, channels, 11, 19), "float32"), data((groups, outputs, channels, 3, 3), "float32", 1)
        window = Window("NCHW", 1, 2, 1, 1, 1, 1)
        found.append([Node("conv", (x, w), window, (2, groups, outputs, 11, 10), "float32")])
    return found


def scan(name: str, node: Node, axis: int) -> Node:
    return Node("scan", (node,), (name, axis), node.shape, node.dtype)


def ordered(name: str, node: Node, keep: int, descending: bool = False) -> Node:
    """The first `keep` in order along the last axis: themselves ("sort") or their places ("argsort")."""
    dtype = node.dtype if name == "sort" else "int64"
    last = len(node.shape) - 1
    return Node(name, (node,), (last, descending, keep), (*node.shape[:-1], keep), dtype)


def _running(dtype: str, n: int) -> list[Node]:
    """Along rows and down columns."""
    name = "max" if dtype == "bool" else "sum"
    return [scan(name, _summed((3, n), dtype), 1), scan(name, _summed((n, 70), dtype), 0)]


def _sorted(dtype: str, n: int) -> list[Node]:
    """Few distinct values, so that places tell whether equal ones keep their order."""
    x = data((3, n), dtype)
    repeated = Node("buffer", (), np.take(x.arg, np.arange(n) % 7, axis=1), x.shape, dtype)
    return [ordered("sort", x, n), ordered("argsort", repeated, n, descending=True)]


def scans() -> list[list[Node]]:
    """Along many rows, and down columns."""
    return [[scan("sum", data((600, 131), "float32"), 1)], [scan("sum", data((131, 333), "float32"), 0)]]


def sorting(tile: int) -> list[list[Node]]:
    """A sort of several tiles and a selection of a few, whose steps are all the kinds that put in order."""
    x = data((2, 4 * tile + 13), "float32")
    few = data((2, 5000), "float32")
    return [[ordered("argsort", x, x.shape[1])], [ordered("argsort", few, 3)]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A graph of one size n in any dtype. `kernels` is the kind of its main problem, `ulps(n)` the error allowed of a
    float result as computed (a 16-bit result is rounded once more), `reason` why. `largest` is the n beyond which no
    edge of a tile is tried, `more` what is tried beside the edges of tiles.
    """

    name: str
    kernels: str
    graph: Callable[[str, int], list[Node]]
    ulps: Callable[[int], float]
    reason: str
    largest: int
    more: Sizes = ()


def _rounding(n: int) -> float:
    return 2.0


def _adding(n: int) -> float:
    return 4 + sqrt(n)


_TWO = "2 ulp: a product and a sum round once each"
_ROOT = "4 + sqrt(n) ulp: each of n additions rounds, and such errors grow with the root of their number"
_SOFTMAX = "12 + sqrt(n) ulp: exp rounds by 4, above and below the line; the sum and the division round too"
WAITS = tuple(wait + step for wait in WAITING for step in (-1, 0, 1))
BLOCKS = (BLOCK - 1, BLOCK, BLOCK + 1)
TILES = (SERIAL_TILE - 1, SERIAL_TILE, SERIAL_TILE + 1, 6 * SERIAL_TILE + 7)
KINDS = (
    Kind("map", "map", _map, _rounding, _TWO, 1 << 17),
    Kind("broadcast", "map", _broadcast, lambda n: 4.0, "4 ulp: two products and two sums round once each", 1 << 15),
    Kind("strided views", "map", _strided, _rounding, _TWO, 1 << 15),
    Kind("transpose", "map", _transpose, _rounding, _TWO, 256),
    Kind("gather", "map", _gather, lambda n: 0.0, "exact: values are moved", 1 << 15),
    Kind("write into a view", "map", _write, _rounding, _TWO, 1 << 15),
    Kind("scatter at distinct places", "scatter", _scatter, _rounding, _TWO, 1 << 11, WAITS),
    Kind("scatter in order", "scatter", _scatter_in_order, lambda n: 0.0, "exact: values are moved", 1 << 11, WAITS),
    Kind("sum of rows", "reduce", _rows, _adding, _ROOT, 1 << 13, BLOCKS),
    Kind("max and min of rows", "reduce", _largest, lambda n: 0.0, "exact: values are chosen", 1 << 13, BLOCKS),
    Kind("sum of columns", "reduce", _columns, _adding, _ROOT, 1 << 11),
    Kind("sum of everything", "reduce", _everything, lambda n: _adding(997 * n), _ROOT, 257),
    Kind("softmax or distance from largest", "row", _row, lambda n: 12 + sqrt(n), _SOFTMAX, 1 << 13, BLOCKS),
    Kind("matmul", "matmul", _matmul, _adding, _ROOT, 520),
    Kind("matmul with a transposed factor", "matmul", _wide_matmul, lambda n: _adding(13), _ROOT, 520),
    Kind("batched matmul with a bias", "matmul", _batched_matmul, lambda n: 1 + _adding(8), _ROOT, 130),
    Kind("running sum", "scan", _running, _adding, _ROOT, 1 << 11, BLOCKS),
    Kind("sort and argsort", "sort", _sorted, lambda n: 0.0, "exact: values are moved", 1 << 9, TILES),
)  # fmt: skip
