"""What `import tilewright` does not import: name -> the module that has it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tilewright.dtypes import object_of

_NAMES = {
    "aliases": """
        absolute allclose amax amin arccos arccosh arcsin arcsinh arctan arctan2 arctanh around array_equal
        average bitwise_not bool_ cbrt conjugate cov cumprod cumsum deg2rad degrees divmod dot exp2 fabs fix fmax fmin
        heaviside inner intp invert isclose isneginf isposinf kron left_shift mod nan_to_num nanmax nanmean
        nanmin nanprod nanstd nansum nanvar outer power ptp rad2deg radians right_shift rint select true_divide
        vdot
    """,
    "arranging": """
        append array_split asanyarray ascontiguousarray atleast_1d atleast_2d atleast_3d column_stack
        concatenate copy diag diagonal dsplit dstack ediff1d fliplr flipud hsplit hstack identity logspace ndim
        pad ravel rot90 shape size split swapaxes trace transpose tri vander vsplit vstack
    """,
    "measuring": "tune tuning",
    "raw": "tune_kernel",
    "contraction": "einsum",
    "native": "register",
    "searching": "top_k",
    "hosted": """
        angle apply_along_axis argpartition argwhere array_equiv bartlett bincount bitwise_count blackman
        block choose compress convolve copyto corrcoef correlate cross delete diag_indices digitize extract
        fill_diagonal flatnonzero float_power fmod frexp gcd geomspace gradient hamming hanning histogram
        histogram2d histogram_bin_edges histogramdd i0 indices insert interp intersect1d iscomplex
        iscomplexobj isreal isrealobj kaiser lcm ldexp lexsort logaddexp2 median modf nanargmax nanargmin
        nancumprod nancumsum nanmedian nanpercentile nanquantile partition percentile piecewise place
        polyfit polyval put put_along_axis putmask quantile ravel_multi_index resize roots setdiff1d
        setxor1d sinc sort_complex spacing trapezoid tril_indices trim_zeros triu_indices union1d unique
        unravel_index unwrap
    """,
}
LATE: dict[str, str] = {name: module for module, names in _NAMES.items() for name in names.split()}
LATE["random"] = LATE["nn"] = LATE["bfloat16"] = ""  # modules, and what a package of its own brings


def late(name: str) -> Any:
    """The object of that name; None where there is none."""
    module = LATE.get(name)
    if module == "":
        return object_of(name) if name == "bfloat16" else import_module(f"tilewright.{name}")
    return None if module is None else getattr(import_module(f"tilewright.{module}"), name)
