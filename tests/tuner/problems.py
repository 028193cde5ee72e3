"""Problems, devices and measurers that the tuner's tests share."""

from __future__ import annotations

import math

from tilewright.backends.protocol import Fingerprint, Limits
from tilewright.kernels.node import Node
from tilewright.kernels.problem import Operand, Problem
from tilewright.tuner.measure import Measurement
from tilewright.tuner.policy import DEFAULT
from tilewright.tuner.records import Record

FINGERPRINT = Fingerprint("fake", "tests", "model", "none", ("fast",), 1, "", "driver 1", "compiler 1", (("a", "1"),))
LIMITS = Limits(1, 0, 128, 1, 1, 32, (1 << 15, 1 << 19), 1 << 30, 1 << 30, frozenset({"float32", "float64", "int64"}))


class FakeDevice:
    """Enough of a device for choosing and searching; nothing can run on it."""

    def __init__(self, fingerprint: Fingerprint = FINGERPRINT, limits: Limits = LIMITS, vendor: bool = False) -> None:
        self.name, self.fingerprint, self.limits, self._vendor = "fake", fingerprint, limits, vendor

    def vendor(self, call):
        return object() if self._vendor else None


def double(n: int = 1000) -> Problem:
    """x + x over n float32."""
    operand = Operand("float32", (1,), 0, n)
    x = Node("load", (), 0, (n,), "float32")
    return Problem("map", (n,), (operand,), (operand,), (Node("add", (x, x), None, (n,), "float32"),))


def matmul(n: int = 64, epilogue: bool = False, dtype: str = "float32") -> Problem:
    """a @ b, or max(a @ b + bias, scalar)."""
    space = (1, n, n, n)
    a = Operand(dtype, (n * n, n, 0, 1), 0, n * n)
    b = Operand(dtype, (n * n, 0, 1, n), 0, n * n)
    out = Operand(dtype, (n * n, n, 1, 0), 0, n * n)
    root = Node("dot", (Node("load", (), 0, space, dtype), Node("load", (), 1, space, dtype)), None, space[:-1], dtype)
    if not epilogue:
        return Problem("matmul", space, (a, b), (out,), (root,))
    bias = Operand(dtype, (0, 0, 1, 0), 0, n)
    root = Node("add", (root, Node("load", (), 2, space[:-1], dtype)), None, space[:-1], dtype)
    root = Node("max", (root, Node("scalar", (), 0, space[:-1], dtype)), None, space[:-1], dtype)
    return Problem("matmul", space, (a, b, bias), (out,), (root,), ((dtype, 0.25),))


def trial(
    problem: Problem, kernel: str, config: dict, seconds: float, fingerprint: Fingerprint = FINGERPRINT, *,
    spread: float = 0.0, **rest,
) -> Record:  # fmt: skip
    """`spread` is the standard error of the median."""
    return Record(
        "trial", "fake", fingerprint, problem.key, problem.family, problem.title, problem.space, kernel, config,
        seconds=seconds, low=seconds - 1.96 * spread, high=seconds + 1.96 * spread, **rest,
    )  # fmt: skip


def taken(seconds: float) -> Measurement:
    """Known to two parts in a thousand."""
    return Measurement("ok", "", seconds, low=0.998 * seconds, high=1.002 * seconds, rounds=9)


class FakeMeasurer:
    """Times from a formula; the clock moves by `cost` seconds with each measurement."""

    def __init__(self, seconds, cost: float = 0.1) -> None:
        self._seconds, self.cost, self.now = seconds, cost, 0.0
        self.asked: list[str] = []
        self.compared: list[list[str]] = []
        self.built: list[list[str]] = []

    def clock(self) -> float:
        return self.now

    def measure(self, problem, candidate, seconds, best=math.inf, patience=math.inf, policy=DEFAULT):
        self.now += self.cost
        self.asked.append(candidate.name)
        found = self._seconds(candidate)
        return Measurement("failed", found) if isinstance(found, str) else taken(found)

    def ahead(self, problem, candidates, patience):
        self.built.append([c.name for c in candidates])
        return True

    def compare(self, problem, candidates, seconds, best, patience=math.inf, policy=DEFAULT):
        self.now += self.cost
        self.compared.append([c.name for c in candidates])
        return [taken(self._seconds(c)) for c in candidates]
