"""Devices made of an array library: NumPy itself, and a NumPy that lacks and refuses much and cannot be written to."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tilewright as tw
from tilewright.backends import registry, wrap
from tilewright.backends.kit import NOT_CLAIMED, PASS, judge
from tilewright.backends.kit_memory import memory
from tilewright.backends.protocol import Unsupported
from tilewright.kernels.kit import KernelTests
from tilewright.kit_tensor import tensor


def poor() -> ModuleType:
    """A namespace without exp, take, and linalg but for inv, whose multiply refuses integers; nothing is writable."""
    module = ModuleType("poor")
    module.__dict__.update({n: getattr(np, n) for n in dir(np) if n not in ("exp", "take", "linalg", "sort")})

    def multiply(a: Any, b: Any) -> Any:
        if a.dtype.kind in "iu":
            raise NotImplementedError("no integers")
        return np.multiply(a, b)

    def asarray(data: Any) -> Any:
        result = np.array(data)
        result.flags.writeable = False
        return result

    module.__dict__.update(multiply=multiply, asarray=asarray, linalg=SimpleNamespace(inv=np.linalg.inv))
    return module


DEVICES = {"numpied": wrap(np, name="numpied"), "poor": wrap(poor(), name="poor")}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry.get_device
    monkeypatch.setattr(registry, "get_device", lambda name: DEVICES.get(name) or found(name))
    tw.fallbacks(reset=True)


@pytest.mark.parametrize("name", DEVICES)
def test_the_kit_finds_nothing_wrong(name: str) -> None:
    for check in (*memory, *KernelTests.checks, *tensor):
        quick = check.tier != "kernels" or any(w in check.name for w in ("int32", "float32", "complex64", "bool"))
        if quick:
            verdict = judge(check, DEVICES[name])
            assert verdict.status in (PASS, NOT_CLAIMED), f"{verdict.name}: {verdict.detail}"


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (7, 13), (3, 1, 5)])
def test_shapes_of_all_sorts(shape: tuple[int, ...]) -> None:
    a = np.random.default_rng(0).random(shape, np.float32)
    for name in DEVICES:
        x = tw.asarray(a, device=name)
        np.testing.assert_allclose(np.asarray(tw.exp(x) + 1), np.exp(a) + 1, rtol=1e-6)
        np.testing.assert_allclose(np.asarray(tw.sum(x)), a.sum(), rtol=1e-5)
        np.testing.assert_allclose(np.asarray(x.T * 2), a.T * 2)


def test_what_the_library_lacks_is_counted_with_its_share_of_the_time() -> None:
    x = tw.asarray(np.arange(6, dtype=np.float32), device="poor")
    np.testing.assert_allclose(np.asarray(tw.exp(x) * 2), np.exp(np.arange(6.0)) * 2, rtol=1e-6)
    n = tw.asarray(np.arange(6), device="poor")
    np.testing.assert_array_equal(np.asarray(n * n), np.arange(6) ** 2)
    found = tw.fallbacks()
    assert set(found) == {"exp", "mul"}
    assert found["exp"].count == 1 and found["exp"].nbytes == 48 and found["exp"].seconds > 0
    assert list(found) == sorted(found, key=lambda op: -found[op].seconds)
    head, *lines = str(found).splitlines()
    assert "share" in head and all("%" in line for line in lines) and "exp" in str(found)


def test_what_no_kernel_does_is_done_by_the_library_and_is_no_fallback() -> None:
    a = np.random.default_rng(0).random((5, 5), np.float32)
    rich, other = tw.asarray(a, device="numpied"), tw.asarray(a, device="poor")
    calls = {
        "sort": (lambda xp, x: xp.sort(x, axis=0)), "argsort": (lambda xp, x: xp.argsort(x, axis=1)),
        "inv": (lambda xp, x: xp.linalg.inv(x)), "fft": (lambda xp, x: xp.fft.fft(x)),
        "eigh": (lambda xp, x: xp.linalg.eigh(x + x.T)[0]), "unique_values": (lambda xp, x: xp.unique_values(x)),
    }  # fmt: skip
    for name, call in calls.items():
        result, wanted = call(tw, rich), call(np, a)
        np.testing.assert_allclose(np.asarray(result), wanted, rtol=1e-3, atol=1e-5)
        assert np.asarray(result).dtype == wanted.dtype
        assert tw.explain(result)[0].way == "vendor", name
    assert tw.fallbacks() == {}
    assert tw.explain(tw.linalg.inv(other))[0].way == "vendor"
    assert tw.explain(tw.sort(other))[0].way == "fallback" and set(tw.fallbacks()) == {"sort"}
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        tw.linalg.inv(rich * 0)


def test_views_write_into_their_base_and_jit_replays() -> None:
    x = tw.asarray(np.zeros((4, 6), np.float32), device="poor")
    x[1:3, ::2] = 5
    x.T[0] += 1
    wanted = np.zeros((4, 6), np.float32)
    wanted[1:3, ::2] = 5
    wanted[:, 0] += 1
    np.testing.assert_array_equal(np.asarray(x), wanted)
    step = tw.jit(lambda v: v * 2 + 1)
    for turn in range(3):
        y = tw.asarray(wanted + turn, device="poor")
        np.testing.assert_array_equal(np.asarray(step(y)), (wanted + turn) * 2 + 1)


def test_on_host_names_ops_and_functions_that_are_not_to_be_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    doubting = wrap(np, name="doubting", on_host=("add float32", "sort"))
    monkeypatch.setitem(DEVICES, "doubting", doubting)
    x, n = (tw.asarray(np.arange(3).astype(d), device="doubting") for d in ("float32", "int64"))
    tw.eval(x + x, n + n, tw.sort(n))
    assert {k: f.count for k, f in tw.fallbacks().items()} == {"add": 1, "sort": 1}


def test_what_is_no_library_is_refused_in_one_sentence() -> None:
    with pytest.raises(Unsupported, match="wrap: nothing has no asarray, reshape, broadcast_to; without these"):
        wrap(SimpleNamespace(), name="nothing")
