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

FAULTS = ("none", "hang", "crash", "memory", "compile", "nan", "past", "lost")
FAR = f"n0 * {1 << 30}"
LARGE_COUNT = 1 << 30


def _before(fault: str, say: Language) -> str:
    """What goes wrong before the group's work is done."""

    def store(at: str, value: str) -> str:
        return say.store("float32", "out0", at, value)

    if fault == "hang":  # a step of 0 that the compiler cannot know; what is computed is stored, so the loop stays
        turn = f"v = v / 2 + {say.load('float32', 'in0', 'begin')};\n"
        return say.variable("float32", "v", "1") + say.loop("k", "0", "n0", turn, "step") + store("begin", "v")
    if fault == "crash":
        return store(FAR, "1")
    if fault == "memory":
        return f"large[step] = 1;\nlarge[{FAR}] = large[step];\nBARRIER();\n" + store("begin", f"large[{FAR}]")
    return store("begin", "nonsense") if fault == "compile" else ""


def _after(fault: str, say: Language) -> str:
    """What goes wrong afterwards."""
    wrong = {
        "nan": ("begin == 0", "3", "NAN_f32"),
        "past": ("end == n0", "n0", "1"),
        "lost": ("end == n0", "n0 - 1", "0"),
    }
    if fault not in wrong:
        return ""
    where, at, value = wrong[fault]
    return f"if ({where}) {{\n{say.store('float32', 'out0', at, value)}}}\n"


class Misbehaving:
    """x + x over n float32, one thread a group; FAULT says what goes wrong on the way."""

    name = "misbehaving"

    def space(self, problem: Problem, limits: Limits) -> Space:
        return Space({"FAULT": FAULTS})

    def default(self, problem: Problem, limits: Limits) -> Config:
        return {"FAULT": "none"}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        fault = str(config["FAULT"])
        text = language.let(begin="GROUP(0) * CHUNK")
        text += language.let(end=language.choose("begin + CHUNK < n0", "begin + CHUNK", "n0"))
        x = language.load("float32", "in0", "i")
        text += _before(fault, language)
        text += language.each("i", "begin", "end", language.store("float32", "out0", "i", f"{x} + {x}"))
        text += _after(fault, language)
        large = language.shared("float32", "large", language.size(LARGE_COUNT)) if fault == "memory" else ""
        listed, body = parameters(problem, language, ("step",)), language.kernel(text, large)
        return Source(f"kit_{fault}", listed, body, (("CHUNK", CHUNK),), (1, 1, 1))

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
