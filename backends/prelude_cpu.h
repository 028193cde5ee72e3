/* The CPU: a group is one thread. No #include: parsing the system's headers would be most of the compile time. */
typedef unsigned char b8;
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;
typedef u16 f16;
typedef u16 bf16;

#define HAS_F64 1
#define CPU_GROUPS 1
#define SMALL_WORK (1L << 14) /* some 5 microseconds of one core, an eighth of what it takes for waking others to pay */
#define OWN_MATH (VECTOR_MATH >= 2 ? 1 : 2)
#define OWN_MATH_64 (VECTOR_MATH >= 1)
#define GLOBAL
#define ALIGNED(nbytes) /* a host array of complex numbers is aligned as its parts are */
#define DEVICE static inline __attribute__((always_inline)) /* a call left in a loop would keep it scalar */
#define SHARED(type, name, count) type name[count] __attribute__((aligned(64)))
#define BARRIER() ((void)0)
#define GROUP(d) GROUP_AXIS(d)
#define GROUP_AXIS(d) group_##d
#define LOCAL(d) ((i64)0)
#define LOCAL_SIZE(d) ((i64)1)
#ifdef __TINYC__ /* it has no pragmas inside macros, and calls libm where others have an instruction */
#define PRAGMA(text)
#define INSTRUCTION(name) name
#else
#define PRAGMA(text) _Pragma(#text)
#define INSTRUCTION(name) __builtin_##name
#endif
#define FOR_EACH(i, begin, end) PRAGMA(omp simd) for (i64 i = (begin); i < (end); i++)
#define VECTOR_LOOP PRAGMA(omp simd)
#define FOR_REDUCE(i, begin, end, R, acc) PRAGMA(omp simd reduction(R : acc)) for (i64 i = (begin); i < (end); i++)
#define DECLARE_REDUCTION(R, type, COMBINE, start) \
    PRAGMA(omp declare reduction(R : type : omp_out = COMBINE(omp_out, omp_in)) initializer(omp_priv = start))
#define FOR_SCAN(i, begin, end, R, acc) PRAGMA(omp simd reduction(inscan, R : acc)) for (i64 i = (begin); i < (end); i++)
#define SCANNED(acc) PRAGMA(omp scan inclusive(acc))
#define GROUP_REDUCE(type, COMBINE, acc, name) ((void)0)
#ifdef __clang__
#define UNROLL PRAGMA(unroll)
#else
#define UNROLL PRAGMA(GCC unroll 64)
#endif

#ifdef __TINYC__
#define INF_f32 1e39f
#define INF_f64 1e309
#define NAN_f32 (0.0f / 0.0f)
#define NAN_f64 (0.0 / 0.0)
#else
#define INF_f32 __builtin_inff()
#define INF_f64 __builtin_inf()
#define NAN_f32 __builtin_nanf("")
#define NAN_f64 __builtin_nan("")
#endif
DEVICE u64 as_u64(f64 x) { union { f64 f; u64 u; } both = {x}; return both.u; }
DEVICE f64 as_f64(u64 x) { union { u64 u; f64 f; } both = {x}; return both.f; }
DEVICE u32 as_u32(f32 x) { union { f32 f; u32 u; } both = {x}; return both.u; }
DEVICE f32 as_f32(u32 x) { union { u32 u; f32 f; } both = {x}; return both.f; }

/* Without the instruction a call into libm would take its place, at fifty times the cost. */
#if defined(__FMA__) || defined(__aarch64__)
#define FMA(a, b, c) _Generic((a) + (b) + (c), f32: __builtin_fmaf, default: __builtin_fma)(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

/* Vector math: a prototype that says `simd` lets an `omp simd` loop call libmvec, and `const` (errno is not wanted) lets
   it be moved. VECTOR_MATH is set by the device: 0 no libmvec, 1 glibc 2.22, 2 glibc 2.35 and later. */
#define SCALAR __attribute__((const))
#if VECTOR_MATH >= 1 && !defined(__clang__)
#define VECTOR_1 __attribute__((simd("notinbranch"), const))
#else
#define VECTOR_1 SCALAR
#endif
#if VECTOR_MATH >= 2 && !defined(__clang__)
#define VECTOR_2 VECTOR_1
#else
#define VECTOR_2 SCALAR
#endif
#define UNARY(kind, name) kind f32 name##f(f32); kind f64 name(f64);
#define BINARY(kind, name) kind f32 name##f(f32, f32); kind f64 name(f64, f64);
UNARY(VECTOR_1, exp) UNARY(VECTOR_1, log) UNARY(VECTOR_1, sin) UNARY(VECTOR_1, cos) BINARY(VECTOR_1, pow)
UNARY(VECTOR_2, exp2) UNARY(VECTOR_2, expm1) UNARY(VECTOR_2, log1p) UNARY(VECTOR_2, log2) UNARY(VECTOR_2, log10)
UNARY(VECTOR_2, tan) UNARY(VECTOR_2, asin) UNARY(VECTOR_2, acos) UNARY(VECTOR_2, atan) UNARY(VECTOR_2, sinh)
UNARY(VECTOR_2, cosh) UNARY(VECTOR_2, tanh) UNARY(VECTOR_2, asinh) UNARY(VECTOR_2, acosh) UNARY(VECTOR_2, atanh)
UNARY(VECTOR_2, erf) BINARY(VECTOR_2, atan2) BINARY(VECTOR_2, hypot)
BINARY(SCALAR, fmod) BINARY(SCALAR, nextafter)
#ifdef __TINYC__
UNARY(SCALAR, sqrt) UNARY(SCALAR, floor) UNARY(SCALAR, ceil) UNARY(SCALAR, trunc) UNARY(SCALAR, rint)
UNARY(SCALAR, fabs) BINARY(SCALAR, copysign)
#endif

#define exp_f32 expf
#define exp_f64 exp
#define expm1_f32 expm1f
#define expm1_f64 expm1
#define exp2_f32 exp2f
#define exp2_f64 exp2
#define log_f32 logf
#define log_f64 log
#define log1p_f32 log1pf
#define log1p_f64 log1p
#define log2_f32 log2f
#define log2_f64 log2
#define log10_f32 log10f
#define log10_f64 log10
#define sin_f32 sinf
#define sin_f64 sin
#define cos_f32 cosf
#define cos_f64 cos
#define tan_f32 tanf
#define tan_f64 tan
#define asin_f32 asinf
#define asin_f64 asin
#define acos_f32 acosf
#define acos_f64 acos
#define atan_f32 atanf
#define atan_f64 atan
#define sinh_f32 sinhf
#define sinh_f64 sinh
#define cosh_f32 coshf
#define cosh_f64 cosh
#define tanh_f32 tanhf
#define tanh_f64 tanh
#define asinh_f32 asinhf
#define asinh_f64 asinh
#define acosh_f32 acoshf
#define acosh_f64 acosh
#define atanh_f32 atanhf
#define atanh_f64 atanh
#define erf_f32 erff
#define erf_f64 erf
#define pow_f32 powf
#define pow_f64 pow
#define atan2_f32 atan2f
#define atan2_f64 atan2
#define hypot_f32 hypotf
#define hypot_f64 hypot
#define fmod_f32 fmodf
#define fmod_f64 fmod
#define nextafter_f32 nextafterf
#define nextafter_f64 nextafter
#define sqrt_f32 INSTRUCTION(sqrtf)
#define sqrt_f64 INSTRUCTION(sqrt)
#define floor_f32 INSTRUCTION(floorf)
#define floor_f64 INSTRUCTION(floor)
#define ceil_f32 INSTRUCTION(ceilf)
#define ceil_f64 INSTRUCTION(ceil)
#define trunc_f32 INSTRUCTION(truncf)
#define trunc_f64 INSTRUCTION(trunc)
#define rint_f32 INSTRUCTION(rintf)
#define rint_f64 INSTRUCTION(rint)
#define fabs_f32 INSTRUCTION(fabsf)
#define fabs_f64 INSTRUCTION(fabs)
#define copysign_f32 INSTRUCTION(copysignf)
#define copysign_f64 INSTRUCTION(copysign)
