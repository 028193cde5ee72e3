"""What is raced: functions of arrays, spelled once for every array namespace, and the aims they are judged by.

A library that has a function of its own for the job is given that one: the race is against what its users would write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod, sqrt
from typing import Any

import numpy as np

from benchmarks.measure import Aim
from benchmarks.peers import Peer

MATMUL_SIZES = (64, 128, 256, 512, 1024, 2048)
SLOPE, CUBIC = sqrt(2 / np.pi), 0.044715  # of GELU's tanh form
EPSILON = 1e-5


@dataclass(frozen=True)
class Workload:
    """`function(xp, *arrays)` is the general spelling; `special` has a library's own, a function of the arrays, None
    where the library cannot do it. `nbytes` counts each operand once."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    function: Callable[..., Any]
    aims: tuple[Aim, ...] = ()
    special: dict[str, Callable[..., Callable[..., Any]] | None] = field(default_factory=dict)
    nbytes: int = 0
    operations: int = 0
    kernel: bool = False  # our kernels are also timed by themselves, on the device's clock

    def arrays(self) -> list[np.ndarray]:
        """Float32 in -2..2, always the same."""
        rng = np.random.default_rng(0)
        return [(rng.random(shape, np.float32) - 0.5) * 4 for shape in self.shapes]

    def spelled(self, peer: Peer) -> Callable[..., Any] | None:
        """The function of the arrays alone that this library's users would write; None where there is none."""
        if peer.library in self.special:
            maker = self.special[peer.library]
            return None if maker is None else maker(peer.xp)
        return lambda *arrays: self.function(peer.xp, *arrays)


def gelu(xp: Any, x: Any) -> Any:
    """Tanh form, Hendrycks and Gimpel, arXiv 1606.08415."""
    return 0.5 * x * (1.0 + xp.tanh(SLOPE * (x + CUBIC * (x * x * x))))


def softmax(xp: Any, x: Any) -> Any:
    e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


def layer_norm(xp: Any, x: Any, weight: Any, bias: Any) -> Any:
    centred = x - xp.mean(x, axis=1, keepdims=True)
    variance = xp.mean(centred * centred, axis=1, keepdims=True)
    return centred / xp.sqrt(variance + EPSILON) * weight + bias


def polynomial(xp: Any, x: Any) -> Any:
    """Of degree 7 after Horner: 14 operations on 8 bytes."""
    result = 0.125 * x + 0.25
    for coefficient in (-0.5, 0.75, -0.375, 0.625, -0.25, 1.0):
        result = result * x + coefficient
    return result


def attention(xp: Any, q: Any, k: Any, v: Any) -> Any:
    scores = xp.matmul(q, xp.swapaxes(k, -1, -2)) / sqrt(q.shape[-1])
    e = xp.exp(scores - xp.amax(scores, -1, keepdims=True))
    return xp.matmul(e / xp.sum(e, -1, keepdims=True), v)


def conv(xp: Any, x: Any, w: Any) -> Any:
    """Tap by tap, without padding: (n, c, h, w) with (o, c, kh, kw)."""
    high, wide = x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1
    taps = [(i, j) for i in range(w.shape[2]) for j in range(w.shape[3])]
    return sum(xp.einsum("nchw,oc->nohw", x[:, :, i : i + high, j : j + wide], w[:, :, i, j]) for i, j in taps)


def _jax_conv(xp: Any) -> Callable[..., Any]:
    from jax import lax  # late: a peer that may not be installed

    return lambda x, w: lax.conv(x, w, (1, 1), "VALID")


def networks(quick: bool) -> list[Workload]:
    """Attention of 8 heads of 64 elements, and 3x3 convolutions of ResNet-50."""
    races = []
    for tokens in (64,) if quick else (128, 512, 2048):
        special: dict[str, Callable[..., Callable[..., Any]] | None] = {
            "tilewright": lambda tw: tw.nn.attention,
            "torch": lambda torch: torch.nn.functional.scaled_dot_product_attention,
            "numexpr": None,
        }
        shapes = ((1, 8, tokens, 64),) * 3
        work = 4 * 8 * tokens**2 * 64
        races.append(Workload(f"attention {tokens}", shapes, attention, (Aim("best", 1.0),), special, operations=work))
    for channels, size in ((8, 14),) if quick else ((64, 56), (128, 28), (256, 14), (512, 7)):
        special = {
            "tilewright": lambda tw: tw.nn.conv, "torch": lambda torch: torch.nn.functional.conv2d, "jax": _jax_conv,
            "numexpr": None,
        }  # fmt: skip
        shapes = ((1, channels, size + 2, size + 2), (channels, channels, 3, 3))
        work = 2 * 9 * (channels * size) ** 2
        name = f"conv 3x3, {channels} channels, {size}x{size}"
        races.append(Workload(name, shapes, conv, (Aim("best", 1.0),), special, operations=work))
    return races


def total(xp: Any, x: Any) -> Any:
    return xp.sum(x)


def matmul(xp: Any, a: Any, b: Any) -> Any:
    return a @ b


def _into(xp: Any) -> Callable[..., Any]:
    """NumPy's product into an array that is there: the allocation is no part of the kernel."""
    targets: dict[tuple[int, ...], Any] = {}

    def product(a: Any, b: Any) -> Any:
        shape = (a.shape[0], b.shape[1])
        if shape not in targets:
            targets[shape] = xp.empty(shape, a.dtype)
        return xp.matmul(a, b, out=targets[shape])

    return product


def _expression(text: str, **constants: float) -> Callable[..., Any]:
    """A numexpr expression of x. Its constants must come as float32, or all is computed in float64."""
    values = {name: np.float32(value) for name, value in constants.items()}
    return lambda numexpr: lambda x: numexpr.evaluate(text, local_dict={"x": x, **values})


_GELU_EXPRESSION = _expression("h * x * (e + tanh(s * (x + c * (x * x * x))))", h=0.5, e=1.0, s=SLOPE, c=CUBIC)
_POLYNOMIAL_EXPRESSION = _expression(
    "(((((((a * x + b) * x + c) * x + d) * x + e) * x + f) * x + g) * x + h)",
    a=0.125, b=0.25, c=-0.5, d=0.75, e=-0.375, f=0.625, g=-0.25, h=1.0,
)  # fmt: skip


def workloads(quick: bool) -> list[Workload]:
    """All races. `quick` has them small enough to see in seconds that they run; nothing is judged by that."""
    many = 1 << 16 if quick else 1 << 24
    rows, columns = (128, 256) if quick else (8192, 2048)
    matrix, parameters = (rows, columns), ((columns,), (columns,))
    once = 8 * prod(matrix)
    at_best = (Aim("best", 1.0),)
    races = [
        Workload(
            f"gelu {many}", ((many,),), gelu, (Aim("numpy", 4.0), Aim("torch.compile", 1.0)),
            {
                "torch": lambda torch: lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
                "numexpr": _GELU_EXPRESSION,
            },
            nbytes=8 * many,
        ),
        Workload(
            f"softmax {rows}x{columns}", (matrix,), softmax, at_best,
            {"torch": lambda torch: lambda x: torch.softmax(x, 1), "numexpr": None}, nbytes=once,
        ),
        Workload(
            f"layer norm {rows}x{columns}", (matrix, *parameters), layer_norm, at_best,
            {
                "torch": lambda torch: lambda x, w, b: torch.nn.functional.layer_norm(x, (columns,), w, b, EPSILON),
                "numexpr": None,
            },
            nbytes=once,
        ),
        Workload(
            f"polynomial {many}", ((many,),), polynomial, (), {"numexpr": _POLYNOMIAL_EXPRESSION}, nbytes=8 * many
        ),
        Workload(f"sum {many}", ((many,),), total, (), {"numexpr": None}, nbytes=4 * many),
    ]  # fmt: skip
    for n in MATMUL_SIZES[:2] if quick else MATMUL_SIZES:
        square = ((n, n), (n, n))
        races.append(
            Workload(
                f"matmul {n}", square, matmul, (Aim("numpy", 0.98, ", kernel"),), {"numpy": _into, "numexpr": None},
                operations=2 * n**3, kernel=True,
            )
        )  # fmt: skip
    return races + networks(quick)
