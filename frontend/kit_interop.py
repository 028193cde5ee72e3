"""Checks of the ways in and out: DLPack and NumPy, whose views outlive their arrays, other devices, pickle."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import numpy as np

import tilewright as tw
from tilewright.backends import registry
from tilewright.backends.kit import Capability, Conformance, Facts, NotRun, Tier, expect_equal
from tilewright.backends.protocol import Device
from tilewright.kit_tensor import named

interop = Tier("interop", "to and from other libraries and devices")

FLOAT32 = Capability("float32", lambda device: "float32" in device.limits.dtypes)
OTHERS = Capability("another device to move to", lambda device: len(_others(device)) > 0)


def _others(device: Device) -> list[str]:
    return [name for name in registry.usable_names() if name != device.name]


def _values(n: int = 3000) -> np.ndarray[Any, Any]:
    return np.arange(n, dtype=np.float32) / 8


def _disturb(name: str, n: int = 3000) -> None:
    """Use the memory that was let go, if it was."""
    gc.collect()
    for _ in range(5):
        tw.eval(tw.zeros(n, dtype="float32", device=name) - 1)


@interop.check(
    "What NumPy reads of an array stays as it is when the array is gone and its memory is used again.", FLOAT32
)
def numpy_outlives_the_array(device: Device) -> None:
    name = named(device)
    kept = np.asarray(tw.asarray(_values(), device=name) * 2)
    _disturb(name)
    expect_equal(kept, _values() * 2, "a NumPy view after its array was let go")


@interop.check("What is exported through DLPack stays alive with its consumer, and holds the array's values.", FLOAT32)
def dlpack_out(device: Device) -> None:
    name = named(device)
    x = tw.asarray(_values(), device=name) + 1
    kept, device_type = np.from_dlpack(x), x.__dlpack_device__()[0]
    del x
    _disturb(name)
    expect_equal(kept, _values() + 1, f"a DLPack export (device type {int(device_type)}) after its array was let go")


@interop.check("What is imported through DLPack or asarray keeps its values when the producer is gone.", FLOAT32)
def dlpack_in(device: Device) -> None:
    name = named(device)
    for what, make in (("from_dlpack", tw.from_dlpack), ("asarray", tw.asarray)):
        source = _values() * 3
        x = make(source, device=name)
        del source
        gc.collect()
        held = [np.zeros(3000, np.float32) for _ in range(8)]  # would take the source's memory were it free
        expect_equal(np.asarray(x), _values() * 3, f"{what} of an array that was let go")
        expect_equal(np.asarray(x + len(held)), _values() * 3 + 8, f"{what} of an array that was let go, plus 8")


@interop.check("Arrays move to every other device and back unchanged, whole, sliced and transposed.", FLOAT32, OTHERS)
def to_device_both_ways(device: Device) -> Facts:
    name = named(device)
    values = _values().reshape(50, 60)
    x = tw.asarray(values, device=name)
    for other in _others(device):
        there = x.T.to_device(other)
        if there.device != other:
            expect_equal([there.device], [other], "the device after to_device")
        expect_equal(np.asarray(there).reshape(-1), values.T.reshape(-1), f"a transposed array on {other}")
        back = (there[1:, ::2] + 1).to_device(name)
        expect_equal(np.asarray(back).reshape(-1), (values.T[1:, ::2] + 1).reshape(-1), f"a slice back from {other}")
    return {"moved to": _others(device)}


@interop.check("An array survives pickling, on its device.", FLOAT32)
def pickled(device: Device) -> None:
    name = named(device)
    again = pickle.loads(pickle.dumps(tw.asarray(_values(), device=name)[::3]))
    expect_equal([again.device], [name], "the device of an array from a pickle")
    expect_equal(np.asarray(again), _values()[::3], "an array from a pickle")


@interop.check("PyTorch takes an array through DLPack and gives one, where it is installed.", FLOAT32)
def torch_both_ways(device: Device) -> None:
    name = named(device)
    try:
        import torch  # only where it is there
    except ImportError as error:
        raise NotRun(f"torch is not installed ({error})") from None
    given = torch.arange(600, dtype=torch.float32).reshape(20, 30)
    x = tw.from_dlpack(given.T, device=name)
    expect_equal(np.asarray(x).reshape(-1), given.numpy().T.reshape(-1), "a transposed tensor of torch")
    back = torch.from_dlpack(x + 1)
    del x
    _disturb(name, 600)
    expect_equal(back.cpu().numpy().reshape(-1), given.numpy().T.reshape(-1) + 1, "a tensor that torch took")


class InteropTests(Conformance):
    """The ways in and out. Needs a registered device."""

    checks = tuple(interop)
