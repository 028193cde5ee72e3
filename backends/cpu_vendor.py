"""NumPy as the cpu's own library: the BLAS it was built with, called with everything prebound."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tilewright.backends import cpu_team
from tilewright.backends.protocol import Argument, Buffer, Device, Launch, LaunchError, Layout, VendorCall


class MatmulLaunch:
    """np.matmul from two buffers into a third, through views that are made once."""

    __slots__ = ("_buffers", "_layouts", "_left", "_right", "_target")

    def __init__(self, layouts: tuple[Layout, Layout, Layout], buffers: tuple[Argument, ...]) -> None:
        self._layouts, self._buffers = layouts, list(buffers)
        self._target, self._left, self._right = (_view(x, b) for x, b in zip(layouts, buffers, strict=True))

    def __call__(self) -> None:
        cpu_team.rest()
        np.matmul(self._left, self._right, out=self._target)

    def set(self, index: int, argument: Argument) -> None:
        view = _view(self._layouts[index], argument)
        self._buffers[index] = argument
        if index == 0:
            self._target = view
        elif index == 1:
            self._left = view
        else:
            self._right = view


class MatmulProgram:
    def __init__(self, call: VendorCall) -> None:
        self._layouts = (call.outputs[0], call.inputs[0], call.inputs[1])

    def bind(self, grid: tuple[int, int, int], *arguments: Argument) -> Launch:
        if len(arguments) != 3:
            raise LaunchError(f"matmul takes 3 buffers, {len(arguments)} arguments were given")
        return MatmulLaunch(self._layouts, arguments)


def vendor_program(device: Device, call: VendorCall) -> MatmulProgram | None:
    """NumPy's way to do `call`, or None. 16-bit floats and bool have no library routine in NumPy."""
    dtypes = {layout.dtype for layout in (*call.outputs, *call.inputs)}
    if call.op != "matmul" or len(dtypes) != 1 or dtypes & {"float16", "bfloat16", "bool"}:
        return None
    return MatmulProgram(call)


@cache
def blas_version() -> str:
    """Name and version of the BLAS that NumPy was built with."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def _view(layout: Layout, buffer: Argument) -> np.ndarray[Any, Any]:
    if not isinstance(buffer, Buffer) or buffer.host is None:
        raise LaunchError(f"a vendor call takes buffers of the cpu, not {buffer!r}")
    dtype = np.dtype(layout.dtype)
    strides = tuple(stride * dtype.itemsize for stride in layout.strides)
    return np.ndarray(layout.shape, dtype, buffer.host, layout.offset * dtype.itemsize, strides)
