"""The cpu's threads: every group once, whoever calls, in children too, and no data race (ThreadSanitizer)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tilewright.backends import cpu_team
from tilewright.backends.cpu import CpuDevice
from tilewright.backends.protocol import Launch, Parameter, Source

COUNT = 1000
HARNESS = """
#include <stdio.h>
#include <stdlib.h>
static void add(const i64 *slots, i64 begin, i64 end) {
    for (i64 k = begin; k < end; k++) ((i64 *)slots)[k] += 1;
}
static void *caller(void *counts) {
    for (int round = 0; round < 2000; round++) team_run(add, counts, round % 67 + 1, round % 2);
    return 0;
}
int main(void) {
    static i64 counts[2][67], expected[67];
    pthread_t other;
    team_size(4);
    pthread_create(&other, 0, caller, counts[1]);
    caller(counts[0]);
    pthread_join(other, 0);
    for (int round = 0; round < 2000; round++) add(expected, 0, round % 67 + 1);
    for (int k = 0; k < 67; k++)
        if (counts[0][k] != expected[k] || counts[1][k] != expected[k])
            return printf("group %d: %lld and %lld times\\n", k, counts[0][k], counts[1][k]), 1;
    return 0;
}
"""


def counting(device: CpuDevice) -> tuple[Launch, np.ndarray]:
    """A launch of COUNT groups, each of which adds one to a number of its own, and those numbers."""
    body = "KERNEL { for (int k = 0; k < 50; k++) ((volatile i64 *)out)[GROUP(0)] += k == 0; }\n"
    work = ("LAUNCH_WORK", "(16 * SMALL_WORK)")
    source = Source("count", (Parameter("out", "int64", "out"),), body, (work,), (1, 1, 1))
    buffer = device.allocate(8 * COUNT)
    buffer.host[:] = 0
    return device.load(device.build(source), source).bind((COUNT, 1, 1), buffer), buffer.host[: 8 * COUNT].view(
        np.int64
    )


def test_each_group_runs_once_however_many_call() -> None:
    device = CpuDevice()
    launches = [counting(device) for _ in range(4)]

    def call(launch: Launch) -> None:
        for _ in range(300):
            launch()

    callers = [threading.Thread(target=call, args=(launch,)) for launch, _ in launches]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all((counts == 300).all() for _, counts in launches)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    launch, counts = counting(CpuDevice())
    launch()
    child = os.fork()
    if child == 0:
        launch()
        os._exit(0 if (counts == 2).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (counts == 1).all()


@pytest.mark.parametrize("threads", ["1", "7", "1000"])
def test_the_number_of_threads_is_openmps(threads: str) -> None:
    code = (
        "import os; from tests.backends.test_cpu_team import *\n"
        "device = CpuDevice(); launch, counts = counting(device)\n"
        "[launch() for _ in range(20)]; assert (counts == 20).all() and str(device.limits.compute_units) == threads\n"
        "print(len(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 0)"
    ).replace("threads", repr(threads))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) in (0, min(int(threads), 256))


def test_no_data_race(tmp_path: Path) -> None:
    program = tmp_path / "team"
    command = [
        "gcc",
        "-O1",
        "-g",
        "-pthread",
        "-fsanitize=thread",
        "-std=gnu11",
        "-w",
        "-x",
        "c",
        "-",
        "-o",
        str(program),
    ]
    try:
        done = subprocess.run(command, input=cpu_team.SOURCE.body + HARNESS, text=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no gcc")
    if "tsan" in done.stderr:
        pytest.skip("gcc without ThreadSanitizer")
    assert done.returncode == 0, done.stderr
    ran = subprocess.run([str(program)], text=True, capture_output=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
