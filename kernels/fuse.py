"""Fusion: a graph of nodes in, the few problems that compute it out. Pure; the frontend and the tuner share it.

Nodes are visited consumers first. A node joins the group of its consumer if it has only one, if its elements can be
addressed from the group's index space by one set of strides, and if that does not compute something costly twice;
otherwise it is stored and starts a group of its own. A group starts as a map over its root's shape; it becomes a
reduce, a row, a matmul, an attention or a convolution when it takes in such a node. Whatever a group holds it sees
through a View, which leads from the group's space to the node's C-contiguous elements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from tilewright.backends.protocol import Limits
from tilewright.kernels.lower import Group, finish
from tilewright.kernels.node import Node, View, compose, merge_axes, row_major, toposort, whole
from tilewright.kernels.ops import OPS
from tilewright.kernels.products import PRODUCTS, empty, reads, respaced
from tilewright.kernels.siblings import Most, together
from tilewright.kernels.space import columns_fit
from tilewright.kernels.step import Step
from tilewright.kernels.strips import in_strips

WHOLE_ROWS = ("scan", "sort", "argsort")  # kinds of their own, which nothing follows in one launch
LEAVES = ("buffer", "const", "iota")
MAX_OPS = 160  # values that wait long for their use spill to the stack, which costs less than a pass through memory
MAX_SCALARS = 48  # with the strides of MAX_READS buffers, what OpenCL has room for
MAX_READS = 12  # OpenCL promises 1024 bytes of arguments, strides included; WebGPU few buffers
FEW_ROWS, LONG_ROW = 4, 1 << 16  # a row longer than this is not left to one group while other units idle


@dataclass(frozen=True, slots=True)
class _Joined:
    """What a group becomes by taking in a node: its kind and space, and how it then reads the node's sources."""

    kind: str
    space: tuple[int, ...]
    reads: list[tuple[Node, View]]
    shape: tuple[int, ...] | None = None  # of the axes that are not summed over, where the group takes it on as well


@dataclass(slots=True)
class _Fusion:
    limits: Limits
    stored: set[int]
    plain: set[int]  # nodes made of leaves by elementwise ops alone
    uses: dict[int, list[tuple[Group, View]]] = field(default_factory=dict)

    def visit(self, node: Node) -> Group | None:
        """Place one node, all of whose consumers are placed: in their group, or at the head of a new one."""
        waiting = self.uses.get(id(node), [])
        if id(node) not in self.stored:
            if not waiting or self._join(node, waiting):
                return None
            self.stored.add(id(node))
        return self._start(node) if prod(node.shape) else None

    def _start(self, node: Node) -> Group:
        if node.op == "write":
            old, value = node.src
            self.stored.add(id(old))
            target: View = node.arg
            group = Group(node, value, "map", target.shape, target)
            if value.op != "buffer" and target.size:
                self._read(group, [(value, whole(group.space))])
            return group
        if node.op == "scatter":
            return self._scatter(node)
        group = Group(node, node, "map", node.shape, whole(node.shape))
        if node.op in WHOLE_ROWS:
            self._rows(node, group)
            return group
        axis = self._walked(node)
        if axis is not None:
            group.turn((*(a for a in range(len(node.shape)) if a != axis), axis))
        joined = self._joined(node, group, group.target)
        assert joined is not None, f"a group can always hold its own root: {node!r}"
        self._commit(node, group, whole(group.space), joined)
        return group

    def _scatter(self, node: Node) -> Group:
        """Over the space of its places; these and the values are computed where they are used."""
        old, places, values = node.src
        self.stored.add(id(old))
        group = Group(node, node, "scatter", places.shape, whole(places.shape))
        reads = [(places, whole(group.space)), (values, whole(group.space))]
        group.inlined[id(node), whole(group.space)] = (node, reads)
        if prod(group.space):
            self._read(group, reads)
        return group

    def _walked(self, node: Node) -> int | None:
        """The one axis, not the last, along which `node` needs reductions of values of its own shape, if they are worth
        walking down its columns for: it becomes the last of the group's.
        """
        axis = len(node.shape) - 2  # the only one that columns are walked down along
        if axis < 0 or node.op == "reduce" or not self._columns_fit(node, axis):
            return None
        axes, stack, seen = set(), [node], {id(node)}
        while stack and len(seen) < MAX_OPS:
            at = stack.pop()
            if at.op == "reduce" and at.src[0].shape == node.shape:
                axes.add(at.arg[1])
            elif at.op not in OPS and at.op not in ("cast", "view"):
                continue
            fresh = [s for s in at.src if id(s) not in seen]
            seen |= set(map(id, fresh))
            stack += fresh
        return axis if axes == {axis} else None

    def _columns_fit(self, node: Node, axis: int) -> bool:
        kept = (*node.shape[:axis], *node.shape[axis + 1 :])
        return axis == len(kept) - 1 and self.limits.compiles and columns_fit(self.limits, kept, node.shape[axis])

    def _join(self, node: Node, waiting: list[tuple[Group, View]]) -> bool:
        """Compute `node` inside its consumers instead of storing it, if all of them can take it in."""
        if node.op in WHOLE_ROWS:
            group = waiting[0][0]
            if len(waiting) > 1 or group.root.op != "write" or group.value is not node:
                return False
            self._rows(node, group)
            return True
        places = list(dict.fromkeys((group, group.widen(view)) for group, view in waiting))
        source = node.src[0].op if node.op in ("view", "cast", "complex") else node.op
        free = node.op == "view" or source in LEAVES  # costs nothing to have twice
        if len(places) > 1 and not free:
            return False
        plans = []
        for group, view in places:
            joined = self._joined(node, group, view) if self._fits(node, group, view) else None
            if joined is None:
                return False
            plans.append((group, view, joined))
        for group, view, joined in plans:
            self._commit(node, group, view, joined)
        return True

    def _fits(self, node: Node, group: Group, view: View) -> bool:
        """Whether computing `node` here is cheaper than storing and reading it."""
        most = min(MAX_READS, self.limits.buffers // 2 or MAX_READS)
        if node.op == "const":
            return group.scalars < MAX_SCALARS
        if len(group.inlined) >= MAX_OPS or len(group.reads) >= most:
            return False
        op = OPS.get(node.op)
        if group.kind in PRODUCTS:  # its operands are read more than once: only what is nearly a load
            return node.op == "view" or (id(node) in self.plain and (op is None or not op.costly))
        if op is None or not op.costly or group.kind == "scatter":
            return op is None or not op.costly  # every range of a scatter would compute the places
        row = group.kind != "map" or _of_a_row(node, group.space)
        kept = zip(view.strides, group.space[:-1] if row else group.space, strict=False)
        return not any(stride == 0 and extent != 1 for stride, extent in kept)

    def _commit(self, node: Node, group: Group, view: View, joined: _Joined) -> None:
        group.become(joined.kind, joined.space, joined.shape)
        group.inlined[id(node), group.widen(view)] = (node, joined.reads)
        group.scalars += node.op == "const"
        self._read(group, joined.reads)

    def _read(self, group: Group, reads: list[tuple[Node, View]]) -> None:
        for source, view in reads:
            if source.op == "buffer":
                group.reads.add((id(source), view))
            self.uses.setdefault(id(source), []).append((group, view))

    def _joined(self, node: Node, group: Group, view: View) -> _Joined | None:
        """What `group` becomes if it computes `node` at `view`; None where it cannot."""
        if node.op in ("write", "scatter"):
            return None
        if node.op == "reduce":
            return self._reduce(node, group, view)
        if node.op in PRODUCTS:
            return self._product(node, group, view)
        if node.op == "view":
            inner = compose(node.arg, view)
            if inner is None or (group.kind == "matmul" and not _one_batch(inner.strides[:-1], group.space[:-1])):
                return None
            return _Joined(group.kind, group.space, [(node.src[0], inner)])
        if node.op == "gather":
            if group.kind in PRODUCTS:
                return None
            table, index = node.src
            self.stored.add(id(table))
            return _Joined(group.kind, group.space, [(index, view)])
        scalar = View(view.shape, (0,) * len(view.shape))
        return _Joined(group.kind, group.space, [(s, view if s.shape == node.shape else scalar) for s in node.src])

    def _reduce(self, node: Node, group: Group, view: View) -> _Joined | None:
        (source,) = node.src
        axis = node.arg[1]
        extent = source.shape[axis]
        kept, outer = group.space, view
        if extent == 0:
            return _Joined(group.kind, group.space, [])  # its neutral element
        if group.kind in PRODUCTS or group.kind in ("scan", "sort", "scatter"):
            return None
        row = bool(kept) and node is not group.value and view.strides[-1] == 0 and kept[-1] == extent
        if group.kind != "map" and not row:
            return None
        if row:
            kept, outer = kept[:-1], View(view.shape[:-1], view.strides[:-1], view.offset)
            if prod(kept) < FEW_ROWS * self.limits.compute_units and extent > LONG_ROW:
                return None
            along = _along_memory(source, axis) or self._columns_fit(source, axis)
            if prod(source.shape) > LONG_ROW and not along:
                return None  # many columns at a time are fast, and one reduction alone can be done so
        repeated = any(s == 0 and e != 1 for s, e in zip(outer.strides, kept, strict=True))
        if repeated or prod(kept) != prod(node.shape):
            return None
        steps = row_major(source.shape)
        inner = compose(View(node.shape, steps[:axis] + steps[axis + 1 :]), outer)
        if inner is None:
            return None
        space = (*kept, extent)
        kind = "reduce" if group.kind == "map" else group.kind
        return _Joined(kind, space, [(source, View(space, (*inner.strides, steps[axis]), inner.offset))])

    def _rows(self, node: Node, group: Group) -> None:
        """Make a scan or sort of `group`, which holds nothing but its value `node` yet: its axis becomes the last."""
        (source,) = node.src
        group.kind, axis = ("scan", node.arg[1]) if node.op == "scan" else ("sort", node.arg[0])
        order = (*(a for a in range(len(node.shape)) if a != axis), axis)
        group.space = tuple(source.shape[a] for a in order)
        group.target = View(group.space, tuple(group.target.strides[a] for a in order), group.target.offset)
        steps = row_major(source.shape)
        reads = [(source, View(group.space, tuple(steps[a] for a in order)))]
        group.inlined[id(node), whole(group.space)] = (node, reads)
        self._read(group, reads)

    def _product(self, node: Node, group: Group, view: View) -> _Joined | None:
        """The group takes on the node's shape, of which its own is a reshape, and the axes that are summed over."""
        if empty(node):
            return _Joined(group.kind, group.space, [])
        in_order = view.offset == 0 and _alike(view.strides, row_major(view.shape), view.shape)
        if group.kind != "map" or not in_order or prod(view.shape) != prod(node.shape):
            return None
        seen = [respaced(v, node.shape) for v in group.views()]
        if any(v is None or (node.op == "matmul" and not _one_batch(v.strides, node.shape)) for v in seen):
            return None
        space, sources = reads(node)
        if node.op == "conv" and len(group.space) >= len(space):
            return None  # its input is seen in a shape of its own, which must not be mistaken for the group's before
        return _Joined(node.op, space, sources, node.shape)


def _alike(strides: tuple[int, ...], others: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether two sets of strides walk `shape` in the same way: an axis of extent 1 has no say."""
    return all(s == t or e == 1 for s, t, e in zip(strides, others, shape, strict=True))


def _of_a_row(node: Node, space: tuple[int, ...]) -> bool:
    """Whether `node` is made of a reduction that will make a map over `space` a row, which has it once."""
    while node.op in OPS or node.op in ("view", "cast"):
        node = max(node.src, key=lambda s: s.depth)
    return node.op == "reduce" and space[-1:] == node.src[0].shape[node.arg[1] :][:1]


def _along_memory(node: Node, axis: int) -> bool:
    """Whether neighbours along `axis` of `node` are neighbours in the memory that it is read from."""
    strides = node.arg.strides if node.op == "view" else row_major(node.shape)
    return strides[axis] in (0, 1)


def _one_batch(strides: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether the batch axes, all but the last two of `shape`, can be walked as one."""
    batch = shape[:-2]
    return len(merge_axes(batch, [strides[: len(batch)]])[0]) == 1 if batch else True


def fuse(roots: Sequence[Node], limits: Limits) -> list[Step]:
    """The steps that compute `roots`, in an order that respects what they read.

    "buffer" nodes are leaves. Nodes without elements get no step. The outputs of a step are C-contiguous.
    """
    order = toposort(list(roots))
    position = {id(node): k for k, node in enumerate(order)}
    plain: set[int] = set()
    for node in order:
        if (node.op in OPS or node.op in ("cast", "view", *LEAVES)) and all(id(s) in plain for s in node.src):
            plain.add(id(node))
    fusion = _Fusion(limits, {id(root) for root in roots}, plain)
    groups = [fusion.visit(node) for node in reversed(order) if node.op != "buffer"]
    heads = sorted((g for g in groups if g is not None), key=lambda g: position[id(g.root)])
    alone = _alone(order, {id(root) for root in roots})
    steps: list[Step] = []
    for group in heads:
        steps.extend(finish(group, fusion.stored, alone, limits))
    if len(steps) == 1:
        return steps
    steps = together(steps, limits, Most(min(MAX_READS, limits.buffers or MAX_READS), MAX_OPS, MAX_SCALARS))
    return in_strips(steps, {id(root) for root in roots}, limits)


def _alone(order: list[Node], roots: set[int]) -> set[int]:
    """Nodes whose only reader is a write or a scatter that replaces part of them."""
    readers = Counter(id(source) for node in order for source in node.src)
    olds = [node.src[0] for node in order if node.op in ("write", "scatter")]
    return {id(old) for old in olds if readers[id(old)] == 1 and old.op != "buffer" and id(old) not in roots}
