"""Memory kept for reuse by size class, so that a big temporary does not fault its pages in anew every time."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any


class Block:
    """One piece of device memory, on loan from `pool`. `handle`, `host` and `address` are as in Buffer."""

    __slots__ = ("address", "handle", "host", "nbytes", "pool")

    def __init__(self, pool: Pool, nbytes: int, handle: Any, host: Any) -> None:
        self.pool, self.nbytes, self.handle, self.host = pool, nbytes, handle, host
        self.address = address_of(host)  # once per block: NumPy takes a microsecond and more to tell

    def release(self) -> None:
        self.pool.give(self)


class Pool:
    """Free blocks of a device, in lists by size class; at most `capacity` bytes are kept.

    `make(nbytes)` gets new memory as (handle, host view). There is no lock: `give` runs inside `Buffer.__del__`, which
    may interrupt anything, and list.append and list.pop are whole steps of the interpreter. `idle_nbytes` may
    therefore be off by a block when threads race, which only shifts when memory is handed back.
    """

    def __init__(self, make: Callable[[int], tuple[Any, Any]], capacity: int) -> None:
        self.make, self.capacity = make, capacity
        self.idle_nbytes = self.owned_nbytes = 0  # kept for reuse; that and what is on loan
        self.free: dict[int, list[Block]] = {}

    def has(self, nbytes: int) -> bool:
        """Whether `take` would find a used block."""
        return bool(self.free.get(size_class(nbytes)))

    def take(self, nbytes: int) -> Block:
        """A block of at least `nbytes`, used before or new. Raises what `make` raises."""
        size = size_class(nbytes)
        try:
            block = self.free[size].pop()
        except (KeyError, IndexError):  # none so far, or all are on loan
            pass
        else:
            self.idle_nbytes -= size
            return block
        block = Block(self, size, *self.make(size))
        self.owned_nbytes += size
        return block

    def give(self, block: Block) -> None:
        """Keep `block` for the next `take`, or let go of it where enough is kept already."""
        if self.idle_nbytes + block.nbytes > self.capacity:
            self.owned_nbytes -= block.nbytes
            return
        self.idle_nbytes += block.nbytes
        self.free.setdefault(block.nbytes, []).append(block)

    def trim(self) -> None:
        """Hand everything that is idle back to the system."""
        for idle in list(self.free.values()):
            while idle:
                try:
                    nbytes = idle.pop().nbytes
                except IndexError:  # another thread took it
                    break
                self.idle_nbytes -= nbytes
                self.owned_nbytes -= nbytes


def address_of(host: Any) -> int:
    """Where a NumPy array's first element lies; 0 for None."""
    return 0 if host is None else int(host.__array_interface__["data"][0])


@lru_cache(4096)  # it runs once per launch
def size_class(nbytes: int) -> int:
    """`nbytes` rounded up to one of four steps per octave, at least 64: a quarter is lost at most."""
    if nbytes <= 64:
        return 64
    step = 1 << max((nbytes - 1).bit_length() - 3, 6)
    return -(-nbytes // step) * step
