"""einsum against NumPy's: both call forms, diagonals, ellipses, many random subscripts; nothing leaves the device."""

from __future__ import annotations

import random

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample

EXTENTS = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 1}
FIXED = [
    "ij,jk->ik", "ij,jk", "ij->ji", "ii", "ii->i", "iij->j", "ij->", "i,j->ij", "i,i", "ij,ij->i", "bij,bjk->bik",
    "bij,bj->bi", "...ij,...jk->...ik", "...i->...", "i...,i...", "ij,jk,kl,lm->im", "ab,ab,ab->a",
    ",ij->ij", "ba,cb,cd",
]  # fmt: skip


def operands(subscripts, dtype="float64", dots=(2,)):
    """Arrays that fit; 3 elements along every axis."""
    terms = subscripts.split("->")[0].split(",")
    shapes = [tuple(e for c in t.replace("...", ".") for e in (dots if c == "." else (3,))) for t in terms]
    return [sample(shape, dtype, seed) for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize("subscripts", FIXED)
def test_known_forms(device, subscripts, by_oracle):
    arrays = operands(subscripts)
    agree(tw.einsum(subscripts, *(tw.asarray(x) for x in arrays)), np.einsum(subscripts, *arrays), device)


def random_subscripts(rng):
    """One to four terms of up to four letters, some twice; an output of some of them, an ellipsis here and there."""
    terms = ["".join(rng.choices("abcde", k=rng.randint(0, 4))) for _ in range(rng.randint(1, 4))]
    shapes = [[EXTENTS[c] for c in term] for term in terms]
    dotted = rng.random() < 0.3
    for k, term in enumerate(terms):
        if dotted and rng.random() < 0.7:
            at, extra = rng.randint(0, len(term)), [[], [6], [2, 1], [2, 6]][rng.randint(0, 3)]
            terms[k] = f"{term[:at]}...{term[at:]}"
            shapes[k][at:at] = extra
    known = sorted({c for term in terms for c in term if c != "."})
    output = "".join(rng.sample(known, rng.randint(0, len(known))))
    dots = "..." if any("." in t for t in terms) else ""
    tail = "" if rng.random() < 0.3 else f"->{dots}{output}"
    return ",".join(terms) + tail, shapes


def test_random_subscripts(device, by_oracle):
    rng = random.Random(8)
    for _ in range(400):
        subscripts, shapes = random_subscripts(rng)
        arrays = [sample(tuple(shape), "float64", seed) for seed, shape in enumerate(shapes)]
        try:
            wanted = np.einsum(subscripts, *arrays)
        except ValueError:
            with pytest.raises(ValueError, match="einsum: "):
                tw.einsum(subscripts, *map(tw.asarray, arrays))
            continue
        agree(tw.einsum(subscripts, *(tw.asarray(x, device=device.name) for x in arrays)), wanted, device, 1e-9)


def test_interleaved_numpy_operands_views_and_dtypes(device):
    a, b = sample((3, 4), "float32"), sample((4, 5), "float32", 1)
    x, y = (tw.asarray(v, device=device.name) for v in (a, b))
    tw.fallbacks(reset=True)
    agree(tw.einsum(x, [0, 1], y, [1, 2], [2, 0]), np.einsum(a, [0, 1], b, [1, 2], [2, 0]), device)
    agree(tw.einsum(x, [..., 1], b, [1, 2]), np.einsum(a, [..., 1], b, [1, 2]), device)
    agree(tw.einsum("ij,jk,jl->kl", x, b, y, optimize="optimal"), np.einsum("ij,jk,jl->kl", a, b, b), device)
    chain = "ij,jk,kl,lm->im"
    square = sample((4, 4), "float32")
    agree(tw.einsum(chain, *[tw.asarray(square)] * 4, optimize=["einsum_path", (0, 1), (0, 1), (0, 1)]),
          np.einsum(chain, *[square] * 4), device)  # fmt: skip
    for dtype in ("int8", "bool", "float16"):
        c = sample((4, 4), dtype)
        wanted = np.einsum("ij,ij->i", *[c.astype("float32") if dtype == "float16" else c] * 2).astype(dtype)
        agree(tw.einsum("ij,ij->i", *[tw.asarray(c)] * 2), wanted, device)
    assert tw.fallbacks() == {}
    z = tw.zeros((3, 3), device=device.name)
    diagonal = tw.einsum("ii->i", z)
    diagonal += 1
    assert z.tolist() == np.eye(3).tolist()


@pytest.mark.parametrize(
    "wrong", ["ij,jk->iz", "ij", "ij,jk,kl", "ij->ii,jk", "i,jk", "ij,ik->jk", "i.j,jk", "ij,jk->ii"]
)
def test_bad_input(wrong):
    with pytest.raises(ValueError, match="einsum: "):
        tw.einsum(wrong, tw.ones((3, 4)), tw.ones((4, 5)))
    with pytest.raises(TypeError, match="einsum: "):
        tw.einsum("ij", np.ones((3, 4)))
