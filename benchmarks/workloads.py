"""What is raced: functions of arrays, spelled once for every array namespace, and the aims they are judged by.

A library that has a function of its own for the job is given that one: the race is against what its users would write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod, sqrt
from typing import Any

import numpy as np

from benchmarks.measure import Aim
from benchmarks.peers import Peer
from tilewright.backends.dtypes import numpy_dtype

SIZES = ("small", "medium", "large")
BEST = (Aim("best", 0.95),)
SLOPE, CUBIC = sqrt(2 / np.pi), 0.044715  # of GELU's tanh form
EPSILON = 1e-5
COEFFICIENTS = (0.125, 0.25, -0.5, 0.75, -0.375, 0.625, -0.25, 1.0, -0.125, 0.375, 0.5, -0.75)
RATE, VOLATILITY = 0.03, 0.2  # of the options
Array = np.ndarray[Any, Any]
Shapes = tuple[tuple[int, ...], ...]
OWN_ONLY = ("numexpr", "numba", "pyopencl.array", "clblast")
"""No array namespaces: they do what is spelled for them under the name of the workload's function, and nothing else."""
OWN = (*OWN_ONLY, "tinygrad")  # whose namespace is a module or a class of ours


def uniform(rng: np.random.Generator, shapes: Shapes) -> list[Array]:
    """In -2..2."""
    return [(rng.random(shape, np.float32) - 0.5) * 4 for shape in shapes]


def positive(rng: np.random.Generator, shapes: Shapes) -> list[Array]:
    """In 0.5..1.5: sums that do not cancel, prices that have a logarithm."""
    return [rng.random(shape, np.float32) + 0.5 for shape in shapes]


def labelled(rng: np.random.Generator, shapes: Shapes) -> list[Array]:
    """Scores, and for each row the number of a column."""
    scores, labels = shapes
    return [*uniform(rng, (scores,)), rng.integers(0, scores[1], labels)]


@dataclass(frozen=True)
class Workload:
    """`function(xp, *arrays)` is the general spelling; `special` has a library's or a peer's own, a function of the
    arrays, None where it cannot do it. `nbytes` counts each operand once. `tolerance` is of the largest result, from
    the same computed in float64: by default what float32 sums in any order keep, and no wrong answer does."""

    name: str
    shapes: Shapes
    function: Callable[..., Any]
    aims: tuple[Aim, ...] = BEST
    special: Mapping[str, Callable[..., Callable[..., Any]] | None] = field(default_factory=dict)
    nbytes: int = 0
    operations: int = 0
    kernel: bool = False  # our kernels are also timed by themselves, on the device's clock
    family: str = ""  # a row of the chart
    size: str = "small"
    dtype: str = "float32"
    tolerance: float = 1e-4
    inputs: Callable[[np.random.Generator, Shapes], list[Array]] = uniform

    def arrays(self) -> list[Array]:
        """Always the same."""
        made = self.inputs(np.random.default_rng(0), self.shapes)
        return [x.astype(numpy_dtype(self.dtype)) if x.dtype == np.float32 else x for x in made]

    def reference(self, arrays: list[Array]) -> Array:
        """NumPy's result in float64."""
        wide = (x.astype(np.float64) if x.dtype == numpy_dtype(self.dtype) else x for x in arrays)
        return np.asarray(self.function(np, *wide))

    def spelled(self, peer: Peer) -> Callable[..., Any] | None:
        """The function of the arrays alone that this library's users would write; None where there is none."""
        for name in (peer.name, peer.library):
            if name in self.special:
                maker = self.special[name]
                return None if maker is None else maker(peer.xp)
        if peer.library in OWN and (own := getattr(peer.xp, self.function.__name__, None)):
            return own
        return None if peer.library in OWN_ONLY else lambda *arrays: self.function(peer.xp, *arrays)


def gelu(xp: Any, x: Any) -> Any:
    """Tanh form, Hendrycks and Gimpel, arXiv 1606.08415."""
    return 0.5 * x * (1.0 + xp.tanh(SLOPE * (x + CUBIC * (x * x * x))))


def polynomial(xp: Any, x: Any) -> Any:
    """Of 12 terms after Horner: 22 operations on 8 bytes."""
    result = COEFFICIENTS[0] * x + COEFFICIENTS[1]
    for coefficient in COEFFICIENTS[2:]:
        result = result * x + coefficient
    return result


def black_scholes(xp: Any, price: Any, strike: Any, years: Any) -> Any:
    """A call option's value. The normal distribution by Abramowitz and Stegun 26.2.17, good to 7.5e-8."""
    deviation = VOLATILITY * xp.sqrt(years)
    d1 = (xp.log(price / strike) + (RATE + 0.5 * VOLATILITY**2) * years) / deviation
    return price * _below(xp, d1) - strike * xp.exp(-RATE * years) * _below(xp, d1 - deviation)


def _below(xp: Any, d: Any) -> Any:
    k = 1.0 / (1.0 + 0.2316419 * xp.abs(d))
    terms = k * (0.319381530 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))))
    tail = 0.39894228 * xp.exp(-0.5 * d * d) * terms
    return xp.where(d > 0, 1.0 - tail, tail)


def total(xp: Any, x: Any) -> Any:
    return xp.sum(x)


def variance(axis: int) -> Callable[..., Any]:
    return lambda xp, x: xp.var(x, axis=axis)


def softmax(xp: Any, x: Any) -> Any:
    e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


def largest(xp: Any, x: Any) -> Any:
    return xp.max(x, axis=1)


def place_of_largest(xp: Any, x: Any) -> Any:
    return xp.argmax(x, axis=1)


def layer_norm(xp: Any, x: Any, weight: Any, bias: Any) -> Any:
    centred = x - xp.mean(x, axis=1, keepdims=True)
    spread = xp.mean(centred * centred, axis=1, keepdims=True)
    return centred / xp.sqrt(spread + EPSILON) * weight + bias


def cross_entropy(xp: Any, scores: Any, labels: Any) -> Any:
    shifted = scores - xp.max(scores, axis=1, keepdims=True)
    chosen = xp.take_along_axis(shifted, labels[:, None], axis=1)
    return xp.mean(xp.log(xp.sum(xp.exp(shifted), axis=1)) - chosen[:, 0])


def cumulative(xp: Any, x: Any) -> Any:
    return xp.cumulative_sum(x)


def transpose_add(xp: Any, a: Any, b: Any) -> Any:
    return a + b.T


def jacobi(xp: Any, u: Any) -> Any:
    """The mean of the four neighbours of every inner point."""
    return 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])


def heat(xp: Any, u: Any) -> Any:
    """One explicit step in three dimensions."""
    inner = u[1:-1, 1:-1, 1:-1]
    along = u[:-2, 1:-1, 1:-1] + u[2:, 1:-1, 1:-1] + u[1:-1, :-2, 1:-1] + u[1:-1, 2:, 1:-1]
    return inner + 0.1 * (along + u[1:-1, 1:-1, :-2] + u[1:-1, 1:-1, 2:] - 6.0 * inner)


def _expression(text: str, **constants: float) -> Callable[..., Any]:
    """A numexpr expression of x. Its constants must come as float32, or all is computed in float64."""
    values = {name: np.float32(value) for name, value in constants.items()}

    def maker(numexpr: Any) -> Callable[..., Any]:
        return lambda x: numexpr.evaluate(text, local_dict={**values, "x": x})

    return maker


_GELU = _expression("h * x * (e + tanh(s * (x + c * (x * x * x))))", h=0.5, e=1.0, s=SLOPE, c=CUBIC)
_POLYNOMIAL = _expression(
    "(" * 10 + "a * x + b" + "".join(f") * x + {name}" for name in "cdefghijkl"),
    **dict(zip("abcdefghijkl", COEFFICIENTS, strict=True)),
)


def _torch_cross_entropy(torch: Any) -> Callable[..., Any]:
    return lambda scores, labels: torch.nn.functional.cross_entropy(scores, labels)


def _torch_layer_norm(torch: Any) -> Callable[..., Any]:
    return lambda x, w, b: torch.nn.functional.layer_norm(x, w.shape, w, b, EPSILON)


def workloads(quick: bool) -> list[Workload]:
    """What moves bytes: functions of elements, of rows, of neighbours. `quick` has the small sizes only."""
    return [w for k, size in enumerate(SIZES[: 1 if quick else 3]) for w in (*_elements(k, size), *_rows(k, size))]


def _elements(k: int, size: str) -> Iterator[Workload]:
    n, options = (1 << 16, 1 << 20, 1 << 24)[k], (1 << 14, 1 << 18, 1 << 22)[k]
    side, cube = (128, 1024, 4096)[k], (32, 96, 256)[k]

    def make(family: str, shapes: Shapes, function: Callable[..., Any], nbytes: int, **more: Any) -> Workload:
        name = f"{family} {'x'.join(map(str, shapes[0]))}"
        return Workload(name, shapes, function, nbytes=nbytes, family=family, size=size, **more)

    torch_gelu = {"torch": lambda torch: lambda x: torch.nn.functional.gelu(x, approximate="tanh")}
    yield make("gelu", ((n,),), gelu, 8 * n, special={**torch_gelu, "numexpr": _GELU})
    yield make("black-scholes", ((options,),) * 3, black_scholes, 16 * options, inputs=positive)
    yield make("polynomial", ((n,),), polynomial, 8 * n, operations=22 * n, special={"numexpr": _POLYNOMIAL})
    yield make("sum", ((n,),), total, 4 * n, inputs=positive)
    sums = {"torch": lambda torch: lambda x: torch.cumsum(x, 0)}
    # every partial sum is rounded: 1e-7 each, and one after the other where the library does not work in blocks
    yield make("cumulative sum", ((n,),), cumulative, 8 * n, inputs=positive, special=sums, tolerance=2e-3)
    yield make("transpose-add", ((side, side),) * 2, transpose_add, 12 * side * side)
    yield make("jacobi", ((side, side),), jacobi, 8 * side * side, operations=4 * side * side)
    yield make("heat", ((cube,) * 3,), heat, 8 * cube**3, operations=9 * cube**3)


def _rows(k: int, size: str) -> Iterator[Workload]:
    shape = rows, columns = ((128, 256), (2048, 1024), (8192, 2048))[k]
    label, nbytes = f"{rows}x{columns}", 4 * prod(shape)

    def make(family: str, shapes: Shapes, function: Callable[..., Any], nbytes: int, **more: Any) -> Workload:
        return Workload(f"{family} {label}", shapes, function, nbytes=nbytes, family=family, size=size, **more)

    for axis in (0, 1):
        own: dict[str, Any] = {
            "torch": lambda torch, axis=axis: lambda x: torch.var(x, axis, correction=0),
            "numba": lambda loops, axis=axis: (loops.variance_0, loops.variance_1)[axis],
        }
        yield make(f"variance axis {axis}", (shape,), variance(axis), nbytes, special=own)
    own = {"torch": lambda torch: lambda x: torch.softmax(x, 1)}
    yield make("softmax", (shape,), softmax, 2 * nbytes, special=own)
    yield make("argmax", (shape,), place_of_largest, nbytes)
    amax = {"torch": lambda torch: lambda x: torch.amax(x, 1)}
    few = ((1 << 12, 1 << 17, 1 << 20)[k], 10)  # as many rows as there are samples, as many columns as classes
    for name, function, more, factor in (("softmax", softmax, own, 2), ("max", largest, amax, 1)):
        title, size_of = f"short {name} {few[0]}x10", 4 * prod(few) * factor
        yield Workload(title, (few,), function, nbytes=size_of, family=f"short {name}", size=size, special=more)
    norm = {"torch": _torch_layer_norm}
    yield make("layer norm", (shape, (columns,), (columns,)), layer_norm, 2 * nbytes, special=norm)
    entropy = {"torch": _torch_cross_entropy}
    yield make("cross-entropy", (shape, (rows,)), cross_entropy, nbytes, inputs=labelled, special=entropy)
