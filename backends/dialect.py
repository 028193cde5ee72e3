"""One dialect: the neutral C that kernels are written in, and how a device turns it into its own language.

A device that reads no C brings a Language (language.py), and no prelude.

A device's text is prelude + one `#define` per tunable + KERNEL + `#line 1` + body. A prelude defines:

    types      b8 i8 i16 i32 i64 u8 u16 u32 u64 f32 f64; f16 and bf16 are 16 bits of storage only;
               c64 and c128 are structs of two floats, .re and .im
    KERNEL     the whole signature, made by the device from Source.parameters
    GLOBAL     address space of pointers into buffers        DEVICE     qualifier of helper functions
    ALIGNED(nbytes)   after `struct`: its alignment, where the device's buffers keep to it
    SHARED(type, name, count)   an array of the group        BARRIER()  all threads of the group meet
    GROUP(d) LOCAL(d) LOCAL_SIZE(d)   i64 indices, d = 0, 1, 2; a CPU group is one thread: LOCAL 0, LOCAL_SIZE 1
    FOR_EACH(i, begin, end)   loop of i64 i, split over the group's threads along axis 0; iterations are independent
    FOR_REDUCE(i, begin, end, R, acc)   the same, combining the f32/f64/integer variable `acc` with reduction R
    VECTOR_LOOP                before a thread's own loop whose iterations are independent
    DECLARE_REDUCTION(R, type, COMBINE, start)   at file scope, before FOR_REDUCE uses R; COMBINE(a, b) is a macro
    FOR_SCAN(i, begin, end, R, acc)   by one thread, in order: a block that combines into `acc`, SCANNED(acc), and a
                              block that sees what `acc` is so far; they share no variable but `acc` and i
    GROUP_REDUCE(type, COMBINE, acc, name)   afterwards every thread holds the group's combined `acc`;
                              LOCAL_SIZE(0) must be a power of two; `name` is a SHARED array of LOCAL_SIZE(0) elements
    GROUP_SCAN(type, COMBINE, acc) GROUP_LAST(type, acc)   where a group is one vector of Limits.lanes threads: each
                              then holds what those up to itself give; what the last one holds
    LANES_EXCHANGE(type, a, b, step)   there: the lanes whose number has the bit `step` take a from the b of the
                              lane without, which takes its b from the other's a
    LOAD(T, p, i) STORE(T, p, i, v)   T a storage type; values are in the compute type (f32 for f16 and bf16)
    ROUND_f16(x) ROUND_bf16(x)   an f32 rounded to what those types can hold
    FMA(a, b, c)   fused where the hardware has it, in f32 or f64; nothing else is contracted
    UNROLL     before a loop with constant bounds
    f(x)       as NAME_f32 and NAME_f64: exp expm1 exp2 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh
               asinh acosh atanh erf sqrt floor ceil trunc rint fabs pow atan2 hypot fmod copysign nextafter
    floordiv_T mod_T ipow_T logaddexp_T   of two operands, with NumPy's meaning; max_nan_T min_nan_T propagate NaN,
                               as MAX_NAN MIN_NAN do for either type
    complex_T(re, im)   a complex number of two floats of type T; Z being c64 or c128: add_Z sub_Z mul_Z div_Z neg_Z
               conj_Z abs_Z where_Z eq_Z isnan_Z isinf_Z isfinite_Z
    philox below_T normal_T   random numbers, the same on every device: see prelude_random.h
    INF_T NAN_T MIN_T MAX_T   constants of the compute types     as_u32(x) as_f32(u)   the same bits
    OWN_MATH OWN_MATH_64   which float32 and float64 functions are prelude_math.h's (see there)
    HAS_F64    1 where f64 exists, else 0
    LAUNCH_WORK   may be among the defines: about how many operations a launch takes, an expression of the parameters;
               a CPU does small ones on the caller's thread
    CPU_GROUPS 1 where a group is one thread, else 0
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.protocol import Source
from tilewright.backends.tensor_map import TENSOR_MAP

_HERE = Path(__file__).parent


def prelude(name: str) -> str:
    """The text of `prelude_<name>.h`, which lies beside this file, and what all preludes share after it."""
    return "".join((_HERE / f"prelude_{part}.h").read_text() for part in (name, "math", "common", "random"))


def defines(source: Source) -> str:
    """The tunables of `source`, one `#define` a line."""
    return "".join(f"#define {name} {value}\n" for name, value in source.defines)


def parameters(source: Source, pointer: str = "") -> str:
    """The parameter list of `source` in C; `pointer` is the address space put before each pointer."""
    texts = []
    for p in source.parameters:
        constant = "const " if p.access in ("in", "value") else ""
        star = "" if p.access == "value" else "*"
        space = pointer + " " if pointer and p.access != "value" else ""
        texts.append(f"{space}{constant}{c_name(p.dtype)} {star}{p.name}")
    return ", ".join(texts)


def assemble(prelude_text: str, source: Source, signature: str, epilogue: str = "") -> str:
    """A device's whole text: errors in the body carry the lines of `source.filename`. A raw body is a text already."""
    end = f'\n#line 1 "after {source.filename}"\n{epilogue}' if epilogue else ""
    head = defines(source) if source.raw else f"{prelude_text}{defines(source)}#define KERNEL {signature}\n"
    return f'{head}#line 1 "{source.filename}"\n{source.body}\n{end}'


def digest(text: str) -> str:
    """Twelve hexadecimal digits that stand for `text` in a fingerprint."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def c_name(dtype: str) -> str:
    """How kernels spell a dtype: "f32" for "float32"."""
    return "TENSOR_MAP" if dtype == TENSOR_MAP else DTYPES[dtype].c
