"""The macros of the dialect: storage conversions bit by bit, loops, reductions, groups, constants."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.backends.cache import load_program
from tilewright.backends.dtypes import DTYPES, PARTS, numpy_dtype
from tilewright.backends.kit_sources import groups, loop, run, source
from tilewright.backends.protocol import Device, Source

N = 1 << 16
ADD = "#define ADD(a, b) ((a) + (b))\n#define LARGER(a, b) MAX_NAN(a, b)\n"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_16_bit_float_is_widened_exactly_and_comes_back(device: Device, dtype: str) -> None:
    c = DTYPES[dtype].c
    bits = np.arange(N, dtype=np.uint16)
    body = loop(device, f"const f32 v = LOAD({c}, in0, i); STORE(f32, out0, i, v); STORE({c}, out1, i, v);")
    what = source(device, f"widen_{c}", f"out float32 out0, out {dtype} out1, in {dtype} in0, value int64 n", body)
    wide, back = run(device, what, [(N, np.float32), (N, np.uint16)], [bits], N)
    expected = bits.view(numpy_dtype(dtype)).astype(np.float32)
    number = ~np.isnan(expected)
    assert np.array_equal(np.isnan(wide), ~number)
    assert np.array_equal(wide[number].view(np.uint32), expected[number].view(np.uint32))
    assert np.array_equal(back[number], bits[number])
    assert np.isnan(back.view(numpy_dtype(dtype)).astype(np.float32))[~number].all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounding_is_to_nearest_even(device: Device, dtype: str) -> None:
    c = DTYPES[dtype].c
    exact = np.arange(N, dtype=np.uint16).view(numpy_dtype(dtype)).astype(np.float32)
    exact = exact[np.isfinite(exact)]
    next_up = np.nextafter(exact, np.float32(np.inf))
    with np.errstate(all="ignore"):
        middle = (exact.astype(np.float64) + np.roll(exact, -1)) / 2
        middle = middle.astype(np.float32)
        ends = np.float32([65519.99, 65520, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45])
        below, above = np.nextafter(exact, np.float32(-np.inf)), np.nextafter(middle, np.float32(np.inf))
        values = np.concatenate([exact, next_up, below, middle, above, ends])
        expected = values.astype(numpy_dtype(dtype))
    body = loop(device, f"STORE({c}, out0, i, in0[i]); STORE(f32, out1, i, ROUND_{c}(in0[i]));")
    what = source(device, f"narrow_{c}", f"out {dtype} out0, out float32 out1, in float32 in0, value int64 n", body)
    narrow, rounded = run(device, what, [(values.size, np.uint16), (values.size, np.float32)], [values], values.size)
    number = ~np.isnan(expected.astype(np.float32))
    assert np.array_equal(narrow[number], expected.view(np.uint16)[number])
    assert np.isnan(narrow.view(numpy_dtype(dtype)).astype(np.float32))[~number].all()
    assert np.array_equal(rounded[number], expected.astype(np.float32)[number])


def reduction(device: Device, dtype: str, name: str, combine: str, start: str) -> Source:
    """Every group reduces all n elements and stores the result."""
    t = DTYPES[dtype].c
    body = f"""
    SHARED({t}, scratch, LOCAL_SIZE_0);
    {t} acc = {start};
    FOR_REDUCE(i, 0, n, R, acc) {{ acc = {combine}(acc, in0[i]); }}
    GROUP_REDUCE({t}, {combine}, acc, scratch);
    FOR_EACH(k, 0, 1) {{ out0[GROUP(0)] = acc; }}"""
    helpers = f"{ADD}DECLARE_REDUCTION(R, {t}, {combine}, {start})"
    threads = min(64, device.limits.threads_per_group)
    parameters = f"out {dtype} out0, in {dtype} in0, value int64 n"
    return source(device, f"{name}_{t}", parameters, body.replace("LOCAL_SIZE_0", str(threads)), helpers)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
@pytest.mark.parametrize("n", [0, 1, 63, 1000])
def test_sum_over_the_threads_of_a_group(device: Device, dtype: str, n: int) -> None:
    if dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {dtype}")
    x = np.random.default_rng(n).integers(0, 50, n).astype(dtype)
    (out,) = run(device, reduction(device, dtype, "total", "ADD", "0"), [(groups(n)[0], dtype)], [x], n)
    assert (out == x.sum(dtype=dtype)).all()


def test_maximum_keeps_nan_wherever_it_is(device: Device) -> None:
    what = reduction(device, "float32", "largest", "LARGER", "-INF_f32")
    for place in (None, 0, 1, 500, 999):
        x = np.random.default_rng(1).standard_normal(1000).astype(np.float32) - 10
        if place is not None:
            x[place] = np.nan
        (out,) = run(device, what, [(4, np.float32)], [x], 1000)
        assert np.array_equal(out, np.full(4, x.max()), equal_nan=True)


def test_groups_and_threads_cover_three_axes_once(device: Device) -> None:
    threads = 1 if device.limits.threads_per_group == 1 else 2
    body = """
    const i64 x = GROUP(0) * LOCAL_SIZE(0) + LOCAL(0), y = GROUP(1) * LOCAL_SIZE(1) + LOCAL(1);
    const i64 z = GROUP(2) * LOCAL_SIZE(2) + LOCAL(2);
    if (x < 4 && y < 6 && z < 10) out0[(x * 6 + y) * 10 + z] += (i32)(100 * x + 10 * y + z);"""
    what = source(device, "axes", "inout int32 out0, value int64 n", body)
    what = Source(what.entry, what.parameters, what.body, what.defines, (threads, threads, 1), filename="axes.c")
    out = device.allocate(4 * 240)
    device.write(out, np.zeros(240, np.int32))
    load_program(device, what).bind((4 // threads, 6 // threads, 10), out, 0)()
    x, y, z = np.meshgrid(np.arange(4), np.arange(6), np.arange(10), indexing="ij")
    assert np.array_equal(np.frombuffer(device.read(out, 960), np.int32), (100 * x + 10 * y + z).reshape(-1))


def test_an_empty_grid_does_nothing(device: Device) -> None:
    what = source(device, "mark", "inout int32 out0, value int64 n", "out0[0] = 1;")
    out = device.allocate(4)
    device.write(out, np.zeros(1, np.int32))
    for grid in [(0, 1, 1), (3, 0, 2), (0, 0, 0)]:
        load_program(device, what).bind(grid, out, 0)()
    device.synchronize()
    assert device.read(out, 4) == bytes(4)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d == DTYPES[d].compute != "bool" and d not in PARTS])
def test_constants_are_the_ends_of_each_type(device: Device, dtype: str) -> None:
    if dtype not in device.limits.dtypes:
        pytest.skip(f"{device.name} has no {dtype}")
    t, floating = DTYPES[dtype].c, DTYPES[dtype].kind == "f"
    first, last = (f"INF_{t}", f"NAN_{t}") if floating else (f"MIN_{t}", f"MAX_{t}")
    body = f"out0[0] = {first}; out0[1] = {last};"
    (out,) = run(device, source(device, f"ends_{t}", f"out {dtype} out0, value int64 n", body), [(2, dtype)], [], 1)
    expected = [np.inf, np.nan] if floating else [np.iinfo(dtype).min, np.iinfo(dtype).max]
    assert np.array_equal(out, np.array(expected, dtype), equal_nan=floating)


def test_nothing_but_fma_is_contracted(device: Device) -> None:
    a, b = np.float32(1 + 2**-12), np.float32(1 - 2**-12)
    body = loop(
        device,
        "STORE(f32, out0, i, in0[i] * in1[i] - in2[i]); STORE(f32, out1, i, FMA(in0[i], in1[i], -in2[i]));",
    )
    parameters = "out float32 out0, out float32 out1, in float32 in0, in float32 in1, in float32 in2, value int64 n"
    inputs = [np.full(64, v, np.float32) for v in (a, b, 1)]
    plain, fused = run(device, source(device, "contract", parameters, body), [(64, np.float32)] * 2, inputs, 64)
    assert (plain == a * b - np.float32(1)).all()
    assert (fused == np.float32(float(a) * float(b) - 1)).all() or (fused == plain).all()
