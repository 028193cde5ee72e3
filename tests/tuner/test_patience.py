"""Small problems run in pieces until they have run often enough; pieces compute what the fused kernel computes."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.kernels.graphs import fused, leaf, op, store
from tests.kernels.judge import compare
from tests.kernels.test_kernels import GRAPHS
from tilewright.backends.dtypes import numpy_dtype
from tilewright.backends.protocol import Device
from tilewright.kernels import KERNELS
from tilewright.kernels.apart import Pieces, apart
from tilewright.kernels.oracle import reference
from tilewright.kernels.step import Step
from tilewright.tuner import patience
from tilewright.tuner.prepare import prepare_apart


def run_apart(step: Step, pieces: Pieces, device: Device) -> None:
    """Run the pieces on poisoned outputs and compare with the oracle of the whole."""
    inputs, buffers = [], []
    for node, operand in zip(step.inputs, step.problem.inputs, strict=True):
        values = node.arg if node.op == "buffer" else np.random.default_rng(5).standard_normal(operand.count)
        inputs.append(np.ascontiguousarray(values, numpy_dtype(operand.dtype)).reshape(-1))
    filled = [np.full(o.count * numpy_dtype(o.dtype).itemsize, 0xFF, np.uint8) for o in step.problem.outputs]
    for image in (*filled, *inputs):
        buffers.append(device.allocate(image.nbytes))
        device.write(buffers[-1], image.view(np.uint8))
    bound = prepare_apart(step.problem, pieces, device).bind(buffers[: len(filled)], buffers[len(filled) :])
    for launch in bound.launches:
        launch()
    for k, (operand, wanted) in enumerate(zip(step.problem.outputs, reference(step.problem, inputs), strict=True)):
        expected = filled[k].view(numpy_dtype(operand.dtype)).copy()
        store(expected, step.problem, operand, wanted)
        got = np.frombuffer(device.read(buffers[k], expected.nbytes), expected.dtype)
        compare(got, expected, operand.dtype, step.problem.title, operand.count)


@pytest.mark.parametrize("name", GRAPHS)
def test_pieces_compute_the_whole(name: str, cpu: Device) -> None:
    for n in (1, 2, 17):
        for step in fused(*GRAPHS[name](n), limits=cpu.limits):
            pieces = apart(step.problem)
            if pieces is not None:
                run_apart(step, pieces, cpu)


def test_many_programs_need_few_kernels() -> None:
    """What this is for: programs differ without end, their ops and layouts do not."""
    whole, parts = set(), set()
    for length in range(2, 10):
        node = leaf(np.ones(4, np.float32))
        for _ in range(length):
            node = op("add", node, leaf(np.ones(4, np.float32)))
        for step in fused(node):
            pieces = apart(step.problem)
            assert pieces is not None
            whole.add(step.problem.family)
            parts.update(piece.problem.family for piece in pieces.pieces)
    assert (len(whole), len(parts)) == (8, 1)


def test_one_text_serves_all_sizes(device: Device) -> None:
    """What programs are kept by: a problem's family and the config, in which no size appears."""
    texts: dict[tuple[object, ...], object] = {}
    for name in GRAPHS:
        for n in (3, 5, 40, 257):
            for problem in (step.problem for step in fused(*GRAPHS[name](n), limits=device.limits)):
                for kernel in KERNELS[problem.kind]:
                    if any(True for _ in kernel.space(problem, device.limits)):
                        config = kernel.default(problem, device.limits)
                        text = kernel.render(problem, config)
                        assert texts.setdefault((problem.family, kernel.name, *config.items()), text) == text


def test_what_runs_often_is_compiled(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RUNS", 3)
    origins = []
    for k in range(5):
        x = tw.asarray(np.arange(6.0) + k, device="cpu")
        y = tw.nextafter(x * 3.25 - 7, tw.exp(x))  # a structure that no other test has
        origins.append(tw.explain(y)[0].origin)
        data = np.arange(6.0) + k
        np.testing.assert_allclose(np.asarray(y), np.nextafter(data * 3.25 - 7, np.exp(data)), rtol=1e-15)
    assert origins[0] == "in pieces" and origins[-1] == "default"


def test_large_problems_are_compiled_at_once(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RUNS", 3)
    x = tw.asarray(np.arange(float(patience.SMALL + 1)), device="cpu")
    assert tw.explain(tw.nextafter(x * 3.5 - 7, tw.cos(x)))[0].origin == "default"
