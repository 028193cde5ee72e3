/* OpenCL C 1.2. The device sets HAS_F64, so that no `double` is in the text where there is none, and OWN_MATH. */
#pragma OPENCL FP_CONTRACT OFF
typedef uchar b8;
typedef char i8;
typedef short i16;
typedef int i32;
typedef long i64;
typedef uchar u8;
typedef ushort u16;
typedef uint u32;
typedef ulong u64;
typedef float f32;
typedef u16 f16;
typedef u16 bf16;
#if HAS_F64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
typedef double f64;
#define INF_f64 ((f64)INFINITY)
#define NAN_f64 ((f64)NAN)
#endif
#define INF_f32 INFINITY
#define NAN_f32 NAN

#define CPU_GROUPS 0
#define GLOBAL __global
#define ALIGNED(nbytes) __attribute__((aligned(nbytes)))
#define DEVICE static inline __attribute__((always_inline)) /* a call left in a loop would keep it scalar */
#define SHARED(type, name, count) __local type name[count]
#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
#define GROUP(d) ((i64)get_group_id(d))
#ifdef ALONE /* the group is one thread, and the compiler is to know it early: see opencl.py */
#define LOCAL(d) ((i64)0)
#define LOCAL_SIZE(d) ((i64)1)
#else
#define LOCAL(d) ((i64)get_local_id(d))
#define LOCAL_SIZE(d) ((i64)get_local_size(d))
#endif
#define UNROLL _Pragma("unroll")
#define as_u32(x) as_uint(x)
#define as_u64(x) as_ulong(x)
#define as_f64(x) as_double(x)
#define OWN_MATH_64 (HAS_F64 && OWN_MATH == 2) /* PoCL's are 3 units off, as libmvec's */
#define as_f32(x) as_float(x)
#if defined(FP_FAST_FMAF) || HAS_FMA /* what OpenCL defines where fma() is an instruction; Intel's does not */
#define FMA(a, b, c) fma(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

#ifdef VECTOR_GROUP /* the group is one vector of so many threads, which hand each other values in registers */
#define OF_LANE(x, lane) intel_sub_group_shuffle(x, lane)
#define LANES_OF(type, word) \
    DEVICE type of_lane_##type(type x, u32 lane) { return (type)OF_LANE((word)x, lane); }
LANES_OF(b8, i32)
LANES_OF(i8, i32)
LANES_OF(i16, i32)
LANES_OF(i32, i32)
LANES_OF(i64, i64)
LANES_OF(u16, i32)
LANES_OF(u32, u32)
LANES_OF(u64, u64)
LANES_OF(f32, f32)
#if HAS_F64
LANES_OF(f64, f64)
#endif
#define of_lane_u8 of_lane_b8
#define of_lane_f16 of_lane_u16
#define of_lane_bf16 of_lane_u16
#define of_lane_c64(x, lane) ((c64){OF_LANE((x).re, lane), OF_LANE((x).im, lane)})
#define of_lane_c128(x, lane) ((c128){OF_LANE((x).re, lane), OF_LANE((x).im, lane)})
#define GROUP_REDUCE(type, COMBINE, acc, name) GROUP_REDUCE_AS(type, COMBINE, acc)
#define GROUP_REDUCE_AS(type, COMBINE, acc) \
    do { \
        UNROLL \
        for (u32 step = VECTOR_GROUP / 2; step > 0; step /= 2) { \
            const type other = of_lane_##type(acc, (u32)LOCAL(0) ^ step); \
            acc = COMBINE(acc, other); \
        } \
    } while (0)
#define GROUP_SCAN(type, COMBINE, acc) \
    do { \
        UNROLL \
        for (u32 step = 1; step < VECTOR_GROUP; step *= 2) { \
            const type other = of_lane_##type(acc, ((u32)LOCAL(0) - step) & (VECTOR_GROUP - 1)); \
            acc = LOCAL(0) >= step ? COMBINE(other, acc) : acc; \
        } \
    } while (0)
/* One step of turning a square: lanes with `step` in their number get b's of the lanes before, the others keep a's. */
#define LANES_EXCHANGE(type, a, b, step) LANES_EXCHANGE_AS(type, a, b, step)
#define LANES_EXCHANGE_AS(type, a, b, step) \
    do { \
        const type before = of_lane_##type(b, (u32)LOCAL(0) ^ step), behind = of_lane_##type(a, (u32)LOCAL(0) ^ step); \
        a = LOCAL(0) & step ? before : a; \
        b = LOCAL(0) & step ? b : behind; \
    } while (0)
#define GROUP_LAST(type, acc) of_lane_##type(acc, VECTOR_GROUP - 1)
#endif

/* The built-in functions are overloaded: the casts choose. */
#define exp_f32(x) exp((f32)(x))
#define expm1_f32(x) expm1((f32)(x))
#define exp2_f32(x) exp2((f32)(x))
#define log_f32(x) log((f32)(x))
#define log1p_f32(x) log1p((f32)(x))
#define log2_f32(x) log2((f32)(x))
#define log10_f32(x) log10((f32)(x))
#define sin_f32(x) sin((f32)(x))
#define cos_f32(x) cos((f32)(x))
#define tan_f32(x) tan((f32)(x))
#define asin_f32(x) asin((f32)(x))
#define acos_f32(x) acos((f32)(x))
#define atan_f32(x) atan((f32)(x))
#define sinh_f32(x) sinh((f32)(x))
#define cosh_f32(x) cosh((f32)(x))
#define tanh_f32(x) tanh((f32)(x))
#define asinh_f32(x) asinh((f32)(x))
#define acosh_f32(x) acosh((f32)(x))
#define atanh_f32(x) atanh((f32)(x))
#define erf_f32(x) erf((f32)(x))
#define sqrt_f32(x) sqrt((f32)(x))
#define floor_f32(x) floor((f32)(x))
#define ceil_f32(x) ceil((f32)(x))
#define trunc_f32(x) trunc((f32)(x))
#define rint_f32(x) rint((f32)(x))
#define fabs_f32(x) fabs((f32)(x))
#define pow_f32(x, y) pow((f32)(x), (f32)(y))
#define atan2_f32(x, y) atan2((f32)(x), (f32)(y))
#define hypot_f32(x, y) hypot((f32)(x), (f32)(y))
#define fmod_f32(x, y) fmod((f32)(x), (f32)(y))
#define copysign_f32(x, y) copysign((f32)(x), (f32)(y))
#define nextafter_f32(x, y) nextafter((f32)(x), (f32)(y))
#if HAS_F64
#define exp_f64(x) exp((f64)(x))
#define expm1_f64(x) expm1((f64)(x))
#define exp2_f64(x) exp2((f64)(x))
#define log_f64(x) log((f64)(x))
#define log1p_f64(x) log1p((f64)(x))
#define log2_f64(x) log2((f64)(x))
#define log10_f64(x) log10((f64)(x))
#define sin_f64(x) sin((f64)(x))
#define cos_f64(x) cos((f64)(x))
#define tan_f64(x) tan((f64)(x))
#define asin_f64(x) asin((f64)(x))
#define acos_f64(x) acos((f64)(x))
#define atan_f64(x) atan((f64)(x))
#define sinh_f64(x) sinh((f64)(x))
#define cosh_f64(x) cosh((f64)(x))
#define tanh_f64(x) tanh((f64)(x))
#define asinh_f64(x) asinh((f64)(x))
#define acosh_f64(x) acosh((f64)(x))
#define atanh_f64(x) atanh((f64)(x))
#define erf_f64(x) erf((f64)(x))
#define sqrt_f64(x) sqrt((f64)(x))
#define floor_f64(x) floor((f64)(x))
#define ceil_f64(x) ceil((f64)(x))
#define trunc_f64(x) trunc((f64)(x))
#define rint_f64(x) rint((f64)(x))
#define fabs_f64(x) fabs((f64)(x))
#define pow_f64(x, y) pow((f64)(x), (f64)(y))
#define atan2_f64(x, y) atan2((f64)(x), (f64)(y))
#define hypot_f64(x, y) hypot((f64)(x), (f64)(y))
#define fmod_f64(x, y) fmod((f64)(x), (f64)(y))
#define copysign_f64(x, y) copysign((f64)(x), (f64)(y))
#define nextafter_f64(x, y) nextafter((f64)(x), (f64)(y))
#endif

#if OWN_MATH >= 2 /* PoCL's are calls; its compiler's own names for them become instructions, of vectors too */
#undef sqrt_f32
#define sqrt_f32(x) __builtin_sqrtf((f32)(x))
#undef floor_f32
#define floor_f32(x) __builtin_floorf((f32)(x))
#undef ceil_f32
#define ceil_f32(x) __builtin_ceilf((f32)(x))
#undef trunc_f32
#define trunc_f32(x) __builtin_truncf((f32)(x))
#undef rint_f32
#define rint_f32(x) __builtin_rintf((f32)(x))
#undef sqrt_f64
#define sqrt_f64(x) __builtin_sqrt((f64)(x))
#undef floor_f64
#define floor_f64(x) __builtin_floor((f64)(x))
#undef ceil_f64
#define ceil_f64(x) __builtin_ceil((f64)(x))
#undef trunc_f64
#define trunc_f64(x) __builtin_trunc((f64)(x))
#undef rint_f64
#define rint_f64(x) __builtin_rint((f64)(x))
#endif
