"""A sample of other people's tests, as they lie in the wheels, on tilewright. The whole: `python -m tests.judges`."""

from __future__ import annotations

import re

import pytest

from tests.judges.__main__ import SUITES, command, run
from tilewright.backends import registry

SAMPLE = {
    ("sklearn", "cpu"): (200, ["sklearn.utils.tests.test_array_api"]),
    ("scipy", "cpu"): (29, ["scipy.constants", "scipy.cluster.tests.test_vq"]),
    ("scipy", "opencl:0"): (3, ["scipy.constants"]),
}
"""(suite, device) -> how many pass at least, and the modules."""


@pytest.mark.judges
@pytest.mark.parametrize(("suite", "device"), SAMPLE)
def test_sample(suite: str, device: str) -> None:
    if device not in registry.usable_names():
        pytest.skip(f"there is no {device}")
    passed, parts = SAMPLE[suite, device]
    line = command(SUITES[suite], device, parts=parts)
    done = run(line, device, capture_output=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None and int(found[1]) >= passed, done.stdout[-300:]
