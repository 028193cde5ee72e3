"""Ways to search a measured space, each a function of the space and a seed: the configs tried, in order."""

from __future__ import annotations

import json
import math
import random
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.spaces import TRIALS, Array, Measured
from tilewright.tuner import Failed, Known, search

Searcher = Callable[[Measured, int], list[int]]

STRATEGIES = ("genetic_algorithm", "pso", "diff_evo", "firefly_algorithm", "greedy_ils", "simulated_annealing")


def find() -> tuple[dict[str, Searcher], dict[str, str]]:
    """Every searcher that can run here, ours first, and the versions behind them."""
    found: dict[str, Searcher] = {"tilewright": ours, "random": by_chance, "optuna TPE": partial(tpe, {})}
    found["optuna TPE multivariate"] = partial(tpe, {"multivariate": True})
    versions = {name: version(name) for name in ("numpy", "optuna")}
    if find_spec("torch") and find_spec("scipy"):
        found["optuna GP"] = gaussian
        versions |= {name: version(name) for name in ("torch", "scipy")}
    if find_spec("kernel_tuner"):
        found |= {f"kernel_tuner {name}": partial(kernel_tuner, name) for name in STRATEGIES}
        versions["kernel-tuner"] = version("kernel-tuner")
    return found, versions


def ours(space: Measured, seed: int, known: Sequence[Known] = (), trials: int = TRIALS) -> list[int]:
    at = {row: k for k, row in enumerate(space.rows)}
    order: list[int] = []

    def measure(config: dict[str, Any]) -> float:
        k = at[tuple(config[name] for name in space.names)]
        order.append(k)
        if math.isnan(space.seconds[k]):
            raise Failed("failed when it was measured")
        return float(space.seconds[k])

    search(space.configs, measure, trials=trials, seed=seed, known=known)
    return order


def known_of(others: Sequence[Measured], how: str, seed: int) -> list[Known]:
    """What was measured on other devices: "as they are", with the times "shuffled", or ranked "backwards"."""
    rows = []
    for other in others:
        seconds: Array = other.seconds.copy()
        if how == "shuffled":
            seconds = np.random.default_rng(seed).permutation(seconds)
        elif how == "backwards":
            able = np.flatnonzero(np.isfinite(seconds))
            order = able[np.argsort(seconds[able], kind="stable")]
            seconds[order] = seconds[order[::-1]]
        rows += [Known(c, s, other.device) for c, s in zip(other.configs, seconds.tolist(), strict=True)]
    return rows


def by_chance(space: Measured, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(len(space.rows))[:TRIALS].tolist()


def tpe(options: dict[str, Any], space: Measured, seed: int) -> list[int]:
    return by_optuna(optuna.samplers.TPESampler(seed=seed, **options), space)


def gaussian(space: Measured, seed: int) -> list[int]:
    return by_optuna(optuna.samplers.GPSampler(seed=seed, deterministic_objective=True), space)


def by_optuna(sampler: optuna.samplers.BaseSampler, space: Measured) -> list[int]:
    """Each tunable is categorical. A config outside the list fails, one asked again is answered again: both are free.

    A sampler that finds nothing new in ten times as many questions is stopped.
    """
    at = {row: k for k, row in enumerate(space.rows)}
    study, order = optuna.create_study(sampler=sampler), dict[int, None]()
    for _ in range(10 * TRIALS):
        trial = study.ask()
        pairs = zip(space.names, space.choices, strict=True)
        k = at.get(tuple(trial.suggest_categorical(name, values) for name, values in pairs))
        if k is not None:
            order[k] = None
        if k is None or math.isnan(space.seconds[k]):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, float(space.seconds[k]))
        if len(order) == TRIALS:
            break
    return list(order)


def kernel_tuner(strategy: str, space: Measured, seed: int) -> list[int]:
    """Kernel Tuner in simulation: it reads the times from a file in its cache's format."""
    from constraint import FunctionConstraint  # late, with kernel_tuner: an extra
    from kernel_tuner import tune_kernel

    at = {row: k for k, row in enumerate(space.rows)}
    random.seed(seed)
    np.random.seed(seed)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        path = Path(folder) / "cache.json"
        path.write_text(json.dumps(_cache_file(space)))
        results, _ = tune_kernel(
            "kernel", "__global__ void kernel() {}", (1,), [], dict(zip(space.names, space.choices, strict=True)),
            restrictions=[FunctionConstraint(lambda *row: row in at)], strategy=strategy, lang="CUDA",
            strategy_options={"max_fevals": TRIALS}, simulation_mode=True, cache=str(path), quiet=True,
        )  # fmt: skip
    order = dict.fromkeys(at[tuple(result[name] for name in space.names)] for result in results)
    return list(order)[:TRIALS]


def _cache_file(space: Measured) -> dict[str, Any]:
    costs = {f"{what}_time": 0 for what in ("compile", "verification", "benchmark", "framework", "strategy")}
    costs |= {"timestamp": "2026-01-01 00:00:00+00:00"}
    entries = {}
    for row, seconds in zip(space.rows, space.seconds.tolist(), strict=True):
        failed = math.isnan(seconds)
        time = "RuntimeFailedConfig" if failed else 1e3 * seconds
        config = dict(zip(space.names, row, strict=True))
        entries[",".join(map(str, row))] = {**config, "time": time, "times": [] if failed else [time, time], **costs}
    return {
        "device_name": space.device, "kernel_name": "kernel", "problem_size": [1], "objective": "time",
        "tune_params_keys": space.names, "tune_params": dict(zip(space.names, space.choices, strict=True)),
        "cache": entries,
    }  # fmt: skip
