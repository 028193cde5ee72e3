/* Attention for devices whose groups have many threads; the online softmax of attention_cpu.c. A group works on BLOCK_M
   queries, which stay in shared memory, and BLOCK_N keys at a time: their scores TILE_M x TILE_N a thread, then the
   weights, then the sums of TILE_M queries x WIDTH elements that each thread keeps in registers. Keys and values take
   turns in one shared tile.

   Plain C of the dialect (see backends/dialect.py). A header made from the problem comes first (see attention.py), with
   the names told in attention_cpu.c. HEAD_D and HEAD_E are D and E as constants. Without it, this file compiles alone:
     nvcc -cubin -arch=sm_80 -include backends/prelude_cuda.h -include backends/prelude_math.h \
        -include backends/prelude_common.h -x cu kernels/attention_tile.c */

#ifndef LOAD_Q
#define PARAMETERS const f32 *in0, const f32 *in1, const f32 *in2, f32 *out0, i64 m, i64 n, f32 c0
#define UNRAVEL(o) const i64 b0 = o;
#define M m
#define N n
#define HEAD_D 64
#define HEAD_E 64
#define ACC f32
#define INFINITE INF_f32
#define EXP(x) exp_f32(x)
#define LOAD_Q(i, p) in0[(b0 * m + (i)) * HEAD_D + (p)]
#define LOAD_K(j, p) in1[(b0 * n + (j)) * HEAD_D + (p)]
#define LOAD_V(j, e) in2[(b0 * n + (j)) * HEAD_E + (e)]
#define SCALE c0
#define STORE_O(i, e, sum) out0[(b0 * m + (i)) * HEAD_E + (e)] = (sum)
#define CAUSAL 1
#define MASK 0
#define OUTER 8
#define BLOCK_M 64
#define BLOCK_N 32
#define TILE_M 4
#define TILE_N 2
#define MAX_BATCH 65535
#define KERNEL extern "C" __global__ void __launch_bounds__(BLOCK_M / TILE_M * BLOCK_N / TILE_N) attention(PARAMETERS)
#endif

#define THREADS_M (BLOCK_M / TILE_M)
#define THREADS_N (BLOCK_N / TILE_N)
#define THREADS (THREADS_M * THREADS_N)
#define WIDTH ((HEAD_E + THREADS_N - 1) / THREADS_N)
#define LONGEST (HEAD_D > HEAD_E ? HEAD_D : HEAD_E)
#define LEAST(x, y) ((x) < (y) ? (x) : (y))

/* Neighbouring threads have neighbouring keys and elements; one more column spreads a column over the banks. */
#define ROW_OF(r) ((r) * THREADS_M + thread_m)
#define COLUMN_OF(s) ((s) * THREADS_N + thread_n)
#define Q_AT(r, p) queries[(r) * (HEAD_D + 1) + (p)]
#define K_AT(j, p) tile[(j) * (LONGEST + 1) + (p)]
#define S_AT(r, j) scores[(r) * (BLOCK_N + 1) + (j)]

#if MASK == 1
#define MASKED(i, j, score) (LOAD_MASK(i, j) ? (score) : -INFINITE)
#elif MASK == 2
#define MASKED(i, j, score) ((score) + LOAD_MASK(i, j))
#else
#define MASKED(i, j, score) (score)
#endif

KERNEL {
    SHARED(ACC, queries, BLOCK_M * (HEAD_D + 1));
    SHARED(ACC, tile, BLOCK_N * (LONGEST + 1));
    SHARED(ACC, scores, BLOCK_M * (BLOCK_N + 1));
    SHARED(ACC, most, BLOCK_M);
    SHARED(ACC, total, BLOCK_M);
    SHARED(ACC, factor, BLOCK_M);
    const int thread = (int)LOCAL(0), thread_m = thread / THREADS_N, thread_n = thread % THREADS_N;
    /* The last queries first: if causal, they see most keys. */
    const i64 i0 = ((M + BLOCK_M - 1) / BLOCK_M - 1 - GROUP(0)) * BLOCK_M;
    const i64 end = CAUSAL ? LEAST(N, i0 + BLOCK_M) : N;
    for (i64 outer = GROUP(1); outer < OUTER; outer += MAX_BATCH) {
        UNRAVEL(outer)
        ACC sum[TILE_M][WIDTH];
        UNROLL
        for (int r = 0; r < TILE_M; r++) {
            UNROLL
            for (int s = 0; s < WIDTH; s++)
                sum[r][s] = 0;
        }
        BARRIER(); /* the last readers of what is written now, if this is not the first turn */
        for (int at = thread; at < BLOCK_M * HEAD_D; at += THREADS) {
            const i64 i = i0 + at / HEAD_D; /* past the last query, that one again: its sums are not stored */
            Q_AT(at / HEAD_D, at % HEAD_D) = LOAD_Q(LEAST(i, M - 1), at % HEAD_D) * SCALE;
        }
        for (int r = thread; r < BLOCK_M; r += THREADS)
            most[r] = -INFINITE, total[r] = 0;
        for (i64 j0 = 0; j0 < end; j0 += BLOCK_N) {
            for (int at = thread; at < BLOCK_N * HEAD_D; at += THREADS)
                K_AT(at / HEAD_D, at % HEAD_D) = LOAD_K(LEAST(j0 + at / HEAD_D, N - 1), at % HEAD_D);
            BARRIER();
            ACC score[TILE_M][TILE_N];
            UNROLL
            for (int r = 0; r < TILE_M; r++) {
                UNROLL
                for (int s = 0; s < TILE_N; s++)
                    score[r][s] = 0;
            }
            for (int p = 0; p < HEAD_D; p++) {
                ACC x[TILE_M], y[TILE_N];
                UNROLL
                for (int r = 0; r < TILE_M; r++)
                    x[r] = Q_AT(ROW_OF(r), p);
                UNROLL
                for (int s = 0; s < TILE_N; s++)
                    y[s] = K_AT(COLUMN_OF(s), p);
                UNROLL
                for (int r = 0; r < TILE_M; r++) {
                    UNROLL
                    for (int s = 0; s < TILE_N; s++)
                        score[r][s] = FMA(x[r], y[s], score[r][s]);
                }
            }
            UNROLL
            for (int r = 0; r < TILE_M; r++) {
                UNROLL
                for (int s = 0; s < TILE_N; s++) {
                    const i64 i = LEAST(i0 + ROW_OF(r), M - 1), j = j0 + COLUMN_OF(s);
                    const int seen = j < N && !(CAUSAL && j > i);
                    S_AT(ROW_OF(r), COLUMN_OF(s)) = seen ? MASKED(i, LEAST(j, N - 1), score[r][s]) : -INFINITE;
                }
            }
            BARRIER(); /* the scores are there, and nobody reads the keys any more */
            for (int at = thread; at < BLOCK_N * HEAD_E; at += THREADS)
                K_AT(at / HEAD_E, at % HEAD_E) = LOAD_V(LEAST(j0 + at / HEAD_E, N - 1), at % HEAD_E);
            for (int r = thread; r < BLOCK_M; r += THREADS) {
                ACC peak = most[r], weights = 0;
                for (int j = 0; j < BLOCK_N; j++)
                    peak = MAX_NAN(peak, S_AT(r, j));
                const ACC base = peak == -INFINITE ? (ACC)0 : peak;
                for (int j = 0; j < BLOCK_N; j++) {
                    const ACC weight = EXP(S_AT(r, j) - base);
                    S_AT(r, j) = weight;
                    weights += weight;
                }
                factor[r] = EXP(most[r] - base);
                total[r] = total[r] * factor[r] + weights;
                most[r] = peak;
            }
            BARRIER();
            UNROLL
            for (int r = 0; r < TILE_M; r++) {
                UNROLL
                for (int s = 0; s < WIDTH; s++)
                    sum[r][s] *= factor[ROW_OF(r)];
            }
            const int count = (int)LEAST(BLOCK_N, end - j0); /* what is not there has no weight, but may be NaN */
            for (int j = 0; j < count; j++) {
                ACC x[TILE_M];
                UNROLL
                for (int r = 0; r < TILE_M; r++)
                    x[r] = S_AT(ROW_OF(r), j);
                UNROLL
                for (int s = 0; s < WIDTH; s++) {
                    const ACC y = K_AT(j, LEAST(COLUMN_OF(s), HEAD_E - 1));
                    UNROLL
                    for (int r = 0; r < TILE_M; r++)
                        sum[r][s] = FMA(x[r], y, sum[r][s]);
                }
            }
            BARRIER();
        }
        UNROLL
        for (int r = 0; r < TILE_M; r++) {
            const ACC all = total[ROW_OF(r)], share = all == 0 ? (ACC)0 : 1 / all;
            UNROLL
            for (int s = 0; s < WIDTH; s++)
                if (i0 + ROW_OF(r) < M && COLUMN_OF(s) < HEAD_E)
                    STORE_O(i0 + ROW_OF(r), COLUMN_OF(s), sum[r][s] * share);
        }
    }
}
