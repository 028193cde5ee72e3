"""`python -m tilewright.certify_worker DEVICE`: makes the checks whose numbers come in, and answers with verdicts."""

from __future__ import annotations

import sys
from dataclasses import asdict

from tilewright.backends.kit import judge
from tilewright.backends.registry import get_device
from tilewright.certify import CHECKS
from tilewright.tuner.process import Parent


def main(name: str) -> None:
    parent = Parent()  # first: drivers print when they are loaded
    device = get_device(name)
    while True:
        parent.send(asdict(judge(CHECKS[parent.receive()], device)))


if __name__ == "__main__":
    main(sys.argv[1])
