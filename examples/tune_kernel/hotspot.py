"""A step of the hotspot stencil, as in Rodinia (Che et al., 2009), tuned by `tilewright.tune_kernel`.

The temperature of a chip changes with the power spent at each point and the temperatures of its four neighbours; beyond
the edge it is as at the edge.

python hotspot.py [DEVICE]
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import tilewright as tw

STEP = """
static float step(float middle, float north, float south, float west, float east, float power) {
    return middle + 0.1f * power + 0.2f * (north + south - 2 * middle) + 0.1f * (west + east - 2 * middle)
        + 0.05f * (80.0f - middle);
}
"""

# A thread goes down ROWS rows of its column: two of the three rows that it needs next are those it has.
OPENCL = (
    STEP
    + """
__kernel void hotspot(__global float *out, __global const float *heat, __global const float *power, const int n) {
    const int x = get_global_id(0), top = get_global_id(1) * ROWS, west = max(x - 1, 0), east = min(x + 1, n - 1);
    float north = heat[max(top - 1, 0) * n + x], middle = heat[top * n + x];
    #pragma unroll UNROLL
    for (int y = top; y < top + ROWS; y++) {
        const float south = heat[min(y + 1, n - 1) * n + x];
        out[y * n + x] = step(middle, north, south, heat[y * n + west], heat[y * n + east], power[y * n + x]);
        north = middle;
        middle = south;
    }
}
"""
)

# Tiles, so that the rows above and below are in the nearest cache still when their neighbours need them.
C = (
    STEP
    + """
void hotspot(float *out, const float *heat, const float *power, const int n) {
    #pragma omp parallel for schedule(dynamic) collapse(2)
    for (int top = 0; top < n; top += ROWS)
        for (int left = 0; left < n; left += COLUMNS)
            for (int y = top; y < top + ROWS; y++) {
                const float *row = heat + y * n, *north = y > 0 ? row - n : row, *south = y < n - 1 ? row + n : row;
                const int begin = left > 0 ? left : 1, end = left + COLUMNS < n ? left + COLUMNS : n - 1;
                for (int x = begin; x < end; x++)
                    out[y * n + x] = step(row[x], north[x], south[x], row[x - 1], row[x + 1], power[y * n + x]);
                if (left == 0) out[y * n] = step(row[0], north[0], south[0], row[0], row[1], power[y * n]);
                if (left + COLUMNS == n) {
                    const int x = n - 1;
                    out[y * n + x] = step(row[x], north[x], south[x], row[x - 1], row[x], power[y * n + x]);
                }
            }
}
"""
)


def reference(out: Any, heat: Any, power: Any, n: int) -> Any:
    edge = np.pad(heat.astype(np.float64), 1, mode="edge")
    middle = edge[1:-1, 1:-1]
    upright, across = edge[:-2, 1:-1] + edge[2:, 1:-1] - 2 * middle, edge[1:-1, :-2] + edge[1:-1, 2:] - 2 * middle
    return middle + 0.1 * power + 0.2 * upright + 0.1 * across + 0.05 * (80 - middle)


def tune(device: str, budget: float = 20.0, n: int = 1024) -> Any:
    """The tuned kernel: (heat, power, n) -> heat after a step."""
    rng = np.random.default_rng(0)
    heat, power = 300 + 40 * rng.random((n, n), np.float32), rng.random((n, n), np.float32)
    arguments = [np.empty_like(heat), heat, power, n]
    if device == "cpu":
        columns = [size for size in (64, 128, 256, 512, 1024) if n % size == 0]
        choices = {"ROWS": [8, 16, 32, 64, 128], "COLUMNS": columns}
        return tw.tune_kernel(C, "hotspot", arguments, choices, device=device, reference=reference, budget=budget)
    return tw.tune_kernel(
        OPENCL, "hotspot", arguments,
        {"GROUP_X": [16, 32, 64, 128], "GROUP_Y": [1, 2, 4], "ROWS": [1, 4, 16], "UNROLL": [1, 4]},
        device=device, reference=reference, budget=budget,
        grid=lambda c: (n // c["GROUP_X"], n // (c["GROUP_Y"] * c["ROWS"])), group=("GROUP_X", "GROUP_Y"),
        rules=[("no more is unrolled than there is", lambda c: c["UNROLL"] <= c["ROWS"])],
    )  # fmt: skip


if __name__ == "__main__":
    kernel = tune(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    print(f"{kernel}: {1e3 * kernel.seconds:.3g} ms, {kernel.result.stopped} after {len(kernel.result.trials)} trials")
