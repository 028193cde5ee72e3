"""A worker for the kit: its one map kernel goes wrong as its config says, and it answers what the kit wants to know.

python -m tilewright.tuner.kit_worker DEVICE
"""

from __future__ import annotations

import base64
import sys
from dataclasses import asdict
from typing import Any

from tilewright.backends.kit_sources import scale
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels import KERNELS
from tilewright.kernels.emit import parameters, values
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import Config, Space
from tilewright.tuner.worker import Worker, main

CHUNK = 256

BEFORE = {
    # A step of 0 that the compiler cannot know; what is computed is stored, so the loop cannot be left out.
    "hang": "f32 v = 1; for (i64 k = 0; k < n0; k += step) v = v * 0.5f + LOAD(f32, in0, begin);\n"
    "STORE(f32, out0, begin, v);",
    "crash": "STORE(f32, out0, n0 << 40, 1);",
    "memory": "SHARED(f32, large, (i64)1 << 40);\nlarge[step] = 1; large[n0 << 30] = large[step]; BARRIER();\n"
    "STORE(f32, out0, begin, large[n0 << 30]);",
    "compile": "STORE(f32, out0, begin, nonsense);",
}
AFTER = {
    "nan": "if (begin == 0) STORE(f32, out0, 3, NAN_f32);",
    "past": "if (end == n0) STORE(f32, out0, n0, 1);",
    "lost": "if (end == n0) STORE(f32, out0, n0 - 1, 0);",
}
FAULTS = ("none", *BEFORE, *AFTER)


class Misbehaving:
    """x + x over n float32, one thread a group; FAULT says what goes wrong on the way."""

    name = "misbehaving"

    def space(self, problem: Problem, limits: Limits) -> Space:
        return Space({"FAULT": FAULTS})

    def default(self, problem: Problem, limits: Limits) -> Config:
        return {"FAULT": "none"}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        fault = str(config["FAULT"])
        text = "const i64 begin = GROUP(0) * CHUNK, end = begin + CHUNK < n0 ? begin + CHUNK : n0;\n"
        text += BEFORE.get(fault, "") + "\n"
        text += "FOR_EACH(i, begin, end) { STORE(f32, out0, i, LOAD(f32, in0, i) + LOAD(f32, in0, i)); }\n"
        text += AFTER.get(fault, "") + "\n"
        listed = parameters(problem, language, ("step",))
        return Source(f"kit_{fault}", listed, f"KERNEL {{\n{text}}}\n", (("CHUNK", CHUNK),), (1, 1, 1))

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (-(-problem.space[0] // CHUNK), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem, (0,))


class KitWorker(Worker):
    """A worker that also tells what the device looks like from another process."""

    def _fingerprint(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"fingerprint": asdict(self._device.fingerprint)}

    def _binary(self, request: dict[str, Any]) -> dict[str, Any]:
        self._stage("build")
        return {"binary": base64.b64encode(self._device.build(scale(self._device))).decode()}


if __name__ == "__main__":
    KERNELS["map"] = (Misbehaving(),)
    main(sys.argv[1], KitWorker)
