"""Rules of Hopper's barriers, copy engine and warpgroups: the emulation tells who breaks one in a template's text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.emulation import EmulatedCuda
from tests.kernels.graphs import leaf, matmul
from tests.kernels.test_matmul_mma import numbers, only_step
from tests.kernels.test_matmul_wgmma import KERNEL, SMALL
from tilewright.backends.cache import load_program
from tilewright.backends.protocol import LaunchError

NEVER = "for the end of a phase that never comes"
WRONG = ""  # nothing but the result
MISTAKES = {
    "no wait for a tile": ("barrier_wait(full + STAGE(tile), PARITY(tile));", "", "a tile that is still under way"),
    "a tile awaited in the wrong phase": (
        "full + STAGE(tile), PARITY(tile))", "full + STAGE(tile), PARITY(tile) ^ 1)", "a tile that is still under way"
    ),
    "no wait for an empty stage": (
        "barrier_wait(empty + STAGE(tile), PARITY(tile) ^ 1);", "", "more threads arrive at a barrier than it waits for"
    ),
    "an empty stage awaited in the wrong phase": ("PARITY(tile) ^ 1", "PARITY(tile)", NEVER),
    "the wrong stage given back": ("empty + STAGE(tile - 1)", "empty + STAGE(tile)", NEVER),
    "a stage given back before it is read": ("WGMMA_WAIT(1);", "", "where a product under way still reads"),
    "a stage never given back": ("if (tile != first && lane == 0)", "if (0)", NEVER),
    "a warp that does not give back": ("4 * CONSUMERS);\n        }", "4 * CONSUMERS + 1);\n        }", NEVER),
    "fewer bytes announced": ("expect(full, STAGE_NBYTES)", "expect(full, STAGE_NBYTES - 16)", NEVER),
    "barriers hidden from the copy engine": ("BARRIERS_ARE_MADE();", "", "has not shown to the copy engine"),
    "barriers hidden from other threads": ("    BARRIER();\n    /*", "    /*", "has not met since"),
    "no wait for products": ("WGMMA_WAIT(0);", "", "ends while products are under way"),
    "sums used too early": ("WGMMA_WAIT(0);", "WGMMA_WAIT(1);", "ends while products are under way"),
    "products not ordered after what wrote the sums": ("WGMMA_FENCE();", "", "wgmma.fence is missing"),
    "a batch that does not end": ("WGMMA_COMMIT();", "", "where a product under way still reads"),
    "a tile at no multiple of the pattern": ("% (PATTERN * 128)", "% 128", "within the pattern of its exchanged"),
    "another exchange of pieces": (
        "span == 128 ? 1 : span == 64 ? 2 : 3", "span == 128 ? 1 : span == 64 ? 3 : 2", "otherwise than the copy did"
    ),
    "8 rows at the wrong distance": ("down = PATTERN * span / 16", "down = 4 * span / 16", WRONG),
    "boxes side by side at the wrong distance": ("1 : DEPTH * span / 16", "1 : DEPTH * span / 32", WRONG),
    "one depth twice": ("b + step * X_STEP", "b + 0 * X_STEP", WRONG),
    "tiles exchanged": ("full, p, i, b * A_BATCH", "full, i, p, b * A_BATCH", WRONG),
    "lanes with tiles of their own": (
        "multiply_step(sum[r], a +", "multiply_step(sum[r], a + lane % 2 * 64 +", "lanes of a warp multiply different"
    ),
    "warps with tiles of their own": (
        "step * X_STEP(A", "(step ^ (LOCAL(0) / 32 & 1)) * X_STEP(A", "warps of a warpgroup multiply different"
    ),
    "a warpgroup that begins between": (
        "warp = thread / 32, consumer", "warp = (thread / 32 + 4) % 5, consumer", "not all of 4 warps from a multiple"
    ),
    "columns of a lane": ("lane % 4 * 2 + e % 2", "lane % 4 + e % 2 * 4", WRONG),
    "rows of a warp": ("warp % 4 * 16", "(warp % 4 ^ 1) * 16", WRONG),
    "no barrier of the warp": ("WARP_BARRIER();", "", WRONG),
}  # fmt: skip


def run_text(hopper: EmulatedCuda, right: str, wrong: str) -> bool:
    """Whether the results are right with one for the other in the template's text. Raises LaunchError."""
    a, b, config = numbers(64, 200), numbers(200, 128), {**SMALL, "BLOCK_N": 128}
    problem = only_step(matmul(leaf(a), leaf(b)), hopper).problem
    source = KERNEL.render(problem, config)
    assert right in source.body
    program = load_program(hopper, replace(source, body=source.body.replace(right, wrong) if right else source.body))
    buffers = [hopper.allocate(x.nbytes) for x in (np.empty((64, 128), np.float16), a, b)]
    for buffer, array in zip(buffers[1:], (a, b), strict=True):
        hopper.write(buffer, array)
    program.bind(KERNEL.grid(problem, config), *buffers, *KERNEL.values(problem, config))()
    got = np.frombuffer(hopper.read(buffers[0], 64 * 128 * 2), np.float16).reshape(64, 128)
    return np.allclose(got, a.astype(np.float32) @ b.astype(np.float32), rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize("name", MISTAKES)
def test_the_emulation_finds(name: str, hopper: EmulatedCuda) -> None:
    """Each mistake in the template's text shows as the fault that it is or, where no rule is broken, a wrong result."""
    right, wrong, found = MISTAKES[name]
    if found == WRONG:
        assert not run_text(hopper, right, wrong)
    else:
        with pytest.raises(LaunchError, match=found):
            run_text(hopper, right, wrong)


def test_the_emulation_finds_nothing_else(hopper: EmulatedCuda) -> None:
    assert run_text(hopper, "", "")
