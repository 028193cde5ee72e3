"""Tuning a kernel that is not ours: what the user gives is checked and written down, and searched as any problem."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Device
from tilewright.backends.registry import default_device_name, get_device
from tilewright.kernels.raw import RawArgument, RawConfig, RawKernel, RawProblem, Three
from tilewright.kernels.space import Config, Rule, Space
from tilewright.tuner.measure import Unmeasurable
from tilewright.tuner.policy import Policy
from tilewright.tuner.pool import valid_configs
from tilewright.tuner.tune_problem import Result, Search, Status, allotment

Array = np.ndarray[Any, Any]
Extents = int | str | Sequence[int | str] | Callable[[Config], int | Sequence[int]]
"""Up to three numbers or names of tunables, or what computes them from a config."""

_VALUES = frozenset(d for d, row in DTYPES.items() if row.kind in "iu" or d in ("float32", "float64"))
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Tuned:
    """A raw problem and how its search ended; `config` is the winner."""

    problem: RawProblem
    device: Device
    result: Result
    config: Config


def tune_raw(
    source: str | Path, entry: str, arguments: Sequence[Any], choices: Mapping[str, Sequence[Any]], *,
    rules: Sequence[Any], grid: Extents, group: Extents, outputs: Sequence[int] | None, updates: Sequence[int],
    device: str | None, reference: Any, tolerance: float | None, effort: str, budget: float | None,
    progress: Callable[[Status], None] | None, numerics: str = "tolerance",
) -> Tuned:  # fmt: skip
    """See `tilewright.tune_kernel`."""
    allotted, policy = allotment(effort, budget), Policy(numerics=numerics)
    if tolerance is not None and not 0 < tolerance < 1:
        raise ValueError(f"tolerance is a share between 0 and 1, not {tolerance!r}")
    where = get_device(device or default_device_name())
    text, filename = _text(source)
    given = [_argument(k, x) for k, x in enumerate(arguments)]
    access = _access(text, entry, given, outputs, updates)
    described = tuple(_described(x, a) for x, a in zip(given, access, strict=True))
    for k, a in enumerate(described):
        if a.dtype not in where.limits.dtypes:
            raise ValueError(f"argument {k} is {a.dtype}, which {where.name} has not")
    space = Space(_choices(choices), tuple(_rule(k, rule) for k, rule in enumerate(rules)))
    rows = _rows(space, grid, group, where)
    kernel = RawKernel(entry, text, filename, described, dict(space.choices), rows)
    expected = _expected(given, access, reference)
    with tempfile.TemporaryDirectory(prefix="tilewright-") as folder:
        digest = _write(Path(folder), given, access, expected)
        problem = RawProblem.of(kernel, digest, folder, tolerance or 0.0)
        (Path(folder) / "problem.json").write_text(json.dumps(problem.dump()))
        result = Search(problem, where, effort, allotted, progress or (lambda status: None), policy=policy).run()
    if result.best is None:
        failed = sum(r.status != "ok" for r in result.trials)
        what = f"none of the {failed} configs tried works; the first: " if failed else ""
        raise Unmeasurable(f"{entry} cannot be tuned on {where.name}: {what}{result.reason}")
    return Tuned(problem, where, result, dict(result.best.config))


def _text(source: str | Path) -> tuple[str, str]:
    """The text and a name for compiler errors: what has a brace is text, anything else names a file."""
    if isinstance(source, str) and "{" in source:
        return source, "kernel.c"
    try:
        return Path(source).read_text(), Path(source).name
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"source is neither a kernel's text nor a readable file: {error}") from None


def _argument(k: int, value: Any) -> Array | np.generic:
    """An array, or a NumPy scalar: a Python int is C's int, a Python float C's float."""
    if isinstance(value, bool):
        value = np.int32(value)
    elif isinstance(value, int):
        if not -(2**31) <= value < 2**31:
            raise ValueError(f"argument {k} is {value}, which int32 cannot hold; write numpy.int64({value})")
        value = np.int32(value)
    elif isinstance(value, float):
        value = np.float32(value)
    if isinstance(value, np.generic):
        if value.dtype.name not in _VALUES:
            raise ValueError(f"argument {k} is a {value.dtype} scalar; kernels take integers, float32 and float64")
        return value
    found = np.ascontiguousarray(value).reshape(np.shape(value))
    if found.dtype.name not in DTYPES:
        raise ValueError(f"argument {k} is a {type(value).__name__} of dtype {found.dtype}, which no kernel takes")
    return found


def _access(
    text: str, entry: str, given: list[Any], outputs: Sequence[int] | None, updates: Sequence[int]
) -> list[str]:
    """Each argument's access. Without `outputs` the text's signature says what is written: pointers without const."""
    arrays = {k for k, x in enumerate(given) if not isinstance(x, np.generic)}
    if outputs is None:
        outputs = [k for k in _pointers(text, entry, len(given)) if k not in updates]
    for name, positions in (("outputs", outputs), ("updates", updates)):
        for k in positions:
            if k not in arrays:
                raise ValueError(f"{name} has {k!r}, which is not the position of an array among the arguments")
    if both := set(outputs) & set(updates):
        raise ValueError(f"argument {min(both)} is among the outputs and the updates; it can be one of them")
    if not outputs and not updates:
        raise ValueError(f"{entry} writes none of its arguments; name them in outputs= or updates=")
    return [
        "value" if k not in arrays else "out" if k in outputs else "inout" if k in updates else "in"
        for k in range(len(given))
    ]


def _pointers(text: str, entry: str, count: int) -> list[int]:
    """Positions of the pointers that are not const in the definition of `entry`."""
    plain = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
    found = re.search(rf"\b{re.escape(entry)}\s*\(([^(){{}}]*)\)\s*\{{", plain)
    if found is None:
        raise ValueError(f"no definition of {entry!r} is to be seen in the source; name what it writes in outputs=")
    listed = [p for p in found[1].split(",") if p.strip() not in ("", "void")]
    if len(listed) != count:
        raise ValueError(f"{entry} has {len(listed)} parameters, and {count} arguments were given")
    constant = re.compile(r"\b(const|(__)?constant)\b[^*]*[*\[]")
    return [k for k, p in enumerate(listed) if re.search(r"[*\[]", p) and not constant.search(p)]


def _described(value: Any, access: str) -> RawArgument:
    if access == "value":
        return RawArgument(value.dtype.name, access, (), value.item())
    return RawArgument(value.dtype.name, access, value.shape)


def _choices(choices: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    for name, values in choices.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"tunable {name!r} cannot be a #define: its name is no C identifier")
        if isinstance(values, str) or not all(isinstance(v, int | float | str) for v in values):
            raise ValueError(f"{name}={values!r}: the choices of a tunable are a list of int, float, str or bool")
    return {name: tuple(values) for name, values in choices.items()}


def _rule(k: int, rule: Any) -> Rule:
    """A Rule, a pair of reason and function, or a function whose docstring or name is the reason."""
    if isinstance(rule, Rule):
        return rule
    if isinstance(rule, tuple) and len(rule) == 2 and callable(rule[1]):
        return Rule(str(rule[0]), rule[1])
    if callable(rule):
        return Rule(rule.__doc__ or f"rules[{k}], {getattr(rule, '__name__', repr(rule))}", rule)
    raise ValueError(f"rules[{k}] is {rule!r}; a rule is a function of a config, or a pair (reason, function)")


def _rows(space: Space, grid: Extents, group: Extents, device: Device) -> tuple[RawConfig, ...]:
    """Every valid config with its grid and group, which the device must be able to run."""
    most = device.limits.threads_per_group
    found, refused = [], 0
    for config in valid_configs(space, 0):
        row = RawConfig(config, _three("grid", grid, config), _three("group", group, config))
        if most == 1 and (row.grid != (1, 1, 1) or row.group != (1, 1, 1)):
            raise ValueError(f"{device.name} calls a C function once, and has no groups; leave out grid and group")
        if row.group[0] * row.group[1] * row.group[2] <= most:
            found.append(row)
        else:
            refused += 1
    if not found:
        raise ValueError(f"no config is valid: {device.name} has groups of {most} threads, all {refused} ask for more")
    return tuple(found)


def _three(what: str, extents: Extents, config: Config) -> Three:
    """The extents for `config`, filled up with ones."""
    try:
        values: Any = extents(config) if callable(extents) else extents
    except Exception as error:  # the caller's code: whatever it raises is told with the config
        raise ValueError(f"{what} raised {type(error).__name__}: {error}, for {config}") from error
    listed = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    listed = [config.get(v, v) if isinstance(v, str) else v for v in listed]
    whole = all(isinstance(v, int | np.integer) and 0 < v < 2**31 for v in listed)
    if not whole or not 1 <= len(listed) <= 3:
        raise ValueError(f"{what} is {values!r} for {config}; it is up to three positive integers or names of tunables")
    x, y, z = [*map(int, listed), 1, 1][:3]
    return x, y, z


def _expected(given: list[Any], access: list[str], reference: Any) -> dict[int, Array]:
    """What is right, by position; {} without a reference.

    A function gets copies of the arguments and returns what is written, in order, or nothing: then it has written into
    them. Arrays are given for what is written, or for every argument with None where there is nothing to compare.
    """
    if reference is None:
        return {}
    written = [k for k, a in enumerate(access) if a in ("out", "inout")]
    found = reference
    if callable(reference):
        copies = [x.copy() if isinstance(x, np.ndarray) else x for x in given]
        found = reference(*copies)
        if found is None:
            found = [copies[k] for k in written]
    listed = [found] if isinstance(found, np.ndarray) or not isinstance(found, Sequence) else list(found)
    if len(listed) == len(given) > len(written):
        listed = [listed[k] for k in written]
    if len(listed) != len(written):
        raise ValueError(f"the reference gave {len(listed)} arrays, and the kernel writes {len(written)}")
    arrays = {k: np.asarray(x) for k, x in zip(written, listed, strict=True)}
    for k, array in arrays.items():
        if array.shape != given[k].shape or array.dtype.kind not in "biufc":
            raise ValueError(f"argument {k} is {_shown(given[k])}, and the reference gave {_shown(array)}")
    return arrays


def _shown(array: Array) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _write(folder: Path, given: list[Any], access: list[str], expected: dict[int, Array]) -> str:
    """Put the data into files for the worker. Returns their digest."""
    digest = hashlib.sha256()
    for k, (value, a) in enumerate(zip(given, access, strict=True)):
        digest.update(f"{k} {a} {_shown(value)}".encode())
        if a != "out":
            digest.update(np.ascontiguousarray(value).view(np.uint8).data)
        if a in ("in", "inout"):
            np.save(folder / f"argument_{k}.npy", value, allow_pickle=False)
        if k in expected:
            digest.update(np.ascontiguousarray(expected[k]).view(np.uint8).data)
            np.save(folder / f"expected_{k}.npy", expected[k], allow_pickle=False)
    return digest.hexdigest()[:12]
