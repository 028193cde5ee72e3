"""What a device can do at most, measured through kernels of our own: memory bandwidth, arithmetic, cost of a launch.

Triad (McCalpin's STREAM): c = a + s * b over arrays larger than the caches, bytes read and written per second.
Multiply-adds: chains of FMA on so many independent accumulators that neither latency nor memory limits them; of narrow
numbers, chains of the instruction that multiplies several of them in a lane, where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from math import inf
from time import perf_counter

import numpy as np

from tilewright.backends.cache import load_program
from tilewright.backends.dialect import c_name
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Device, Launch, Parameter, Source
from tilewright.kernels.matmul_header import template
from tilewright.kernels.matmul_narrow import BRAINS, BYTES, SHORTS, Parts

# For CPUs: the inner loop fills a vector register. Elsewhere the threads are the lanes.
_LANES = """
#if CPU_GROUPS
#define EACH_LANE FOR_EACH(j, 0, LANES)
#else
#define EACH_LANE for (int j = 0; j < LANES; j++)
#endif
KERNEL {
    T sum[CHAINS][LANES], total = 0;
    for (int k = 0; k < CHAINS; k++)
        for (int j = 0; j < LANES; j++) sum[k][j] = (T)(k + j);
    for (i64 r = 0; r < rounds; r++) {
        UNROLL
        for (int k = 0; k < CHAINS; k++) {
            EACH_LANE { sum[k][j] = FMA(sum[k][j], factor, factor); }
        }
    }
    for (int k = 0; k < CHAINS; k++)
        for (int j = 0; j < LANES; j++) total += sum[k][j];
    out[GROUP(0) * LOCAL_SIZE(0) + LOCAL(0)] = total;
}
"""

_SHARED_LANES = """
KERNEL {
    lane_sums sum[CHAINS];
    const words y = (words){} + (WORD)factor;
    UNROLL
    for (int k = 0; k < CHAINS; k++) sum[k] = (lane_sums){} + (ACC)k;
    for (i64 r = 0; r < rounds; r++) {
        UNROLL
        for (int k = 0; k < CHAINS; k++) sum[k] = PRODUCT((WORD)factor, y, sum[k]);
    }
    UNROLL
    for (int k = 1; k < CHAINS; k++) sum[0] += sum[k];
    out[GROUP(0)] = sum[0][0];
}
"""


def _triad_text(say: Language) -> str:
    end = say.choose("begin + chunk < n", "begin + chunk", "n")
    text = say.let(begin="GROUP(0) * chunk") + say.let(end=end)
    a, b = say.load("float32", "a", "i"), say.load("float32", "b", "i")
    return say.kernel(text + say.each("i", "begin", "end", say.store("float32", "c", "i", f"FMA(s, {b}, {a})")))


def _chains_text(say: Language, dtype: str, chains: int) -> str:
    """Every thread starts elsewhere, or a compiler that makes vectors of threads would count all for one."""
    names, own = [f"sum{k}" for k in range(chains)], say.convert("LOCAL(0)", say.index, dtype)
    text = "".join(say.variable(dtype, name, f"{own} + {k}") for k, name in enumerate(names))
    text += say.loop("r", "0", "rounds", "".join(f"{name} = FMA({name}, factor, factor);\n" for name in names))
    place = "GROUP(0) * LOCAL_SIZE(0) + LOCAL(0)"
    return say.kernel(text + say.store(dtype, "out", place, " + ".join(names)))


def measure_roof(device: Device, seconds: float) -> dict[str, float]:
    """In about `seconds`: triad_bytes_per_second, float32_madds_per_second, float64_..., launch_seconds, and
    bfloat16_..., int8_... and int16_... where a matrix unit that our kernels use multiplies them in shared lanes.

    A dtype that the device lacks is left out. Raises what the device raises.
    """
    roof = {"triad_bytes_per_second": _triad(device, seconds / 2)}
    for dtype in ("float32", "float64"):
        if dtype in device.limits.dtypes:
            roof[f"{dtype}_madds_per_second"] = _madds(device, dtype, seconds / 8)
    for parts in (BRAINS, BYTES, SHORTS):
        if parts.unit in device.limits.matrix_units:
            roof[f"{parts.dtype}_madds_per_second"] = _shared_madds(device, parts, seconds / 8)
    roof["launch_seconds"] = _launch(device, seconds / 8)
    return roof


def _threads(device: Device) -> int:
    """One on a CPU, behind OpenCL too: its lanes are those of a vector register, which one thread's loop fills, or as
    many as its compiler makes a vector of.
    """
    limits = device.limits
    lanes = limits.subgroup <= 1 and limits.language.name == C.name
    return limits.lanes if lanes else min(256, limits.threads_per_group)


def _best(device: Device, launches: Iterable[Launch], seconds: float) -> float:
    """The fastest run of any of the launches, in seconds."""
    found, start = inf, perf_counter()
    options = list(launches)
    turn = 0
    while turn <= len(options) or perf_counter() - start < seconds:
        found = min(found, *device.time(options[turn % len(options)], 1))
        turn += 1
    return found


def _enough(device: Device, bind: Callable[[int], Launch]) -> int:
    """Rounds that take so long that starting them, on a busy machine too, is no part of their time."""
    rounds, before = 1000, 0.0
    most = device.limits.iterations // 5 or 1 << 30
    while rounds < most:
        now = device.time(bind(rounds), 1)[0]
        if now > 0.2 or (now > 5e-3 and now > 3 * before > 0):
            break
        rounds, before = 4 * rounds, now
    return rounds


def _triad(device: Device, seconds: float) -> float:
    limits = device.limits
    nbytes = max(4 * max(limits.cache_nbytes, default=0), 1 << 26)
    nbytes = min(nbytes, (limits.memory_nbytes or 1 << 30) // 16, limits.allocation_nbytes or nbytes, 1 << 29)
    n = nbytes // 4
    a, b, c = (device.allocate(4 * n) for _ in range(3))
    for buffer in (a, b, c):
        device.write(buffer, np.ones(n, np.float32))
    names = (("c", "out"), ("a", "in"), ("b", "in"))
    parameters = [Parameter(name, "float32", access) for name, access in names]
    parameters += [
        Parameter("s", "float32", "value"),
        Parameter("n", limits.language.index, "value"),
        Parameter("chunk", limits.language.index, "value"),
    ]
    threads = _threads(device)
    text = _triad_text(limits.language)
    program = load_program(device, Source("triad", tuple(parameters), text, (), (threads, 1, 1), filename="triad.c"))
    units = max(1, limits.compute_units)
    launches = []
    few, many = (units, 4 * units, 16 * units), (8 * units, 64 * units, -(-n // (4 * threads)))
    for groups in few if threads == limits.lanes else many:
        chunk = -(-n // groups)
        launches.append(program.bind((-(-n // chunk), 1, 1), c, a, b, 0.5, n, chunk))
    return 12 * n / _best(device, launches, seconds)


def _madds(device: Device, dtype: str, seconds: float) -> float:
    """Multiply-adds per second."""
    limits = device.limits
    threads = _threads(device)
    most = max(1, limits.vector_nbytes // np.dtype(dtype).itemsize) if threads == 1 else 1
    groups = max(1, limits.compute_units) * (1 if threads == limits.lanes else 32)
    out = device.allocate(8 * groups * threads)
    parameters = (
        Parameter("out", dtype, "out"),
        Parameter("rounds", limits.language.index, "value"),
        Parameter("factor", dtype, "value"),
    )
    found = 0.0
    defines: tuple[tuple[str, int | str], ...] = ()
    # Latency of an FMA times units per core: 8 to 10 chains on current CPUs. Half the width, for an OpenCL compiler
    # that knows less of a processor than its driver tells: a vector takes two registers, and 12 chains do not fit.
    for chains, width in product((8, 12), {most, max(most // 2, 1)}):
        text = _chains_text(limits.language, dtype, chains)
        if threads == 1:
            text, defines = _LANES, (("T", c_name(dtype)), ("CHAINS", chains), ("LANES", width))
        source = Source("chains", parameters, text, defines, (threads, 1, 1), filename="chains.c")
        program = load_program(device, source)
        rounds = _enough(device, lambda rounds, p=program: p.bind((groups, 1, 1), out, rounds, 0.5))  # type: ignore[misc]
        launch = program.bind((groups, 1, 1), out, rounds, 0.5)
        found = max(found, rounds * chains * width * groups * threads / _best(device, [launch], seconds / 4))
    return found


def _shared_madds(device: Device, parts: Parts, seconds: float) -> float:
    """Multiply-adds per second of narrow numbers that share lanes, on a CPU."""
    groups, vector, chains = max(1, device.limits.compute_units), device.limits.vector_nbytes, 12
    sums = "float32" if parts is BRAINS else "uint32"
    parameters = (
        Parameter("out", sums, "out"),
        Parameter("rounds", "int64", "value"),
        Parameter("factor", "int64", "value"),
    )
    facts = {"FLOAT_PARTS": int(parts is BRAINS), "SIGNED_A": 0, "SIGNED_B": 1, "PACK_A": 1}
    defines = (("LANE_K", parts.count), ("VECTOR", vector), ("CHAINS", chains), *facts.items())
    text = template("narrow.c") + _SHARED_LANES
    program = load_program(device, Source("shared", parameters, text, defines, (1, 1, 1), filename="shared.c"))
    out = device.allocate(4 * groups)
    rounds = _enough(device, lambda rounds: program.bind((groups, 1, 1), out, rounds, 0))
    launch = program.bind((groups, 1, 1), out, rounds, 0)
    return rounds * chains * parts.count * vector // 4 * groups / _best(device, [launch], seconds / 2)


def _launch(device: Device, seconds: float) -> float:
    """Wall time from the call of a launch that does nothing to speak of until its result is there."""
    parameters = (Parameter("out", "float32", "out"),)
    say = device.limits.language
    text = say.kernel(say.store("float32", "out", "0", "1"))
    program = load_program(device, Source("nothing", parameters, text, (), (1, 1, 1)))
    launch = program.bind((1, 1, 1), device.allocate(4))
    launch()
    device.synchronize()
    found, start = inf, perf_counter()
    while perf_counter() - start < seconds:
        begin = perf_counter()
        for _ in range(10):
            launch()
            device.synchronize()
        found = min(found, (perf_counter() - begin) / 10)
    return found
