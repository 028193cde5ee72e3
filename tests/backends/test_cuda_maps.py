"""What a tensor map refuses, and what the driver is asked for, seen by a driver that only listens."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tilewright.backends import cuda_maps
from tilewright.backends.launching import check_arguments
from tilewright.backends.protocol import LaunchError, Parameter
from tilewright.backends.tensor_map import TENSOR_MAP, TensorMap

GIVEN = TensorMap(1, "bfloat16", (60, 500, 3), (144, 72000), 32, (64, 128, 1), 128)


class Listener:
    """cuTensorMapEncodeTiled that notes its arguments and answers with `status`."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.calls = status, list[tuple[Any, ...]]()

    def __call__(self, *given: Any) -> int:
        self.calls.append(given)
        return self.status


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Any:
    found = Listener()
    monkeypatch.setattr(cuda_maps, "driver_library", lambda: SimpleNamespace(cuTensorMapEncodeTiled=found))
    cuda_maps._encoder.cache_clear()
    yield found
    cuda_maps._encoder.cache_clear()


def test_what_the_driver_is_asked_for(listener: Listener) -> None:
    encoded = cuda_maps.EncodedMap(GIVEN)
    encoded.encode(0x7000)
    ((target, kind, rank, start, shape, strides, box, steps, *modes),) = listener.calls
    assert target == encoded.address and target % 128 == 0
    assert (kind, rank, start) == (1, 3, 0x7020)  # 16 bits an element
    assert (list(shape), list(strides), list(box), list(steps)) == ([60, 500, 3], [144, 72000], [64, 128, 1], [1] * 3)
    assert (shape._type_, strides._type_, box._type_) == (ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32)
    assert modes == [0, 3, 3, 0]  # no interleaving, 128 bytes, 256 bytes into L2, zeros outside
    encoded.encode(0x8000)
    assert listener.calls[1][3] == 0x8020 and listener.calls[1][0] == target


def test_what_the_driver_refuses_is_told(listener: Listener) -> None:
    listener.status = 1
    with pytest.raises(LaunchError, match="argument 1 cannot be copied in boxes: cuTensorMapEncodeTiled answers 1"):
        cuda_maps.EncodedMap(GIVEN).encode(0x7000)
    with pytest.raises(LaunchError, match="first element is at 0x7022, not at a multiple of 16"):
        cuda_maps.EncodedMap(GIVEN).encode(0x7002)
    assert len(listener.calls) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"offset": 8}, "multiple of 16"), ({"strides": (120, 72000)}, "multiple of 16 bytes"),
     ({"strides": (-144, 72000)}, "multiple of 16 bytes"), ({"strides": (144, 0)}, "multiple of 16 bytes"),
     ({"strides": (112, 72000)}, "rows overlap"), ({"strides": (144, 1 << 40)}, "2^40"),
     ({"shape": (60, 1 << 31, 3)}, "2^31"), ({"shape": (0, 500, 3)}, "empty"), ({"box": (64, 512, 1)}, "256 elements"),
     ({"span": 64}, "span"), ({"box": (32, 128, 1)}, "span")],
)  # fmt: skip
def test_what_a_map_refuses(change: dict[str, Any], reason: str) -> None:
    assert GIVEN.refusal() is None
    assert reason in (replace(GIVEN, **change).refusal() or "")


def test_arguments_are_told_apart() -> None:
    parameters = (Parameter("n0", "int64", "value"), Parameter("map_a", TENSOR_MAP, "value"))
    check_arguments("probe", parameters, (3, GIVEN))
    with pytest.raises(LaunchError, match="map_a must be a tensor map, not 4"):
        check_arguments("probe", parameters, (3, 4))
    with pytest.raises(LaunchError, match="n0 must be a number, not TensorMap"):
        check_arguments("probe", parameters, (GIVEN, GIVEN))
