"""Small graphs of nodes for the tests, and what is needed to run them without a device."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tilewright.backends.dtypes import numpy_dtype
from tilewright.backends.protocol import Limits
from tilewright.kernels.fuse import fuse
from tilewright.kernels.node import Node, View, row_major
from tilewright.kernels.oracle import evaluate, reference, window
from tilewright.kernels.step import Step

LIMITS = Limits(1, 0, 0, 2, 1, 32, (32768, 524288), 1 << 30, 1 << 30, frozenset(("float32", "float64", "int64")))


def leaf(data: np.ndarray[Any, Any], dtype: str | None = None) -> Node:
    return Node("buffer", (), np.ascontiguousarray(data), data.shape, dtype or data.dtype.name)


def const(value: float, dtype: str = "float32") -> Node:
    return Node("const", (), value, (), dtype)


def op(name: str, *src: Node) -> Node:
    shape = next((s.shape for s in src if s.op != "const"), ())
    dtype = "bool" if name in ("eq", "ne", "lt", "le", "gt", "ge", "isnan") else src[-1].dtype
    return Node(name, src, None, shape, dtype)


def view(node: Node, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Node:
    return Node("view", (node,), View(shape, strides, offset), shape, node.dtype)


def transpose(node: Node) -> Node:
    strides = row_major(node.shape)
    return view(node, node.shape[::-1], strides[::-1])


def reshape(node: Node, shape: tuple[int, ...]) -> Node:
    return view(node, shape, row_major(shape))


def broadcast(node: Node, shape: tuple[int, ...]) -> Node:
    """NumPy's broadcast_to."""
    strides = row_major(node.shape)
    lead = len(shape) - len(node.shape)
    steps = (0,) * lead + tuple(0 if e == 1 else s for e, s in zip(node.shape, strides, strict=True))
    return view(node, shape, steps)


def reduce(name: str, node: Node, axis: int, keepdims: bool = False) -> Node:
    axis %= len(node.shape)
    shape = node.shape[:axis] + node.shape[axis + 1 :]
    result = Node("reduce", (node,), (name, axis), shape, node.dtype)
    return reshape(result, (*shape[:axis], 1, *shape[axis:])) if keepdims else result


def matmul(a: Node, b: Node) -> Node:
    return Node("matmul", (a, b), None, (*a.shape[:-1], b.shape[-1]), a.dtype)


def softmax(x: Node) -> Node:
    e = op("exp", op("sub", x, broadcast(reduce("max", x, -1, True), x.shape)))
    return op("div", e, broadcast(reduce("sum", e, -1, True), x.shape))


def layer_norm(x: Node, gain: Node, bias: Node) -> Node:
    n = const(x.shape[-1])
    mean = op("div", reduce("sum", x, -1, True), n)
    centred = op("sub", x, broadcast(mean, x.shape))
    variance = op("div", reduce("sum", op("mul", centred, centred), -1, True), n)
    scaled = op("div", centred, broadcast(op("sqrt", op("add", variance, const(1e-5))), x.shape))
    return op("add", op("mul", scaled, broadcast(gain, x.shape)), broadcast(bias, x.shape))


def gelu(x: Node) -> Node:
    inner = op("mul", op("add", x, op("mul", const(0.044715), op("mul", x, op("mul", x, x)))), const(0.7978845608))
    return op("mul", op("mul", x, const(0.5)), op("add", op("tanh", inner), const(1.0)))


def run_by_oracle(steps: list[Step], roots: list[Node]) -> list[np.ndarray[Any, Any]]:
    """The values of `roots` by running each step's problem through the problem oracle."""
    data: dict[int, np.ndarray[Any, Any]] = {}

    def flat(node: Node) -> np.ndarray[Any, Any]:
        return node.arg.reshape(-1) if node.op == "buffer" else data[id(node)]

    for step in steps:
        results = reference(step.problem, [flat(n) for n in step.inputs])
        for node, operand, result in zip(step.outputs, step.problem.outputs, results, strict=True):
            store(
                data.setdefault(id(node), np.zeros(prod(node.shape), numpy_dtype(node.dtype))),
                step.problem,
                operand,
                result,
            )
    return [data[id(root)].reshape(root.shape) if prod(root.shape) else np.zeros(root.shape) for root in roots]


def store(target: np.ndarray[Any, Any], problem: Any, operand: Any, result: np.ndarray[Any, Any]) -> None:
    """Put an oracle's result where the problem's output operand says."""
    strides = operand.strides
    if result.ndim < len(strides):
        strides = strides[: result.ndim]
    elif problem.kind == "reduce" and problem.parts > 1:
        strides = (*strides[:-1], 1)
    window(target, View(result.shape, strides, operand.offset))[...] = result


def fused(*roots: Node, limits: Limits = LIMITS) -> list[Step]:
    return fuse(roots, limits)


def expected(*roots: Node) -> list[np.ndarray[Any, Any]]:
    return evaluate(roots, lambda node: node.arg)
