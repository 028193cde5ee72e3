"""A 2D convolution tuned by `tilewright.tune_kernel`: how much of the image a group, and a thread of it, computes.

python convolution.py [DEVICE]
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import tilewright as tw

OPENCL = """
__kernel void convolution(__global float *out, __global const float *image, __constant float *filter, const int width) {
    const int left = get_group_id(0) * GROUP_X * TILE_X + get_local_id(0);
    const int top = get_group_id(1) * GROUP_Y * TILE_Y + get_local_id(1);
    float sum[TILE_Y][TILE_X] = {{0}};
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++)
            for (int y = 0; y < TILE_Y; y++)
                for (int x = 0; x < TILE_X; x++)
                    sum[y][x] += filter[i * SIZE + j]
                        * image[(top + y * GROUP_Y + i) * (width + SIZE - 1) + left + x * GROUP_X + j];
    for (int y = 0; y < TILE_Y; y++)
        for (int x = 0; x < TILE_X; x++) out[(top + y * GROUP_Y) * width + left + x * GROUP_X] = sum[y][x];
}
"""

C = """
void convolution(float *out, const float *image, const float *filter, const int width) {
    #pragma omp parallel for schedule(dynamic)
    for (int top = 0; top < HEIGHT; top += TILE_Y)
        for (int left = 0; left < width; left += TILE_X) {
            float sum[TILE_Y][TILE_X] = {{0}};
            for (int i = 0; i < SIZE; i++)
                for (int j = 0; j < SIZE; j++)
                    for (int y = 0; y < TILE_Y; y++)
                        for (int x = 0; x < TILE_X; x++)
                            sum[y][x] += filter[i * SIZE + j]
                                * image[(top + y + i) * (width + SIZE - 1) + left + x + j];
            for (int y = 0; y < TILE_Y; y++)
                for (int x = 0; x < TILE_X; x++) out[(top + y) * width + left + x] = sum[y][x];
        }
}
"""


def reference(out: Any, image: Any, filter: Any, width: int) -> Any:
    height, size = out.shape[0], filter.shape[0]
    parts = (filter[i, j] * image[i : i + height, j : j + width] for i in range(size) for j in range(size))
    return sum(parts)


def tune(device: str, budget: float = 20.0, height: int = 512, width: int = 512, size: int = 5) -> Any:
    """The tuned kernel: (image with a margin of size - 1, filter, width) -> image."""
    rng = np.random.default_rng(0)
    image = rng.random((height + size - 1, width + size - 1), np.float32)
    arguments = [np.empty((height, width), np.float32), image, rng.random((size, size), np.float32), width]
    if device == "cpu":
        choices = {"SIZE": [size], "HEIGHT": [height], "TILE_Y": [1, 2, 4, 8], "TILE_X": [4, 8, 16, 32, 64]}
        return tw.tune_kernel(C, "convolution", arguments, choices, device=device, reference=reference, budget=budget)
    choices = {"SIZE": [size], "GROUP_X": [8, 16, 32, 64], "GROUP_Y": [1, 2, 4, 8], "TILE_X": [1, 2, 4],
               "TILE_Y": [1, 2, 4]}  # fmt: skip
    return tw.tune_kernel(
        OPENCL, "convolution", arguments, choices, device=device, reference=reference, budget=budget,
        grid=lambda c: (width // (c["GROUP_X"] * c["TILE_X"]), height // (c["GROUP_Y"] * c["TILE_Y"])),
        group=("GROUP_X", "GROUP_Y"),
        rules=[("a group has 32 to 256 threads", lambda c: 32 <= c["GROUP_X"] * c["GROUP_Y"] <= 256)],
    )  # fmt: skip


if __name__ == "__main__":
    kernel = tune(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    print(f"{kernel}: {1e3 * kernel.seconds:.3g} ms, {kernel.result.stopped} after {len(kernel.result.trials)} trials")
