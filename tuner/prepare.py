"""From a problem and a candidate to launches: the last thing that happens once, before what happens every time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

from tilewright.backends.cache import has_program
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import (
    Argument,
    Buffer,
    Device,
    Launch,
    Layout,
    Limits,
    Program,
    Unsupported,
    Value,
    VendorCall,
)
from tilewright.kernels import kernels_for
from tilewright.kernels.apart import Pieces
from tilewright.kernels.emit import counted
from tilewright.kernels.node import Node, merge_axes, row_major, toposort
from tilewright.kernels.problem import Kernel, Operand, Problem
from tilewright.kernels.products import PRODUCTS
from tilewright.kernels.raw import RawProblem
from tilewright.kernels.ready import Ready, program_of
from tilewright.kernels.space import Config
from tilewright.tuner.decide import VENDOR
from tilewright.tuner.records import candidate_name


@dataclass(frozen=True)
class Candidate:
    """A kernel by name, or "vendor", and its config."""

    kernel: str
    config: Config = field(default_factory=dict, hash=False)

    @cached_property
    def name(self) -> str:
        """Canonical form; equal candidates have equal names."""
        return candidate_name(self.kernel, self.config)


Place = tuple[Launch, int]
"""A launch and the index of the argument to `set` in it."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Launches in order, and for each operand and scalar of the problem every place where it is an argument."""

    launches: tuple[Launch, ...]
    outputs: tuple[tuple[Place, ...], ...]
    inputs: tuple[tuple[Place, ...], ...]
    scalars: tuple[tuple[Place, ...], ...]
    temporaries: tuple[Buffer, ...] = ()


@dataclass(frozen=True)
class Part:
    """One launch to be: arguments are numbers of buffers (outputs, inputs, temporaries), then values."""

    program: Program
    grid: tuple[int, int, int]
    buffers: tuple[int, ...]
    values: tuple[Value, ...] = ()
    scalars: tuple[int, ...] = ()  # which of the problem's scalars the last values are


@dataclass(frozen=True)
class Prepared:
    """A candidate, built and loaded for one problem on one device; `bind` it to buffers as often as you like."""

    problem: Problem
    device: Device
    parts: tuple[Part, ...]
    temporaries: tuple[int, ...] = ()  # bytes of each

    def bind(self, outputs: Sequence[Buffer], inputs: Sequence[Buffer]) -> Bound:
        """Buffers hold what the problem's operands describe, in their order. Raises OutOfMemory for temporaries."""
        own = tuple(self.device.allocate(nbytes) for nbytes in self.temporaries)
        buffers: tuple[Buffer, ...] = (*outputs, *inputs, *own)
        places: list[list[Place]] = [[] for _ in buffers]
        scalars: list[list[Place]] = [[] for _ in self.problem.scalars]
        launches = []
        for part in self.parts:
            arguments: list[Argument] = [buffers[k] for k in part.buffers]
            launch = part.program.bind(part.grid, *arguments, *part.values)
            launches.append(launch)
            for index, k in enumerate(part.buffers):
                places[k].append((launch, index))
            first = len(part.buffers) + len(part.values) - len(part.scalars)
            for index, k in enumerate(part.scalars):
                scalars[k].append((launch, first + index))
        split = len(outputs)
        end = split + len(inputs)
        return Bound(
            tuple(launches),
            tuple(map(tuple, places[:split])),
            tuple(map(tuple, places[split:end])),
            tuple(map(tuple, scalars)),
            own,
        )


registered: dict[tuple[str, str, str], tuple[Ready, Any]] = {}
"""Native ops by kind, device (or backend) and name, with what `natives` knows of them."""


def natives(problem: Problem, device: Device, trusted: bool = False) -> list[Ready]:
    """The native ops that take the problem on the device; if `trusted`, those alone that need no measurement."""
    places = (device.name, device.name.partition(":")[0])
    return [
        kernel
        for (kind, where, _), (kernel, reference) in registered.items()
        if kind == problem.kind and where in places and (reference.trusted or not trusted)
        and _takes(kernel, problem, device)
    ]  # fmt: skip


def _takes(kernel: Ready, problem: Problem, device: Device) -> bool:
    try:
        return kernel.make(problem, device) is not None
    except Exception:  # when it is measured the same happens, and is written down with its reason
        return True


def _own(problem: Problem, limits: Limits) -> Sequence[Kernel]:
    return (problem.kernel,) if isinstance(problem, RawProblem) else kernels_for(problem.kind, limits)


def kernels(problem: Problem, device: Device) -> dict[str, Kernel]:
    """The kernels for the problem's kind on the device by name, native ops that take it included; a raw one's own."""
    found: list[Kernel] = [*_own(problem, device.limits)]
    if registered:
        found += natives(problem, device)
    return {kernel.name: kernel for kernel in found}


def default_candidate(problem: Problem, limits: Limits) -> Candidate | None:
    """What the first kernel that applies would choose without measuring; None where none applies."""
    for kernel in _own(problem, limits):
        if next(iter(kernel.space(problem, limits)), None) is not None:
            return Candidate(kernel.name, kernel.default(problem, limits))
    return None


def text_hash(problem: Problem, candidate: Candidate, device: Device) -> str:
    """Twelve hexadecimal digits of the kernel's text, that change when the kernel is rewritten; "" for the vendor.

    Of what has no text, the version that it says.
    """
    if candidate.kernel == VENDOR:
        return ""
    kernel = kernels(problem, device)[candidate.kernel]
    if isinstance(kernel, Ready):
        return kernel.version
    source = kernel.render(problem, candidate.config, device.limits.language)
    return hashlib.sha256(source.body.encode()).hexdigest()[:12]


def prepare(problem: Problem, candidate: Candidate, device: Device) -> Prepared:
    """Raises CompileError, and Unsupported where the candidate does not apply to the problem on this device."""
    if candidate.kernel == VENDOR:
        return _prepare_vendor(problem, device)
    kernel = kernels(problem, device).get(candidate.kernel)
    if kernel is None:
        raise Unsupported(f"there is no kernel {candidate.kernel!r} for a {problem.kind} problem")
    count = len(problem.outputs) + len(problem.inputs)
    return Prepared(problem, device, (_part(problem, kernel, candidate.config, device, tuple(range(count))),))


_loaded: dict[tuple[Any, ...], Program] = {}


def _text(problem: Problem, kernel: Kernel, config: Config, device: Device) -> tuple[Any, ...] | None:
    """What alone decides a kernel's text, dear to write for each size; None for products: theirs needs more."""
    if problem.kind in PRODUCTS or isinstance(kernel, Ready):
        return None
    return (device, problem.family, kernel.name, *config.items())


def _program(problem: Problem, kernel: Kernel, config: Config, device: Device) -> Program:
    key = _text(problem, kernel, config, device)
    program = _loaded.get(key) if key is not None else None
    if program is None:
        program = program_of(kernel, problem, config, device)
        if key is not None:
            _loaded[key] = program
    return program


def _part(problem: Problem, kernel: Kernel, config: Config, device: Device, buffers: tuple[int, ...]) -> Part:
    language = device.limits.language
    if not counted(problem, language):
        raise Unsupported(f"{device.name}: {problem.title} is beyond {language.index}, {language.name}'s indices")
    program = _program(problem, kernel, config, device)
    values = kernel.values(problem, config)
    return Part(program, kernel.grid(problem, config), buffers, values, tuple(range(len(problem.scalars))))


def prepare_apart(problem: Problem, pieces: Pieces, device: Device) -> Prepared:
    """`problem` piece by piece, each by its default candidate. Raises Unsupported where a piece has none."""
    parts = []
    for piece in pieces.pieces:
        candidate = default_candidate(piece.problem, device.limits)
        if candidate is None:
            raise Unsupported(f"{device.name}: no kernel for {piece.problem.title}")
        kernel = kernels(piece.problem, device)[candidate.kernel]
        part = _part(piece.problem, kernel, candidate.config, device, (piece.output, *piece.inputs))
        parts.append(replace(part, scalars=piece.scalars))
    return Prepared(problem, device, tuple(parts), pieces.temporaries)


def built(problem: Problem, candidate: Candidate, device: Device) -> bool:
    """Whether preparing would find all its programs made already, in memory or on disk."""
    if candidate.kernel == VENDOR:
        return True
    kernel = kernels(problem, device)[candidate.kernel]
    if isinstance(kernel, Ready):
        return True
    key = _text(problem, kernel, candidate.config, device)
    return key in _loaded or has_program(device, kernel.render(problem, candidate.config, device.limits.language))


def default_leads(default: Candidate | None, problem: Problem, device: Device) -> bool:
    """Whether the default is what runs before the vendor until the device is tuned: see Kernel."""
    if default is None:
        return False
    leads = getattr(kernels(problem, device)[default.kernel], "leads", None)
    return leads is not None and bool(leads(problem, device.limits))


def vendor_candidate(problem: Problem, device: Device) -> Candidate | None:
    """The device's own library for this problem, followed by a map where there is an epilogue; None without one."""
    found = _matmul(problem)
    if found is None or device.vendor(_call(problem, *found)) is None:
        return None
    return Candidate(VENDOR)


def _matmul(problem: Problem) -> tuple[Node, int, int] | None:
    """The dot, and the inputs it multiplies, if those are read as they lie in a dtype that libraries take."""
    if problem.kind != "matmul":
        return None
    dot = next(n for n in toposort(problem.body) if n.op == "dot")
    a, b = dot.src
    plain = a.op == b.op == "load" and a.dtype == b.dtype == dot.dtype
    if not plain or dot.dtype in ("float16", "bfloat16", "bool"):
        return None
    return dot, a.arg, b.arg


def _direct(problem: Problem, dot: Node) -> bool:
    """Whether the library can write the output itself."""
    return problem.body == (dot,) and problem.outputs[0].dtype == dot.dtype


def _call(problem: Problem, dot: Node, a: int, b: int) -> VendorCall:
    batch, m, n, k = problem.space
    left, right = problem.inputs[a], problem.inputs[b]
    (sa, ma, _, ka), (sb, _, nb, kb) = left.strides, right.strides
    strides, offset = row_major((batch, m, n)), 0
    if _direct(problem, dot):
        strides, offset = problem.outputs[0].strides[:3], problem.outputs[0].offset
    return VendorCall(
        "matmul",
        (Layout(dot.dtype, (batch, m, n), strides, offset),),
        (
            Layout(dot.dtype, (batch, m, k), (sa, ma, ka), left.offset),
            Layout(dot.dtype, (batch, k, n), (sb, kb, nb), right.offset),
        ),
    )


def _prepare_vendor(problem: Problem, device: Device) -> Prepared:
    found = _matmul(problem)
    program = device.vendor(_call(problem, *found)) if found else None
    if found is None or program is None:
        raise Unsupported(f"{device.name}: the vendor library has nothing for {problem.title}")
    dot, a, b = found
    outputs, inputs = len(problem.outputs), len(problem.inputs)
    if _direct(problem, dot):
        return Prepared(problem, device, (Part(program, (1, 1, 1), (0, outputs + a, outputs + b)),))
    temporary = outputs + inputs
    first = Part(program, (1, 1, 1), (temporary, outputs + a, outputs + b))
    after, sources = epilogue(problem, dot)
    found_map = default_candidate(after, device.limits)
    if found_map is None:
        raise Unsupported(f"{device.name}: no kernel for what follows the multiplication in {problem.title}")
    buffers = (*range(outputs), *(outputs + k for k in sources), temporary)
    kernel = kernels(after, device)[found_map.kernel]
    second = _part(after, kernel, found_map.config, device, buffers)
    return Prepared(problem, device, (first, second), (prod(problem.space[:3]) * DTYPES[dot.dtype].nbytes,))


def epilogue(problem: Problem, dot: Node) -> tuple[Problem, list[int]]:
    """What follows the dot, as a map over (batch, m, n) whose last input is the dot's value, C-contiguous.

    Also the problem's inputs that it reads, in the order in which it has them.
    """
    order = [n for n in toposort(problem.body) if n is not dot and n not in dot.src]  # the dot's loads vary along k
    used = sorted({n.arg for n in order if n.op in ("load", "gather")})
    operands = [
        *(problem.inputs[k] for k in used),
        Operand(dot.dtype, row_major(problem.space[:3]), 0, prod(problem.space[:3])),
    ]
    count = len(operands)
    operands += problem.outputs
    space, strides = problem.space[:3], [o.strides[:3] for o in operands]
    if not any(n.op == "iota" for n in order):  # an iota names its axis
        space, strides = merge_axes(space, strides)
    flat = [Operand(o.dtype, s, o.offset, o.count) for o, s in zip(operands, strides, strict=True)]
    new = {id(dot): Node("load", (), len(used), space, dot.dtype)}
    for node in order:
        arg = used.index(node.arg) if node.op in ("load", "gather") else node.arg
        shape = () if node.op in ("const", "scalar") else space
        new[id(node)] = Node(node.op, tuple(new[id(s)] for s in node.src), arg, shape, node.dtype)
    body = tuple(new[id(root)] for root in problem.body)
    return Problem("map", space, tuple(flat[:count]), tuple(flat[count:]), body, problem.scalars), used
