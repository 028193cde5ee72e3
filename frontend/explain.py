"""explain: what an evaluation would do, group by group, without doing it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tilewright.array import Array
from tilewright.plan import HostPlan
from tilewright.realize import Graph, plan_for


@dataclass(frozen=True, slots=True)
class Group:
    """One fused group. `way` is "native", "vendor" or "fallback"; `origin` says why this candidate: "record",
    "nearest", "vendor", "default", "in pieces" (op by op, until it has run often enough to be worth compiling), or the
    reason of a fallback. Operations and bytes are the problem's least. One done in strips (kernels/strips.py) is one
    group, with the kernel of the first strip."""

    title: str
    way: str
    kernel: str
    origin: str
    operations: int
    nbytes: int

    def __str__(self) -> str:
        size = f"{self.operations:.3g} operations, {self.nbytes:.3g} bytes"
        return f"{self.way:8} {self.title}  [{self.kernel}; {self.origin}]  {size}"


class Explanation(tuple[Group, ...]):
    """The groups in the order of their launches; prints one a line, and a last one with what they do together."""

    @property
    def operations(self) -> int:
        return sum(group.operations for group in self)

    @property
    def nbytes(self) -> int:
        return sum(group.nbytes for group in self)

    def __str__(self) -> str:
        if not self:
            return "nothing to compute: the values are there"
        groups = "1 group" if len(self) == 1 else f"{len(self)} groups"
        total = f"{groups}: {self.operations:.3g} operations, {self.nbytes:.3g} bytes"
        return "\n".join((*map(str, self), total))

    __repr__ = __str__


def _done(origin: str) -> Group:
    name = origin.removeprefix("vendor ")
    if name != origin:
        return Group(name, "vendor", "library", "done by the device's library already", 0, 0)
    return Group(name, "fallback", "numpy", "done by the host already", 0, 0)


def explain(*arrays: Array) -> Explanation:
    """The groups that evaluating `arrays` would launch on their device. Kernels may be compiled, none is run."""
    if not arrays or any(type(x) is not Array for x in arrays):
        raise TypeError(f"explain: tilewright arrays are needed, not {', '.join(type(x).__name__ for x in arrays)}")
    device = arrays[0]._device
    graph = Graph([node for node in (x.node() for x in arrays) if node.op != "buffer"])
    if not graph.roots:
        hosted = [x.node().arg.origin for x in arrays if x.node().arg.origin]
        return Explanation(map(_done, hosted))
    plan = plan_for(graph, device)
    if isinstance(plan, HostPlan):
        return Explanation((Group("+".join(plan.ops), "fallback", "numpy", plan.reason, 0, 0),))
    groups = []
    strips = Counter(id(stage.whole) for stage in plan.stages if stage.whole)
    seen: set[int] = set()
    for stage in plan.stages:
        problem, candidate = stage.whole or stage.problem, stage.choice.candidate
        if id(problem) in seen:
            continue
        seen.add(id(problem))
        way = "vendor" if candidate.kernel == "vendor" else "native"
        config = ", ".join(f"{name}={value}" for name, value in candidate.config.items())
        kernel = f"{candidate.kernel}({config})" if config else candidate.kernel
        title = f"{problem.title} in {strips[id(problem)]} strips" if stage.whole else problem.title
        groups.append(Group(title, way, kernel, stage.choice.origin, problem.operations, problem.nbytes))
    return Explanation(groups)
