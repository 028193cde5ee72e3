"""NumPy's names beside the standard's, against NumPy itself: values, dtypes, shapes, and nothing on the host."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.compare import agree, sample
from tilewright.late import LATE

M = sample((3, 4), "float32")
N = sample((3, 4), "float32", 1)
S = sample((4, 4), "float32", 2)
V, W = sample((5,), "float32"), sample((5,), "float32", 4)
C = sample((2, 3, 4), "float32", 5)
I = sample((3, 4), "int32")  # noqa: E741
U = np.clip(M / 4, -0.9, 0.9)
G = np.array([[1.0, np.nan, -3.0, 0.0], [np.nan, np.nan, np.nan, np.nan], [np.inf, 2.5, -np.inf, np.nan]], np.float32)
ONE = np.array(2.5, np.float32)

CALLS: list[tuple[str, tuple, dict]] = [
    *((name, (U,), {}) for name in ("arccos", "arcsin", "arctan", "arcsinh", "arctanh", "exp2", "absolute", "fabs",
                                    "fix", "rint", "conjugate", "deg2rad", "rad2deg", "radians", "degrees", "cbrt")),
    ("arccosh", (1 + abs(M),), {}), ("arctan2", (M, N), {}), ("power", (abs(M), N), {}), ("mod", (M, N + 0.03), {}),
    ("true_divide", (I, 3), {}), ("invert", (I,), {}), ("bitwise_not", (I,), {}), ("left_shift", (I, 2), {}),
    ("right_shift", (I, 1), {}), ("cbrt", (I,), {}), ("cbrt", (G,), {}), ("around", (M, 1), {}), ("around", (M,), {}),
    ("around", (I, -1), {}), ("around", (M * 100, -2), {}), ("divmod", (M, N + 0.03), {}), ("heaviside", (G, 0.5), {}),
    ("fmax", (G, M), {}), ("fmin", (G, M), {}), ("isposinf", (G,), {}), ("isneginf", (G,), {}),
    ("isclose", (G, G + 1e-9), {}), ("isclose", (M, M * 1.001), {"rtol": 0.01}),
    ("isclose", (G, G), {"equal_nan": True}),
    ("isclose", (I, 3), {}), ("allclose", (M, M), {}), ("allclose", (M, N), {}), ("allclose", (G, G), {}),
    ("array_equal", (M, M), {}), ("array_equal", (M, V), {}), ("array_equal", (G, G), {"equal_nan": True}),
    ("array_equal", (G, G), {}), ("nan_to_num", (G,), {}), ("nan_to_num", (G, True, 7.0, 8.0, -8.0), {}),
    ("nan_to_num", (I,), {}), ("select", ([M > 1, M > 0], [M, N], 9.0), {}),
    ("amax", (M, 0), {}), ("amin", (M,), {"axis": 1, "keepdims": True}), ("ptp", (M, 1), {}), ("average", (M,), {}),
    ("average", (M, 0, abs(N)), {}), ("average", (M, 1, abs(N[0])), {}),
    ("average", (M, None, abs(N)), {}),
    *((name, (G[::2], 1), {}) for name in ("nansum", "nanprod", "nanmax", "nanmin")),
    *((name, (x, axis), {}) for x in (M, G[[0, 0]], I) for axis in (None, 0)
      for name in ("nanmax", "nansum", "nanmean", "nanvar", "nanstd")),
    *((name, (I, 0, "float32"), {}) for name in ("nanmean", "nanvar", "nanstd")), ("nanmean", (M, 0, "float64"), {}),
    ("nanmean", (G[[0, 0]],), {"axis": 1, "keepdims": True}), ("nanstd", (G[:1], 1), {"ddof": 1}),
    ("dot", (M, S), {}), ("dot", (V, W), {}), ("dot", (C, S), {}), ("dot", (C, C[0].T), {}), ("dot", (M, ONE), {}),
    ("dot", (M, C.mT), {}), ("inner", (M, N), {}), ("inner", (C, M), {}), ("inner", (ONE, V), {}), ("vdot", (M, N), {}),
    ("outer", (M, V), {}), ("kron", (M, S), {}), ("kron", (V, M), {}), ("kron", (C, V), {}), ("cov", (M,), {}),
    ("cov", (V,), {}), ("cov", (M,), {"rowvar": False, "ddof": 0}), ("cov", (M,), {"bias": True}),
    ("array", (M,), {"ndmin": 4}), ("array", ([1.5, 2],), {"dtype": "float32"}), ("asanyarray", (M,), {}),
    ("copy", (M,), {}), ("ascontiguousarray", (M.T,), {}), ("ascontiguousarray", (ONE,), {}), ("identity", (3,), {}),
    ("tri", (3, 4, 1), {}), ("tri", (3,), {"dtype": "int8"}), ("logspace", (0, 2, 5), {}), ("vander", (V, 3), {}),
    ("logspace", (0, 2), {"base": 2.0, "endpoint": False, "dtype": "float32"}), ("vander", (V,), {"increasing": True}),
    ("vander", (V, 0), {}), ("ndim", (C,), {}), ("shape", (C,), {}), ("size", (C,), {}), ("size", (C, 1), {}),
    ("transpose", (C,), {}), ("transpose", (C, (1, 2, 0)), {}), ("swapaxes", (C, 0, -1), {}), ("ravel", (C,), {}),
    ("ravel", (C, "F"), {}), *((f"atleast_{n}d", (x,), {}) for n in (1, 2, 3) for x in (ONE, V, M, C)),
    ("atleast_2d", (ONE, V), {}), ("concatenate", ((M, I),), {}), ("concatenate", ((M, N), 1), {}),
    ("concatenate", ((M, N), None), {"dtype": "float64"}), ("append", (M, N, 0), {}), ("append", (M, V), {}),
    ("hstack", ((V, W),), {}), ("hstack", ((M, N),), {}), ("vstack", ((V, W),), {}), ("dstack", ((M, N),), {}),
    ("dstack", ((V, W),), {}), ("column_stack", ((V, W),), {}), ("column_stack", ((M, N),), {}),
    ("split", (M, 2, 1), {}), ("split", (V, [1, 3]), {}), ("array_split", (V, 3), {}), ("array_split", (V, 7), {}),
    ("hsplit", (M, 2), {}), ("vsplit", (S, 2), {}), ("dsplit", (C, [1]), {}),
    *((name, (M, *axis), {}) for name in ("cumsum", "cumprod") for axis in ((), (0,), (-1,))),
    ("cumsum", (I, 1, "float32"), {}),
    ("flipud", (M,), {}), ("fliplr", (M,), {}),
    *(("rot90", (C, k, axes), {}) for k in (-1, 0, 1, 2, 3) for axes in ((0, 1), (2, 0))),
    ("diagonal", (C,), {}), ("diagonal", (C, 1, 2, 0), {}), ("trace", (S,), {}), ("trace", (C, -1, 1, 2), {}),
    ("diag", (V,), {}), ("diag", (V, -2), {}), ("diag", (M, 1), {}), ("ediff1d", (M,), {}),
    ("ediff1d", (V, W, V), {}), ("pad", (M, 2), {}), ("pad", (M, ((0, 1), (2, 0))), {"constant_values": 7}),
    *(("pad", (M, ((2, 1), (0, 9))), {"mode": mode}) for mode in ("edge", "reflect", "symmetric", "wrap")),
    ("pad", (M, 0), {"mode": "edge"}),
]  # fmt: skip
ELSEWHERE = {
    "bfloat16", "bool_", "intp", "einsum", "nn", "random", "register", "top_k", "tune", "tune_kernel", "tuning",
}  # fmt: skip


def moved(value, device):
    """NumPy arrays as ours, in lists and tuples too."""
    if isinstance(value, np.ndarray):
        return tw.asarray(value, device=device.name)
    return type(value)(moved(v, device) for v in value) if isinstance(value, (list, tuple)) else value


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_as_numpy(device, by_oracle):
    tw.fallbacks(reset=True)
    wrong = []
    for name, arguments, options in CALLS:
        wanted = getattr(np, name)(*arguments, **options)
        found = getattr(tw, name)(*moved(arguments, device), **options)
        try:
            if isinstance(found, tw.Array):
                agree(found, wanted, device)
            elif isinstance(found, (list, tuple)) and name != "shape":
                for x, y in zip(found, wanted, strict=True):
                    agree(x, y, device)
            else:
                assert type(found) is type(wanted) and found == wanted
        except AssertionError as error:
            wrong.append(f"{name} {[getattr(x, 'shape', x) for x in arguments]}: {error}")
    assert not wrong, "\n".join(wrong)
    assert tw.fallbacks() == {}


def test_every_name_is_tested_and_listed():
    here = {name for name, module in LATE.items() if module != "hosted"}
    assert here - ELSEWHERE == {name for name, *_ in CALLS} - {"array"}
    assert set(LATE) <= set(dir(tw))
    assert tw.bool_ == tw.bool and tw.intp == tw.int64


def test_views_write_through_and_copies_do_not(device):
    x = tw.asarray(M, device=device.name)
    for view in (tw.transpose(x), tw.swapaxes(x, 0, 1), tw.split(x, 2, 1)[0], tw.rot90(x, 2), tw.diagonal(x), x[...]):
        before = float(tw.sum(x))
        view += 1
        assert abs(float(tw.sum(x)) - before - view.size) < 1e-4
    kept = x.tolist()
    for other in (tw.copy(x), tw.array(x), tw.pad(x, 0, "edge"), tw.nan_to_num(x)):
        other += 1
    assert x.tolist() == kept
    holed = tw.asarray(G, device=device.name)
    assert tw.nan_to_num(holed, copy=False) is holed and not tw.any(tw.isnan(holed))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: tw.split(x, 3, 1), lambda x: tw.array_split(x, 0), lambda x: tw.pad(x, -1),
        lambda x: tw.diag(x[None]),
        lambda x: tw.pad(x, 1, "mean"), lambda x: tw.rot90(x, 1, (1, 1)), lambda x: tw.ravel(x, "K"), tw.vander,
        lambda x: tw.select([x > 0], []), lambda x: tw.cov(x, x), lambda x: tw.swapaxes(x, 0, 2),
    ],
)  # fmt: skip
def test_bad_input(wrong):
    with pytest.raises(ValueError, match=r"^\w+: "):
        wrong(tw.ones((3, 4)))
