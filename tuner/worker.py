"""The worker process: `python -m tilewright.tuner.worker DEVICE`. One JSON line in, some out, until the input ends.

It imports no more than NumPy, the device's backend and the kernels. Kernels, drivers and compilers may print what they
like, hang or abort: the parent watches (see process.py).
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from tilewright.backends.cache import binary, has_program
from tilewright.backends.protocol import (
    CompileError,
    Device,
    DeviceLost,
    LaunchError,
    OutOfMemory,
    Source,
    TilewrightError,
    Unsupported,
)
from tilewright.backends.registry import get_device
from tilewright.backends.roundtrip import roundtrip
from tilewright.kernels.ready import Ready
from tilewright.tuner.bench import Bench
from tilewright.tuner.check import WrongResult
from tilewright.tuner.natives import adopt
from tilewright.tuner.policy import Policy
from tilewright.tuner.prepare import VENDOR, Candidate, kernels
from tilewright.tuner.process import Parent
from tilewright.tuner.raw_bench import bench_of, problem_of
from tilewright.tuner.roof import measure_roof


class Worker:
    """Answers requests about one device."""

    def __init__(self, device: Device, send: Any) -> None:
        self._device, self._send = device, send
        self._bench: Bench | None = None
        self._problem: dict[str, Any] | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            if "natives" in request:
                adopt(request["path"], request["natives"])
            return {"ok": True, **getattr(self, f"_{request['op']}")(request)}
        except WrongResult as error:
            return {"ok": False, "reason": f"wrong result: {error}"}
        except CompileError as error:
            return {"ok": False, "reason": f"does not compile: {_first_error(error)}"}
        except MemoryError:
            return {"ok": False, "reason": "out of memory on the host", "memory": True}
        except OutOfMemory as error:
            return {"ok": False, "reason": f"OutOfMemory: {error}", "memory": True}
        except (DeviceLost, LaunchError) as error:
            lost = isinstance(error, DeviceLost) or roundtrip(self._device) is not None
            return {"ok": False, "reason": f"{type(error).__name__}: {error}", "lost": lost}
        except Unsupported as error:
            return {"ok": False, "reason": str(error)}
        except TilewrightError as error:
            return {"ok": False, "reason": f"{type(error).__name__}: {error}"}
        except Exception as error:  # whatever a plug-in raises is that candidate's failure, told to the parent
            return {"ok": False, "reason": f"{type(error).__name__}: {error}"}

    def _current(self, request: dict[str, Any]) -> Bench:
        """The bench of the request's problem and policy, kept until another comes."""
        policy = Policy(**request.get("policy", {}))
        if self._bench is None or request["problem"] != self._problem or policy != self._bench.policy:
            self._bench = None  # frees the buffers first
            self._stage("prepare")
            self._bench = bench_of(request["problem"], self._device, self._stage, policy)
            self._problem = request["problem"]
        return self._bench

    def _stage(self, name: str) -> None:
        self._send({"stage": name})

    def _measure(self, request: dict[str, Any]) -> dict[str, Any]:
        candidate = Candidate(request["kernel"], request["config"])
        return asdict(self._current(request).measure(candidate, request["seconds"], request["best"] or float("inf")))

    def _build(self, request: dict[str, Any]) -> dict[str, Any]:
        self._stage("build")
        if request["kernel"] != VENDOR:
            problem = problem_of(request["problem"])
            kernel, language = kernels(problem, self._device)[request["kernel"]], self._device.limits.language
            if not isinstance(kernel, Ready):
                binary(self._device, kernel.render(problem, request["config"], language))
        return {}

    def _ahead(self, request: dict[str, Any]) -> dict[str, Any]:
        """Compile candidates in threads: compilers are programs of their own, or let go of the interpreter."""
        self._stage("build")
        device, problem = self._device, problem_of(request["problem"])
        known, sources = kernels(problem, device), []
        for name, config in request["candidates"]:
            if name != VENDOR and not isinstance(known[name], Ready):
                with suppress(Exception):  # what cannot be rendered is told when it is measured
                    sources.append(known[name].render(problem, config, device.limits.language))
        missing = [source for source in dict.fromkeys(sources) if not has_program(device, source)]

        def build(source: Source) -> bool:
            with suppress(Exception):  # likewise what does not compile
                binary(device, source)
                return has_program(device, source)
            return True

        with ThreadPoolExecutor(max(len(missing), 1)) as threads:
            return {"kept": all(threads.map(build, missing))}

    def _compare(self, request: dict[str, Any]) -> dict[str, Any]:
        candidates = [Candidate(kernel, config) for kernel, config in request["candidates"]]
        timings = self._current(request).compare(candidates, request["seconds"])
        return {"rows": [asdict(t) for t in timings]}

    def _race(self, request: dict[str, Any]) -> dict[str, Any]:
        bench = self._current(request)
        kernel = bench.measure(Candidate(request["kernel"], request["config"]), request["seconds"] / 2).timing.seconds
        return {"kernel": kernel, "numpy": bench.numpy_seconds(request["seconds"] / 2)}

    def _roof(self, request: dict[str, Any]) -> dict[str, Any]:
        self._stage("run")
        return {"roof": measure_roof(self._device, request["seconds"])}

    def _probe(self, request: dict[str, Any]) -> dict[str, Any]:
        self._stage("build")
        return {"trouble": roundtrip(self._device)}


def _first_error(error: CompileError) -> str:
    """The compiler's first line that says error, else its first line."""
    lines = [line.strip() for line in (error.log or str(error)).splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else str(error))[:300]


def _resident() -> int:
    """Bytes of main memory that this process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main(name: str, kind: type[Worker] = Worker) -> None:
    parent = Parent()
    try:
        device = get_device(name)
    except (TilewrightError, ValueError) as error:
        parent.send({"ok": False, "reason": str(error)})
        return
    worker = kind(device, parent.send)
    parent.send({"ok": True})
    while True:
        parent.send({**worker.answer(parent.receive()), "resident": _resident()})


if __name__ == "__main__":
    main(sys.argv[1])
