"""The emulation of CUDA finds the faults it is there for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.emulation import EmulatedCuda
from tests.kernels.conftest import emulated_cuda
from tilewright.backends.protocol import CompileError, LaunchError, Parameter, Source

PARAMETERS = (
    Parameter("out0", "float32", "out"),
    Parameter("in0", "float32", "in"),
    Parameter("n0", "int64", "value"),
    Parameter("c0", "float32", "value"),
)


@pytest.fixture
def emulated() -> EmulatedCuda:
    if not emulated_cuda().compiler:
        pytest.skip("the emulation of CUDA compiles with g++, and there is none")
    return emulated_cuda()


def run(
    device: EmulatedCuda, body: str, threads: tuple[int, int, int] = (32, 1, 1), groups: int = 2
) -> np.ndarray[Any, Any]:
    """What `body` writes into 64 floats, given 0 .. 63, n0 = 64 and c0 = 0.5."""
    source = Source("probe", PARAMETERS, body, (), threads)
    program = device.load(device.build(source), source)
    out, given = device.allocate(256), device.allocate(256)
    device.write(out, np.full(64, -1, np.float32))
    device.write(given, np.arange(64, dtype=np.float32))
    program.bind((groups, 1, 1), out, given, 64, 0.5)()
    return np.frombuffer(device.read(out, 256), np.float32)


def test_blocks_threads_and_values(emulated: EmulatedCuda) -> None:
    at = "const i64 i = GROUP(0) * LOCAL_SIZE(0) + LOCAL(0);"
    found = run(emulated, f"KERNEL {{ {at} if (i < n0) out0[i] = in0[i] * c0; }}")
    np.testing.assert_array_equal(found, np.arange(64) * 0.5)


def test_three_axes_of_threads(emulated: EmulatedCuda) -> None:
    index = "LOCAL(0) + LOCAL_SIZE(0) * (LOCAL(1) + LOCAL_SIZE(1) * LOCAL(2))"
    found = run(emulated, f"KERNEL {{ out0[{index}] = LOCAL(0) + 10 * LOCAL(1) + 100 * LOCAL(2); }}", (4, 8, 2), 1)
    wanted = [x + 10 * y + 100 * z for z in range(2) for y in range(8) for x in range(4)]
    np.testing.assert_array_equal(found, wanted)


REVERSED = """KERNEL {
    SHARED(f32, lane, 32);
    lane[LOCAL(0)] = in0[GROUP(0) * 32 + LOCAL(0)];
    %s
    out0[GROUP(0) * 32 + LOCAL(0)] = lane[31 - LOCAL(0)];
}"""


def test_barrier_lets_threads_exchange(emulated: EmulatedCuda) -> None:
    wanted = np.arange(64).reshape(2, 32)[:, ::-1].reshape(-1)
    np.testing.assert_array_equal(run(emulated, REVERSED % "BARRIER();"), wanted)


def test_missing_barrier_shows(emulated: EmulatedCuda) -> None:
    assert np.isnan(run(emulated, REVERSED % "")).any()  # shared memory that nobody had written yet


def test_missing_second_barrier_shows(emulated: EmulatedCuda) -> None:
    body = """KERNEL {
        SHARED(f32, lane, 32);
        f32 total = 0;
        for (int turn = 0; turn < 3; turn++) {
            lane[LOCAL(0)] = (f32)turn;
            BARRIER();
            total += lane[(LOCAL(0) + 1) & 31];
            %s
        }
        out0[GROUP(0) * 32 + LOCAL(0)] = total;
    }"""
    assert (run(emulated, body % "BARRIER();") == 3).all()
    assert (run(emulated, body % "") != 3).any()


def test_threads_that_leave_before_a_barrier_are_refused(emulated: EmulatedCuda) -> None:
    with pytest.raises(LaunchError, match="1 threads wait at the barrier in line 1, 31 have left"):
        run(emulated, "KERNEL { if (LOCAL(0)) return; BARRIER(); out0[0] = 1; }")


def test_two_barriers_at_once_are_refused(emulated: EmulatedCuda) -> None:
    with pytest.raises(LaunchError, match="different barriers, in lines 2 and 3"):
        run(emulated, "KERNEL {\nif (LOCAL(0) < 5) BARRIER();\nelse BARRIER();\n}")


def test_lanes_that_miss_an_instruction_of_their_warp_are_refused(emulated: EmulatedCuda) -> None:
    with pytest.raises(LaunchError, match="31 lanes carry out an instruction of their whole warp without the others"):
        run(emulated, "KERNEL { if (LOCAL(0)) WARP_BARRIER(); out0[0] = 1; }")
    with pytest.raises(LaunchError, match="lanes of a warp carry out different instructions"):
        run(emulated, "KERNEL { u32 x[4]; if (LOCAL(0)) WARP_BARRIER(); else ldmatrix(x, out0); }")


COPIED = """KERNEL {
    SHARED(f32, lane, 128);
    copy_async(lane + 4 * LOCAL(0), in0, 8);
    COPY_COMMIT();
    %s
    out0[GROUP(0) * 32 + LOCAL(0)] = lane[4 * LOCAL(0) + 1] + lane[4 * LOCAL(0) + 3];
}"""


def test_copies_are_there_once_waited_for(emulated: EmulatedCuda) -> None:
    assert (run(emulated, COPIED % "COPY_WAIT(0);") == 1).all()  # 0, 1, and zeros for what was not copied
    assert np.isnan(run(emulated, COPIED % "COPY_WAIT(1);")).all()
    with pytest.raises(LaunchError, match="not at multiples of 16"):
        run(emulated, COPIED.replace("in0, 8", "in0 + 1, 8") % "COPY_WAIT(0);")


def test_a_compiler_error_carries_the_log(emulated: EmulatedCuda) -> None:
    with pytest.raises(CompileError, match=r"kernel\.c:2.*nothing"):
        run(emulated, "KERNEL {\nout0[0] = nothing;\n}")
