"""The standard problems that `tilewright tune` tunes: what most programs spend their time in, at sizes for a CPU."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

from tilewright.backends.protocol import Limits
from tilewright.kernels.fuse import fuse
from tilewright.kernels.node import Node, View
from tilewright.kernels.problem import Problem

_F32 = "float32"


def standard(limits: Limits) -> list[tuple[str, Problem]]:
    """Name and problem of each, all float32, fused for a device with these limits as the frontend would."""
    graphs = {
        "gelu 4M": _gelu(_buffer(1 << 22)),
        "a*b+c 4M": _op("add", _op("mul", _buffer(1 << 22), _buffer(1 << 22)), _buffer(1 << 22)),
        "sum 4M": _reduce("sum", _buffer(1 << 22), 0),
        "sum rows 2048x2048": _reduce("sum", _buffer(2048, 2048), 0),
        "softmax 2048x1024": _softmax(_buffer(2048, 1024)),
        "layer norm 2048x1024": _layer_norm(_buffer(2048, 1024)),
        "matmul 128": _matmul(128),
        "matmul 512": _matmul(512),
        "matmul 1024": _matmul(1024),
        "matmul+bias+gelu 512": _gelu(_op("add", _matmul(512), _row(_buffer(512), 512))),
        "transpose 2048x2048": _view(_buffer(2048, 2048), (2048, 2048), (1, 2048)),
        "gather 8192 rows of 256": _gather(16384, 256, 8192),
    }
    # Of a long sum, done in two steps, the first is all but the last few hundred elements of the work.
    return [(name, max((s.problem for s in fuse([root], limits)), key=_work)) for name, root in graphs.items()]


SIZED = {"matmul": 3, "sum": 1, "sum rows": 2, "softmax": 2, "layer norm": 2, "gelu": 1}
"""Operations that exist at any size, with the number of their axes."""


def sized(name: str, size: tuple[int, ...], limits: Limits) -> Problem:
    """A standard operation at a size of its own: M, N, K of a matmul, rows and columns, or elements; float32.

    Raises ValueError for a name that is not in SIZED, and for a size with other axes or with one below 1.
    """
    if name not in SIZED:
        raise ValueError(f"there is no operation {name!r}; there are {', '.join(SIZED)}")
    if len(size) != SIZED[name] or min(size) < 1:
        raise ValueError(f"a size of {name} has {SIZED[name]} axes of at least 1, not {'x'.join(map(str, size))}")
    roots: dict[str, Callable[..., Node]] = {
        "matmul": lambda m, n, k: Node("matmul", (_buffer(m, k), _buffer(k, n)), None, (m, n), _F32),
        "sum": lambda n: _reduce("sum", _buffer(n), 0),
        "sum rows": lambda m, n: _reduce("sum", _buffer(m, n), 1),
        "softmax": lambda m, n: _softmax(_buffer(m, n)),
        "layer norm": lambda m, n: _layer_norm(_buffer(m, n)),
        "gelu": lambda n: _gelu(_buffer(n)),
    }
    return max((s.problem for s in fuse([roots[name](*size)], limits)), key=_work)


def _work(problem: Problem) -> int:
    return problem.nbytes + problem.operations


def _buffer(*shape: int, dtype: str = _F32) -> Node:
    return Node("buffer", (), None, shape, dtype)


def _op(name: str, *sources: Node) -> Node:
    whole = max(sources, key=lambda s: len(s.shape))
    return Node(name, sources, None, whole.shape, whole.dtype)


def _const(value: float) -> Node:
    return Node("const", (), value, (), _F32)


def _view(source: Node, shape: tuple[int, ...], strides: tuple[int, ...]) -> Node:
    return Node("view", (source,), View(shape, strides, 0), shape, source.dtype)


def _row(source: Node, rows: int) -> Node:
    """A vector as every row of a matrix."""
    return _view(source, (rows, *source.shape), (0, 1))


def _column(source: Node, columns: int) -> Node:
    """A vector as every column of a matrix."""
    return _view(source, (*source.shape, columns), (1, 0))


def _reduce(name: str, source: Node, axis: int) -> Node:
    shape = tuple(extent for a, extent in enumerate(source.shape) if a != axis)
    return Node("reduce", (source,), (name, axis), shape, source.dtype)


def _gelu(x: Node) -> Node:
    """The tanh form: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))."""
    cube = _op("mul", _op("mul", x, x), x)
    inner = _op("mul", _op("add", x, _op("mul", cube, _const(0.044715))), _const(sqrt(2 / pi)))
    return _op("mul", _op("mul", x, _const(0.5)), _op("add", _op("tanh", inner), _const(1.0)))


def _softmax(x: Node) -> Node:
    columns = x.shape[1]
    e = _op("exp", _op("sub", x, _column(_reduce("max", x, 1), columns)))
    return _op("div", e, _column(_reduce("sum", e, 1), columns))


def _layer_norm(x: Node) -> Node:
    columns = x.shape[1]
    share = _const(1 / columns)
    centred = _op("sub", x, _column(_op("mul", _reduce("sum", x, 1), share), columns))
    variance = _op("mul", _reduce("sum", _op("mul", centred, centred), 1), share)
    return _op("div", centred, _column(_op("sqrt", _op("add", variance, _const(1e-5))), columns))


def _matmul(n: int) -> Node:
    return Node("matmul", (_buffer(n, n), _buffer(n, n)), None, (n, n), _F32)


def _gather(rows: int, columns: int, count: int) -> Node:
    """`count` rows of a table, by flat indices as the frontend makes them."""
    table, chosen = _buffer(rows * columns), _column(_buffer(count, dtype="int64"), columns)
    width = Node("const", (), columns, (), "int64")
    within = _row(Node("iota", (), None, (columns,), "int64"), count)
    index = _op("add", _op("mul", chosen, width), within)
    return Node("gather", (table, index), None, (count, columns), _F32)
