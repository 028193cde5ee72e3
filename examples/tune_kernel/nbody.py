"""A step of n bodies that attract each other, all pairs, as in GPU Gems 3 (chapter 31), tuned by `tune_kernel`.

Positions come with a mass as fourth component; velocities and positions are changed in place, positions into another
array since everybody still reads the old ones.

python nbody.py [DEVICE]
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import tilewright as tw

SOFTENING = 1e-2  # keeps close encounters finite

OPENCL = """
__kernel void nbody(__global float4 *moved, __global float4 *velocity, __global const float4 *body, const float dt) {
    const int first = get_group_id(0) * GROUP * EACH + get_local_id(0);
    float4 own[EACH], force[EACH];
    for (int e = 0; e < EACH; e++) { own[e] = body[first + e * GROUP]; force[e] = (float4)(0.0f); }
    #pragma unroll UNROLL
    for (int k = 0; k < COUNT; k++)
        for (int e = 0; e < EACH; e++) {
            const float4 other = body[k], d = other - own[e];
            const float near = 1.0f / sqrt(d.x * d.x + d.y * d.y + d.z * d.z + SOFTENING);
            force[e] += d * (other.w * near * near * near);
        }
    for (int e = 0; e < EACH; e++) {
        float4 v = velocity[first + e * GROUP] + dt * force[e];
        v.w = 0.0f;
        velocity[first + e * GROUP] = v;
        moved[first + e * GROUP] = own[e] + dt * v;
    }
}
"""

C = """
#include <math.h>
void nbody(float *moved, float *velocity, const float *body, const float dt) {
    #pragma omp parallel for schedule(dynamic, CHUNK)
    for (int first = 0; first < COUNT; first += EACH) {
        float x[EACH], y[EACH], z[EACH], fx[EACH] = {0}, fy[EACH] = {0}, fz[EACH] = {0};
        for (int e = 0; e < EACH; e++) {
            x[e] = body[4 * (first + e)]; y[e] = body[4 * (first + e) + 1]; z[e] = body[4 * (first + e) + 2];
        }
        for (int k = 0; k < COUNT; k++) {
            const float *other = body + 4 * k;
            for (int e = 0; e < EACH; e++) {
                const float dx = other[0] - x[e], dy = other[1] - y[e], dz = other[2] - z[e];
                const float near = 1.0f / sqrtf(dx * dx + dy * dy + dz * dz + SOFTENING);
                const float pull = other[3] * near * near * near;
                fx[e] += dx * pull; fy[e] += dy * pull; fz[e] += dz * pull;
            }
        }
        for (int e = 0; e < EACH; e++) {
            float *v = velocity + 4 * (first + e), *to = moved + 4 * (first + e);
            v[0] += dt * fx[e]; v[1] += dt * fy[e]; v[2] += dt * fz[e]; v[3] = 0;
            to[0] = x[e] + dt * v[0]; to[1] = y[e] + dt * v[1]; to[2] = z[e] + dt * v[2];
            to[3] = body[4 * (first + e) + 3];
        }
    }
}
"""


def reference(moved: Any, velocity: Any, body: Any, dt: float) -> Any:
    """In double precision."""
    place, mass = body[:, :3].astype(np.float64), body[:, 3].astype(np.float64)
    apart = place[None] - place[:, None]
    near = (apart**2).sum(2) + SOFTENING
    force = (apart * (mass / near**1.5)[..., None]).sum(1)
    speed = velocity.astype(np.float64)
    speed[:, :3] += dt * force
    speed[:, 3] = 0
    after = body.astype(np.float64)
    after[:, :3] += dt * speed[:, :3]
    return after, speed


def tune(device: str, budget: float = 20.0, count: int = 1024) -> Any:
    """The tuned kernel: (velocity, body, dt) -> (body after a step, velocity)."""
    rng = np.random.default_rng(0)
    body, velocity = rng.random((count, 4), np.float32), np.zeros((count, 4), np.float32)
    arguments = [np.empty_like(body), velocity, body, 1e-3]
    softening = f"{SOFTENING}f"
    common: dict[str, list[Any]] = {"COUNT": [count], "SOFTENING": [softening]}
    if device == "cpu":
        choices = {**common, "EACH": [4, 8, 16, 32, 64], "CHUNK": [1, 2, 4]}
        return tw.tune_kernel(
            C, "nbody", arguments, choices, updates=[1], device=device, reference=reference, budget=budget
        )
    return tw.tune_kernel(
        OPENCL, "nbody", arguments, {**common, "UNROLL": [1, 4], "GROUP": [32, 64, 128, 256], "EACH": [1, 2, 4]},
        updates=[1], device=device, reference=reference, budget=budget,
        grid=lambda c: count // (c["GROUP"] * c["EACH"]), group="GROUP",
        rules=[("groups divide the bodies", lambda c: count % (c["GROUP"] * c["EACH"]) == 0)],
    )  # fmt: skip


if __name__ == "__main__":
    kernel = tune(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    print(f"{kernel}: {1e3 * kernel.seconds:.3g} ms, {kernel.result.stopped} after {len(kernel.result.trials)} trials")
