"""What was tried for workloads, or families of them, that are, or were, below an aim: the page quotes it."""

_SUMS = (
    "Tried: the lanes of one, two, four and eight vectors (two to four it is); four places of a row at once, which "
    "pays for four sums across lanes at its end."
)
_STENCIL = "Tried: one row a group, several (now), the last elements of a row one by one, and under a mask (now)."
_PAST = " Large results past the caches (non-temporal stores): 0.85 to 1.15 times as fast."
_SMALL = (
    "Tried: two threads for a product of 64, which takes 5 microseconds: a loss. A call through jit takes 4.4, a fifth "
    "of which allocates the result."
)
TRIED = {
    "gelu": "Tried: vectors of 256 bits, 1.35 times as long in the caches." + _PAST,
    "black-scholes": "Tried: our own exp and log instead of libmvec's, 1.15 times as long; one kernel, not ten (now).",
    "polynomial": "Tried: vectors of 256 bits, 1.4 times as long in the caches." + _PAST,
    "sum": _SUMS,
    "variance axis 1": _SUMS,
    "layer norm": _SUMS,
    "softmax": "Tried: computing exp twice instead of keeping it, vectors of 256 bits, our own exp: each slower.",
    "cross-entropy": "Tried: taking scores instead of differences (now); a row's largest is still a pass of its own, "
    "since the loss and the sum both want it.",
    "jacobi": _STENCIL + _PAST,
    "heat": _STENCIL,
    "matmul 64": _SMALL,
    "matmul skinny 256x256": _SMALL,
}
