"""The command line as a user meets it: each command in a process of its own, with a records folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from tests.tuner.problems import double, trial
from tilewright.backends.registry import usable_names
from tilewright.tuner.command_tune import tune
from tilewright.tuner.store import Store

MAIN = "from tilewright.tuner.command import main; main()"
ONE = (
    "import tilewright.tuner.command_tune as c; full = c.standard; c.standard = lambda limits: full(limits)[6:7]\n"
    + MAIN
)
"""The same, with one standard problem instead of all."""
SCRIPT = """
import sys
import numpy as np
import tilewright as tw
print("arguments", sys.argv[1:])
x = tw.asarray(np.ones((64, 32), np.float32), device="cpu")
for _ in range(3):
    total = float(tw.sum(tw.tanh(x) * 2.0))
print("total", round(total, 3))
"""


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def start(home, *arguments, code=MAIN, **rest):
    environment = {**os.environ, "TILEWRIGHT_CACHE": str(home), "COLUMNS": "200", **rest}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, start_new_session=True,
    )  # fmt: skip


def run(home, *arguments, **rest):
    """Exit status, stdout, stderr; never a traceback."""
    process = start(home, *arguments, **rest)
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in out + err, out + err
    return process.returncode, out, err


def test_devices(home):
    status, out, _ = run(home, "devices")
    assert status == 0
    assert any(line.startswith("cpu") and "PASS" in line for line in out.splitlines())


def test_devices_without_a_compiler_say_what_is_missing(home):
    status, out, err = run(home, "devices", CC="/nowhere/cc")
    line = next(line for line in out.splitlines() if line.startswith("cpu"))
    assert "FAIL" in line or "not usable" in line
    assert "/nowhere/cc" in out + err
    assert status in (0, 1)  # another device may pass


def test_tune_the_standard_problems(home, tmp_path):
    target = tmp_path / "results.json"
    status, out, err = run(home, "tune", "--device", "cpu", "--budget", "4s", "--json", target)
    assert status == 0, out + err
    for word in ("vendor or default", "speed-up", "of roof", "gelu 4M"):
        assert word in out
    data = json.loads(target.read_text())
    assert data["roofs"]["cpu"]["triad_bytes_per_second"] > 0
    reached = [p for p in data["problems"] if p["best"]]
    assert reached and all(p["speedup"] >= 1 / 1.01 for p in reached)
    status, out, _ = run(home, "records")
    assert status == 0 and "gelu" not in out and "map mul,add,tanh 4194304 float32" in out


def test_no_compiler_nothing_to_tune(home):
    status, _, err = run(home, "tune", "--device", "cpu", CC="/nowhere/cc")
    assert status == 1
    assert "cpu is left out, since nothing runs there" in err and "/nowhere/cc" in err
    assert "`tilewright devices` says what each device lacks" in err


def test_unwritable_folder_is_one_warning_and_no_hindrance(tmp_path):
    (tmp_path / "blocked").write_text("no folder")
    status, out, err = run(tmp_path / "blocked", "tune", "--device", "cpu", "--budget", "4s", code=ONE)
    assert status == 0, out + err
    assert err.count("cannot write records") == 1
    assert "matmul 128" in out and "nothing could be kept" in out


def test_settled_problems_come_from_the_records(home):
    code = (
        "import tilewright.tuner.command_tune as c; full = c.standard; c.standard = lambda limits: full(limits)[6:7]\n"
        + MAIN
    )
    run(home, "tune", "--device", "cpu", "--budget", "3s", code=code)
    status, out, _ = run(home, "tune", "--device", "cpu", "--budget", "3s", code=code)
    assert status == 0
    assert "Everything came from the records in" in out


@pytest.mark.parametrize("device", [n for n in usable_names() if n in ("cpu", "opencl:0")])
def test_how_times_are_taken_is_a_choice_and_in_the_records(home, device):
    arguments = ("tune", "--device", device, "--budget", "1s", "--cache", "cold", "--launch", "replayed")
    status, out, err = run(home, *arguments, code=ONE)
    assert status == 0, err
    assert "Times are taken with cold cache, replayed launch" in out
    trials = [r for r in Store(home / "records.jsonl").records() if r.kind in ("trial", "search")]
    assert trials and {(r.policy.cache, r.policy.launch) for r in trials} == {("cold", "replayed")}
    assert any(r.status == "ok" for r in trials)
    assert "'tepid' is not one of" in run(home, "tune", "--cache", "tepid")[2]
    assert "numerics is 'bitwise', 'tolerance', or a distance" in run(home, "tune", "--numerics", "exact")[2]


def test_sizes_are_tuned_as_a_whole(home, tmp_path):
    target = tmp_path / "sizes.json"
    sizes = ("--sizes", "softmax=64x100:9,64x1000", "--variants", "1", "--json", target)
    status, out, err = run(home, "tune", "--device", "cpu", "--budget", "2s", *sizes)
    assert status == 0 and "1 variant for 2 sizes, at worst" in out, err
    fit = json.loads(target.read_text())["sizes"][0]["fit"]
    assert [row["count"] for row in fit["rows"]] == [9, 1] and {r["chosen"] for r in fit["rows"]} == {*fit["variants"]}
    best = [r for r in Store(home / "records.jsonl").records() if r.stage == "final"]
    assert {r.problem for r in best} == {row["problem"] for row in fit["rows"]}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--sizes", "sort=5"), "there is no operation 'sort'; there are matmul,"),
        (("--sizes", "matmul=64x64"), "'64x64' is no size of matmul such as 64x64x64"),
        (("--sizes", "gelu=9:0"), "'9:0' is no size of gelu"),
        (("--variants", "3"), "--variants is about sizes"),
        (("--sizes", "gelu=9", "script.py"), "--sizes is tuned by itself"),
    ],
)
def test_bad_sizes(arguments, text):
    found = CliRunner().invoke(tune, arguments)
    assert found.exit_code != 0 and text in " ".join(found.output.split())


@pytest.mark.parametrize("budget", ["nan", "0", "-3s", "inf", "soon", "1e999", "3 parsecs"])
def test_bad_budgets(home, budget):
    status, _, err = run(home, "tune", f"--budget={budget}")
    assert status == 2
    assert "a budget is a positive time such as 30s or 2m, not" in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("tune", "--device", "gpu9"), "there is no device 'gpu9'; there are"),
        (("tune", "--effort", "lazy"), "'lazy' is not one of"),
        (("tune", "nowhere.py"), "there is no script 'nowhere.py'"),
        (("tune", "--json", "/nowhere/x.json"), "there is no folder /nowhere"),
        (("records", "import", "nowhere.jsonl"), "does not exist"),
        (("records", "lose"), "No such command 'lose'"),
    ],
)
def test_bad_arguments_are_one_sentence(home, arguments, text):
    status, _, err = run(home, *arguments)
    assert status != 0
    assert text in err


def test_interrupted_tuning_keeps_and_prints_what_it_has(home):
    process = start(home, "tune", "--device", "cpu", "--budget", "120s")
    store = home / "records.jsonl"
    deadline = time.monotonic() + 120
    while not (store.exists() and store.read_bytes().count(b'"kind":"search"') >= 2):  # the first is then surely listed
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert "gelu 4M" in out and "Interrupted after" in out and f"all is kept in {store}" in out
    assert len(Store(store).records()) >= 3


def test_records_travel(home, tmp_path):
    mine = Store(home / "records.jsonl")
    mine.append(trial(double(), "map", {"TILE": 1}, 1e-3))
    file, other = tmp_path / "export.jsonl", tmp_path / "other"
    assert run(home, "records", "export", file, "--note", "from the test")[0] == 0
    status, out, _ = run(other, "records", "verify", file)
    assert status == 0 and "is sound: 1 records" in out and "note: from the test" in out
    assert "1 records added, 0 were known" in run(other, "records", "import", file)[1]
    assert run(other, "records", "export", "-")[1].splitlines()[1:] == file.read_text().splitlines()[1:]
    assert "0 of 1 lines removed" in run(other, "records", "prune")[1]
    with file.open("a") as handle:
        handle.write("rubbish\n")
    status, _, err = run(other, "records", "import", file)
    assert status == 1 and "2 whole records where its header says 1" in err


def test_pinned_records_are_all_that_counts(home, tmp_path):
    file = tmp_path / "pinned.jsonl"
    Store(home / "records.jsonl").append(trial(double(), "map", {"TILE": 1}, 1e-3))
    assert "1 records pinned" in run(home, "records", "pin", file)[1]
    empty = tmp_path / "empty"
    status, out, _ = run(empty, "records", TILEWRIGHT_RECORDS=str(file))
    assert status == 0 and "map TILE=1" in out
    status, _, err = run(home, "tune", "--budget", "1s", code=ONE, TILEWRIGHT_RECORDS=str(file))
    assert status == 1 and "unset TILEWRIGHT_RECORDS to measure" in err
    file.write_text("no pack")
    status, _, err = run(home, "records", TILEWRIGHT_RECORDS=str(file))
    assert status == 1 and "is no pack of records" in err


def test_no_records_yet(home):
    status, out, _ = run(home, "records", "list")
    assert status == 0 and "no records yet" in out


def test_damaged_records_are_one_warning(home):
    Store(home / "records.jsonl").append(trial(double(), "map", {"TILE": 1}, 1e-3))
    with (home / "records.jsonl").open("ab") as file:
        file.write(b"\xff\xfe damaged\n")
    status, out, err = run(home, "records")
    assert status == 0 and "1 records in" in out
    assert err.count("warning") == 1 and "skipped 1 damaged line" in err


@pytest.fixture
def script(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(SCRIPT)
    return file


def test_a_script_is_run_tuned_and_run_again(home, script, tmp_path):
    target = tmp_path / "won.json"
    status, out, err = run(home, "tune", "--budget", "3s", "--json", target, script, "--device", "none", "-x")
    assert status == 0, out + err
    assert out.count("arguments ['--device', 'none', '-x']") == 2  # they are the script's, not ours
    assert out.count("total 3119.") == 2
    for word in ("launches", "before", "after", "NumPy", "whole program", "all kernels"):
        assert word in out
    problems = json.loads(target.read_text())["problems"]
    assert sum(p["launches"] for p in problems) >= 3 and all(p["after"] > 0 for p in problems)


@pytest.mark.parametrize(
    ("ending", "status", "text"),
    [
        ("raise ValueError('no such luck')", 1, "failed: ValueError: no such luck ({script}, line 10)"),
        ("sys.exit(7)", 7, "failed: it exited with status 7"),
        ("sys.exit('all is lost')", 1, "failed: all is lost"),
        ("import os; os._exit(9)", 9, "failed: it ended with status 9 without leaving Python in order"),
        ("import os; os.abort()", 134, "failed: it was ended by SIGABRT"),
        ("1 +", 1, "failed: SyntaxError"),
    ],
)
def test_a_script_that_fails(home, script, ending, status, text):
    script.write_text(SCRIPT + ending + "\n")
    code, out, err = run(home, "tune", script)
    assert code == status
    assert text.format(script=script) in err
    assert "nothing was tuned" in err
    if "raise" in ending or "sys" in ending:
        assert "What it launched before it failed" in out and "tanh" in out


def test_a_script_that_exits_well(home, script):
    script.write_text(SCRIPT + "sys.exit(0)\n")
    assert run(home, "tune", "--budget", "1s", script)[0] == 0


def test_a_script_without_tilewright(home, tmp_path):
    script = tmp_path / "plain.py"
    script.write_text("print('hello')\n")
    status, out, err = run(home, "tune", script)
    assert status == 1 and "hello" in out
    assert "launched nothing through tilewright, so there is nothing to tune" in err
