/* Attention for CPUs with an online softmax (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018;
   Dao et al., "FlashAttention", 2022): the scores of BLOCK_M queries against BLOCK_N keys at a time stay in the cache,
   and sums made with a smaller maximum are scaled down when a larger one turns up. A group is one thread and one block
   of queries. Both products go tile by tile, TILE_M rows x TILE_VECTORS vectors in registers; keys are packed so that
   vectors run along them, values so that vectors run along their elements.

   A header made from the problem comes first (see attention.py):
     PARAMETERS ARGUMENTS   the kernel's parameters, so that helpers can take and pass all of them
     PLACE AT UNRAVEL(o)    indices of the leading axes: as parameters, as arguments, declared from their number
     M N D E                queries, keys, elements of a query and key, elements of a value
     ACC INFINITE EXP       the type of scores and sums, its infinity and exponential
     LOAD_Q(i, p) LOAD_K(j, p) LOAD_V(j, e) SCALE STORE_O(i, e, sum)
     CAUSAL                 1: query i sees no key after i
     MASK                   0: none, 1: LOAD_MASK(i, j) is whether a key is seen, 2: it is added to the score
   Without it, this file compiles alone:
     cc -O3 -march=native -fopenmp-simd -include backends/prelude_cpu.h -include backends/prelude_math.h \
        -include backends/prelude_common.h -c kernels/attention_cpu.c */

#ifndef LOAD_Q
#define PARAMETERS const f32 *in0, const f32 *in1, const f32 *in2, f32 *out0, i64 m, i64 n, i64 d, f32 c0
#define ARGUMENTS in0, in1, in2, out0, m, n, d, c0
#define PLACE i64 b0
#define AT b0
#define UNRAVEL(o) const i64 b0 = o;
#define M m
#define N n
#define D d
#define E d
#define ACC f32
#define INFINITE INF_f32
#define EXP(x) exp_f32(x)
#define LOAD_Q(i, p) in0[(b0 * m + (i)) * d + (p)]
#define LOAD_K(j, p) in1[(b0 * n + (j)) * d + (p)]
#define LOAD_V(j, e) in2[(b0 * n + (j)) * d + (e)]
#define SCALE c0
#define STORE_O(i, e, sum) out0[(b0 * m + (i)) * d + (e)] = (sum)
#define CAUSAL 1
#define MASK 0
#define VECTOR 32
#define TILE_M 6
#define TILE_VECTORS 2
#define BLOCK_M 96
#define BLOCK_N 128
#define KERNEL void attention(PARAMETERS, i64 group_0, i64 group_1, i64 group_2)
#endif

#define TILE_N (TILE_VECTORS * VECTOR / (i64)sizeof(ACC))
#define LEAST(x, y) ((x) < (y) ? (x) : (y))
#define ROUND_UP(x, step) (((x) + (step) - 1) / (step) * (step))
#define CHUNK 64 /* elements of a key that are loaded before they are transposed */

#ifndef TURNS /* no turn.c in front */
#define TURNS(tile) 0
#define turn(lines, line_step, count, to, step) ((void)0)
#endif

typedef ACC vector __attribute__((vector_size(VECTOR)));
typedef ACC vector_anywhere __attribute__((vector_size(VECTOR), aligned(sizeof(ACC)), may_alias));

/* Only the products' multiply-adds may fuse, see matmul_cpu.c. */
#if defined(__clang__)
#define FUSED __attribute__((noinline))
#define FUSE _Pragma("clang fp contract(fast)")
#else
#define FUSED __attribute__((noinline, optimize("fp-contract=fast")))
#define FUSE
#endif

DECLARE_REDUCTION(largest, ACC, MAX_NAN, -INFINITE)

/* c[TILE_M][TILE_N] (+)= a[TILE_M, depth] * b[depth, TILE_N]; rows of a and c lie `a_row` and `c_row` apart. */
FUSED static void multiply(i64 depth, const ACC *a, i64 a_row, const ACC *b, int first, ACC *c, i64 c_row) {
    FUSE
    vector sum[TILE_M][TILE_VECTORS];
    UNROLL
    for (int r = 0; r < TILE_M; r++) {
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++)
            sum[r][v] = first ? (vector){} : (vector)((const vector_anywhere *)(c + r * c_row))[v];
    }
    for (i64 p = 0; p < depth; p++) {
        vector y[TILE_VECTORS];
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++)
            y[v] = ((const vector_anywhere *)(b + p * TILE_N))[v];
        UNROLL
        for (int r = 0; r < TILE_M; r++) {
            const ACC x = a[r * a_row + p];
            UNROLL
            for (int v = 0; v < TILE_VECTORS; v++)
                sum[r][v] += x * y[v];
        }
    }
    UNROLL
    for (int r = 0; r < TILE_M; r++) {
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++)
            ((vector_anywhere *)(c + r * c_row))[v] = sum[r][v];
    }
}

/* Keys j0 .. j0 + count as panels of [D][TILE_N]; what is missing in the last is 0. */
static void pack_keys(PARAMETERS, PLACE, i64 j0, i64 count, ACC *to) {
    for (i64 j = 0; j < count; j += TILE_N, to += D * TILE_N) {
        ACC lines[TILE_N][CHUNK] = {{0}};
        for (i64 c = 0; c < D; c += CHUNK) {
            const i64 depth = LEAST(CHUNK, D - c);
            for (i64 s = 0; s < LEAST(TILE_N, count - j); s++) {
                FOR_EACH(p, 0, depth)
                    lines[s][p] = LOAD_K(j0 + j + s, c + p);
            }
            if (TURNS(TILE_N)) {
                for (i64 p = 0; p < depth; p += VECTOR / (i64)sizeof(ACC))
                    for (i64 s = 0; s < TILE_N; s += VECTOR / (i64)sizeof(ACC))
                        turn(lines[s] + p, CHUNK, depth - p, to + (c + p) * TILE_N + s, TILE_N);
            } else
                for (i64 p = 0; p < depth; p++)
                    for (i64 s = 0; s < TILE_N; s++)
                        to[(c + p) * TILE_N + s] = lines[s][p];
        }
    }
}

/* Values j0 .. j0 + count as panels of [count][TILE_N]; elements that there are not are 0. */
static void pack_values(PARAMETERS, PLACE, i64 j0, i64 count, ACC *to) {
    for (i64 e = 0; e < E; e += TILE_N, to += count * TILE_N) {
        const i64 here = LEAST(TILE_N, E - e);
        for (i64 j = 0; j < count; j++) {
            FOR_EACH(s, 0, here)
                to[j * TILE_N + s] = LOAD_V(j0 + j, e + s);
            for (i64 s = here; s < TILE_N; s++)
                to[j * TILE_N + s] = 0;
        }
    }
}

/* One query's scores to weights: exp(score - maximum), where the maximum is that of all keys so far. What was summed
   with the last maximum is to be scaled by the result. A query that has seen nothing but -infinity keeps sums of 0. */
static ACC weigh(PARAMETERS, PLACE, i64 i, i64 j0, i64 count, ACC *row, ACC *most, ACC *sum) {
#if MASK == 1
    FOR_EACH(j, 0, count)
        row[j] = LOAD_MASK(i, j0 + j) ? row[j] : -INFINITE;
#elif MASK == 2
    FOR_EACH(j, 0, count)
        row[j] += LOAD_MASK(i, j0 + j);
#endif
    ACC peak = *most, weights = 0;
    FOR_REDUCE(j, 0, count, largest, peak)
        peak = MAX_NAN(peak, row[j]);
    const ACC base = peak == -INFINITE ? 0 : peak;
    FOR_REDUCE(j, 0, count, +, weights) {
        const ACC weight = EXP(row[j] - base);
        row[j] = weight;
        weights += weight;
    }
    const ACC factor = EXP(*most - base);
    *sum = *sum * factor + weights;
    *most = peak;
    return factor;
}

KERNEL {
    UNRAVEL(GROUP(1))
    /* The last queries first: if causal, they see most keys, and what is left at the end is short. */
    const i64 i0 = ((M + BLOCK_M - 1) / BLOCK_M - 1 - GROUP(0)) * BLOCK_M, rows = LEAST(BLOCK_M, M - i0);
    const i64 most_rows = ROUND_UP(rows, TILE_M), width = ROUND_UP(E, TILE_N), block_n = ROUND_UP(BLOCK_N, TILE_N);
    char *const memory = __builtin_malloc(
        sizeof(ACC) * (most_rows * (D + block_n + width + 2) + block_n * (D + width)) + 64);
    ACC *const scores = (ACC *)(((u64)memory + 63) / 64 * 64), *const keys = scores + most_rows * block_n;
    ACC *const vals = keys + block_n * D, *const sums = vals + block_n * width;
    ACC *const queries = sums + most_rows * width, *const most = queries + most_rows * D, *const total = most + most_rows;
    for (i64 r = 0; r < most_rows; r++) {
        most[r] = -INFINITE, total[r] = 0;
        for (i64 e = 0; e < width; e++)
            sums[r * width + e] = 0;
        if (r < rows) {
            FOR_EACH(p, 0, D)
                queries[r * D + p] = LOAD_Q(i0 + r, p) * SCALE;
        } else
            for (i64 p = 0; p < D; p++)
                queries[r * D + p] = 0;
    }
    const i64 end = CAUSAL ? LEAST(N, i0 + rows) : N;
    for (i64 j0 = 0; j0 < end; j0 += block_n) {
        const i64 count = LEAST(block_n, end - j0);
        pack_keys(ARGUMENTS, AT, j0, count, keys);
        pack_values(ARGUMENTS, AT, j0, count, vals);
        for (i64 r = 0; r < most_rows; r += TILE_M) {
            const i64 seen = CAUSAL ? LEAST(count, i0 + r + TILE_M - j0) : count; /* by the tile's last query */
            if (seen <= 0)
                continue;
            ACC *const tile = scores + r * block_n;
            for (i64 j = 0; j < seen; j += TILE_N)
                multiply(D, queries + r * D, D, keys + j * D, 1, tile + j, block_n);
            for (i64 q = r; q < r + TILE_M; q++) {
                ACC *const row = scores + q * block_n;
                const i64 own = q >= rows ? 0 : CAUSAL ? LEAST(seen, i0 + q + 1 - j0) : seen;
                if (own > 0) {
                    const ACC factor = weigh(ARGUMENTS, AT, i0 + q, j0, own, row, most + q, total + q);
                    if (factor != 1) {
                        FOR_EACH(e, 0, width)
                            sums[q * width + e] *= factor;
                    }
                }
                for (i64 j = own < 0 ? 0 : own; j < seen; j++)
                    row[j] = 0;
            }
            for (i64 e = 0; e < width; e += TILE_N)
                multiply(seen, tile, block_n, vals + e * count, 0, sums + r * width + e, width);
        }
    }
    for (i64 r = 0; r < rows; r++) {
        const ACC factor = total[r] == 0 ? 0 : 1 / total[r];
        FOR_EACH(e, 0, E)
            STORE_O(i0 + r, e, sums[r * width + e] * factor);
    }
    __builtin_free(memory);
}
