"""A jit call that is like the last one: a function made for one recording, without loops, searches or keys.

The text depends on how many arrays there are and where they go, as a named tuple's does on its fields, so that few are
ever compiled; what is particular to the recording is bound when it is made.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from tilewright import tuner
from tilewright.array import Array, Cell
from tilewright.kernels.node import Node
from tilewright.leaf import Leaf
from tilewright.plan import Place

MOST = 16  # arguments: of more, a call takes long enough anyway
Quick = Callable[[tuple[Any, ...]], Any]


def never(args: tuple[Any, ...]) -> None:
    """The quick call of a function that has none yet."""


def quick_call(
    recording: Any, arrays: Sequence[Array], inputs: Sequence[list[Place]], outputs: Sequence[tuple[int, list[Place]]]
) -> Quick:
    """The call with `arrays` for arguments, each on a cell of its own, whose buffers go to the places of `inputs`.

    It gives None, before it has done anything, where the arguments are not like those or have no values yet; then the
    recording has to be looked for. `outputs`: bytes and places of each array that is computed.
    """
    plain = tuple(x._view is None for x in arrays)
    make = _maker(plain, tuple(map(len, inputs)), tuple(len(places) for _, places in outputs), recording.single)
    values = [x._cell.value for x in arrays]
    bound: list[Any] = []
    for value, x in zip(values, arrays, strict=True):
        bound += (value.shape, value.dtype, x._view)
    for places in inputs:
        bound += itertools.chain(*places)
    for nbytes, places in outputs:
        bound += (nbytes, *itertools.chain(*places))
    root = recording.graph.roots[0]
    quick: Quick = make(recording, recording.device, recording.lock, tuner.generation, root.shape, root.dtype, *bound)
    return quick


@functools.cache
def _maker(
    plain: tuple[bool, ...], inputs: tuple[int, ...], outputs: tuple[int, ...], single: bool
) -> Callable[..., Any]:
    """What makes the function: `plain` and the number of places of each argument, those of each result."""
    names: dict[str, Any] = {"Array": Array, "Cell": Cell, "Leaf": Leaf, "Node": Node, "tuner": tuner}
    exec(_text(plain, inputs, outputs, single), names)
    made: Callable[..., Any] = names["make"]
    return made


def _text(plain: tuple[bool, ...], inputs: tuple[int, ...], outputs: tuple[int, ...], single: bool) -> str:
    count = len(plain)
    each = range(count)
    bound = [f"shape{k}, dtype{k}, view{k}" for k in each]
    bound += [f"put{k}_{p}, index{k}_{p}" for k, places in enumerate(inputs) for p in range(places)]
    for k, places in enumerate(outputs):
        bound += [f"nbytes{k}", *(f"place{k}_{p}, at{k}_{p}" for p in range(places))]
    listed = lambda name: "".join(f"{name}{k}, " for k in each)  # noqa: E731
    alike = [f"type(x{k}) is not Array" for k in each]
    same = [
        f"value{k}.shape != shape{k} or value{k}.dtype != dtype{k} or x{k}._device is not device or "
        + (f"x{k}._view is not None" if plain[k] else f"x{k}._view != view{k}")
        for k in each
    ]
    if count == 2:
        same.append("cell0 is cell1")
    elif count > 2:
        same.append(f"len({{{listed('cell')}}}) != {count}")
    same += [f"value{k}.op != 'buffer'" for k in each]
    lines = [
        f"def make(recording, device, lock, generation, shape, dtype, {', '.join(bound)}):",
        " allocate = device.allocate",
        " def quick(args):",
        f"  if len(args) != {count} or tuner.generation != generation or tuner.observing is not None: return None",
        f"  {listed('x')} = args",
        f"  if {' or '.join(alike)}: return None",
        *(f"  cell{k} = x{k}._cell; value{k} = cell{k}.value" for k in each),
        f"  if {' or '.join(same)}: return None",
        *(f"  buffer{k} = value{k}.arg.buffer" for k in each),
        f"  if {' or '.join(f'buffer{k} is None' for k in each)}: return None",
        "  with lock:",
        *(f"   put{k}_{p}(index{k}_{p}, buffer{k})" for k, places in enumerate(inputs) for p in range(places)),
    ]
    for k, places in enumerate(outputs):
        lines.append(f"   result{k} = allocate(nbytes{k})")
        lines += [f"   place{k}_{p}(at{k}_{p}, result{k})" for p in range(places)]
    lines.append("   recording.replay()")
    if single:
        lines.append("  return Array(Cell(Node('buffer', (), Leaf(result0, device), shape, dtype)), device)")
    else:
        results = ", ".join(f"result{k}" for k in range(len(outputs)))
        lines.append(f"  return recording.give([{results}], [{listed('cell')}], [{listed('value')}])")
    return "\n".join([*lines, " return quick"])
