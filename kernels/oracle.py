"""The independent oracle: a graph of nodes, or a problem, computed by NumPy with no kernel of ours involved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES, numpy_dtype
from tilewright.kernels.node import Node, View, row_major, toposort
from tilewright.kernels.ops import OPS, REDUCTIONS
from tilewright.kernels.oracle_products import product
from tilewright.kernels.problem import Operand, Problem, merge_sizes
from tilewright.kernels.products import AXES, PRODUCTS

Array = np.ndarray[Any, Any]


def window(data: Array, view: View) -> Array:
    """`view` onto the flat array `data`, without a copy. The caller vouches that it stays inside."""
    start = data[view.offset :]  # as_strided keeps its base alive; negative strides start further in
    return np.lib.stride_tricks.as_strided(start, view.shape, tuple(s * data.itemsize for s in view.strides))


def evaluate(roots: Sequence[Node], leaf: Callable[[Node], Array]) -> list[Array]:
    """The values of `roots`; `leaf` gives the data of "buffer" nodes. Every op in the node's own dtype."""
    values: dict[int, Array] = {}
    for node in toposort(list(roots)):
        source = [values[id(s)] for s in node.src]
        values[id(node)] = leaf(node) if node.op == "buffer" else _node(node, source)
    return [values[id(root)] for root in roots]


def _node(node: Node, source: list[Array]) -> Array:
    dtype = numpy_dtype(node.dtype)
    if node.op == "const":
        return np.asarray(node.arg).astype(dtype)
    if node.op == "iota":
        return np.arange(node.shape[0]).astype(dtype)
    if node.op == "view":
        return window(np.ascontiguousarray(source[0]).reshape(-1), node.arg)
    if node.op == "reduce":
        name, axis = node.arg
        return reduced(name, source[0], axis, dtype)
    if node.op == "scan":
        name, axis = node.arg
        return _scan(name, source[0], axis, dtype)
    if node.op in ("sort", "argsort"):
        axis, descending, keep = node.arg
        moved = np.moveaxis(source[0], axis, -1)
        places = ordered(moved, max(moved.shape[-1], 1), descending)[..., :keep]
        return np.moveaxis(places if node.op == "argsort" else np.take_along_axis(moved, places, -1), -1, axis)
    if node.op == "matmul":
        return np.matmul(_wide(source[0]), _wide(source[1])).astype(dtype)
    if node.op in PRODUCTS:
        return product(node, [_wide(s) for s in source]).astype(dtype)
    if node.op == "gather":
        return source[0].reshape(-1)[source[1]]
    if node.op == "write":
        result = np.array(source[0], order="C")
        window(result.reshape(-1), node.arg)[...] = source[1]
        return result
    if node.op == "scatter":
        result, places, values = np.array(source[0], order="C"), source[1].reshape(-1), source[2].reshape(-1)
        inside = (places >= 0) & (places < result.size)
        result.reshape(-1)[places[inside]] = values[inside]
        return result
    return _apply(node.op, dtype, source)


def _wide(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


def reduced(name: str, x: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    """A reduction of one axis, as NumPy has it, in `dtype`."""
    if x.dtype.kind == "b":  # NumPy counts booleans; max and min of them are any and all
        return {"max": np.any, "min": np.all}[name](x, axis=axis)
    with np.errstate(all="ignore"):
        if x.size == 0 and name in ("max", "min"):
            return np.full([e for a, e in enumerate(x.shape) if a != axis], -np.inf if name == "max" else np.inf, dtype)
        return np.asarray(REDUCTIONS[name].oracle(_wide(x), axis=axis)).astype(dtype, copy=False)


def _scan(name: str, x: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    combine: Any = OPS[REDUCTIONS[name].combine].oracle
    with np.errstate(all="ignore"):
        return np.asarray(combine.accumulate(_wide(x), axis=axis)).astype(dtype, copy=False)


def _apply(op: str, dtype: np.dtype[Any], source: list[Array]) -> Array:
    with np.errstate(all="ignore"):
        if op == "cast":
            return source[0].astype(dtype)
        return np.asarray(OPS[op].oracle(*source)).astype(dtype, copy=False)


def reference(problem: Problem, inputs: Sequence[Array], wide: bool = True) -> list[Array]:
    """What `problem` stores, one array per output in the shape of the axes it varies over.

    `inputs` are flat arrays. `wide` computes floats in float64, so that the reference is better than any candidate.
    """
    values: dict[int, Array] = {}
    seen = _seen(problem)

    def dtype_of(node: Node) -> np.dtype[Any]:
        if wide and DTYPES[node.dtype].kind in "fc":
            return np.dtype(np.float64 if DTYPES[node.dtype].kind == "f" else np.complex128)
        return numpy_dtype(node.dtype)

    for node in toposort(problem.body):
        source = [values[id(s)] for s in node.src]
        dtype = dtype_of(node)
        space = seen.get(id(node), problem.space)
        if node.op == "load":
            operand = problem.inputs[node.arg]
            # What is broadcast stays of extent 1: a matmul's operands would fill (batch, m, n, k) otherwise.
            extents = tuple(e if s or not e else 1 for e, s in zip(space, operand.strides, strict=True))
            value = window(inputs[node.arg], View(extents, operand.strides, operand.offset))
            value = value if len(node.shape) == len(space) else value.reshape(*value.shape[: len(node.shape)])
            value = value.astype(dtype, copy=False)
        elif node.op == "scalar":
            value = np.asarray(problem.scalars[node.arg][1]).astype(numpy_dtype(node.dtype)).astype(dtype)
        elif node.op == "iota":
            shape = [1] * len(node.shape)
            shape[node.arg] = space[node.arg]
            value = np.arange(space[node.arg]).reshape(shape).astype(dtype)
        elif node.op == "gather":
            table = inputs[node.arg]
            value = table[np.clip(source[0], 0, len(table) - 1)].astype(dtype)
        elif node.op == "scatter":
            return [_scattered(problem, *source)[1].astype(numpy_dtype(node.dtype))]
        elif node.op == "reduce":
            value = _partial(problem, node.arg, np.broadcast_to(lift(source[0], node.src[0], space), space), dtype)
        elif node.op in PRODUCTS:
            value = product(node, source, space).astype(dtype, copy=False)
        elif node.op == "scan":
            value = _scanned(problem, node, np.broadcast_to(lift(source[0], node.src[0], space), space), inputs, dtype)
        elif node.op in ("sort", "argsort"):
            value = _sorted(problem, node, source, inputs).astype(dtype)
        elif node.op == "dot":
            value = _dot(problem, node, source).astype(dtype, copy=False)
        else:
            whole = len(node.shape) == len(space)
            lifted = [lift(v, s, space) if whole else v for v, s in zip(source, node.src, strict=True)]
            value = _apply(node.op, dtype, lifted)
            if node.op == "cast" and wide and node.dtype in ("float16", "bfloat16", "float32"):
                value = value.astype(numpy_dtype(node.dtype)).astype(dtype)  # an explicit cast rounds
        values[id(node)] = value
    return [_store(problem, k, values[id(root)]) for k, root in enumerate(problem.body)]


def scattered_places(problem: Problem, inputs: Sequence[Array]) -> Array:
    """Where a scatter stores, ascending: `reference` gives what it stores there, in that order."""
    place = problem.body[0].src[0]
    whole = Operand("int64", row_major(problem.space), 0, prod(problem.space))
    places = reference(replace(problem, kind="map", outputs=(whole,), body=(place,)), inputs)[0]
    return _scattered(problem, places, places)[0]


def _scattered(problem: Problem, places: Array, values: Array) -> tuple[Array, Array]:
    """The places inside, ascending, and the last value that each is given."""
    places, values = (np.broadcast_to(x, problem.space).reshape(-1) for x in (places, values))
    inside = (places >= 0) & (places < problem.outputs[0].count)
    found, first = np.unique(places[inside][::-1], return_index=True)
    return found, values[inside][::-1][first]


def _seen(problem: Problem) -> dict[int, tuple[int, ...]]:
    """The space as the input of a convolution has it, for the nodes that make it: with its own height and width."""
    found: dict[int, tuple[int, ...]] = {}
    for node in toposort(problem.body):
        if node.op == "conv":
            at, space = AXES[node.arg[0]], list(problem.space)
            for axis, extent in zip((at.h, at.w), node.src[2:], strict=True):
                space[axis] = int(problem.scalars[extent.arg][1])
            found = {id(n): tuple(space) for n in toposort([node.src[0]])}
    return found


def lift(value: Any, node: Node, space: tuple[int, ...]) -> Any:
    """A per-row value gets a last axis of 1, so that it broadcasts against per-element values."""
    missing = len(space) - len(node.shape)
    return value.reshape(*value.shape, *(1,) * missing) if missing and value.ndim == len(node.shape) else value


def dot_operands(problem: Problem, node: Node, source: list[Any], broadcast: Callable[..., Any]) -> tuple[Any, Any]:
    """What a dot multiplies, as (batch, m, k) and (batch, n, k); arrays of any library, and its broadcast_to."""
    batch, m, n, k = problem.space
    left, right = (lift(v, s, problem.space) for v, s in zip(source, node.src, strict=True))
    a = broadcast(left, (batch, m, left.shape[2], k))[:, :, 0, :]
    b = broadcast(right, (batch, right.shape[1], n, k))[:, 0, :, :]
    return a, b


def _dot(problem: Problem, node: Node, source: list[Array]) -> Array:
    a, b = dot_operands(problem, node, source, np.broadcast_to)
    return np.matmul(a, b.swapaxes(-1, -2))


def _partial(problem: Problem, name: str, x: Array, dtype: np.dtype[Any]) -> Array:
    x = x - x[..., :1] if name == "offset" else x
    if problem.parts == 1:
        return reduced(name, x, x.ndim - 1, dtype)
    chunk = -(-problem.space[-1] // problem.parts)
    pieces = [x[..., p * chunk : (p + 1) * chunk] for p in range(problem.parts)]
    return np.stack([reduced(name, piece, piece.ndim - 1, dtype) for piece in pieces], axis=-1)


def _scanned(problem: Problem, node: Node, x: Array, inputs: Sequence[Array], dtype: np.dtype[Any]) -> Array:
    """A row's scan; in parts, each behind the totals of the parts before it, which an input holds."""
    if problem.parts == 1:
        return _scan(node.arg, x, x.ndim - 1, dtype)
    combine, operand = OPS[REDUCTIONS[node.arg].combine].oracle, problem.inputs[node.src[1].arg]
    view = View((*problem.space[:-1], problem.parts), (*operand.strides[:-1], 1), operand.offset)
    before = _scan(node.arg, window(inputs[node.src[1].arg], view).astype(dtype), x.ndim - 1, dtype)
    chunk = -(-problem.space[-1] // problem.parts)
    pieces = [_scan(node.arg, x[..., p : p + chunk], x.ndim - 1, dtype) for p in range(0, problem.space[-1], chunk)]
    return np.concatenate([pieces[0], *(combine(before[..., [p]], y) for p, y in enumerate(pieces[1:]))], axis=-1)


def ordered(x: Array, run: int, descending: bool) -> Array:
    """The places along the last axis that put each run of so many neighbours in order; equal ones stay as they are."""
    size, x = x.shape[-1], _wide(x)
    found = []
    for begin, end, length in ((0, size // run * run, run), (size // run * run, size, size % run)):
        if begin < end:
            runs = x[..., begin:end].reshape(*x.shape[:-1], -1, length)
            if descending:
                places = length - 1 - np.flip(np.argsort(np.flip(runs, -1), axis=-1, stable=True), -1)
            else:
                places = np.argsort(runs, axis=-1, stable=True)
            places = places + np.arange(begin, end, length)[:, None]
            found.append(places.reshape(*x.shape[:-1], end - begin))
    return np.concatenate(found, axis=-1)


def held(problem: Problem, node: Node, inputs: Sequence[Array], have: int) -> Array:
    """All that an input of a merge holds along the last axis, which is more than the space has."""
    operand = problem.inputs[node.arg]
    return window(inputs[node.arg], View((*problem.space[:-1], have), operand.strides, operand.offset))


def _sorted(problem: Problem, node: Node, source: list[Array], inputs: Sequence[Array]) -> Array:
    descending = node.arg < 0
    if problem.kind != "merge":
        keys = np.broadcast_to(lift(source[0], node.src[0], problem.space), problem.space)
        extent, run, keep = problem.space[-1], abs(node.arg), abs(node.arg)
        run = run if problem.kind == "sort" else -(-extent // problem.parts)
        places = ordered(keys, run, descending)[..., np.arange(extent) % run < keep]
        return places if node.op == "argsort" else np.take_along_axis(keys, places, -1)
    width, keep, have = merge_sizes(problem)
    places = ordered(held(problem, node.src[0], inputs, have), 2 * width, descending)
    data = held(problem, node.src[-4], inputs, have)  # the places of an argsort, else the keys
    return np.take_along_axis(data, places, -1)[..., np.arange(have) % (2 * width) < keep]


def _store(problem: Problem, k: int, value: Array) -> Array:
    shape = problem.stored_shape(k)
    return np.ascontiguousarray(np.broadcast_to(value, shape)).astype(numpy_dtype(problem.outputs[k].dtype), copy=False)
