/* CUDA C++, compiled by NVRTC without any #include. Everything that is CUDA's own stands in the one block below, so that
   an emulation can put its twins there and compile the rest as plain C++. */
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
#define CPU_GROUPS 0
#define OWN_MATH 0
#define GLOBAL

#ifndef TILEWRIGHT_EMULATED
#define DEVICE static __device__ __forceinline__
#define ALIGNED(nbytes) __align__(nbytes)
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define BARRIER() __syncthreads()
#define GROUP_0 blockIdx.x
#define GROUP_1 blockIdx.y
#define GROUP_2 blockIdx.z
#define LOCAL_0 threadIdx.x
#define LOCAL_1 threadIdx.y
#define LOCAL_2 threadIdx.z
#define LOCAL_SIZE_0 blockDim.x
#define LOCAL_SIZE_1 blockDim.y
#define LOCAL_SIZE_2 blockDim.z
#define UNROLL _Pragma("unroll")
#define as_u32(x) __float_as_uint(x)
#define as_f32(x) __uint_as_float(x)

/* From here on what "mma" among the matrix units stands for: sm_80 and later. Names, and which lane holds what, are
   those of PTX. DYNAMIC_SHARED: as much as Source.shared_nbytes asks for. */
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) u8 name[]
#define WARP_BARRIER() __syncwarp()
/* Memory of the loaded program, 0 at first; launches of a program run one after the other. */
#define DEVICE_ARRAY(type, name, count) static __device__ type name[count]
#define FENCE() __threadfence()
#define ATOMIC_ADD(place, amount) atomicAdd(place, amount)
DEVICE u32 shared_address(const void *place) {
    u64 address;
    asm("cvta.to.shared.u64 %0, %1;" : "=l"(address) : "l"(place));
    return (u32)address;
}

/* Begins to copy the first `nbytes` of 16 into shared memory, 0 behind them; both places lie at multiples of 16. What
   one thread began before COPY_COMMIT() is a batch; COPY_WAIT(n) leaves at most its n latest batches under way. */
DEVICE void copy_async(void *to, const void *from, int nbytes) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(nbytes) : "memory");
}
#define COPY_COMMIT() asm volatile("cp.async.commit_group;" ::: "memory")
#define COPY_WAIT(n) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")

/* Four matrices of 8 rows of 16 bytes; lane l gives the place of row l % 8 of matrix l / 8. */
#define LOAD_MATRICES(name, transposed) \
    DEVICE void name(u32 *parts, const void *row) { \
        asm volatile("ldmatrix.sync.aligned.m8n8.x4" transposed ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                     : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3]) \
                     : "r"(shared_address(row)) : "memory"); \
    }
LOAD_MATRICES(ldmatrix, "")
LOAD_MATRICES(ldmatrix_trans, ".trans")

/* sum += a b, of 16 rows, 8 columns and 32 bytes of depth. */
#define MATRIX_PRODUCT(name, what, type, letter) \
    DEVICE void name(type *sum, const u32 *a, const u32 *b) { \
        asm volatile("mma.sync.aligned." what " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                     : "+" letter(sum[0]), "+" letter(sum[1]), "+" letter(sum[2]), "+" letter(sum[3]) \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
    }
MATRIX_PRODUCT(mma_f16_f16, "m16n8k16.row.col.f32.f16.f16.f32", f32, "f")
MATRIX_PRODUCT(mma_bf16_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32", f32, "f")
MATRIX_PRODUCT(mma_i8_i8, "m16n8k32.row.col.s32.s8.s8.s32", u32, "r")
MATRIX_PRODUCT(mma_i8_u8, "m16n8k32.row.col.s32.s8.u8.s32", u32, "r")
MATRIX_PRODUCT(mma_u8_i8, "m16n8k32.row.col.s32.u8.s8.s32", u32, "r")
MATRIX_PRODUCT(mma_u8_u8, "m16n8k32.row.col.s32.u8.u8.s32", u32, "r")

/* From here on what "wgmma" among the matrix units stands for: sm_90a alone. A barrier (PTX: mbarrier) is a u64 in shared
   memory. Its phases end when as many have arrived as it was made for and all bytes have that they announced. */
struct ALIGNED(128) TensorMap {
    u64 words[16];
};
#define TENSOR_MAP __grid_constant__ TensorMap
DEVICE void barrier_init(u64 *barrier, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(shared_address(barrier)), "r"(count) : "memory");
}
/* Behind barrier_init and before BARRIER(): the copy engine is to see them too. */
#define BARRIERS_ARE_MADE() \
    asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory")
DEVICE void barrier_arrive(u64 *barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(shared_address(barrier)) : "memory");
}
/* Arrives, and announces bytes that copy_box brings. */
DEVICE void barrier_expect(u64 *barrier, u32 nbytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :: "r"(shared_address(barrier)), "r"(nbytes) : "memory");
}
/* Waits for the end of the phase with that parity: the first one has 0, and the one before it counts as ended. */
DEVICE void barrier_wait(u64 *barrier, u32 parity) {
    u32 over;
    do {
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(over) : "r"(shared_address(barrier)), "r"(parity) : "memory");
    } while (!over);
}

/* One thread begins to copy the box whose first element is (x, y, z); all its bytes arrive at the barrier. */
DEVICE void copy_box(void *to, const TensorMap *map, u64 *barrier, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%3, %4, %5}], [%2];"
                 :: "r"(shared_address(to)), "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z) : "memory");
}
DEVICE void prefetch_map(const TensorMap *map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }

/* sum += a b by the 4 warps of a warpgroup, of 64 rows, what `shape` says and 32 bytes of depth, with both factors as
   descriptors of shared memory. `operands` names `count` registers of sums and the two descriptors; its last numbers
   say which factors lie along their other axis. Begun behind WGMMA_FENCE(), which orders it after what wrote the sums;
   a batch ends with WGMMA_COMMIT(), and WGMMA_WAIT(n) leaves at most the n latest under way: until then sums and tiles
   are not to be touched. HOLD keeps the compiler from moving uses of a sum across. */
#define WARPGROUP_PRODUCT(name, type, shape, operands, ...) \
    DEVICE void name(type *sum, u64 a, u64 b) { \
        asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned." shape " " operands "; }" \
                     : __VA_ARGS__ : "l"(a), "l"(b) : "memory"); \
    }
#define WGMMA_FENCE() asm volatile("wgmma.fence.sync.aligned;" ::: "memory")
#define WGMMA_COMMIT() asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory")
#define WGMMA_WAIT(n) asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory")
#define HOLD(letter, x) asm volatile("" : "+" letter(x) :: "memory")
#endif

#define GROUP(d) GROUP_AXIS(d)
#define GROUP_AXIS(d) ((i64)GROUP_##d)
#define LOCAL(d) LOCAL_AXIS(d)
#define LOCAL_AXIS(d) ((i64)LOCAL_##d)
#define LOCAL_SIZE(d) LOCAL_SIZE_AXIS(d)
#define LOCAL_SIZE_AXIS(d) ((i64)LOCAL_SIZE_##d)

#define INF_f32 as_f32(0x7f800000u)
#define NAN_f32 as_f32(0x7fc00000u)
#define INF_f64 ((f64)INF_f32)
#define NAN_f64 ((f64)NAN_f32)
DEVICE f32 FMA(f32 a, f32 b, f32 c) { return fmaf(a, b, c); }
DEVICE f64 FMA(f64 a, f64 b, f64 c) { return fma(a, b, c); }

/* The casts choose among C++'s overloads. */
#define exp_f32(x) expf((f32)(x))
#define exp_f64(x) exp((f64)(x))
#define expm1_f32(x) expm1f((f32)(x))
#define expm1_f64(x) expm1((f64)(x))
#define exp2_f32(x) exp2f((f32)(x))
#define exp2_f64(x) exp2((f64)(x))
#define log_f32(x) logf((f32)(x))
#define log_f64(x) log((f64)(x))
#define log1p_f32(x) log1pf((f32)(x))
#define log1p_f64(x) log1p((f64)(x))
#define log2_f32(x) log2f((f32)(x))
#define log2_f64(x) log2((f64)(x))
#define log10_f32(x) log10f((f32)(x))
#define log10_f64(x) log10((f64)(x))
#define sin_f32(x) sinf((f32)(x))
#define sin_f64(x) sin((f64)(x))
#define cos_f32(x) cosf((f32)(x))
#define cos_f64(x) cos((f64)(x))
#define tan_f32(x) tanf((f32)(x))
#define tan_f64(x) tan((f64)(x))
#define asin_f32(x) asinf((f32)(x))
#define asin_f64(x) asin((f64)(x))
#define acos_f32(x) acosf((f32)(x))
#define acos_f64(x) acos((f64)(x))
#define atan_f32(x) atanf((f32)(x))
#define atan_f64(x) atan((f64)(x))
#define sinh_f32(x) sinhf((f32)(x))
#define sinh_f64(x) sinh((f64)(x))
#define cosh_f32(x) coshf((f32)(x))
#define cosh_f64(x) cosh((f64)(x))
#define tanh_f32(x) tanhf((f32)(x))
#define tanh_f64(x) tanh((f64)(x))
#define asinh_f32(x) asinhf((f32)(x))
#define asinh_f64(x) asinh((f64)(x))
#define acosh_f32(x) acoshf((f32)(x))
#define acosh_f64(x) acosh((f64)(x))
#define atanh_f32(x) atanhf((f32)(x))
#define atanh_f64(x) atanh((f64)(x))
#define erf_f32(x) erff((f32)(x))
#define erf_f64(x) erf((f64)(x))
#define pow_f32(x, y) powf((f32)(x), (f32)(y))
#define pow_f64(x, y) pow((f64)(x), (f64)(y))
#define atan2_f32(x, y) atan2f((f32)(x), (f32)(y))
#define atan2_f64(x, y) atan2((f64)(x), (f64)(y))
#define hypot_f32(x, y) hypotf((f32)(x), (f32)(y))
#define hypot_f64(x, y) hypot((f64)(x), (f64)(y))
#define fmod_f32(x, y) fmodf((f32)(x), (f32)(y))
#define fmod_f64(x, y) fmod((f64)(x), (f64)(y))
#define nextafter_f32(x, y) nextafterf((f32)(x), (f32)(y))
#define nextafter_f64(x, y) nextafter((f64)(x), (f64)(y))
#define sqrt_f32(x) sqrtf((f32)(x))
#define sqrt_f64(x) sqrt((f64)(x))
#define floor_f32(x) floorf((f32)(x))
#define floor_f64(x) floor((f64)(x))
#define ceil_f32(x) ceilf((f32)(x))
#define ceil_f64(x) ceil((f64)(x))
#define trunc_f32(x) truncf((f32)(x))
#define trunc_f64(x) trunc((f64)(x))
#define rint_f32(x) rintf((f32)(x))
#define rint_f64(x) rint((f64)(x))
#define fabs_f32(x) fabsf((f32)(x))
#define fabs_f64(x) fabs((f64)(x))
#define copysign_f32(x, y) copysignf((f32)(x), (f32)(y))
#define copysign_f64(x, y) copysign((f64)(x), (f64)(y))
