"""What was tried for workloads that are, or were, below an aim: the page quotes it."""

_SUMS = (
    "Tried: the lanes of one, two, four and eight vectors (two to four it is); four places of a row at once, which "
    "pays for four sums across lanes at its end."
)
_STENCIL = "Tried: one row a group, several (now), the last elements of a row one by one, and under a mask (now)."
_VENDOR = "Tried: nothing here, the product is the vendor's; what is left is waking its threads beside ours."
TRIED = {
    "gelu": "Tried: vectors of 256 bits, 1.35 times as long in the caches.",
    "black-scholes": "Tried: our own exp and log instead of libmvec's, 1.15 times as long; one kernel, not ten (now).",
    "polynomial": "Tried: vectors of 256 bits, 1.4 times as long in the caches.",
    "sum": _SUMS,
    "variance axis 1": _SUMS,
    "layer norm": _SUMS,
    "softmax": "Tried: computing exp twice instead of keeping it, vectors of 256 bits, our own exp: each slower.",
    "cross-entropy": "Tried: taking scores instead of differences (now); a row's largest is still a pass of its own, "
    "since the loss and the sum both want it.",
    "jacobi": _STENCIL,
    "heat": _STENCIL,
    "mlp": _VENDOR,
    "matmul+bias+gelu": _VENDOR,
    "k-means step": _VENDOR,
}
