"""Tensor maps as CUDA's driver writes them, through ctypes: CuPy does not offer that."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from tilewright.backends.cuda import driver_library
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import LaunchError
from tilewright.backends.tensor_map import TensorMap

_SWIZZLE = {32: 1, 64: 2, 128: 3}  # CU_TENSOR_MAP_SWIZZLE_32B, _64B, _128B
_WIDTH = {1: 0, 2: 1}  # bytes: CU_TENSOR_MAP_DATA_TYPE_UINT8, _UINT16; bits are copied, whatever they mean
_FETCH_256_NBYTES = 3  # CU_TENSOR_MAP_L2_PROMOTION_L2_256B


class EncodedMap:
    """128 bytes at `address`, a multiple of 128, which a launch passes by value. `buffer`: the one it is for, or 0."""

    __slots__ = ("_known", "_room", "address", "buffer", "given")

    def __init__(self, given: TensorMap) -> None:
        self.given, self.buffer, rank = given, 0, len(given.shape)
        self._room = ctypes.create_string_buffer(256)
        self.address = -(-ctypes.addressof(self._room) // 128) * 128
        self._known = (
            (ctypes.c_uint64 * rank)(*given.shape),
            (ctypes.c_uint64 * (rank - 1))(*given.strides),
            (ctypes.c_uint32 * rank)(*given.box),
            (ctypes.c_uint32 * rank)(*(1,) * rank),  # every element of the box
            0,  # CU_TENSOR_MAP_INTERLEAVE_NONE
            _SWIZZLE[given.span],
            _FETCH_256_NBYTES,
            0,  # CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE: zeros
        )

    def encode(self, buffer: int) -> None:
        """For the buffer at that address; the device's context is current. Raises LaunchError where it cannot be."""
        given = self.given
        reason = given.refusal(buffer)
        if reason is None:
            start, width = buffer + given.offset, _WIDTH[DTYPES[given.dtype].nbytes]
            status = _encoder()(self.address, width, len(given.shape), start, *self._known)
            reason = f"cuTensorMapEncodeTiled answers {status}" if status else None
        if reason is not None:
            raise LaunchError(f"argument {given.argument} cannot be copied in boxes: {reason}")
        self.buffer = buffer


@cache
def _encoder() -> Any:
    """cuTensorMapEncodeTiled, where cuda.writes_maps() says that there is one."""
    function = driver_library().cuTensorMapEncodeTiled
    pointer, number = ctypes.c_void_p, ctypes.c_int
    function.argtypes = [pointer, number, ctypes.c_uint32, pointer, *(pointer,) * 4, *(number,) * 4]
    function.restype = number
    return function
