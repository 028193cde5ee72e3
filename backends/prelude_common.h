/* What every prelude shares. Before it, a prelude defines the types, DEVICE, HAS_F64, as_u32, as_f32, INF_f32 and the
   math functions; everything here is plain C that OpenCL C and CUDA C++ read the same way. */

#ifndef VECTOR_LOOP
#define VECTOR_LOOP
#endif
#if !CPU_GROUPS
#define FOR_EACH(i, begin, end) for (i64 i = (begin) + LOCAL(0); i < (end); i += LOCAL_SIZE(0))
#define FOR_REDUCE(i, begin, end, R, acc) FOR_EACH(i, begin, end)
#define DECLARE_REDUCTION(R, type, COMBINE, start)
#define FOR_SCAN(i, begin, end, R, acc) for (i64 i = (begin); i < (end); ++i)
#define SCANNED(acc)
#ifndef GROUP_REDUCE
/* The first barrier lets readers of an earlier use of `name` finish. */
#define GROUP_REDUCE(type, COMBINE, acc, name) \
    do { \
        BARRIER(); \
        name[LOCAL(0)] = acc; \
        BARRIER(); \
        for (i64 step = LOCAL_SIZE(0) / 2; step > 0; step /= 2) { \
            if (LOCAL(0) < step) { \
                const type other = name[LOCAL(0) + step]; \
                acc = COMBINE(acc, other); \
                name[LOCAL(0)] = acc; \
            } \
            BARRIER(); \
        } \
        acc = name[0]; \
    } while (0)
#endif
#endif

#define MIN_i8 ((i8)-128)
#define MAX_i8 ((i8)127)
#define MIN_i16 ((i16)-32768)
#define MAX_i16 ((i16)32767)
#define MIN_i32 ((i32)(-2147483647 - 1))
#define MAX_i32 ((i32)2147483647)
#define MAX_i64 ((i64)0x7fffffffffffffff)
#define MIN_i64 (-MAX_i64 - 1)
#define MIN_u8 ((u8)0)
#define MAX_u8 ((u8)255)
#define MIN_u16 ((u16)0)
#define MAX_u16 ((u16)65535)
#define MIN_u32 ((u32)0)
#define MAX_u32 ((u32)0xffffffffu)
#define MIN_u64 ((u64)0)
#define MAX_u64 (~(u64)0)

/* Maximum and minimum as IEEE 754-2019 has them: NaN if either is. With the inner question answered first, it is a CPU's
   own instruction and the outer one no branch; written as one expression, compilers leave a chain of them scalar. */
#define CHOICES(t) \
    DEVICE t max_nan_##t(t a, t b) { const t larger = a > b ? a : b; return a != a ? a : larger; } \
    DEVICE t min_nan_##t(t a, t b) { const t smaller = a < b ? a : b; return a != a ? a : smaller; }
CHOICES(f32)
#if HAS_F64
CHOICES(f64)
#endif
#define MAX_NAN(a, b) ((a) != (a) ? (a) : (a) > (b) ? (a) : (b)) /* of either type */
#define MIN_NAN(a, b) ((a) != (a) ? (a) : (a) < (b) ? (a) : (b))

/* 16-bit floats in integer arithmetic without branches: exact, to nearest even, whatever the device does to subnormals. */
DEVICE f32 f16_to_f32(u16 value) {
    u32 magnitude = (u32)value & 0x7fffu, sign = ((u32)value & 0x8000u) << 16;
    u32 normal = (magnitude << 13) + 0x38000000u; /* the exponent's bias moves from 15 to 127 */
    u32 tiny = as_u32(as_f32(normal + 0x00800000u) - as_f32(0x38800000u));
    u32 bits = magnitude < 0x400u ? tiny : magnitude >= 0x7c00u ? normal + 0x38000000u : normal;
    return as_f32(bits | sign);
}
DEVICE u16 f32_to_f16(f32 value) {
    u32 bits = as_u32(value), magnitude = bits & 0x7fffffffu, sign = (bits >> 16) & 0x8000u;
    u32 normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
    /* below 2^-14, adding 0.5 makes the adder round at the last place that a subnormal has */
    u32 tiny = as_u32(as_f32(magnitude) + 0.5f) - 0x3f000000u;
    u32 large = magnitude > 0x7f800000u ? 0x7e00u | ((magnitude >> 13) & 0x3ffu) : 0x7c00u;
    u32 result = magnitude < 0x38800000u ? tiny : magnitude >= 0x477ff000u ? large : normal;
    return (u16)(result | sign);
}
DEVICE f32 bf16_to_f32(u16 brain) { return as_f32((u32)brain << 16); }
DEVICE u16 f32_to_bf16(f32 value) {
    u32 bits = as_u32(value);
    u32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (u16)((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded);
}
#define ROUND_f16(x) f16_to_f32(f32_to_f16(x))
#define ROUND_bf16(x) bf16_to_f32(f32_to_bf16(x))

#define LOAD(T, p, i) LOAD_AS(T, p, i)
#define LOAD_AS(T, p, i) LOAD_##T(p, i)
#define STORE(T, p, i, v) STORE_AS(T, p, i, v)
#define STORE_AS(T, p, i, v) STORE_##T(p, i, v)
#define LOAD_b8(p, i) ((p)[i])
#define LOAD_i8(p, i) ((p)[i])
#define LOAD_i16(p, i) ((p)[i])
#define LOAD_i32(p, i) ((p)[i])
#define LOAD_i64(p, i) ((p)[i])
#define LOAD_u8(p, i) ((p)[i])
#define LOAD_u16(p, i) ((p)[i])
#define LOAD_u32(p, i) ((p)[i])
#define LOAD_u64(p, i) ((p)[i])
#define LOAD_f16(p, i) f16_to_f32((p)[i])
#define LOAD_bf16(p, i) bf16_to_f32((p)[i])
#define LOAD_f32(p, i) ((p)[i])
#define LOAD_f64(p, i) ((p)[i])
#define LOAD_c64(p, i) ((p)[i])
#define LOAD_c128(p, i) ((p)[i])
#define STORE_b8(p, i, v) ((p)[i] = (v))
#define STORE_i8(p, i, v) ((p)[i] = (v))
#define STORE_i16(p, i, v) ((p)[i] = (v))
#define STORE_i32(p, i, v) ((p)[i] = (v))
#define STORE_i64(p, i, v) ((p)[i] = (v))
#define STORE_u8(p, i, v) ((p)[i] = (v))
#define STORE_u16(p, i, v) ((p)[i] = (v))
#define STORE_u32(p, i, v) ((p)[i] = (v))
#define STORE_u64(p, i, v) ((p)[i] = (v))
#define STORE_f16(p, i, v) ((p)[i] = f32_to_f16(v))
#define STORE_bf16(p, i, v) ((p)[i] = f32_to_bf16(v))
#define STORE_f32(p, i, v) ((p)[i] = (v))
#define STORE_f64(p, i, v) ((p)[i] = (v))
#define STORE_c64(p, i, v) ((p)[i] = (v))
#define STORE_c128(p, i, v) ((p)[i] = (v))

/* Integers as NumPy has them: the quotient's floor, the divisor's sign, 0 where the divisor is 0, wrapping elsewhere.
   A divisor of -1 is set apart since the least integer divided by it traps. CPUs have no division of integers in vectors:
   there float64 divides those of 32 bits and less, whose quotients it tells from the whole numbers next to them. */
#if CPU_GROUPS
#define WHOLE_QUOTIENT(t, whole, a, b) (sizeof(t) > 4 ? (t)((a) / (b)) : (t)(whole)((f64)(a) / (f64)(b)))
#else
#define WHOLE_QUOTIENT(t, whole, a, b) (t)((a) / (b))
#endif
#define SIGNED_OPS(t, u) \
    DEVICE t floordiv_##t(t a, t b) { \
        t d = (b == 0) | (b == -1) ? 1 : b, q = WHOLE_QUOTIENT(t, i32, a, d), r = (t)(a - q * d); \
        q = (t)(q - ((r != 0) & ((r < 0) != (b < 0)))); \
        return b == 0 ? 0 : b == -1 ? (t)(0 - (u)a) : q; \
    } \
    DEVICE t mod_##t(t a, t b) { \
        t d = (b == 0) | (b == -1) ? 1 : b, r = (t)(a - WHOLE_QUOTIENT(t, i32, a, d) * d); \
        return (t)((r != 0) & ((r < 0) != (b < 0)) ? r + b : r); \
    } \
    DEVICE t ipow_##t(t base, t power) { \
        u64 result = 1, factor = (u64)(i64)base; \
        if (power < 0) return (t)(base == 1 ? 1 : base == -1 ? 1 - 2 * (power & 1) : 0); \
        for (u64 e = (u64)power; e; e >>= 1, factor *= factor) result = e & 1 ? result * factor : result; \
        return (t)result; \
    }
#define UNSIGNED_OPS(t) \
    DEVICE t floordiv_##t(t a, t b) { t d = b == 0 ? 1 : b; return b == 0 ? 0 : WHOLE_QUOTIENT(t, i64, a, d); } \
    DEVICE t mod_##t(t a, t b) { t d = b == 0 ? 1 : b; return b == 0 ? 0 : (t)(a - WHOLE_QUOTIENT(t, i64, a, d) * d); } \
    DEVICE t ipow_##t(t base, t power) { \
        u64 result = 1, factor = (u64)base; \
        for (u64 e = (u64)power; e; e >>= 1, factor *= factor) result = e & 1 ? result * factor : result; \
        return (t)result; \
    }
SIGNED_OPS(i8, u8)
SIGNED_OPS(i16, u16)
SIGNED_OPS(i32, u32)
SIGNED_OPS(i64, u64)
UNSIGNED_OPS(u8)
UNSIGNED_OPS(u16)
UNSIGNED_OPS(u32)
UNSIGNED_OPS(u64)

/* Floats as NumPy has them: the remainder takes the divisor's sign, the quotient is the nearest integer to (a - mod) / b. */
#define FLOAT_OPS(t) \
    DEVICE t mod_##t(t a, t b) { \
        t r = fmod_##t(a, b); \
        return r == 0 ? copysign_##t((t)0, b) : (b < 0) != (r < 0) ? r + b : r; \
    } \
    DEVICE t floordiv_##t(t a, t b) { \
        t r = fmod_##t(a, b), q = (a - r) / b, f; \
        q = (r != 0) & ((b < 0) != (r < 0)) ? q - 1 : q; \
        f = floor_##t(q); \
        f = q - f > (t)0.5 ? f + 1 : f; \
        f = q == 0 ? copysign_##t((t)0, a / b) : f; \
        return (b == 0) | (fabs_##t(a) == INF_##t) | (fabs_##t(b) == INF_##t) ? a / b : f; /* as the standard says */ \
    } \
    DEVICE t logaddexp_##t(t a, t b) { \
        t r = max_nan_##t(a, b) + log1p_##t(exp_##t(-fabs_##t(a - b))); \
        return a == b ? a + (t)0.693147180559945309417 : r; /* equal infinities: their difference is NaN */ \
    }
FLOAT_OPS(f32)
#if HAS_F64
FLOAT_OPS(f64)
#endif

/* Complex numbers as NumPy has them: a product is the four products of its parts, whatever is infinite among them, and a
   quotient is Smith's ("Algorithm 116: Complex division", 1962), which does not square the divisor. */
#define COMPLEX_OPS(z, t, nbytes) \
    typedef struct ALIGNED(nbytes) { t re, im; } z; \
    DEVICE z complex_##t(t re, t im) { z both; both.re = re; both.im = im; return both; } \
    DEVICE z add_##z(z a, z b) { return complex_##t(a.re + b.re, a.im + b.im); } \
    DEVICE z sub_##z(z a, z b) { return complex_##t(a.re - b.re, a.im - b.im); } \
    DEVICE z mul_##z(z a, z b) { return complex_##t(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re); } \
    DEVICE z div_##z(z a, z b) { \
        b8 turn = !(fabs_##t(b.re) >= fabs_##t(b.im)); \
        t big = turn ? b.im : b.re, small = turn ? b.re : b.im, x = turn ? a.im : a.re, y = turn ? a.re : a.im; \
        t ratio = small / big, scale = 1 / (big + small * ratio); \
        t re = (x + y * ratio) * scale, im = (turn ? x * ratio - y : y - x * ratio) * scale; \
        b8 zero = (b.re == 0) & (b.im == 0); \
        return complex_##t(zero ? a.re / fabs_##t(b.re) : re, zero ? a.im / fabs_##t(b.re) : im); \
    } \
    DEVICE z neg_##z(z a) { return complex_##t(-a.re, -a.im); } \
    DEVICE z conj_##z(z a) { return complex_##t(a.re, -a.im); } \
    DEVICE t abs_##z(z a) { return hypot_##t(a.re, a.im); } \
    DEVICE z where_##z(b8 c, z a, z b) { return complex_##t(c ? a.re : b.re, c ? a.im : b.im); } \
    DEVICE b8 eq_##z(z a, z b) { return (a.re == b.re) & (a.im == b.im); } \
    DEVICE b8 isnan_##z(z a) { return (a.re != a.re) | (a.im != a.im); } \
    DEVICE b8 isinf_##z(z a) { return (fabs_##t(a.re) == INF_##t) | (fabs_##t(a.im) == INF_##t); } \
    DEVICE b8 isfinite_##z(z a) { return (fabs_##t(a.re) < INF_##t) & (fabs_##t(a.im) < INF_##t); }
COMPLEX_OPS(c64, f32, 8)
#if HAS_F64
COMPLEX_OPS(c128, f64, 16)
#endif
