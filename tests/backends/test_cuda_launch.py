"""What the cuda device asks of the driver for a launch, seen by a driver that only listens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tilewright.backends.protocol import Source

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
