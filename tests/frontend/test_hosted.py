"""Names of NumPy's that its own functions stand behind: Arrays in, Arrays out, and the host is counted."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample
from tilewright.late import LATE

M, V, W = sample((3, 4)), sample((5,)), sample((5,), seed=1)
I = np.array([3, 1, 4, 1, 5], np.int32)  # noqa: E741
UP = np.sort(V)

CALLS: dict[str, tuple] = {
    "angle": (M,), "apply_along_axis": (np.sort, 0, M), "argpartition": (V, 2), "argwhere": (M,), "array_equiv": (V, V),
    "bartlett": (5,), "bincount": (I,), "bitwise_count": (I,), "blackman": (5,), "block": ([[M, M]],),
    "choose": (I % 2, [V, W]), "compress": ([True, False, True], V[:3]), "convolve": (V, W), "corrcoef": (M,),
    "correlate": (V, W), "cross": (V[:3], W[:3]), "delete": (V, 1), "diag_indices": (3,), "digitize": (V, UP),
    "extract": (V > 0, V), "flatnonzero": (V,), "float_power": (abs(V), W), "fmod": (V, 0.3), "frexp": (V,),
    "gcd": (I, 6), "geomspace": (1.0, 8.0, 4), "gradient": (V,), "hamming": (5,), "hanning": (5,),
    "histogram": (V, 3), "histogram2d": (V, W, 3), "histogram_bin_edges": (V, 3), "histogramdd": (M, 2), "i0": (V,),
    "indices": ((2, 3),), "insert": (V, 1, 2.0), "interp": (V, UP, W), "intersect1d": (I, I[:2]), "iscomplex": (V,),
    "iscomplexobj": (V,), "isreal": (V,), "isrealobj": (V,), "kaiser": (5, 1.0), "lcm": (I, 6), "ldexp": (V, I),
    "lexsort": ((I, V),), "logaddexp2": (V, W), "median": (M, 1), "modf": (V,), "nanargmax": (V,), "nanargmin": (V,),
    "nancumprod": (V,), "nancumsum": (V,), "nanmedian": (M,), "nanpercentile": (M, 30), "nanquantile": (M, 0.3),
    "partition": (UP, 2), "percentile": (M, [10, 50], 0), "piecewise": (V, [V < 0, V >= 0], [0.0, 1.0]),
    "polyfit": (V, W, 1), "polyval": (V, W), "quantile": (M, 0.25), "ravel_multi_index": ((I[:2], I[1:3]), (9, 9)),
    "resize": (V, (2, 4)), "roots": (V,), "setdiff1d": (I, I[:2]), "setxor1d": (I, I[:2]), "sinc": (V,),
    "sort_complex": (V,), "spacing": (V,), "trapezoid": (V,), "tril_indices": (3,), "trim_zeros": (V,),
    "triu_indices": (3,), "union1d": (I, I), "unique": (I,), "unravel_index": (I, (3, 3)), "unwrap": (V,),
}  # fmt: skip
WRITERS = {
    "copyto": (V,), "fill_diagonal": (2.0,), "place": (M > 0, V), "put": ([1, 2], 9.0),
    "put_along_axis": (np.array([[0], [1], [2]]), 7.0, 1), "putmask": (M > 0, 3.0),
}  # fmt: skip


def moved(value, device):
    if isinstance(value, np.ndarray):
        return tw.asarray(value, device=device.name)
    return type(value)(moved(v, device) for v in value) if isinstance(value, (list, tuple)) else value


def same(found, wanted, device):
    if isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        for x, y in zip(found, wanted, strict=True):
            same(x, y, device)
    elif isinstance(wanted, (bool, type(None))):
        assert found is wanted
    else:
        assert isinstance(found, tw.Array)
        agree(found, np.asarray(wanted), device)


@pytest.mark.parametrize("name", CALLS)
def test_as_numpy(device, name):
    before = tw.get_default_device()
    tw.set_default_device(device.name)
    try:
        same(getattr(tw, name)(*moved(CALLS[name], device)), getattr(np, name)(*CALLS[name]), device)
    finally:
        tw.set_default_device(before)


@pytest.mark.parametrize("name", WRITERS)
def test_writers_write_into_the_array(device, name):
    a = sample((3, 5) if name == "copyto" else (3, 4))
    x = tw.asarray(a, device=device.name)
    getattr(np, name)(a, *WRITERS[name])
    assert getattr(tw, name)(x, *moved(WRITERS[name], device)) is None
    agree(x, a, device)


def test_every_name_is_tested_and_listed():
    assert {name for name, module in LATE.items() if module == "hosted"} == {*CALLS, *WRITERS}
    with pytest.raises(AttributeError, match="no attribute 'busday_count'"):
        tw.busday_count  # noqa: B018
