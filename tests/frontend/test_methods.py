"""NumPy's methods give what NumPy's give, on the device."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample

CALLS = {
    "astype": lambda x: x.astype(np.int32), "reshape": lambda x: x.reshape(2, -1),
    "reshape tuple": lambda x: x.reshape((6, 4)),
    "ravel": lambda x: x.ravel(), "flatten": lambda x: x.flatten(), "copy": lambda x: x.copy(),
    "transpose": lambda x: x.transpose(), "transpose axes": lambda x: x.transpose(1, 0, 2),
    "transpose tuple": lambda x: x.transpose((2, 0, 1)), "swapaxes": lambda x: x.swapaxes(0, 2),
    "squeeze": lambda x: x[:1].squeeze(), "squeeze axis": lambda x: x[:, :1].squeeze(1),
    "sum": lambda x: x.sum(0), "prod": lambda x: x.prod(1), "mean": lambda x: x.mean(),
    "var": lambda x: x.var(1, ddof=1),
    "std": lambda x: x.std(-1), "min": lambda x: x.min(1, keepdims=True), "max": lambda x: x.max((0, 1)),
    "any": lambda x: (x > 1).any(0), "all": lambda x: (x > -9).all(), "argmin": lambda x: x.argmin(),
    "argmax": lambda x: x.argmax(1), "clip": lambda x: x.clip(-0.5, 0.5), "conj": lambda x: x.conj(),
    "real": lambda x: x.real, "imag": lambda x: x.imag, "conjugate": lambda x: x.conjugate(),
    "cumsum": lambda x: x.cumsum(), "cumsum axis": lambda x: x.cumsum(1), "cumprod": lambda x: x.cumprod(-1),
    "round": lambda x: x.round(1), "dot": lambda x: x.dot(x[0].T), "take": lambda x: x.take([[0, 5], [23, -1]]),
    "take axis": lambda x: x.take(np.array([[2, 0]]), -2), "repeat": lambda x: x.repeat(2, 1),
    "diagonal": lambda x: x.diagonal(1, 1, 2), "trace": lambda x: x.trace(0, 2, 1),
    "divmod": lambda x: divmod(x, 0.3)[0], "rdivmod": lambda x: divmod(2, x + 9)[1],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_methods_are_numpys(device, name):
    a = sample((2, 3, 4))
    x = tw.asarray(a, device=device.name)
    tw.fallbacks(reset=True)
    agree(CALLS[name](x), CALLS[name](a), device, 1e-5)
    assert not tw.fallbacks()


ON_HOST = {
    "nonzero": lambda x: x.nonzero()[1], "argsort": lambda x: x.argsort(1), "sort": lambda x: (x.sort(), x)[1],
    "searchsorted": lambda x: x[0, 0].searchsorted(x[1, 1]), "fill": lambda x: (x[0].fill(2), x)[1],
}  # fmt: skip


@pytest.mark.parametrize("name", ON_HOST)
def test_methods_that_may_run_on_the_host(device, name):
    a = sample((2, 3, 4))
    x = tw.asarray(a, device=device.name)
    agree(ON_HOST[name](x), ON_HOST[name](a.copy()), device, 1e-5)


def test_bytes_are_row_major(device):
    a = sample((2, 3))
    assert tw.asarray(a, device=device.name).T.tobytes() == a.T.tobytes()


def test_sizes_in_bytes(device):
    x = tw.asarray(sample((2, 3)), device=device.name)
    assert (x.itemsize, x.nbytes) == (4, 24)
