"""What the cuda device asks of the driver for a launch, seen by a driver that only listens."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from tilewright.backends import cuda_maps
from tilewright.backends.protocol import Buffer, Parameter, Source
from tilewright.backends.tensor_map import TENSOR_MAP, TensorMap

cuda_device = pytest.importorskip("tilewright.backends.cuda_device", exc_type=ImportError)


@pytest.mark.parametrize(("nbytes", "granted"), [(0, []), (48 << 10, []), (64 << 10, [(7, 8, 64 << 10)])])
def test_shared_memory_is_granted_and_asked_for(nbytes: int, granted: list[Any], monkeypatch: Any) -> None:
    calls: list[tuple[Any, ...]] = []
    grants: list[tuple[Any, ...]] = []
    driver = SimpleNamespace(
        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8,
        funcSetAttribute=lambda *given: grants.append(given),
        launchKernel=lambda *given: calls.append(given),
    )
    monkeypatch.setattr(cuda_device, "driver", driver)
    monkeypatch.setattr(cuda_device, "runtime", SimpleNamespace(setDevice=lambda number: None))
    device = SimpleNamespace(limits=SimpleNamespace(shared_nbytes=48 << 10), number=0)
    module = SimpleNamespace(get_function=lambda name: SimpleNamespace(ptr=7))
    source = Source("probe", (), "", (), (128, 1, 1), shared_nbytes=nbytes)
    cuda_device.CudaProgram(device, module, source).bind((3, 2, 1))()
    assert grants == granted
    ((function, *shape, shared, stream, _, _),) = calls
    assert (function, shape, shared, stream) == (7, [3, 2, 1, 128, 1, 1], nbytes, 0)


def test_a_tensor_map_follows_its_buffer(monkeypatch: Any) -> None:
    encoded: list[Any] = []
    monkeypatch.setattr(cuda_maps, "_encoder", lambda: lambda *given: encoded.append((given[0], given[3])) or 0)
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(cuda_device, "driver", SimpleNamespace(launchKernel=lambda *given: calls.append(given)))
    monkeypatch.setattr(cuda_device, "runtime", SimpleNamespace(setDevice=lambda number: None))
    device = SimpleNamespace(limits=SimpleNamespace(shared_nbytes=48 << 10), number=0)
    module = SimpleNamespace(get_function=lambda name: SimpleNamespace(ptr=7))
    first, second, third = (Buffer(device, 4096, handle) for handle in (0x1000, 0x2000, 0x4000))
    parameters = (
        Parameter("out0", "float16", "out"), Parameter("in0", "float16", "in"), Parameter("n0", "int64", "value"),
        Parameter("map_a", TENSOR_MAP, "value"), Parameter("c0", "float32", "value"),
    )  # fmt: skip
    given = TensorMap(1, "float16", (64, 32, 1), (128, 4096), 16, (64, 64, 1), 128)
    program = cuda_device.CudaProgram(device, module, Source("probe", parameters, "", (), (128, 1, 1)))
    launch = program.bind((1, 1, 1), first, second, 5, given, 2.0)
    launch.set(1, third)
    launch.set(1, third)
    launch.set(0, second)
    launch()
    pointers = (ctypes.c_void_p * 5).from_address(calls[0][-2])
    assert encoded == [(pointers[3], 0x2010), (pointers[3], 0x4010)]  # and not again where nothing changed
    slots = [ctypes.c_int64.from_address(pointers[k]).value for k in range(3)]
    assert slots == [0x2000, 0x4000, 5] and ctypes.c_float.from_address(pointers[4]).value == 2.0
