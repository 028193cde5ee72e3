"""Problems computed op by op with the arrays of a device's own library; what that lacks, NumPy does, and it is counted.

Values have the shapes of the oracle's: an operand's broadcast axes have extent 1, and a value per row lacks the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tilewright.backends.dtypes import DTYPES, numpy_dtype
from tilewright.backends.fallback import count
from tilewright.backends.launching import check_arguments
from tilewright.backends.protocol import (
    Argument,
    Arrays,
    Buffer,
    Device,
    Launch,
    Layout,
    Parameter,
    Program,
    TilewrightError,
)
from tilewright.backends.windows import as_dtype, dtype_name
from tilewright.kernels.node import Node, row_major, toposort
from tilewright.kernels.ops import OPS
from tilewright.kernels.oracle import dot_operands, lift, reduced
from tilewright.kernels.problem import Problem
from tilewright.kernels.ready import Ready

Library = Any
"""An array of the device's library."""

_RENAMED = {
    "sub": "subtract", "mul": "multiply", "div": "divide", "floordiv": "floor_divide", "mod": "remainder",
    "neg": "negative", "max": "maximum", "min": "minimum", "eq": "equal", "ne": "not_equal", "lt": "less",
    "le": "less_equal", "gt": "greater", "ge": "greater_equal", "not": "logical_not", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "invert": "bitwise_invert", "shl": "bitwise_left_shift",
    "shr": "bitwise_right_shift",
}  # fmt: skip
_OF_BOOLEANS = {"max": "logical_or", "min": "logical_and", "and": "logical_and", "or": "logical_or",
                "xor": "logical_xor", "invert": "logical_not", "reduce max": "any", "reduce min": "all"}  # fmt: skip
_NUMPYS = {"pow": "power", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh",
           "atanh": "arctanh", "atan2": "arctan2", "bitwise_invert": "invert", "bitwise_left_shift": "left_shift",
           "bitwise_right_shift": "right_shift"}  # fmt: skip


def function_of(xp: Any, op: str, kind: str) -> Callable[..., Library] | None:
    """The library's function for an op of the table, or "reduce sum" and the like, of operands of that dtype kind."""
    name = _OF_BOOLEANS.get(op, op.removeprefix("reduce ")) if kind == "b" else op.removeprefix("reduce ")
    name = name if op.startswith("reduce ") else _RENAMED.get(name, name)
    if op == "floordiv" and kind == "f":  # of infinities libraries give what NumPy does, the standard wants a / b
        return lambda a, b: xp.where(xp.isinf(a) | xp.isinf(b), xp.divide(a, b), xp.floor_divide(a, b))
    if op == "reduce spread":
        return lambda x, axis: xp.var(x, axis=axis) * x.shape[axis]
    return getattr(xp, name, None) or getattr(xp, _NUMPYS.get(name, name), None)


_refused: WeakKeyDictionary[Device, set[tuple[str, str]]] = WeakKeyDictionary()
"""Ops and dtypes that a device's library was seen to lack, or is said to (`on_host`)."""


def _doubted(device: Any) -> set[tuple[str, str]]:
    named = (entry.partition(" ")[::2] for entry in getattr(device, "on_host", ()))
    return {(op, dtype) for op, given in named for dtype in ([given] if given else DTYPES)}


class _Run:
    """One problem computed once, of the arrays in `buffers`: outputs, then inputs."""

    def __init__(self, problem: Problem, device: Any, buffers: Sequence[Argument], scalars: Sequence[Argument]) -> None:
        self.problem, self.device, self.xp = problem, device, device.namespace
        self.buffers, self.scalars = buffers, scalars
        self.refused = _refused.get(device) or _refused.setdefault(device, _doubted(device))

    def __call__(self) -> None:
        values: dict[int, Library] = {}
        for node in toposort(self.problem.body):
            values[id(node)] = self.value(node, [values[id(s)] for s in node.src])
        for k, root in enumerate(self.problem.body):
            operand, shape = self.problem.outputs[k], self.problem.stored_shape(k)
            strides = operand.strides[: len(shape)]
            if self.problem.parts > 1:
                strides = (*operand.strides[: len(shape) - 1], 1)
            layout = Layout(operand.dtype, shape, strides, operand.offset)
            value = values[id(root)]
            if len(shape) == len(self.problem.space):
                value = lift(value, root, self.problem.space)
            self.device.store(layout, self.buffers[k], value)

    def value(self, node: Node, source: list[Library]) -> Library:
        """The value of a body's node, in the dtype that kernels compute in."""
        problem, space, dtype = self.problem, self.problem.space, DTYPES[node.dtype].compute
        if node.op == "load":
            operand = problem.inputs[node.arg]
            axes = range(len(node.shape))
            shape = tuple(space[a] if operand.strides[a] else 1 for a in axes)
            layout = Layout(operand.dtype, shape, operand.strides[: len(axes)], operand.offset)
            return self.cast(self.device.view(layout, self.input(node.arg)), dtype)
        if node.op == "scalar":
            return self.upload(np.asarray(self.scalars[node.arg]).astype(numpy_dtype(node.dtype)), dtype)
        if node.op == "iota":
            shape = tuple(space[a] if a == node.arg else 1 for a in range(len(node.shape)))
            return self.upload(np.arange(space[node.arg]).reshape(shape), dtype)
        if node.op == "gather":
            return self.gather(node, source[0], dtype)
        if node.op == "cast":
            return self.cast(self.cast(source[0], node.dtype), dtype)
        if node.op == "reduce":
            return self.partial(node, lift(source[0], node.src[0], space), dtype)
        if node.op == "dot":
            a, b = dot_operands(problem, node, source, self.xp.broadcast_to)
            turned = getattr(self.xp, "matrix_transpose", lambda x: self.xp.swapaxes(x, -1, -2))
            return self.call("dot", dtype, lambda x, y: self.xp.matmul(x, turned(y)), _dot, a, b)
        if len(node.shape) == len(space):
            source = [lift(v, s, space) for v, s in zip(source, node.src, strict=True)]
        given = DTYPES[node.src[-1].dtype]
        native = function_of(self.xp, node.op, given.kind)
        return self.call(node.op, dtype, native, OPS[node.op].oracle, *source, given=given.compute)

    def input(self, k: int) -> Any:
        return self.buffers[len(self.problem.outputs) + k]

    def gather(self, node: Node, index: Library, dtype: str) -> Library:
        operand = self.problem.inputs[node.arg]
        table = self.device.view(Layout(operand.dtype, (operand.count,), (1,)), self.input(node.arg))

        def taken(xp: Any) -> Callable[..., Any]:
            def take(table: Any, index: Any) -> Any:
                inside = xp.clip(index, 0, operand.count - 1)
                return xp.reshape(xp.take(table, xp.reshape(inside, (-1,)), axis=0), index.shape)

            return take

        return self.cast(self.call("gather", operand.dtype, taken(self.xp), taken(np), table, index), dtype)

    def partial(self, node: Node, x: Library, dtype: str) -> Library:
        """A reduction of the last axis, or of as many parts of it as the problem asks for."""
        name, kind, parts = f"reduce {node.arg}", DTYPES[node.dtype].kind, self.problem.parts
        extent = self.problem.space[-1]
        if node.arg == "offset":
            x, name = x - x[..., :1], "reduce mean"
        function = function_of(self.xp, name, kind)
        typed = {"dtype": getattr(self.xp, dtype)} if node.arg in ("sum", "prod") else {}

        def whole(x: Library) -> Library:
            x = self.xp.broadcast_to(x, (*x.shape[:-1], extent)) if parts == 1 else x
            native = None if function is None else lambda y: function(y, axis=-1, **typed)
            return self.call(name, dtype, native, lambda y: reduced(node.arg, y, y.ndim - 1, numpy_dtype(dtype)), x)

        if parts == 1:
            return whole(x)
        x, chunk = self.xp.broadcast_to(x, self.problem.space), -(-extent // parts)
        return self.xp.stack([whole(x[..., p * chunk : (p + 1) * chunk]) for p in range(parts)], axis=-1)

    def call(
        self, op: str, dtype: str, native: Callable[..., Any] | None, host: Callable[..., Any], *arrays: Library,
        given: str = "",
    ) -> Library:  # fmt: skip
        """By the library, or where that has no such function, or refuses arrays of that dtype, by NumPy on the host.

        `given` is the dtype of the operands where it may differ from `dtype`, the result's.
        """
        refusal = op, given or dtype
        if native is not None and refusal not in self.refused:
            try:
                return self.cast(native(*arrays), dtype)
            except (TilewrightError, MemoryError):
                raise
            except Exception:  # each library has errors of its own for what it lacks
                self.refused.add(refusal)
        begin = perf_counter()
        with np.errstate(all="ignore"):
            brought = [self.download(x) for x in arrays]
            data = np.asarray(host(*brought)).astype(numpy_dtype(dtype), copy=False)
        result = self.upload(data, dtype)
        count(op, data.nbytes + sum(x.nbytes for x in brought), perf_counter() - begin)
        return result

    def cast(self, x: Library, dtype: str) -> Library:
        return as_dtype(self.xp, x, dtype)

    def upload(self, data: Any, dtype: str) -> Library:
        """An array of the library with NumPy's elements, as `dtype`."""
        data = np.ascontiguousarray(np.asarray(data).astype(numpy_dtype(dtype), copy=False)).reshape(np.shape(data))
        buffer: Buffer = self.device.allocate(data.nbytes)
        self.device.write(buffer, data.reshape(-1).view(np.uint8))
        return self.device.view(Layout(dtype, data.shape, row_major(data.shape)), buffer)

    def download(self, x: Library) -> Any:
        shape, dtype = tuple(x.shape), numpy_dtype(dtype_name(x))
        buffer = self.device.allocate(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        self.device.store(Layout(dtype.name, shape, row_major(shape)), buffer, x)
        return np.frombuffer(self.device.read(buffer, buffer.nbytes), dtype).reshape(shape)


def _dot(a: Any, b: Any) -> Any:
    return np.matmul(a, b.swapaxes(-1, -2))


class _Launch:
    def __init__(self, problem: Problem, device: Device, arguments: tuple[Argument, ...]) -> None:
        self._problem, self._device, self._arguments = problem, device, list(arguments)
        self._buffers = len(problem.outputs) + len(problem.inputs)

    def __call__(self) -> None:
        with np.errstate(all="ignore"), self._device.scope():  # type: ignore[attr-defined]
            _Run(self._problem, self._device, self._arguments[: self._buffers], self._arguments[self._buffers :])()

    def set(self, index: int, argument: Argument) -> None:
        self._arguments[index] = argument


class _Program:
    def __init__(self, problem: Problem, device: Device) -> None:
        self._problem, self._device = problem, device
        operands = [*((o, "out") for o in problem.outputs), *((o, "in") for o in problem.inputs)]
        self._parameters = tuple(
            [Parameter(f"{access}{k}", o.dtype, access) for k, (o, access) in enumerate(operands)]
            + [Parameter(f"c{k}", dtype, "value") for k, (dtype, _) in enumerate(problem.scalars)]
        )

    def bind(self, grid: tuple[int, int, int], *arguments: Argument) -> Launch:
        check_arguments("arrays", self._parameters, arguments)
        return _Launch(self._problem, self._device, arguments)


def _make(problem: Problem, device: Device) -> Program | None:
    return _Program(problem, device) if isinstance(device, Arrays) else None


ARRAYS = Ready("arrays", _make)
"""The one kernel of a device that compiles nothing."""
