"""The valid configs of a search as numbers: what may be proposed, who is whose neighbour, where each one lies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from tilewright.kernels.space import Config, Space

Array = np.ndarray[Any, Any]

ENUMERATED = 1 << 20
"""Combinations of choices up to which all are looked at; of more, SAMPLED valid ones are drawn at random."""

SAMPLED = 20_000


class Pool:
    """Configs with their choices. A tunable that a config does not have counts as the choice None.

    `codes` (configs x tunables) are positions in `choices`; `places` (configs x features, float64) lie in [0, 1] each:
    a number's position among the choices, since neighbours behave alike whatever their distance; how many times 2
    divides an integer, since hardware works in powers of two; one feature per word. Raises ValueError.
    """

    def __init__(self, configs: Iterable[Config]) -> None:
        self.configs = [dict(config) for config in configs]
        if not self.configs:
            raise ValueError("there is no config to search: the list is empty")
        names = dict.fromkeys(name for config in self.configs for name in config)
        self.choices: dict[str, list[Any]] = {name: _choices(name, self.configs) for name in names}
        self._codes = {name: {_typed(v): k for k, v in enumerate(values)} for name, values in self.choices.items()}
        self.codes = np.array([self._row(config) for config in self.configs], np.int32).reshape(
            len(self.configs), len(names)
        )
        self.places = _places(list(self.choices.values()), self.codes)
        self._index: dict[tuple[int | None, ...], int] = {tuple(row): k for k, row in enumerate(self.codes.tolist())}
        if len(self._index) < len(self.configs):
            raise ValueError("the list of configs has one of them twice; each may be there once")
        self._near: dict[int, Array] = {}

    def __len__(self) -> int:
        return len(self.configs)

    def find(self, config: Mapping[str, Any]) -> int | None:
        """The config's position, whatever the order of its names; None if it is not in the pool."""
        return None if config.keys() - self.choices.keys() else self.at(self._row(config))

    def index(self, config: Mapping[str, Any]) -> int:
        """As `find`, for a config that is in the pool. Raises KeyError."""
        k = self.find(config)
        if k is None:
            raise KeyError(f"{dict(config)} is not in the pool")
        return k

    def at(self, codes: Sequence[int | None]) -> int | None:
        """The position of the config with these codes; None if it is not in the pool."""
        return self._index.get(tuple(codes))

    def neighbours(self, k: int) -> Array:
        """Positions of all configs that differ in one tunable, and `k` itself."""
        if k not in self._near:
            self._near[k] = np.flatnonzero((self.codes != self.codes[k]).sum(1) <= 1)
        return self._near[k]

    def _row(self, config: Mapping[str, Any]) -> list[int | None]:
        return [codes.get(_typed(config.get(name))) for name, codes in self._codes.items()]


def _typed(value: Any) -> tuple[type, Any]:
    """1, 1.0 and True are equal in Python, and different choices here."""
    return type(value), value


def _choices(name: str, configs: Sequence[Config]) -> list[Any]:
    """All values of a tunable: numbers in order, then words, then None."""
    values = [value for _, value in dict.fromkeys(_typed(config.get(name)) for config in configs)]
    for value in values:
        if not isinstance(value, int | float | str | bool | None) or (isinstance(value, float) and value != value):
            raise ValueError(f"{name}={value!r}: a tunable is an int, a float, a str or a bool")
    numbers = sorted((v for v in values if isinstance(v, int | float)), key=lambda v: (v, type(v).__name__))
    return numbers + sorted(v for v in values if isinstance(v, str)) + [v for v in values if v is None]


def _places(choices: list[list[Any]], codes: Array) -> Array:
    columns: list[Array] = []
    for values, column in zip(choices, codes.T, strict=True):
        numbers = [v for v in values if isinstance(v, int | float)]
        if len(numbers) > 1:
            position = np.full(len(values), 0.5)  # of what is no number: in the middle
            position[: len(numbers)] = np.linspace(0, 1, len(numbers))
            columns.append(position[column])
            if len(numbers) > 2 and (twos := _twos(numbers)) is not None:
                table = np.full(len(values), 0.5)
                table[: len(numbers)] = twos
                columns.append(table[column])
        words = values[len(numbers) :]
        if len(words) > 1 or (words and numbers):
            columns += [(column == len(numbers) + k) / math.sqrt(2) for k in range(len(words))]
    return np.array(columns, np.float64).T.reshape(len(codes), len(columns))


def _twos(numbers: list[Any]) -> Array | None:
    """How often 2 divides each, as a share of the most; None where that says no more than the order does."""
    if not all(isinstance(v, int) and v > 0 for v in numbers):
        return None
    twos = np.array([(v & -v).bit_length() - 1 for v in numbers], float)
    powers = all(v & (v - 1) == 0 for v in numbers)
    return None if powers or twos.max() == 0 else twos / twos.max()


def valid_configs(space: Space, seed: int) -> list[Config]:
    """The valid configs of a space, in canonical order; a random sample where there are too many to look at.

    Raises ValueError where there is none, saying what leaves none, and where a rule raises.
    """
    for name, values in space.choices.items():
        if not values:
            raise ValueError(f"no config is valid: tunable {name!r} has no choices")
    passed = [0] * (len(space.rules) + 1)
    found = []
    for config in _combinations(space, seed):
        kept = _passes(space, config)
        for k in range(kept + 1):
            passed[k] += 1
        if kept == len(space.rules):
            found.append(config)
            if len(found) == SAMPLED and _size(space) > ENUMERATED:
                break
    if not found:
        k = passed.index(0)
        rule = space.rules[k - 1]
        raise ValueError(f"no config is valid: rule {rule.reason!r} refuses all {passed[k - 1]} that were left to it")
    return found


def _size(space: Space) -> int:
    return math.prod(len(values) for values in space.choices.values())


def _combinations(space: Space, seed: int) -> Iterable[Config]:
    names, size = tuple(space.choices), _size(space)
    if size <= ENUMERATED:
        for values in product(*space.choices.values()):
            yield dict(zip(names, values, strict=True))
        return
    rng, seen = np.random.default_rng(seed), set()
    counts = [len(values) for values in space.choices.values()]
    for _ in range(ENUMERATED // 4096):
        for row in map(tuple, rng.integers(counts, size=(4096, len(counts))).tolist()):
            if row not in seen:
                seen.add(row)
                yield {name: space.choices[name][k] for name, k in zip(names, row, strict=True)}


def _passes(space: Space, config: Config) -> int:
    """How many rules hold, in their order, up to the first that does not. Raises ValueError where one raises."""
    for k, rule in enumerate(space.rules):
        try:
            if not rule.holds(config):
                return k
        except Exception as error:  # a rule is the caller's code: whatever it raises is told with its reason
            what = f"{type(error).__name__}: {error}, for {config}"
            raise ValueError(f"rule {rule.reason!r} raised {what}; a rule answers True or False") from error
    return len(space.rules)
