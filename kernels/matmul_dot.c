/* Matrix product as dot products along k, for CPUs: few rows (a vector times a matrix, say), both factors side by
   side along k. Memory, not arithmetic, is the limit, so nothing is packed. A group is one thread and BLOCK_N columns;
   TILE_M rows x TILE_N columns share the loads of each other's factors.

   A header made from the problem comes first (see matmul_header.py). A_IN_PLACE B_IN_PLACE: 1 where the factor lies in
   memory as it is needed; else it is loaded CHUNK elements at a time into a buffer that stays in the nearest cache.
   Without the header this file compiles alone:
     cc -O3 -march=native -fopenmp-simd -include backends/prelude_cpu.h -c kernels/matmul_dot.c */

#ifndef LOAD_A
#define PARAMETERS const f32 *in0, const f32 *in1, f32 *out0, i64 m, i64 n, i64 k
#define ARGUMENTS in0, in1, out0, m, n, k
#define M m
#define N n
#define K k
#define ACC f32
#define LOAD_A(b, i, p) in0[(i) * k + (p)]
#define LOAD_B(b, p, j) in1[(j) * k + (p)]
#define STORE_C(b, i, j, sum) out0[(i) * n + (j)] = (sum)
#define A_AT(b, i, p) (in0 + (i) * k + (p))
#define B_AT(b, p, j) (in1 + (j) * k + (p))
#define A_IN_PLACE 1
#define B_IN_PLACE 1
#define VECTOR 32
#define TILE_M 1
#define TILE_N 4
#define BLOCK_N 64
#define KERNEL void matmul(PARAMETERS, i64 group_0, i64 group_1, i64 group_2)
#endif

#define LANES ((i64)(VECTOR / sizeof(ACC)))
#define CHUNK 512
#define LEAST(x, y) ((x) < (y) ? (x) : (y))

typedef ACC vector __attribute__((vector_size(VECTOR)));
typedef ACC vector_anywhere __attribute__((vector_size(VECTOR), aligned(sizeof(ACC)), may_alias));

/* Only the product's multiply-adds may fuse, see matmul_cpu.c. */
#if defined(__clang__)
#define FUSED __attribute__((noinline))
#define FUSE _Pragma("clang fp contract(fast)")
#else
#define FUSED __attribute__((noinline, optimize("fp-contract=fast")))
#define FUSE
#endif

/* sum += x * y over `depth` elements, a whole number of vectors, for TILE_M lines of x and TILE_N of y. */
FUSED static void multiply(i64 depth, const ACC *const *x, const ACC *const *y, vector (*sum)[TILE_N]) {
    FUSE
    vector c[TILE_M][TILE_N];
    const ACC *xs[TILE_M], *ys[TILE_N];
    for (int r = 0; r < TILE_M; r++)
        xs[r] = x[r];
    for (int s = 0; s < TILE_N; s++)
        ys[s] = y[s];
    for (int r = 0; r < TILE_M; r++)
        for (int s = 0; s < TILE_N; s++)
            c[r][s] = sum[r][s];
    for (i64 p = 0; p < depth; p += LANES)
        for (int s = 0; s < TILE_N; s++) {
            const vector factor = *(const vector_anywhere *)(ys[s] + p);
            for (int r = 0; r < TILE_M; r++)
                c[r][s] += *(const vector_anywhere *)(xs[r] + p) * factor;
        }
    for (int r = 0; r < TILE_M; r++)
        for (int s = 0; s < TILE_N; s++)
            sum[r][s] = c[r][s];
}

/* Adds depth p0 .. p0 + count of rows i .. i + TILE_M and columns j .. j + TILE_N; what is not in place, or no whole
   number of vectors, goes through buffers of CHUNK elements. */
static void add_chunk(PARAMETERS, i64 b, i64 i, i64 j, i64 p0, i64 count, vector (*sum)[TILE_N]) {
    ACC lines[TILE_M + TILE_N][CHUNK] __attribute__((aligned(64)));
    const ACC *at[TILE_M + TILE_N];
    const i64 depth = (count + LANES - 1) / LANES * LANES;
    for (i64 r = 0; r < TILE_M + TILE_N; r++) {
        const i64 row = LEAST(i + r, M - 1), column = LEAST(j + r - TILE_M, N - 1); /* past the edge: again the last */
        at[r] = lines[r];
        for (i64 p = count; p < depth; p++)
            lines[r][p] = 0;
        if (r < TILE_M) {
#if A_IN_PLACE
            if (count == depth) {
                at[r] = (const ACC *)A_AT(b, row, p0);
                continue;
            }
#endif
            _Pragma("omp simd")
            for (i64 p = 0; p < count; p++)
                lines[r][p] = LOAD_A(b, row, p0 + p);
        } else {
#if B_IN_PLACE
            if (count == depth) {
                at[r] = (const ACC *)B_AT(b, p0, column);
                continue;
            }
#endif
            _Pragma("omp simd")
            for (i64 p = 0; p < count; p++)
                lines[r][p] = LOAD_B(b, p0 + p, column);
        }
    }
    multiply(depth, at, at + TILE_M, sum);
}

KERNEL {
    const i64 b = GROUP(2), end = LEAST(N, (GROUP(0) + 1) * BLOCK_N);
    /* With nothing to buffer, a chunk is all that fills whole vectors. */
    const i64 step = A_IN_PLACE && B_IN_PLACE && K >= LANES ? K / LANES * LANES : CHUNK;
    for (i64 i = 0; i < M; i += TILE_M)
        for (i64 j = GROUP(0) * BLOCK_N; j < end; j += TILE_N) {
            vector sum[TILE_M][TILE_N] = {{{0}}};
            for (i64 p = 0; p < K; p += step)
                add_chunk(ARGUMENTS, b, i, j, p, LEAST(step, K - p), sum);
            for (i64 r = 0; r < LEAST(TILE_M, M - i); r++)
                for (i64 s = 0; s < LEAST(TILE_N, end - j); s++) {
                    ACC total = 0;
                    for (i64 lane = 0; lane < LANES; lane++)
                        total += sum[r][s][lane];
                    STORE_C(b, i + r, j + s, total);
                }
        }
}
