/* Tiled matrix product for devices whose groups have many threads. A group computes BLOCK_M x BLOCK_N results and
   each of its threads TILE_M x TILE_N of them in registers; factors come BLOCK_K deep through shared memory, or with
   SHARED_TILES 0 straight from global memory, which suits a CPU, whose caches do that work.

   Plain C of the dialect (see backends/dialect.py). A header made from the problem comes first (see matmul_header.py):
   BATCH M N K, ACC, MULTIPLY_ADD, LOAD_A LOAD_B STORE_C, A_ALONG_K B_ALONG_K. Without it, this file compiles alone:
     nvcc -cubin -arch=sm_80 -include backends/prelude_cuda.h -x cu kernels/matmul_tile.c */

#ifndef LOAD_A
#define PARAMETERS const f32 *in0, const f32 *in1, f32 *out0, i64 m, i64 n, i64 k
#define BATCH 1
#define M m
#define N n
#define K k
#define ACC f32
#define MULTIPLY_ADD(a, b, c) FMA(a, b, c)
#define LOAD_A(b, i, p) in0[(i) * k + (p)]
#define LOAD_B(b, p, j) in1[(p) * n + (j)]
#define STORE_C(b, i, j, sum) out0[(i) * n + (j)] = (sum)
#define A_ALONG_K 1
#define B_ALONG_K 0
#define BLOCK_M 64
#define BLOCK_N 64
#define BLOCK_K 16
#define TILE_M 4
#define TILE_N 4
#define WIDE 4
#define PAD 1
#define SHARED_TILES 1
#define PREFETCH 1
#define SWIZZLE 8
#define MAX_BATCH 65535
#define KERNEL extern "C" __global__ void __launch_bounds__(BLOCK_M / TILE_M * BLOCK_N / TILE_N) matmul(PARAMETERS)
#endif

#define THREADS_M (BLOCK_M / TILE_M)
#define THREADS_N (BLOCK_N / TILE_N)
#define THREADS (THREADS_M * THREADS_N)
#define PER_A (BLOCK_M * BLOCK_K / THREADS) /* elements that each thread brings into shared memory */
#define PER_B (BLOCK_N * BLOCK_K / THREADS)
#define WIDTH_M (BLOCK_M + PAD) /* PAD spreads a column over the banks, which transposing stores would all hit */
#define WIDTH_N (BLOCK_N + PAD)
#define LEAST(x, y) ((x) < (y) ? (x) : (y))

/* Where in its block a thread's r-th row or s-th column lies: neighbouring threads hold neighbouring runs of WIDE
   columns, so that one load of a sub-group is one piece of memory, and each thread's run one vector. */
#define ROW_OF(r) ((r) * THREADS_M + thread_m)
#define COLUMN_OF(s) ((s) / WIDE * (WIDE * THREADS_N) + thread_n * WIDE + (s) % WIDE)

/* The e-th element of a tile, along whichever axis memory is contiguous. */
#if A_ALONG_K
#define A_ROW_OF(e) ((e) / BLOCK_K)
#define A_DEPTH_OF(e) ((e) % BLOCK_K)
#else
#define A_ROW_OF(e) ((e) % BLOCK_M)
#define A_DEPTH_OF(e) ((e) / BLOCK_M)
#endif
#if B_ALONG_K
#define B_COLUMN_OF(e) ((e) / BLOCK_K)
#define B_DEPTH_OF(e) ((e) % BLOCK_K)
#else
#define B_COLUMN_OF(e) ((e) % BLOCK_N)
#define B_DEPTH_OF(e) ((e) / BLOCK_N)
#endif

/* Beyond k, factors are 0; beyond the last row or column they are that one's again, whose products are not stored.
   Reading what is there and choosing afterwards keeps the loads free of branches. K is at least 1. */
DEVICE ACC keep(int inside, ACC value) { return inside ? value : (ACC)0; }
#define FETCH_A(e, p) \
    keep((p) + A_DEPTH_OF(e) < K, LOAD_A(b, LEAST(i0 + A_ROW_OF(e), M - 1), LEAST((p) + A_DEPTH_OF(e), K - 1)))
#define FETCH_B(e, p) \
    keep((p) + B_DEPTH_OF(e) < K, LOAD_B(b, LEAST((p) + B_DEPTH_OF(e), K - 1), LEAST(j0 + B_COLUMN_OF(e), N - 1)))

#if PREFETCH
#define READY_A(e, at) next_a[e]
#define READY_B(e, at) next_b[e]
#else
#define READY_A(e, at) FETCH_A(at, p0)
#define READY_B(e, at) FETCH_B(at, p0)
#endif

KERNEL {
#if SHARED_TILES
    SHARED(ACC, shared_a, BLOCK_K * WIDTH_M);
    SHARED(ACC, shared_b, BLOCK_K * WIDTH_N);
#endif
    const int thread = (int)LOCAL(0), thread_m = thread / THREADS_N, thread_n = thread % THREADS_N;
    /* Groups that run together walk down SWIZZLE rows of blocks before the next column: they share more of A and B. */
    const i64 blocks_m = (M + BLOCK_M - 1) / BLOCK_M, blocks_n = (N + BLOCK_N - 1) / BLOCK_N;
    const i64 band = GROUP(0) / (SWIZZLE * blocks_n), height = LEAST(SWIZZLE, blocks_m - band * SWIZZLE);
    const i64 place = GROUP(0) - band * SWIZZLE * blocks_n;
    const i64 i0 = (band * SWIZZLE + place % height) * BLOCK_M, j0 = place / height * BLOCK_N;
    for (i64 b = GROUP(1); b < BATCH; b += MAX_BATCH) {
        ACC sum[TILE_M][TILE_N];
        UNROLL
        for (int r = 0; r < TILE_M; r++) {
            UNROLL
            for (int s = 0; s < TILE_N; s++)
                sum[r][s] = 0;
        }
#if SHARED_TILES
#if PREFETCH
        ACC next_a[PER_A], next_b[PER_B];
        UNROLL
        for (int e = 0; e < PER_A; e++)
            next_a[e] = FETCH_A(thread + e * THREADS, 0);
        UNROLL
        for (int e = 0; e < PER_B; e++)
            next_b[e] = FETCH_B(thread + e * THREADS, 0);
#endif
        for (i64 p0 = 0; p0 < K; p0 += BLOCK_K) {
            UNROLL
            for (int e = 0; e < PER_A; e++) {
                const int at = thread + e * THREADS;
                shared_a[A_DEPTH_OF(at) * WIDTH_M + A_ROW_OF(at)] = READY_A(e, at);
            }
            UNROLL
            for (int e = 0; e < PER_B; e++) {
                const int at = thread + e * THREADS;
                shared_b[B_DEPTH_OF(at) * WIDTH_N + B_COLUMN_OF(at)] = READY_B(e, at);
            }
            BARRIER();
#if PREFETCH
            /* The next tile's loads are under way while this one is multiplied. */
            UNROLL
            for (int e = 0; e < PER_A; e++)
                next_a[e] = FETCH_A(thread + e * THREADS, p0 + BLOCK_K);
            UNROLL
            for (int e = 0; e < PER_B; e++)
                next_b[e] = FETCH_B(thread + e * THREADS, p0 + BLOCK_K);
#endif
            UNROLL
            for (int p = 0; p < BLOCK_K; p++) {
                ACC x[TILE_M], y[TILE_N];
                UNROLL
                for (int r = 0; r < TILE_M; r++)
                    x[r] = shared_a[p * WIDTH_M + ROW_OF(r)];
                UNROLL
                for (int s = 0; s < TILE_N; s++)
                    y[s] = shared_b[p * WIDTH_N + COLUMN_OF(s)];
                UNROLL
                for (int r = 0; r < TILE_M; r++) {
                    UNROLL
                    for (int s = 0; s < TILE_N; s++)
                        sum[r][s] = MULTIPLY_ADD(x[r], y[s], sum[r][s]);
                }
            }
            BARRIER();
        }
#else
        for (i64 p = 0; p < K; p++) {
            ACC x[TILE_M], y[TILE_N];
            UNROLL
            for (int r = 0; r < TILE_M; r++)
                x[r] = LOAD_A(b, LEAST(i0 + ROW_OF(r), M - 1), p); /* past the edge: again the last, not stored */
            UNROLL
            for (int s = 0; s < TILE_N; s++)
                y[s] = LOAD_B(b, p, LEAST(j0 + COLUMN_OF(s), N - 1));
            UNROLL
            for (int r = 0; r < TILE_M; r++) {
                UNROLL
                for (int s = 0; s < TILE_N; s++)
                    sum[r][s] = MULTIPLY_ADD(x[r], y[s], sum[r][s]);
            }
        }
#endif
        UNROLL
        for (int r = 0; r < TILE_M; r++) {
            UNROLL
            for (int s = 0; s < TILE_N; s++)
                if (i0 + ROW_OF(r) < M && j0 + COLUMN_OF(s) < N)
                    STORE_C(b, i0 + ROW_OF(r), j0 + COLUMN_OF(s), sum[r][s]);
        }
    }
}
