"""Products by vectors, which are sums of elementwise products where the matrices are small or many."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tilewright import products

RNG = np.random.default_rng(3)
SHAPES = [
    ((5,), (5,)), ((1,), (1,)), ((0,), (0,)), ((7, 5), (5,)), ((5,), (5, 9)), ((1, 5), (5, 1)), ((7, 5), (5, 1)),
    ((1, 5), (5, 9)), ((3, 7, 5), (5,)), ((3, 7, 5), (3, 5, 1)), ((3, 1, 5), (3, 5, 9)), ((4, 1, 7, 5), (3, 5, 1)),
    ((5,), (3, 5, 9)), ((3, 1, 5), (4, 1, 5, 9)), ((3, 0, 5), (5,)), ((3, 7, 0), (3, 0, 1)), ((0, 7, 5), (0, 5, 1)),
    ((300, 301), (301,)), ((300,), (300, 301)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "int64", "bool", "complex64"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_as_numpy_has_it(shapes, dtype, device):
    a, b = (RNG.integers(0, 3, shape).astype(dtype) for shape in shapes)
    got, wanted = tw.asarray(a, device=device.name) @ tw.asarray(b, device=device.name), a @ b
    assert got.shape == np.shape(wanted) and str(got.dtype).endswith(dtype)
    np.testing.assert_array_equal(np.asarray(got), wanted)  # integers, exact in every dtype


@pytest.mark.parametrize(("shapes", "kind"), [
    (((100,), (100,)), "reduce"), (((64, 64), (64,)), "reduce"), (((9, 4, 4), (9, 4, 1)), "reduce"),
    (((64,), (64, 64)), "reduce"), (((products.SMALL, 2), (2,)), "matmul"), (((9, 4, 4), (9, 4, 2)), "matmul"),
])  # fmt: skip
def test_what_is_a_sum(shapes, kind, device):
    a, b = (tw.asarray(RNG.standard_normal(shape).astype(np.float32), device=device.name) for shape in shapes)
    (group,) = tw.explain(a @ b)
    assert group.title.startswith(kind)


def test_special_values_and_what_is_transposed(device):
    a = RNG.standard_normal((6, 40, 30)).astype(np.float32)
    x = RNG.standard_normal((6, 40, 1)).astype(np.float32)
    a[0, 0, 0], a[1, 1, 1], x[2, 3, 0] = np.nan, np.inf, -np.inf
    turned = tw.asarray(a, device=device.name).mT @ tw.asarray(x, device=device.name)
    wanted = a.swapaxes(1, 2).astype(np.float64) @ x
    np.testing.assert_allclose(np.asarray(turned), wanted, rtol=1e-5, atol=1e-5)
