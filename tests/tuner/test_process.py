"""Supervised processes: what they print, how they end, and that none outlives its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tilewright.tuner.process import Child, Died, Hung

PLUGIN = str(Path(__file__).parent / "plugin")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([PLUGIN, os.environ.get("PYTHONPATH", "")])}


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child("echoing", "hello", ENVIRONMENT)
    assert made.receive(30) == "hello"
    yield made
    made.close()


def test_messages_go_both_ways_whatever_is_printed(child: Child) -> None:
    for message in ([1, "two", None], {"é": 1.5}, "x" * 100_000):
        child.send(message)
        assert child.receive(30) == {"echo": message}


@pytest.mark.parametrize(
    ("asked", "how"),
    [("die", "crash: the process ended with status 3: segment 7 is gone"), ("abort", "crash: SIGABRT")],
)
def test_how_a_process_died(child: Child, asked: str, how: str) -> None:
    child.send(asked)
    time.sleep(0.5)
    child.send("more")  # nobody is there: that is told to who receives
    with pytest.raises(Died, match=f"^{how}"):
        child.receive(30)


def test_one_that_hangs_is_ended(child: Child) -> None:
    child.send("hang")
    process = child.receive(30)
    with pytest.raises(Hung):
        child.receive(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_one_that_hangs_ends_with_its_parent() -> None:
    code = (
        "import os; from tilewright.tuner.process import Child; child = Child('echoing', 'hello'); child.receive(30); "
        "child.send('hang'); print(child.receive(30), flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    for _ in range(100):
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("the process lives on without its parent")
