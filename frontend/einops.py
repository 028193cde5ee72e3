"""`import tilewright.einops` teaches einops our arrays: rearrange, reduce, repeat, einsum and pack, on their device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from einops._backends import AbstractBackend  # which finds its subclasses by itself

import tilewright as tw


class TilewrightBackend(AbstractBackend):  # type: ignore[misc]  # einops has no types
    """What einops asks of a library, in einops' words."""

    framework_name = "tilewright"
    from_numpy, to_numpy, arange = staticmethod(tw.asarray), staticmethod(np.asarray), staticmethod(tw.arange)
    reshape, transpose = staticmethod(tw.reshape), staticmethod(tw.permute_dims)
    tile = staticmethod(tw.tile)

    def is_appropriate_type(self, tensor: Any) -> bool:
        return type(tensor) is tw.Array

    def reduce(self, x: tw.Array, operation: str, axes: Sequence[int]) -> tw.Array:
        return getattr(tw, operation)(x, axis=tuple(axes))  # type: ignore[no-any-return]

    def stack_on_zeroth_dimension(self, tensors: list[tw.Array]) -> tw.Array:
        return tw.stack(tensors)

    def add_axis(self, x: tw.Array, new_position: int) -> tw.Array:
        return tw.expand_dims(x, axis=new_position)

    def concat(self, tensors: Sequence[tw.Array], axis: int) -> tw.Array:
        return tw.concat(tensors, axis=axis)

    def is_float_type(self, x: tw.Array) -> bool:
        return tw.isdtype(x.dtype, "real floating")

    def einsum(self, pattern: str, *x: tw.Array) -> tw.Array:
        return tw.einsum(pattern, *x)  # type: ignore[no-any-return]
