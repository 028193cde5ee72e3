"""A Gaussian process: what a few measured points say about all the others, and how sure that is. NumPy only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_SIGNAL, _NOISE = -2, -1  # places of their logarithms among the parameters, behind a log length scale per feature


class GaussianProcess:
    """Matérn 3/2 over features in [0, 1], one length scale each; values of mean 0 and variance about 1.

    Hyperparameters are the most likely ones under a broad lognormal prior (Rasmussen and Williams, Gaussian Processes
    for Machine Learning, 2006, chapter 5), followed by Rprop (Riedmiller and Braun, 1993): a few steps with each
    new point, starting from where the last fit ended.
    """

    def __init__(self, features: int) -> None:
        far = 0.5 * math.log(0.5 * max(features, 1))  # points half the cube apart still know of each other
        self._mean = np.array([far] * features + [0.0, math.log(1e-2)])
        self._deviation = np.array([1.0] * features + [1.0, 1.5])
        self._theta = self._mean.copy()
        self._step = np.full(features + 2, 0.1)
        self._before = np.zeros(features + 2)
        self._points = np.zeros((0, features))
        self._inverse = self._weights = np.zeros(0)

    def fit(self, points: Array, values: Array, steps: int) -> None:
        """Learn from `points` (n x features) and `values` (n)."""
        self._points = points
        apart = (points[:, None, :] - points[None, :, :]) ** 2
        for _ in range(steps):
            self._climb(self._gradient(apart, values))
        self._gradient(apart, values)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at each of `points`."""
        scale = np.exp(-self._theta[:_SIGNAL])
        signal = np.float32(math.exp(self._theta[_SIGNAL]))
        ours, theirs = (self._points * scale).astype(np.float32), (points * scale).astype(np.float32)
        distance = (ours * ours).sum(1)[:, None] + (theirs * theirs).sum(1)[None] - 2 * ours @ theirs.T
        root = np.sqrt(np.maximum(3 * distance, 0))
        kernel = signal * (1 + root) * np.exp(-root)
        mean = self._weights.astype(np.float32) @ kernel
        variance = signal - ((self._inverse.astype(np.float32) @ kernel) * kernel).sum(0)
        return mean.astype(np.float64), np.sqrt(np.maximum(variance, 1e-6)).astype(np.float64)

    def _gradient(self, apart: Array, values: Array) -> Array:
        """Of the log posterior by the parameters; leaves behind what `predict` needs."""
        n, theta = len(values), self._theta
        inverse_squares = np.exp(-2 * theta[:_SIGNAL])
        signal, noise = math.exp(theta[_SIGNAL]), math.exp(theta[_NOISE])
        root = np.sqrt(3 * (apart @ inverse_squares))
        decay = np.exp(-root)
        kernel = (1 + root) * decay
        covariance = signal * kernel
        covariance[np.diag_indices(n)] += noise + 1e-8
        self._inverse = np.linalg.inv(covariance)
        self._weights = self._inverse @ values
        outer = 0.5 * (np.outer(self._weights, self._weights) - self._inverse)
        gradient = np.empty_like(theta)
        by_distance = (outer * decay * (-1.5 * signal)).reshape(-1) @ apart.reshape(n * n, -1)
        gradient[:_SIGNAL] = by_distance * (-2 * inverse_squares)
        gradient[_SIGNAL] = (outer * kernel).sum() * signal
        gradient[_NOISE] = np.trace(outer) * noise
        return gradient - (theta - self._mean) / self._deviation**2

    def _climb(self, gradient: Array) -> None:
        """One step of Rprop: by the gradient's sign only, longer while it stays, shorter where it turned."""
        turn = np.sign(gradient) * np.sign(self._before)
        self._step = np.clip(self._step * np.where(turn > 0, 1.3, np.where(turn < 0, 0.5, 1.0)), 1e-3, 0.5)
        self._before = np.where(turn < 0, 0.0, gradient)
        moved = self._theta + np.sign(self._before) * self._step
        self._theta = np.clip(moved, self._mean - 4 * self._deviation, self._mean + 4 * self._deviation)
