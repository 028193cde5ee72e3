"""Recording elementwise ops as nodes: dtype rules, broadcasting, constants. Nodes in, a node out; nothing is computed,
save complex functions that no kernel has, powers and exp say, which the host does at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tilewright.backends.dtypes import PARTS
from tilewright.backends.protocol import Device
from tilewright.dtypes import KINDS, default_float, floating, narrow, object_of, promote, weak
from tilewright.kernels.node import Node, View
from tilewright.kernels.ops import OPS
from tilewright.transfer import host
from tilewright.views import (
    Shape,
    broadcast,
    in_order,
    memory_order,
    overlaps,
    stretch,
    turned,
    turned_back,
    whole,
)

Operand = Node | bool | int | float | complex
SCALARS = (bool, int, float, complex)
DEPTH = 200  # a graph deeper than this is evaluated at once, which bounds memory and the time to plan

TITLES = {
    "sub": "subtract", "mul": "multiply", "div": "divide", "floordiv": "floor_divide", "mod": "remainder",
    "neg": "negative", "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal", "max": "maximum", "min": "minimum", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "invert": "bitwise_invert", "shl": "bitwise_left_shift", "shr": "bitwise_right_shift",
    "not": "logical_not",
}  # fmt: skip
"""The users' names of ops of the table where they differ."""

_FLOAT = {name for name, op in OPS.items() if op.kinds in ("f", "fc")}
_COMPARE = {"eq", "ne", "lt", "le", "gt", "ge"}
_BOOLEAN = {"add": "or", "mul": "and"}  # what NumPy makes of arithmetic on booleans
_SMALL = {"floordiv", "mod", "pow", "shl", "shr"}  # NumPy counts booleans as int8 here
_ABOVE = {"eq": False, "ne": True, "lt": True, "le": True, "gt": False, "ge": False}  # x op (more than x can hold)


class Rule(NamedTuple):
    """What an op becomes for its operands' dtypes: the table's op, and the dtypes to compute in and to return."""

    op: str
    compute: str
    result: str


FAST: dict[str, dict[str, str]] = {
    name: {d: op.result_dtype(d) for d, kind in KINDS.items() if kind in op.kinds} for name, op in OPS.items()
}
"""op -> dtype -> dtype of the result, for operands that need no conversion at all."""

_rules: dict[tuple[Any, ...], Rule] = {}


def title(op: str) -> str:
    """The name under which users know an op of the table."""
    return TITLES.get(op, op)


def rule_of(op: str, a: str, b: Any, device: Device) -> Rule:
    """The rule of binary `op` for dtype `a` and `b`, a dtype name or a Python scalar type. Raises TypeError."""
    key = (op, a, b, device.name)
    rule = _rules.get(key)
    if rule is None:
        if isinstance(b, type):
            joined = weak(a, b, device)
        elif op in _FLOAT and op != "div":  # each as the float it becomes, then together
            joined = promote(floating(a, device), floating(b, device))
        else:
            joined = narrow(promote(a, b), device)
        rule = _rules[key] = _make_rule(op, joined, device, f"{a} and {b.__name__ if isinstance(b, type) else b}")
    return rule


def _make_rule(op: str, joined: str, device: Device, dtypes: str) -> Rule:
    kind, compute = KINDS[joined], joined
    if op in _FLOAT:
        compute = default_float(device) if op == "div" and kind in "biu" else floating(joined, device)
    elif kind == "b" and op in _BOOLEAN:
        op = _BOOLEAN[op]
    elif kind == "b" and op in _SMALL:
        compute = "int8"
    if KINDS[compute] != "c" and KINDS[compute] not in OPS[op].kinds:
        raise TypeError(f"{title(op)}: not defined for dtype {dtypes}")
    return Rule(op, compute, OPS[op].result_dtype(compute))


def const(value: Any, dtype: str, op: str = "full") -> Node:
    """A scalar of that dtype; a complex one is made of two, since kernels are passed only real numbers.

    Raises OverflowError for an integer that it cannot hold, TypeError for a complex value and another dtype.
    """
    kind = KINDS[dtype]
    if kind == "c":
        number, part = _converted(complex, value, dtype, op), PARTS[dtype]
        return Node("complex", (const(number.real, part), const(number.imag, part)), None, (), dtype)
    if kind in "iu":
        value = _converted(int, value, dtype, op)
        if beyond(value, dtype):
            raise OverflowError(f"{op}: Python integer {value} does not fit {dtype}")
    elif kind == "f":
        if isinstance(value, complex):
            raise TypeError(f"{op}: a complex number does not fit {dtype}")
        value = _converted(float, value, dtype, op)
        if dtype in ("float16", "bfloat16") or abs(value) > 3.4e38:
            with np.errstate(over="ignore"):
                value = float(object_of(dtype).type(value))
    else:
        value = bool(value)
    return Node("const", (), value, (), dtype)


def _converted(kind: Any, value: Any, dtype: str, op: str) -> Any:
    try:
        return kind(value)
    except (ValueError, OverflowError, TypeError) as error:  # NaN and infinity are no integers; what is no number
        raise type(error)(f"{op}: {value!r} does not fit {dtype}") from None


def beyond(value: int, dtype: str) -> int:
    """1 if `value` is above all that an integer dtype holds, -1 if below, else 0; 0 for other dtypes."""
    if KINDS[dtype] not in "iu":
        return 0
    bits = object_of(dtype).itemsize * 8
    low, high = (0, 1 << bits) if KINDS[dtype] == "u" else (-(1 << bits - 1), 1 << bits - 1)
    return (value >= high) - (value < low)


def filled(value: Any, shape: Shape, dtype: str, device: Device, op: str = "full") -> Node:
    """`value` everywhere, in no memory until it is needed."""
    node = const(value, dtype, op)
    return node if shape == () else Node("view", (node,), View(shape, (0,) * len(shape), 0), shape, dtype)


def broadcast_shapes(shapes: Sequence[Shape], op: str) -> Shape:
    """The shape all broadcast to. Raises ValueError naming the op and the shapes."""
    result = broadcast(tuple(shapes))
    if result is None:
        raise ValueError(f"{op}: shapes {' and '.join(map(str, shapes))} cannot be broadcast together")
    return result


def source_of(node: Node) -> tuple[Node, View | None]:
    """The node a view looks at and the view, or the node itself and None.

    Another thread may turn the node into a leaf meanwhile, so its parts are read once each.
    """
    source, arg = node.src, node.arg
    return (source[0], arg) if len(source) == 1 and type(arg) is View else (node, None)


def window(node: Node, view: View) -> Node:
    """`view` onto the elements of `node`."""
    return Node("view", (node,), view, view.shape, node.dtype)


def expand(node: Node, shape: Shape) -> Node:
    """`node` broadcast to `shape`, which it fits; views of views are made one."""
    if node.shape == shape:
        return node
    source, view = source_of(node)
    return window(source, stretch(view or whole(node.shape), shape))


def elementwise(op: str, nodes: Sequence[Node], shape: Shape, dtype: str) -> Node:
    """Op of the table over nodes of one shape, and scalars: `shape` and `dtype` are the result's.

    Where the operands lie transposed in memory, so does the result, seen through a view: nothing is turned around.
    """
    order = _shared_order(nodes, shape) if len(shape) > 1 else None
    if order is None:
        return Node(op, tuple(nodes), None, shape, dtype)
    there = tuple(shape[axis] for axis in order)
    moved = tuple([_turn(n, order) if n.shape else n for n in nodes])
    return window(Node(op, moved, None, there, dtype), turned_back(shape, order))


def _shared_order(nodes: Sequence[Node], shape: Shape) -> tuple[int, ...] | None:
    """The order of axes that the operands' memory has, where one has another than row-major and none is row-major."""
    found = None
    for node in nodes:
        view = node.arg
        if node.op != "view":
            if node.shape == shape:
                return None
        elif not overlaps(view):
            order = memory_order(view)
            if order is None:
                return None
            found = found or order
    return found


def _turn(node: Node, order: tuple[int, ...]) -> Node:
    """`node` with its axes in `order`: what is under a view that undoes it, else another view."""
    source, view = source_of(node)
    moved = turned(view or whole(node.shape), order)
    return source if moved.shape == source.shape and in_order(moved, source.shape) else window(source, moved)


def _fit(nodes: list[Node], op: str) -> tuple[list[Node], Shape]:
    """All nodes in one shape; scalars that are constants stay as they are."""
    shape = broadcast_shapes([n.shape for n in nodes], op)
    return [n if n.shape == shape or n.op == "const" else expand(n, shape) for n in nodes], shape


def cast(node: Node, dtype: str, device: Device) -> Node:
    """`node` converted to `dtype`, as NumPy's astype. Raises TypeError for complex to real."""
    if node.dtype == dtype:
        return node
    if KINDS[node.dtype] == "c" and KINDS[dtype] not in "cb":
        raise TypeError(f"{node.dtype} does not convert to {dtype}; take real() or abs() first")
    if node.op == "const" and KINDS[dtype] in "fbc":
        return const(node.arg, dtype)
    if dtype == "bool":
        return elementwise("ne", (node, const(0, node.dtype)), node.shape, "bool")
    return elementwise("cast", (node,), node.shape, dtype)


def binary(op: str, a: Operand, b: Operand, device: Device) -> Node:
    """`op` of two operands, one of them a node. Raises TypeError, ValueError or OverflowError at once."""
    if not isinstance(a, Node):
        assert isinstance(b, Node)
        return _with_scalar(op, b, a, device, scalar_first=True)
    if not isinstance(b, Node):
        return _with_scalar(op, a, b, device, scalar_first=False)
    rule = rule_of(op, a.dtype, b.dtype, device)
    if KINDS[rule.compute] not in OPS[rule.op].kinds:  # complex: see _make_rule
        (a, b), _ = _fit([a, b], title(op))
        return host(title(op), OPS[op].oracle, [a, b], device)
    nodes, shape = _fit([cast(a, rule.compute, device), cast(b, rule.compute, device)], title(op))
    return elementwise(rule.op, nodes, shape, rule.result)


def _with_scalar(op: str, node: Node, scalar: Any, device: Device, scalar_first: bool) -> Node:
    rule = rule_of(op, node.dtype, type(scalar), device)
    if KINDS[rule.compute] not in OPS[rule.op].kinds:
        oracle = OPS[op].oracle
        return host(title(op), lambda x: oracle(scalar, x) if scalar_first else oracle(x, scalar), [node], device)
    if op in _COMPARE and KINDS[rule.compute] in "iu" and beyond(int(scalar), rule.compute):
        swapped = (scalar > 0) == scalar_first and op not in ("eq", "ne")
        return filled(_ABOVE[op] ^ swapped, node.shape, "bool", device)
    fixed = const(scalar, rule.compute, title(op))
    node = cast(node, rule.compute, device)
    return elementwise(rule.op, (fixed, node) if scalar_first else (node, fixed), node.shape, rule.result)


def unary(op: str, x: Node, device: Device) -> Node:
    """`op` of one node; integers take NumPy's float dtype where the op is one of floats. Raises TypeError."""
    dtype = x.dtype
    result = FAST[op].get(dtype)
    if result is None:
        kind = KINDS[dtype]
        if kind == "c" and op != "not":
            return host(title(op), OPS[op].oracle, [x], device)
        if op in _FLOAT:
            if op in ("isnan", "isinf", "isfinite"):
                return filled(op == "isfinite", x.shape, "bool", device)
            if op == "signbit":
                return binary("lt", cast(x, "int8", device) if kind == "b" else x, 0, device)
            x = cast(x, floating(dtype, device), device)
            result = FAST[op][x.dtype]
        elif kind == "b" and op in ("abs", "floor", "ceil", "trunc", "round"):
            return x
        elif op == "not":
            return elementwise("not", (cast(x, "bool", device),), x.shape, "bool")
        else:
            raise TypeError(f"{title(op)}: not defined for dtype {dtype}")
    made = elementwise(op, (x,), x.shape, result)
    if result != dtype and dtype in PARTS:  # a complex number's part, of a dtype that the device may lack
        return cast(made, narrow(result, device), device)
    return made


def where(condition: Node, a: Operand, b: Operand, device: Device) -> Node:
    """`a` where `condition`, else `b`; at least one of `a` and `b` is a node."""
    if isinstance(a, Node) and isinstance(b, Node):
        dtype = narrow(promote(a.dtype, b.dtype), device)
    else:
        node, scalar = (a, b) if isinstance(a, Node) else (b, a)
        assert isinstance(node, Node)
        dtype = weak(node.dtype, type(scalar), device)
    values = [cast(p, dtype, device) if isinstance(p, Node) else const(p, dtype, "where") for p in (a, b)]
    nodes, shape = _fit([cast(condition, "bool", device), *values], "where")
    return elementwise("where", nodes, shape, dtype)
