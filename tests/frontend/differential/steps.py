"""Every step of a random program; those named twice are drawn twice as often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.frontend.differential.drawing import (
    new,
)
from tests.frontend.differential.elementwise import (
    astype,
    binary,
    clip,
    close_binary,
    infix,
    inplace,
    like,
    transcendental,
    unary,
    where,
)
from tests.frontend.differential.machine import Machine
from tests.frontend.differential.making import (
    copy,
    create,
    host_value,
    read,
    scalar,
    types,
)
from tests.frontend.differential.movement import (
    broadcast,
    gather,
    getitem,
    grid,
    join,
    rearrange,
    reshape,
    setitem,
    take,
    take_along,
)
from tests.frontend.differential.reducing import (
    cumulative,
    order,
    product,
    reduction,
    search,
    solve,
    total,
)

STEPS: list[Callable[[Machine, Any], None]] = [
    new, like, unary, transcendental, binary, binary, close_binary, infix, infix, inplace, inplace, clip, where, astype,
    getitem, getitem, getitem, gather, setitem, setitem, setitem, take, take_along, reshape, reshape, rearrange,
    rearrange, broadcast, join, reduction, total, cumulative, order, search, product, create, read, copy, scalar,
    host_value, solve, grid, types,
]  # fmt: skip
