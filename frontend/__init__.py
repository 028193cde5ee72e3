"""tilewright: arrays of the array API standard on a backend that fits itself to the chip it runs on.

    import tilewright as tw

Arrays record what is asked of them and are evaluated when read, or by `tw.eval`. `tw.jit` replays a whole function,
`tw.explain` says what would run, `tw.fallbacks` what the host did for a device, `tw.tuning` and `tw.tune` measure.
"""

from __future__ import annotations

from math import e, inf, nan, pi
from typing import Any

from tilewright import fft, linalg
from tilewright.array import Array
from tilewright.backends.fallback import fallbacks
from tilewright.creation import (
    arange,
    array,
    asarray,
    astype,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from tilewright.devices import Device, devices, get_default_device, set_default_device
from tilewright.dtypes import finfo, iinfo, isdtype, object_of
from tilewright.elementwise import (
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    ceil,
    clip,
    conj,
    copysign,
    cos,
    cosh,
    divide,
    equal,
    erf,
    exp,
    expm1,
    floor,
    floor_divide,
    greater,
    greater_equal,
    hypot,
    imag,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    nextafter,
    not_equal,
    positive,
    pow,
    real,
    reciprocal,
    remainder,
    round,
    sign,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    subtract,
    tan,
    tanh,
    trunc,
    where,
)
from tilewright.evaluation import can_cast, eval, result_type
from tilewright.explain import explain
from tilewright.extremes import argmax, argmin
from tilewright.info import __array_namespace_info__
from tilewright.jit import jit
from tilewright.late import LATE, late
from tilewright.linalg import matmul, matrix_transpose, tensordot, vecdot
from tilewright.manipulation import (
    broadcast_arrays,
    broadcast_shapes,
    broadcast_to,
    concat,
    diff,
    expand_dims,
    flip,
    moveaxis,
    permute_dims,
    repeat,
    reshape,
    roll,
    squeeze,
    stack,
    tile,
    unstack,
)
from tilewright.searching import (
    argsort,
    isin,
    nonzero,
    searchsorted,
    sort,
    take,
    take_along_axis,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
)
from tilewright.statistical import (
    all,
    any,
    count_nonzero,
    cumulative_prod,
    cumulative_sum,
    max,
    mean,
    min,
    std,
    sum,
    var,
)
from tilewright.statistical import product as prod

__version__ = "0.1.0"
__array_api_version__ = "2025.12"

newaxis = None
bool = object_of("bool")
int8, int16, int32, int64 = (object_of(f"int{bits}") for bits in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (object_of(f"uint{bits}") for bits in (8, 16, 32, 64))
float16, float32, float64 = (object_of(f"float{bits}") for bits in (16, 32, 64))
complex64, complex128 = object_of("complex64"), object_of("complex128")


def __getattr__(name: str) -> Any:
    """What few programs need is imported when it is first asked for."""
    found = late(name)
    if found is None:
        raise AttributeError(f"module 'tilewright' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, *LATE, "__version__", "__array_api_version__"})


__all__ = [
    "Array", "Device", "__array_namespace_info__", "abs", "acos", "acosh", "add", "all", "any", "arange", "argmax",
    "argmin",
    "argsort", "array", "asarray", "asin", "asinh", "astype", "atan", "atan2", "atanh", "bfloat16", "bitwise_and",
    "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "bool",
    "broadcast_arrays", "broadcast_shapes", "broadcast_to", "can_cast", "ceil", "clip", "complex64", "complex128",
    "concat", "conj", "copysign", "cos", "cosh", "count_nonzero", "cumulative_prod", "cumulative_sum", "devices",
    "diff", "divide", "e", "empty", "empty_like", "equal", "erf", "eval", "exp", "expand_dims", "explain", "expm1",
    "eye",
    "fallbacks", "fft", "finfo", "flip", "float16", "float32", "float64", "floor", "floor_divide", "from_dlpack",
    "full", "full_like", "get_default_device", "greater", "greater_equal", "hypot", "iinfo", "imag", "inf", "int8",
    "int16", "int32", "int64", "isdtype", "isfinite", "isin", "isinf", "isnan", "jit", "less", "less_equal", "linalg",
    "linspace",
    "log", "log1p", "log2", "log10", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "matmul",
    "matrix_transpose", "max", "maximum", "mean", "meshgrid", "min", "minimum", "moveaxis", "multiply", "nan",
    "negative", "newaxis", "nextafter", "nonzero", "not_equal", "ones", "ones_like", "permute_dims", "pi", "positive",
    "pow", "prod", "real", "reciprocal", "register", "remainder", "repeat", "reshape", "result_type", "roll", "round",
    "searchsorted", "set_default_device", "sign", "signbit", "sin", "sinh", "sort", "sqrt", "square", "squeeze",
    "stack", "std", "subtract", "sum", "take", "take_along_axis", "tan", "tanh", "tensordot", "tile", "tril", "triu",
    "trunc", "tune", "tune_kernel", "tuning", "uint8", "uint16", "uint32", "uint64", "unique_all", "unique_counts",
    "unique_inverse", "unique_values", "unstack", "var", "vecdot", "where", "zeros", "zeros_like",
]  # fmt: skip
