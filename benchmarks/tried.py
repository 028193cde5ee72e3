"""What was tried for workloads, or families of them, that are, or were, below an aim: the page quotes it."""

_SUMS = (
    "Tried: the lanes of one, two, four and eight vectors (two to four it is); four places of a row at once, which "
    "pays for four sums across lanes at its end."
)
_STENCIL = "Tried: one row a group, several (now), the last elements of a row one by one, and under a mask (now)."
_PAST = " Large results past the caches (non-temporal stores): 0.85 to 1.15 times as fast."
_SMALL = (
    "Tried: a second thread where it is awake (now: 2.9 microseconds instead of 5.0); a call made for its recording, "
    "without loops and searches (now: 2.5 instead of 4.2, a quarter of which allocates the result)."
)
_NEXT = " The next row asked for while this one is computed: no gain, the hardware does so."
TRIED = {
    "gelu": "Tried: vectors of 256 bits, 1.35 times as long in the caches." + _PAST,
    "black-scholes": "Tried: our own exp (now) and log, 1.2 times as long as libmvec's; one kernel, not ten (now).",
    "polynomial": "Tried: vectors of 256 bits, 1.4 times as long in the caches." + _PAST,
    "sum": _SUMS,
    "variance axis 1": _SUMS,
    "layer norm": _SUMS,
    "softmax": "Tried: computing exp twice instead of keeping it, vectors of 256 bits: each slower; our own exp (now)."
    + _NEXT,
    "cross-entropy": "Tried: scores instead of differences, a row's largest and its sum in one kernel, our own exp "
    "(now all three)." + _NEXT,
    "jacobi": _STENCIL + _PAST,
    "heat": _STENCIL,
    "matmul 64": _SMALL,
    "matmul skinny 256x256": _SMALL,
    "matmul skinny 4096x4096": "Tried: rows read to their end (now: 2.0 ms, was 3.2); dot products along them.",
}
