"""Train a two-layer network on real handwritten digits, written against the array API namespace only.

    python benchmarks/digits.py --xp numpy|torch|tilewright --device cpu|opencl:0|cuda:0

The data are the 1,797 8x8 images bundled with scikit-learn; a third, always the same, is held out. The network is
64 -> hidden (ReLU) -> 10 (softmax cross entropy), trained by minibatch gradient descent with momentum; the gradients
are written out by hand, since not every namespace differentiates. Initial weights and the order of the batches come
from one seed on the host, so every namespace is asked the same question and must find nearly the same answer.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

CLASSES, PIXELS = 10, 64
SPLIT_SEED = 0  # not --seed: runs with different weights are still judged on the same images
Parameters = tuple[Any, ...]  # weights and biases of both layers, then their velocities


@dataclass(frozen=True, slots=True)
class Digits:
    """Images are (n, 64) float32 in 0..1, labels (n,) int32."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True, slots=True)
class Result:
    """`first_seconds` is the first epoch, which compiles what has to be compiled; `seconds` are all others."""

    accuracy: float
    loss: float
    first_seconds: float
    seconds: float
    steps: int  # in `seconds`


def namespace(name: str) -> Any:
    """The array API namespace of that name. tilewright is one by itself, the others through array_api_compat."""
    return importlib.import_module(name if name == "tilewright" else f"array_api_compat.{name}")


def load() -> Digits:
    from sklearn.datasets import load_digits  # late: takes a second, and --help needs none of it

    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    test, train = order[: len(order) // 3], order[len(order) // 3 :]
    return Digits(images[train], labels[train], images[test], labels[test])


def initial(hidden: int, rng: np.random.Generator) -> list[np.ndarray]:
    """He initialisation, and velocities of zero."""
    shapes = (PIXELS, hidden), (hidden,), (hidden, CLASSES), (CLASSES,)
    weights = [rng.standard_normal(s) * (2 / s[0]) ** 0.5 if len(s) == 2 else np.zeros(s) for s in shapes]
    return [w.astype(np.float32) for w in (*weights, *(np.zeros(s) for s in shapes))]


def make_step(xp: Any, rate: float, momentum: float) -> Callable[..., tuple[Parameters, Any]]:
    """A function (parameters, images, labels, classes, batch) -> (new parameters, loss of the batch)."""

    def step(parameters: Parameters, images: Any, labels: Any, classes: Any, batch: Any) -> tuple[Parameters, Any]:
        w1, b1, w2, b2, *velocities = parameters
        x = xp.take(images, batch, axis=0)
        target = xp.astype(xp.take(labels, batch, axis=0)[:, None] == classes[None, :], xp.float32)

        before = x @ w1 + b1
        active = xp.astype(before > 0, xp.float32)
        hidden = before * active
        logits = hidden @ w2 + b2
        shifted = logits - xp.max(logits, axis=1, keepdims=True)
        total = xp.sum(xp.exp(shifted), axis=1, keepdims=True)
        loss = xp.mean(xp.log(total) - xp.sum(shifted * target, axis=1, keepdims=True))

        d_logits = (xp.exp(shifted) / total - target) / batch.shape[0]
        d_before = (d_logits @ w2.T) * active
        gradients = (x.T @ d_before, xp.sum(d_before, axis=0), hidden.T @ d_logits, xp.sum(d_logits, axis=0))
        velocities = [momentum * v - rate * g for v, g in zip(velocities, gradients, strict=True)]
        weights = [w + v for w, v in zip((w1, b1, w2, b2), velocities, strict=True)]
        return (*weights, *velocities), loss

    return step


def accuracy(xp: Any, parameters: Parameters, images: Any, labels: Any) -> float:
    w1, b1, w2, b2, *_ = parameters
    before = images @ w1 + b1
    guess = xp.argmax((before * xp.astype(before > 0, xp.float32)) @ w2 + b2, axis=1)
    return float(xp.mean(xp.astype(guess == xp.astype(labels, guess.dtype), xp.float32)))


def train(
    xp: Any, device: str, *, epochs: int = 60, hidden: int = 512, batch: int = 128, rate: float = 0.2,
    momentum: float = 0.9, seed: int = 0,
) -> Result:  # fmt: skip
    """Train for `epochs` and judge on the images held out. A last batch that is not full is left out."""
    data, rng = load(), np.random.default_rng(seed)

    def put(x: np.ndarray) -> Any:
        return xp.asarray(x, device=device)

    images, labels = put(data.images), put(data.labels)
    classes = put(np.arange(CLASSES, dtype=np.int32))
    parameters: Parameters = tuple(put(x) for x in initial(hidden, rng))
    step = make_step(xp, rate, momentum)
    compiler = getattr(xp, "jit", None)  # tilewright's; a namespace without one runs the step as it is
    step = compiler(step) if callable(compiler) else step
    steps = len(data.images) // batch
    loss, clock = float("nan"), [perf_counter()]
    for _ in range(epochs):
        for indices in rng.permutation(len(data.images))[: steps * batch].reshape(steps, batch):
            parameters, found = step(parameters, images, labels, classes, put(indices))
        loss = float(found)  # waits until the epoch is computed
        clock.append(perf_counter())
    score = accuracy(xp, parameters, put(data.test_images), put(data.test_labels))
    return Result(score, loss, clock[1] - clock[0], clock[-1] - clock[1], steps * (epochs - 1))


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"a whole number from 1 on is needed, not {text!r}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="digits.py", description="Train a two-layer network on handwritten digits.")
    parser.add_argument("--xp", choices=("numpy", "torch", "tilewright"), default="tilewright", help="array namespace")
    parser.add_argument("--device", default="cpu", help="such as cpu, opencl:0, cuda:0 (default: %(default)s)")
    parser.add_argument("--epochs", type=_positive, default=60, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the batches (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        xp = namespace(options.xp)
    except ImportError as error:
        parser.error(f"--xp {options.xp} needs {error.name}, which is not installed: pip install {error.name}")
    try:
        xp.asarray(0.0, dtype=xp.float32, device=options.device)
    except Exception as error:  # every namespace has its own type for a device that it does not have
        parser.error(f"--device {options.device}: {options.xp} cannot use it: {error}")
    result = train(xp, options.device, epochs=options.epochs, seed=options.seed)
    speed = f"{result.steps / result.seconds:.0f} steps/s" if result.steps else "a second epoch would tell the speed"
    print(f"{options.xp} on {options.device}: test accuracy {100 * result.accuracy:.2f} %, loss {result.loss:.4f}")
    print(f"first epoch, which compiles: {result.first_seconds:.3f} s; the rest: {result.seconds:.3f} s, {speed}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
