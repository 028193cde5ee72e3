"""`python -m tilewright.certify_worker DEVICE`: makes the checks whose numbers come in, and answers with verdicts."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from tilewright.backends.kit import judge
from tilewright.backends.registry import get_device
from tilewright.certify import CHECKS


def main(name: str) -> None:
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # drivers and compilers may print what they like
    device = get_device(name)
    for line in sys.stdin:
        channel.write(json.dumps(asdict(judge(CHECKS[int(line)], device)), default=str) + "\n")
        channel.flush()


if __name__ == "__main__":
    main(sys.argv[1])
