"""The supervisor: measures candidates in a worker process, and outlives whatever they do to it."""

from __future__ import annotations

import atexit
import math
import os
from dataclasses import KW_ONLY, dataclass
from functools import cache
from typing import Any

from tilewright.backends.protocol import TilewrightError
from tilewright.kernels.problem import Problem
from tilewright.tuner import natives
from tilewright.tuner.numerics import UNKNOWN
from tilewright.tuner.policy import DEFAULT, Policy
from tilewright.tuner.prepare import Candidate
from tilewright.tuner.process import Child, Died, Hung

SETTLING = {"OPENBLAS_THREAD_TIMEOUT": "24"}
"""In the worker's environment: OpenBLAS's threads spin for 7 ms after a product instead of 0.1 s; see bench.py."""

LIMIT_SECONDS = {"start": 60.0, "prepare": 120.0, "build": 60.0, "check": 60.0}
"""How long each stage of a request may take; a run's limit comes from what is known about its speed."""

HANG_SECONDS = 10.0
"""A run may take so much longer than expected before it is given up."""

LEAK_NBYTES = 1 << 30
"""A worker that holds so much more than after the first answer about a problem is replaced: something leaks."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """`status` "ok" with seconds (median), its 95 % interval and so on as in Record, or another with a reason."""

    status: str
    reason: str = ""
    seconds: float = 0.0
    _: KW_ONLY
    low: float = 0.0
    high: float = 0.0
    rounds: int = 0
    error: float = 0.0
    ulp: float = UNKNOWN
    workspace: int = 0


class Unmeasurable(TilewrightError):
    """Not the candidate but the whole problem, or the device, cannot be measured."""


class Supervisor:
    """One worker process for one device, started when needed, killed when it hangs, restarted when it died."""

    module = "tilewright.tuner.worker"

    def __init__(self, device: str, hang_seconds: float = HANG_SECONDS, leak_nbytes: int = LEAK_NBYTES) -> None:
        self.device, self.hang_seconds, self._leak_nbytes = device, hang_seconds, leak_nbytes
        self._about: Any = None  # the problem of the last request, and what the worker held after the first about it
        self._held = 0
        self._child: Child | None = None

    def measure(
        self, problem: Problem, candidate: Candidate, seconds: float, best: float = math.inf,
        patience: float = math.inf, policy: Policy = DEFAULT,
    ) -> Measurement:  # fmt: skip
        """Check and time one candidate for about `seconds`; `best` is the fastest time known for this problem.

        A build that is not done after `patience` seconds has failed as well. Raises Unmeasurable.
        """
        request = {
            "op": "measure", "problem": problem.to_json(), "kernel": candidate.kernel, "config": candidate.config,
            "seconds": seconds, "best": best if math.isfinite(best) else None, "policy": policy.to_json(),
        }  # fmt: skip
        answer = self._ask(request, seconds + self._expected(best), patience)
        if not answer["ok"]:
            return Measurement("failed", answer["reason"])
        if answer["ulp"] > policy.most_ulp:
            reason = f"numerics: {answer['ulp']:.0f} ulp from the reference, where {policy.numerics} is asked for"
            return Measurement("outside", reason, error=answer["error"], ulp=answer["ulp"])
        return _measured(answer)

    def build(self, problem: Problem, candidate: Candidate, patience: float) -> None:
        """Compile a candidate ahead of `measure`, which says what is wrong with one that cannot be.

        Raises Unmeasurable.
        """
        request = {"op": "build", "problem": problem.to_json(), "kernel": candidate.kernel, "config": candidate.config}
        self._ask(request, 0.0, patience)

    def ahead(self, problem: Problem, candidates: list[Candidate], patience: float) -> bool:
        """Compile several at once, ahead of `measure`. Returns whether that is worth doing again.

        It is not where binaries cannot be kept, and where a compiler hung or crashed: `measure` finds out for which
        candidate, and tells. Raises Unmeasurable.
        """
        pairs = [[c.kernel, c.config] for c in candidates]
        answer = self._ask({"op": "ahead", "problem": problem.to_json(), "candidates": pairs}, 0.0, patience)
        return bool(answer["ok"] and answer["kept"])

    def compare(
        self, problem: Problem, candidates: list[Candidate], seconds: float, best: float, patience: float = math.inf,
        policy: Policy = DEFAULT,
    ) -> list[Measurement]:  # fmt: skip
        """Time candidates in turns for about `seconds`; an empty list if that was not to be done."""
        pairs = [[c.kernel, c.config] for c in candidates]
        request = {
            "op": "compare", "problem": problem.to_json(), "candidates": pairs, "seconds": seconds,
            "policy": policy.to_json(),
        }  # fmt: skip
        answer = self._ask(request, seconds + self._expected(best) * len(candidates), patience)
        if not answer["ok"]:
            return []
        return [_measured(row) for row in answer["rows"]]

    def race(self, problem: Problem, candidate: Candidate, seconds: float) -> tuple[float, float] | None:
        """Seconds of the candidate, and of NumPy for the same ops on the same data; None where one cannot.

        Raises Unmeasurable.
        """
        request = {
            "op": "race", "problem": problem.to_json(), "kernel": candidate.kernel, "config": candidate.config,
            "seconds": seconds,
        }  # fmt: skip
        answer = self._ask(request, LIMIT_SECONDS["check"])
        return (answer["kernel"], answer["numpy"]) if answer["ok"] else None

    def roof(self, seconds: float) -> dict[str, float]:
        """See `roof.measure_roof`. Raises Unmeasurable."""
        answer = self._ask({"op": "roof", "seconds": seconds}, seconds + 60)
        if not answer["ok"]:
            raise self._unmeasurable(answer["reason"])
        return answer["roof"]

    def probe(self) -> str | None:
        """None if a round trip through the device gives the right result, else what went wrong."""
        try:
            answer = self._ask({"op": "probe"}, self.hang_seconds)
        except Unmeasurable as error:
            return str(error)
        return answer["trouble"] if answer["ok"] else answer["reason"]

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _unmeasurable(self, reason: str) -> Unmeasurable:
        return Unmeasurable(reason if reason.startswith(f"{self.device}: ") else f"{self.device}: {reason}")

    def _expected(self, best: float) -> float:
        return self.hang_seconds + (20 * best if math.isfinite(best) else 2 * self.hang_seconds)

    def _start(self) -> None:
        if natives.adopting:
            raise self._unmeasurable(
                "a worker process runs this script to find what it registers: put what measures under "
                "`if __name__ == '__main__':`"
            )
        self._child = Child(self.module, self.device, {**SETTLING, **os.environ})
        answer = self._wait("start", 0.0, math.inf)
        if not answer["ok"]:
            self.close()
            raise self._unmeasurable(answer["reason"])

    def _ask(self, request: dict[str, Any], run_seconds: float, patience: float = math.inf) -> dict[str, Any]:
        """The answer of a worker that others may have harmed: one that lost its device or leaks is not asked again."""
        used = self._child is not None
        answer = self._answer(request, run_seconds, patience)
        if used and answer.get("memory"):  # perhaps used up by candidates before: a fresh one is asked
            self.close()
            answer = self._answer(request, run_seconds, patience)
        resident = answer.get("resident", 0)
        if self._about != request.get("problem"):
            self._about, self._held = request.get("problem"), resident
        if answer.get("lost") or resident - self._held > self._leak_nbytes:
            self.close()
            self._about = None
        if not answer["ok"] and answer["stage"] == "prepare":
            raise self._unmeasurable(answer["reason"])
        return answer

    def _answer(self, request: dict[str, Any], run_seconds: float, patience: float) -> dict[str, Any]:
        try:
            if self._child is None:
                self._start()
            assert self._child is not None
            self._child.send({**request, **natives.references()})
            return self._wait("prepare", run_seconds, patience)
        except BaseException:  # Ctrl-C: the answer to come would be taken for that of the next request
            self.close()
            raise

    def _wait(self, stage: str, run_seconds: float, patience: float) -> dict[str, Any]:
        """The worker's answer, with the stage it reached; stands in for a worker that hangs or dies."""
        limits = {**LIMIT_SECONDS, "run": run_seconds, "build": min(LIMIT_SECONDS["build"], patience)}
        assert self._child is not None
        while True:
            try:
                answer = self._child.receive(limits[stage])
            except Hung:
                self._child = None
                what = {"run": "did not end", "build": "did not compile"}.get(
                    stage, f"did not get past stage {stage!r}"
                )
                return {"ok": False, "stage": stage, "reason": f"hang: {what} within {limits[stage]:.0f} s"}
            except Died as death:
                self._child = None
                return {"ok": False, "stage": stage, "reason": str(death)}
            if "ok" in answer:
                return {**answer, "stage": stage}
            stage = answer["stage"]


def _measured(row: dict[str, Any]) -> Measurement:
    return Measurement("ok", "", **row["timing"], error=row["error"], ulp=row["ulp"], workspace=row["workspace"])


@cache
def supervisor(device: str) -> Supervisor:
    """The one supervisor of that device in this process; its worker ends with the process."""
    made = Supervisor(device)
    atexit.register(made.close)
    return made
