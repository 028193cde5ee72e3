"""Checks of programs: what is compiled runs, with its own arguments, over its whole grid, in order."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np

from tilewright.backends.cache import load_program
from tilewright.backends.dtypes import DTYPES
from tilewright.backends.kit import TEXT, Capability, Facts, NotRun, Tier, broken, expect_equal, expect_raises
from tilewright.backends.kit_sources import (
    CHUNK,
    download,
    groups,
    loop,
    run,
    scale,
    source,
    square_plus,
    threads,
    upload,
)
from tilewright.backends.protocol import CompileError, Device, LaunchError, Layout, VendorCall

programs = Tier("runtime", "memory, programs and launches", TEXT)

WIDE = Capability("int64", lambda device: "int64" in device.limits.dtypes)
DOUBLES = Capability("float64", lambda device: "float64" in device.limits.dtypes)
GROUPS = Capability("groups of several threads", lambda device: device.limits.threads_per_group > 1)
GRIDS = ((1, 1, 1), (7, 1, 1), (3, 5, 2), (1, 4, 1), (1, 1, 9), (4099, 1, 1))


@programs.check("Every group of a grid runs exactly once, along each of three axes.")
def every_group_runs_once(device: Device) -> None:
    say = device.limits.language
    one_more = say.store("int32", "y", "at", f"{say.load('int32', 'y', 'at')} + 1")
    visit = say.let(at="GROUP(0) + wide * (GROUP(1) + high * GROUP(2))") + one_more
    body = f"if (LOCAL(0) == 0) {{\n{visit}}}\n"
    what = source(device, "visits", "inout int32 y, value index wide, value index high", body)
    program = load_program(device, what)
    for grid in GRIDS:
        count = grid[0] * grid[1] * grid[2]
        visits = upload(device, np.zeros(count + 64, np.int32))
        program.bind(grid, visits, grid[0], grid[1])()
        expected = np.zeros(count + 64, np.int32)
        expected[:count] = 1
        expect_equal(download(device, visits, np.int32), expected, f"visits of the groups of a grid {grid}")


@programs.check("A loop over elements does every one of them, up to the last of a group that is not full.")
def last_elements(device: Device) -> None:
    program = load_program(device, scale(device))
    for n in (1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 10_007):
        x = np.arange(n, dtype=np.float32)
        y, expected = upload(device, np.full(n + 64, -1, np.float32)), np.full(n + 64, -1, np.float32)
        program.bind(groups(n), y, upload(device, x), 2.0, n)()
        expected[:n] = 2 * x
        expect_equal(download(device, y, np.float32), expected, f"2 x over {n} elements and 64 behind them")


@programs.check("Threads of a group meet at a barrier and see what the others put into shared memory.", GROUPS)
def groups_share(device: Device) -> None:
    say, dtype = device.limits.language, "float32"
    shared = say.shared(dtype, "held", "CHUNK") + say.shared(dtype, "sums", "THREADS")
    body = say.let(base="GROUP(0) * CHUNK")
    body += say.each("i", "0", "CHUNK", f"held[i] = {say.load(dtype, 'x', 'base + i')};\n") + "BARRIER();\n"
    turned = say.store(dtype, "y", "base + i", "held[CHUNK - 1 - i]")
    body += say.variable(dtype, "sum", "0") + say.each("i", "0", "CHUNK", f"{turned}sum += held[i];\n")
    body += say.group_reduce(dtype, "ADD", "sum", "sums")
    body += f"if (LOCAL(0) == LOCAL_SIZE(0) - 1) {{\n{say.store(dtype, 'z', 'GROUP(0)', 'sum')}}}\n"
    parameters, count = "out float32 y, out float32 z, in float32 x, value index n", 9
    add = say.combiner("ADD", dtype, "((a) + (b))")
    what = source(device, "reversed", parameters, body, shared, add, THREADS=threads(device))
    x = (np.arange(count * CHUNK) % 97).astype(np.float32)
    y, z = run(device, what, [(x.size, np.float32), (count, np.float32)], [x], x.size)
    rows = x.reshape(count, CHUNK)
    expect_equal(y, rows[:, ::-1].reshape(-1), "chunks reversed through shared memory")
    expect_equal(z, rows.sum(axis=1), "chunks summed by GROUP_REDUCE")


@programs.check("A group may have as many threads, and as much shared memory, as the limits say.", GROUPS)
def whole_groups(device: Device) -> Facts:
    say, limits, dtype = device.limits.language, device.limits, "float32"
    count, most = limits.shared_nbytes // DTYPES[dtype].nbytes, limits.threads_per_group
    if count < most:
        raise NotRun(f"{limits.shared_nbytes} bytes of shared memory hold no number for each of {most} threads")
    body = f"held[LOCAL(0) + WIDE - THREADS] = {say.load(dtype, 'x', 'LOCAL(0)')};\nBARRIER();\n"
    body += say.store(dtype, "y", "LOCAL(0)", "held[WIDE - 1 - LOCAL(0)]")
    shared = say.shared(dtype, "held", "WIDE")
    what = source(device, "whole", "out float32 y, in float32 x, value index n", body, shared, WIDE=count, THREADS=most)
    x = np.arange(most, dtype=np.float32)
    (y,) = run(device, replace(what, group=(most, 1, 1)), [(most, np.float32)], [x], 1)
    expect_equal(y, x[::-1], f"what {most} threads put at the end of {limits.shared_nbytes} bytes and read backwards")
    return {"threads": most, "shared bytes": limits.shared_nbytes}


@programs.check("Two launches of one program keep their own grid and arguments.")
def bind_twice(device: Device) -> None:
    x = np.arange(1000, dtype=np.float32)
    program, given = load_program(device, scale(device)), upload(device, x)
    targets = [device.allocate(x.nbytes) for _ in range(2)]
    launches = [program.bind(groups(1000), t, given, a, 1000) for t, a in zip(targets, (2.0, 3.0), strict=True)]
    for launch in (*launches, *launches):
        launch()
    for target, a in zip(targets, (2, 3), strict=True):
        expect_equal(download(device, target, np.float32), a * x, f"the launch that was bound with {a}")


@programs.check("set() replaces one argument, a buffer or a value, and leaves the others.")
def arguments_are_replaced(device: Device) -> None:
    x = np.arange(500, dtype=np.float32)
    first, second = upload(device, np.zeros_like(x)), upload(device, np.zeros_like(x))
    launch = load_program(device, scale(device)).bind(groups(500), first, upload(device, x), 2.0, 500)
    launch()
    launch.set(0, second)
    launch.set(2, -1.0)
    launch.set(3, 400)
    launch()
    expect_equal(download(device, first, np.float32), 2 * x, "the target before set()")
    expect_equal(download(device, second, np.float32), np.where(np.arange(500) < 400, -x, 0), "the target after set()")


@programs.check("Values reach a kernel as they are: all 64 bits of an integer, floats rounded, -0 and infinity.", WIDE)
def values_arrive_whole(device: Device) -> None:
    say = device.limits.language
    body = loop(device, say.store("int64", "out0", "i", "whole") + say.store("float32", "out1", "i", "single"))
    outputs, values = "out int64 out0, out float32 out1", "value int64 whole, value float32 single, value index n"
    what = source(device, "values", f"{outputs}, {values}", body)
    for whole, single in [(-(2**63), 0.1), (2**63 - 1, float("inf")), (-1, 1e39), (2**40 + 7, -1e39), (True, -0.0)]:
        a, b = run(device, what, [(4, np.int64), (4, np.float32)], [], 4, whole, single)
        with np.errstate(over="ignore"):
            expected = np.full(4, single, np.float32)
        expect_equal(a, np.full(4, whole, np.int64), f"the int64 value {whole}")
        expect_equal(b.view(np.uint32), expected.view(np.uint32), f"the bits of the float32 value {single}")


@programs.check("A float64 reaches a kernel with all its bits.", DOUBLES)
def doubles_arrive_whole(device: Device) -> None:
    body = loop(device, device.limits.language.store("float64", "y", "i", "a"))
    what = source(device, "doubles", "out float64 y, value float64 a, value index n", body)
    for value in (0.1, -1e300, 5e-324, float("inf"), -0.0):
        (y,) = run(device, what, [(4, np.float64)], [], 4, value)
        expect_equal(y.view(np.uint64), np.full(4, value).view(np.uint64), f"the bits of the float64 value {value}")


@programs.check("A launch works on when nobody else refers to its program.")
def launches_outlive_programs(device: Device) -> None:
    what = scale(device, plus=" + 3")
    x, binary = np.arange(700, dtype=np.float32), device.build(what)
    y = device.allocate(x.nbytes)
    program = device.load(binary, what)
    launch = program.bind(groups(700), y, upload(device, x), 2.0, 700)
    del program
    gc.collect()
    launch()
    expect_equal(download(device, y, np.float32), 2 * x + 3, "2 x + 3 by a launch whose program was let go")


@programs.check("Arguments that do not fit the parameters are refused with a LaunchError.")
def wrong_arguments_are_refused(device: Device) -> None:
    program, buffer = load_program(device, scale(device)), device.allocate(16)
    for what, arguments in {
        "3 arguments for 4 parameters": (buffer, buffer, 1.0),
        "a number for a buffer": (buffer, 3, 1.0, 4),
        "a buffer for a number": (buffer, buffer, buffer, 4),
        "an integer beyond int64": (buffer, buffer, 1.0, 2**63),
    }.items():
        expect_raises(LaunchError, lambda given=arguments: program.bind((1, 1, 1), *given), what)  # type: ignore[misc]


@programs.check("A captured list runs every launch in order, as often as it is called, and sees arguments set later.")
def capture(device: Device) -> None:
    x = np.ones(100, np.float32)
    buffer = upload(device, x)
    twice = load_program(device, scale(device)).bind(groups(100), buffer, buffer, 2.0, 100)
    squared = load_program(device, square_plus(device)).bind(groups(100), buffer, 100)
    listed = [twice, squared, twice, squared]
    replay = device.capture(listed)
    listed.clear()  # the list is its owner's
    replay()  # ((2 * 1)^2 + 1) * 2)^2 + 1
    expect_equal(download(device, buffer, np.float32), np.full(100, 101.0), "1 doubled, squared plus 1, and again")
    device.write(buffer, x.view(np.uint8))
    twice.set(2, 3.0)
    replay()
    expect_equal(download(device, buffer, np.float32), np.full(100, 901.0), "the same with 3 set in place of 2")
    other = upload(device, x)
    squared.set(0, other)
    single = device.capture([squared])
    single()
    single()
    expect_equal(download(device, other, np.float32), np.full(100, 5.0), "a list of one launch, called twice")


@programs.check("What does not compile raises CompileError, with the compiler's log whole; the next kernel compiles.")
def compile_errors(device: Device) -> None:
    good = scale(device)
    bad = replace(good, body="\n\nKERNEL {\n    y[0] = nonsense;\n}\n", filename="broken.c")
    error = expect_raises(CompileError, lambda: device.build(bad), "a kernel that uses an undeclared name")
    if "nonsense" not in error.log:
        broken(f"the log does not name what is wrong, `nonsense`: {error.log!r}")
    if "broken.c" not in error.log or not any(f"{mark}4" in error.log for mark in (":", "(")):
        broken(f"the log does not name line 4 of broken.c: {error.log!r}")
    device.load(device.build(good), good)


@programs.check("A binary is plain bytes that load as often as one likes.")
def binaries(device: Device) -> None:
    what = scale(device)
    binary = device.build(what)
    if type(binary) is not bytes or not binary:
        broken(f"build gave {type(binary).__name__} of length {len(binary)}, not bytes")
    x = np.arange(300, dtype=np.float32)
    loaded = [device.load(bytes(bytearray(binary)), what) for _ in range(3)]
    for program in loaded:
        y = device.allocate(x.nbytes)
        program.bind(groups(300), y, upload(device, x), 2.0, 300)()
        expect_equal(download(device, y, np.float32), 2 * x, "a program loaded from a copy of its binary")


def vendor_call(dtype: str) -> VendorCall:
    """A batch of two products: the left factor transposed, the right one shared, the output behind an offset."""
    left, right = Layout(dtype, (2, 5, 7), (35, 1, 5)), Layout(dtype, (2, 7, 3), (0, 3, 1), 2)
    return VendorCall("matmul", (Layout(dtype, (2, 5, 3), (15, 3, 1), 4),), (left, right))


def _check_vendor(device: Device, dtype: str) -> None:
    program = device.vendor(vendor_call(dtype))
    assert program is not None  # it was claimed
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(-8, 9, n).astype(dtype) for n in (70, 23, 34))
    target = upload(device, c)
    launch = program.bind((1, 1, 1), target, upload(device, np.zeros_like(a)), upload(device, b))
    launch.set(1, upload(device, a))
    launch()
    left, right = a.reshape(2, 7, 5).swapaxes(1, 2), b[2:].reshape(7, 3)
    expected = c.copy()
    expected[4:] = np.matmul(left, right).reshape(-1)
    expect_equal(download(device, target, dtype), expected, "products of small whole numbers by the vendor's library")


for _dtype in ("float32", "float64"):
    programs.check(
        "The vendor's library multiplies matrices of any strides and offsets.",
        Capability(f"a vendor matmul of {_dtype}", lambda device, d=_dtype: device.vendor(vendor_call(d)) is not None),  # type: ignore[misc]
        name=f"vendor matmul {_dtype}",
        bound="exact: the products of small whole numbers",
    )(lambda device, d=_dtype: _check_vendor(device, d))
