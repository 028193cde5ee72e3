"""tw.random: streams are the same on every device and in jit, and have the distributions that they claim."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import tilewright as tw
from tilewright.kernels import philox

DRAWS = {
    "random float32": lambda r, d: r.random((300, 7), tw.float32, device=d),
    "random float64": lambda r, d: r.random(900, device=d),
    "uniform float16": lambda r, d: r.uniform(-3, 5, 900, tw.float16, device=d),
    "normal float32": lambda r, d: r.normal(size=900, dtype=tw.float32, device=d),
    "normal float64": lambda r, d: r.normal(2, 3, 900, device=d),
    "integers": lambda r, d: r.integers(-5, 1 << 40, 900, device=d),
    "permutation": lambda r, d: r.permutation(100, device=d),
}


def test_streams_are_the_same_on_every_device(every_device):
    here, cpu = tw.random.default_rng(11), tw.random.default_rng(11)
    for name, draw in DRAWS.items():
        found, wanted = draw(here, every_device.name), draw(cpu, "cpu")
        assert found.device == every_device.name
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted), err_msg=name)


def chi_square(counts, expected):
    return float(((counts - expected) ** 2 / expected).sum())


def test_distributions(device):
    rng, n = tw.random.default_rng(1), 1 << 17
    for dtype in (tw.float32, tw.float64, tw.float16, tw.bfloat16):
        unit = np.asarray(rng.random(n, dtype, device=device.name)).astype(float)
        assert unit.min() >= 0 and unit.max() < 1
        assert chi_square(np.histogram(unit, 64, (0, 1))[0], n / 64) < 115  # 63 degrees of freedom: p = 0.0001
        normal = np.asarray(rng.normal(1, 2, n, dtype, device=device.name)).astype(float)
        assert abs(normal.mean() - 1) < 0.02 and abs(normal.std() - 2) < 0.02
        scaled = (normal - 1) / 2
        assert abs((scaled**3).mean()) < 0.03 and abs((scaled**4).mean() - 3) < 0.08
        assert abs((np.abs(scaled) > 3).mean() - 0.0027) < 0.0006
    dice = np.asarray(rng.integers(1, 6, n, "int8", endpoint=True, device=device.name))
    assert chi_square(np.bincount(dice)[1:], n / 6) < 26
    orders = np.array([np.asarray(rng.permutation(3, device=device.name)) for _ in range(600)])
    assert chi_square(np.unique(orders @ [9, 3, 1], return_counts=True)[1], 100) < 26
    picked = np.asarray(rng.choice(3, n, p=[0.2, 0.0, 0.8], device=device.name))
    assert abs((picked == 2).mean() - 0.8) < 0.005 and not (picked == 1).any()


def test_a_uniform_never_reaches_its_end(device):
    rng = tw.random.default_rng(2)
    low, high = 1.0, float(np.nextafter(np.float32(1), np.float32(2)))
    assert set(np.asarray(rng.uniform(low, high, 100, tw.float32, device=device.name)).tolist()) == {low}
    assert float(tw.max(rng.uniform(0, 3, 4000, tw.bfloat16, device=device.name))) < 3


def test_draws_differ_seeds_repeat_and_states_travel(device):
    rng = tw.random.default_rng(5)
    first, second = (rng.random(20, device=device.name).tolist() for _ in range(2))
    copy = pickle.loads(pickle.dumps(rng))
    assert first != second and not set(first) & set(second)
    assert rng.random(20, device=device.name).tolist() == copy.random(20, device=device.name).tolist()
    rng.reset(5)
    assert rng.random(20, device=device.name).tolist() == first
    tw.random.seed(5)
    assert tw.random.random(20, device=device.name).tolist() == first
    assert tw.random.default_rng(6).random(20, device=device.name).tolist() != first
    assert tw.random.default_rng(rng) is rng and tw.random.default_rng().random().shape == ()
    lazy = rng.random(20, device=device.name)
    assert tw.all(lazy == lazy + 0) and lazy.tolist() == (lazy * 1).tolist()  # computed twice, the same


def test_shapes_parameters_and_in_place(device):
    rng = tw.random.default_rng(3)
    loc = tw.asarray([[0.0], [1000.0]], device=device.name)
    drawn = rng.normal(loc, 1.0, (2, 50))
    assert drawn.shape == (2, 50) and float(tw.min(drawn[1])) > 900 and rng.uniform(loc, loc + 1).shape == (2, 1)
    x = tw.arange(30, device=device.name)
    rng.shuffle(x)
    assert x.tolist() != list(range(30)) and sorted(x.tolist()) == list(range(30))
    rows = rng.permutation(tw.reshape(tw.arange(6, device=device.name), (3, 2)))
    assert sorted(rows.tolist()) == [[0, 1], [2, 3], [4, 5]]
    assert len(set(rng.choice(x, 30, replace=False).tolist())) == 30
    assert rng.integers(0, 1 << 64, 4, "uint64", device=device.name).dtype == tw.uint64
    assert rng.random((0, 3), device=device.name).shape == (0, 3)


def test_elements_beyond_32_bits_have_counters_of_their_own(device):
    drawn = tw.random.default_rng(7).random((1 << 33,), tw.float32, device=device.name)  # never computed as a whole
    found = (drawn[5 :: 3 << 31] + 0).tolist()
    for place, value in zip((5, (3 << 31) + 5), found, strict=True):
        word = philox.word(0, *map(np.uint32, (place & 0xFFFFFFFF, place >> 32, 0, 0, 7, 0)))
        assert value == (int(word) >> 8) / 2**24


def test_jit_draws_what_the_plain_function_draws(device):
    rngs = tw.random.default_rng(9), tw.random.default_rng(9)

    def function(x, rng):
        fresh = tw.random.default_rng(4)
        return (
            x + rng.random(x.shape, device=device.name),
            rng.integers(100, size=3, device=device.name),
            fresh.random(2),
        )

    recorded, x = tw.jit(function), tw.zeros(4, device=device.name)
    for k in range(4):
        if k == 2:
            for rng in rngs:
                rng.reset(10)
        for found, wanted in zip(recorded(x, rngs[0]), function(x, rngs[1]), strict=True):
            assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    "wrong, error",
    [
        (lambda r: tw.random.default_rng(-1), ValueError),
        (lambda r: tw.random.default_rng(1.5), TypeError),
        (lambda r: r.integers(5, 5), ValueError),
        (lambda r: r.integers(0, 300, dtype="uint8"), ValueError),
        (lambda r: r.integers(5, dtype="float32"), TypeError),
        (lambda r: r.random(3, dtype="int32"), TypeError),
        (lambda r: r.normal(0, -1), ValueError),
        (lambda r: r.uniform(tw.zeros(3), 1.0, (2,)), ValueError),
        (lambda r: r.choice(3, 4, replace=False), ValueError),
        (lambda r: r.choice(3, 2, p=[0.5, 0.5]), ValueError),
        (lambda r: r.shuffle([1, 2]), TypeError),
        (lambda r: r.permutation([1, 2]), TypeError),
    ],
)
def test_bad_input(wrong, error):
    with pytest.raises(error, match=r"^\w+: "):
        wrong(tw.random.default_rng(0))
