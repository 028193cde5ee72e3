"""`tw.tune_kernel`: three kernels of the literature, kernels that misbehave, and arguments that make no sense."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import tilewright as tw
from tilewright.backends.registry import usable_names
from tilewright.tuner.measure import Unmeasurable

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "tune_kernel"
COPY = "void twice(float *out, const float *x, const int n) { for (int i = 0; i < n; i++) out[i] = 2 * x[i] + ADD; }"
X = np.arange(64, dtype=np.float32)


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "device", "sizes"),
    [
        ("convolution", "cpu", {"height": 64, "width": 128}),
        ("hotspot", "cpu", {"n": 256}),
        ("nbody", "cpu", {"count": 128}),
        ("nbody", "opencl:0", {"count": 128}),
    ],
)
def test_a_kernel_of_the_literature(name, device, sizes):
    if device not in usable_names():
        pytest.skip(f"{device} is not usable here")
    module = example(name)
    kernel = module.tune(device, budget=1.5, **sizes)
    assert kernel.seconds > 0 and kernel.config.keys() == kernel.result.trials[0].config.keys()
    assert {r.reason for r in kernel.result.trials} == {""}
    rng = np.random.default_rng(1)  # other data than it was tuned with
    given = [a for a in kernel._problem.kernel.arguments if a.access != "out"]
    inputs = [rng.random(a.shape, np.float32) if a.access != "value" else a.value for a in given]
    written = [a for a in kernel._problem.kernel.arguments if a.access in ("out", "inout")]
    expected = module.reference(np.empty(written[0].shape, np.float32), *inputs)
    got = kernel(*inputs)
    for a, b in zip(got if len(written) > 1 else [got], expected if len(written) > 1 else [expected], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4)
    again = kernel(*(tw.asarray(x, device=device) if np.ndim(x) else x for x in inputs))
    first = again[0] if len(written) > 1 else again
    assert isinstance(first, tw.Array) and first.device == device
    np.testing.assert_array_equal(np.asarray(first), got[0] if len(written) > 1 else got)


def test_records_are_used_again_and_new_data_is_another_problem():
    def tune(x, add=(1,), budget=20.0):
        arguments = [np.empty_like(x), x, x.size]
        choices = {"ADD": add, "UNUSED": [0, 1, 2]}
        return tw.tune_kernel(
            COPY, "twice", arguments, choices, device="cpu", reference=lambda out, x, n: 2 * x + 1, budget=budget
        )

    first = tune(X)
    assert first.result.stopped == "settled" and len(first.result.trials) >= 3
    assert tune(X).result.stopped == "records" and tune(X).config == first.config
    assert len(tune(X + 1).result.trials) >= 3


MISBEHAVING = """
#include <stdlib.h>
void kernel(float *out, float *sum, const float *x) {
    for (int i = 0; i < 64; i++) out[i] = 2 * x[i];
    sum[0] += 1;
#if FAULT == 1
    abort();
#elif FAULT == 2
    out[64] = 1;
#elif FAULT == 3
    out[3] = 0.0f / 0.0f;
#elif FAULT == 4
    ((float *)x)[5] = 7;
#elif FAULT == 5
    nonsense
#elif FAULT == 6
    for (volatile int i = 1; i; ) { }
#elif FAULT == 7
    sum[0] += 1;
#endif
}
"""


def test_every_fault_is_survived_and_told(monkeypatch):
    monkeypatch.setattr("tilewright.tuner.measure.HANG_SECONDS", 1.0)
    monkeypatch.setattr("tilewright.tuner.tune_problem.supervisor", lambda name: supervisor)
    from tilewright.tuner.measure import Supervisor

    supervisor = Supervisor("cpu", 0.5)
    arguments = [np.empty(64, np.float32), np.zeros(1, np.float32), X]
    kernel = tw.tune_kernel(
        MISBEHAVING, "kernel", arguments, {"FAULT": list(range(8))}, device="cpu", updates=[1], budget=60,
        effort="exhaustive", reference=lambda out, sum, x: (2 * x, sum + 1),
    )  # fmt: skip
    supervisor.close()
    assert kernel.config == {"FAULT": 0}
    reasons = {r.config["FAULT"]: r.reason for r in kernel.result.trials if r.status == "failed"}
    starts = {
        1: "crash: SIGABRT", 2: "wrong result: argument 0: wrote past the end", 3: "wrong result: argument 0: 1 of 64",
        4: "wrong result: argument 2: was changed", 5: "does not compile: kernel.c:15:", 6: "hang: did not end",
        7: "wrong result: argument 1: 1 of 1 elements are wrong, such as [0]: 2.0 where 1.0 is right",
    }  # fmt: skip
    assert reasons.keys() == starts.keys()
    assert [f for f, start in starts.items() if not reasons[f].startswith(start)] == [], reasons
    out, total = kernel(np.float32([41]), X)
    assert total.tolist() == [42] and (out == 2 * X).all()


def test_without_a_reference_the_first_config_says_what_is_right():
    kernel = tw.tune_kernel(COPY, "twice", [np.empty_like(X), X, 64], {"ADD": [1, 2]}, device="cpu", budget=5)
    assert kernel.config == {"ADD": 1}
    assert [r.reason[:26] for r in kernel.result.trials if r.config == {"ADD": 2}] == ["wrong result: argument 0: "]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"entry": "thrice"}, "no definition of 'thrice' is to be seen in the source"),
        ({"arguments": [np.empty_like(X), X]}, "twice has 3 parameters, and 2 arguments were given"),
        ({"arguments": [np.empty_like(X), X, 1 << 40]}, "int32 cannot hold"),
        ({"arguments": [np.empty_like(X), [object()], 64]}, "argument 1 is a list of dtype object"),
        ({"source": "no_such_file.cl"}, "neither a kernel's text nor a readable file"),
        ({"choices": {"ADD": []}}, "tunable 'ADD' has no choices"),
        ({"choices": {"A D": [1]}}, "'A D' cannot be a #define"),
        ({"choices": {"ADD": "12"}}, "the choices of a tunable are a list"),
        ({"rules": [("too warm", lambda c: c["ADD"] > 9)]}, "rule 'too warm' refuses all 1"),
        ({"rules": [("odd", lambda c: c["NONE"] > 9)]}, "rule 'odd' raised KeyError: 'NONE'"),
        ({"rules": [3]}, "rules[0] is 3; a rule is a function"),
        ({"grid": (2,)}, "cpu calls a C function once"),
        ({"grid": lambda c: 0}, "up to three positive integers"),
        ({"group": "ODD"}, "up to three positive integers"),
        ({"outputs": [2]}, "outputs has 2, which is not the position of an array"),
        ({"outputs": [0], "updates": [0]}, "argument 0 is among the outputs and the updates"),
        ({"outputs": []}, "twice writes none of its arguments"),
        ({"reference": np.zeros(3)}, "the reference gave float64[3]"),
        ({"reference": [X, X]}, "the reference gave 2 arrays, and the kernel writes 1"),
        ({"budget": 0}, "a budget is a positive number"),
        ({"budget": float("nan")}, "a budget is a positive number"),
        ({"tolerance": -1}, "tolerance is a share"),
        ({"device": "abacus"}, "there is no device 'abacus'"),
    ],
)
def test_bad_input_is_one_clear_error(changes, words):
    given = {
        "source": COPY, "entry": "twice", "arguments": [np.empty_like(X), X, 64], "choices": {"ADD": [1]},
        "device": "cpu", **changes,
    }  # fmt: skip
    with pytest.raises(ValueError) as caught:
        tw.tune_kernel(**given)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_kernel_that_never_works_is_one_error():
    with pytest.raises(Unmeasurable, match="twice cannot be tuned on cpu: none of the 1 configs tried works; the "
                       "first: wrong result: argument 0: 64 of 64"):  # fmt: skip
        tw.tune_kernel(COPY, "twice", [np.empty_like(X), X, 64], {"ADD": [7]}, device="cpu", budget=5, reference=X)
    with pytest.raises(Unmeasurable, match="does not compile"):
        tw.tune_kernel(COPY, "twice", [np.empty_like(X), X, 64], {"OTHER": [7]}, device="cpu", budget=5)
