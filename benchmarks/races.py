"""One race: every library does the same work on the same arrays, is checked against float64, and is timed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

import tilewright as tw
from benchmarks.measure import OURS, Contestant, Outcome, judge, race
from benchmarks.peers import Peer
from benchmarks.workloads import Workload
from tilewright.backends.dtypes import DTYPES, numpy_dtype
from tilewright.backends.protocol import Device, Launch
from tilewright.backends.registry import get_device
from tilewright.leaf import TracedValueError
from tilewright.realize import Graph, plan_for
from tilewright.tuner.prepare import default_candidate, prepare, vendor_candidate


def run_race(workload: Workload, peers: Sequence[Peer], rounds: int, judged: bool, tune: float = 0) -> Outcome:
    """Prepare, check, race, judge. A library that fails or is wrong is told in the notes and not timed.

    Where `tune` is not 0, ours is first tuned on each of its devices for up to that many seconds.
    """
    outcome = Outcome(
        workload.name, {}, nbytes=workload.nbytes, operations=workload.operations, family=workload.family,
        size=workload.size, dtype=workload.dtype,
    )  # fmt: skip
    arrays = workload.arrays()
    contestants: list[Contestant] = []
    wanted = workload.reference(arrays)
    for peer in peers:
        function = workload.spelled(peer)
        if function is None:
            outcome.left_out.append(peer.name)
            continue
        try:
            entry = enter(workload, peer, function, arrays, tune)
        except Exception as error:  # each library has its own; the others still race, and the report says it
            outcome.notes.append(f"{peer.name} failed: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
            outcome.broken |= peer.library == OURS
            outcome.left_out.append(peer.name)
            continue
        difference = distance(entry.result, wanted)
        if difference > workload.tolerance:
            outcome.notes.append(f"{peer.name} is wrong by {difference:.1e} of the largest result, and is not timed")
            outcome.broken |= peer.library == OURS
            outcome.left_out.append(peer.name)
            continue
        outcome.first[peer.name] = entry.first
        if entry.launches:
            outcome.launches[peer.name] = entry.launches
        contestants += entry.contestants
        outcome.notes += entry.notes
    outcome.samples = race(contestants, rounds, outcome.solo)
    if judged:
        outcome.verdicts = judge(outcome, workload.aims)
    return outcome


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference as a share of the largest wanted value; infinite where shapes differ or values are NaN."""
    found = found.astype(np.float64)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@dataclass(frozen=True, slots=True)
class Entry:
    """A library's contestants in one race, the result it came to, and what there is to say about it."""

    result: np.ndarray
    contestants: list[Contestant]
    notes: list[str]
    first: float  # seconds until the first result is there
    launches: int  # of ours


def enter(workload: Workload, peer: Peer, function: Callable[..., Any], arrays: list[np.ndarray], tune: float) -> Entry:
    """Runs once, so that whatever has to be compiled is."""
    there = [peer.put(x) for x in arrays]
    begin = perf_counter()
    compiled, notes = peer.compile(function), []
    try:
        peer.wait(compiled(*there))
    except TracedValueError:
        compiled, notes = function, [f"{peer.name} runs without jit: the host does a part of it"]
    seconds = perf_counter() - begin

    def run() -> Any:
        return peer.wait(compiled(*there))

    if tune and peer.library == OURS:
        with tw.tuning(budget=tune, effort="quick"):
            run()
    first = compiled(*there)
    peer.wait(first)
    contestants, launches = [Contestant(peer.name, run)], 0
    if peer.library == OURS:
        lazy = function(*there)
        groups = tw.explain(lazy)
        launches = len(groups)
        notes += [f"{peer.name}: {group}" for group in groups]
        if workload.kernel:
            contestants += kernel_contestants(peer.name, there[0].device, lazy)
    return Entry(np.array(peer.get(first)), contestants, notes, seconds, launches)


def plan_of(device: Device, *arrays: Any) -> Any:
    """The plan by which these arrays are computed, whose launches are bound to buffers of their own and have run."""
    graph = Graph([x.node() for x in arrays])
    plan = plan_for(graph, device)
    plan.run([leaf.arg.buffer for leaf in graph.leaves], graph.consts)
    return plan


def kernel_contestants(name: str, device_name: str, *arrays: Any) -> list[Contestant]:
    """The kernels that compute these arrays, and where the vendor's library has a routine for it, that and our own
    template for the job."""
    device = get_device(device_name)
    (stage, *more) = plan_of(device, *arrays).stages
    found = [kernel_contestant(f"{name}, kernel", device_name, *arrays)]
    own, vendor = default_candidate(stage.problem, device.limits), vendor_candidate(stage.problem, device)
    if more or own is None or vendor is None:
        return found
    operands = (*stage.problem.outputs, *stage.problem.inputs)
    buffers = [device.allocate(o.count * DTYPES[o.dtype].nbytes) for o in operands]
    for buffer, operand in zip(buffers, operands, strict=True):
        device.write(buffer, np.ones(operand.count, numpy_dtype(operand.dtype)))
    count = len(stage.problem.outputs)
    for what, candidate in (("own kernel", own), ("vendor kernel", vendor)):
        launches = prepare(stage.problem, candidate, device).bind(buffers[:count], buffers[count:]).launches
        found.append(launched(f"{name}, {what}", device, launches))
    return found


def kernel_contestant(name: str, device_name: str, *arrays: Any) -> Contestant:
    """The kernels that compute these arrays, one after the other, by the device's clock."""
    device = get_device(device_name)
    stages = plan_of(device, *arrays).stages
    return launched(name, device, [launch for stage in stages for launch in stage.launches])


def launched(name: str, device: Device, launches: Sequence[Launch]) -> Contestant:
    def run() -> None:
        for launch in launches:
            launch()
        device.synchronize()

    return Contestant(name, run, lambda: sum(statistics.median(device.time(launch, 3)) for launch in launches))
