/* Matrix product with packed panels for CPUs, after Goto and van de Geijn, "Anatomy of high-performance matrix
   multiplication", ACM TOMS 34 (2008). A group is one thread and one block of the result, at most BLOCK_M x BLOCK_N:
   for each BLOCK_K of the depth it packs its rows of A and its columns of B into panels that the innermost loops
   walk in order, and multiplies tiles of TILE_M rows x TILE_VECTORS vectors that live in registers.

   A header made from the problem comes first:
     PARAMETERS ARGUMENTS     the kernel's parameters, so that helpers can take and pass all of them
     M N K                    extents
     ACC                      the type of factors and sums
     LOAD_A(b, i, p) LOAD_B(b, p, j) STORE_C(b, i, j, sum)   prologues and epilogue
     A_ALONG_K B_ALONG_K      1 where the operand lies side by side along k, so that packing must transpose
     PACK_A PACK_B            0: full panels are read where they lie, at A_AT(b, i, p) + r * A_ROW + s * A_STEP
                              and at B_AT(b, p, j) + s * B_STEP
   Without it, this file compiles alone:
     cc -O3 -march=native -fopenmp-simd -include backends/prelude_cpu.h -c kernels/matmul_cpu.c */

#ifndef LOAD_A
#define PARAMETERS const f32 *in0, const f32 *in1, f32 *out0, i64 m, i64 n, i64 k
#define ARGUMENTS in0, in1, out0, m, n, k
#define M m
#define N n
#define K k
#define ACC f32
#define LOAD_A(b, i, p) in0[(i) * k + (p)]
#define LOAD_B(b, p, j) in1[(p) * n + (j)]
#define STORE_C(b, i, j, sum) out0[(i) * n + (j)] = (sum)
#define A_ALONG_K 1
#define B_ALONG_K 0
#define PACK_A 1
#define PACK_B 1
#define VECTOR 32
#define TILE_M 6
#define TILE_VECTORS 2
#define BLOCK_M 192
#define BLOCK_N 512
#define BLOCK_K 256
#define KERNEL void matmul(PARAMETERS, i64 group_0, i64 group_1, i64 group_2)
#endif

#define TILE_N (TILE_VECTORS * VECTOR / (i64)sizeof(ACC))
#define LEAST(x, y) ((x) < (y) ? (x) : (y))
#define BLOCKS(extent, block) (((extent) + (block) - 1) / (block))
#define ROUND_UP(x, step) (BLOCKS(x, step) * (step))
/* A group's share of an extent: blocks evened out, so that the last is not a sliver, in whole tiles. */
#define SHARE(extent, block, tile) ROUND_UP(BLOCKS(extent, BLOCKS(extent, block)), tile)

typedef ACC vector __attribute__((vector_size(VECTOR)));
typedef ACC vector_anywhere __attribute__((vector_size(VECTOR), aligned(sizeof(ACC)), may_alias));

/* A product's multiply-adds may fuse, user expressions may not, so contraction is on in this one function; that
   is also why it is not inlined. */
#if defined(__clang__)
#define FUSED __attribute__((noinline))
#define FUSE _Pragma("clang fp contract(fast)")
#else
#define FUSED __attribute__((noinline, optimize("fp-contract=fast")))
#define FUSE
#endif

/* sum (+)= a[TILE_M, depth] * b[depth, TILE_N]. The tile's accumulators, one row of b and one element of a must fit
   into the vector registers. */
FUSED static void multiply(i64 depth, const ACC *a, i64 a_row, i64 a_step, const ACC *b, i64 b_step, int first, ACC *sum) {
    FUSE
    vector c[TILE_M][TILE_VECTORS];
    if (!first) /* asked for now, here when the loop is done */
        for (int r = 0; r < TILE_M * TILE_VECTORS; r++)
            __builtin_prefetch((vector *)sum + r, 1);
    for (int r = 0; r < TILE_M; r++)
        for (int v = 0; v < TILE_VECTORS; v++)
            c[r][v] = (vector){0};
    for (i64 p = 0; p < depth; p++) {
        vector y[TILE_VECTORS];
        for (int v = 0; v < TILE_VECTORS; v++)
            y[v] = ((const vector_anywhere *)b)[v];
        for (int r = 0; r < TILE_M; r++) {
            const ACC x = a[r * a_row];
            for (int v = 0; v < TILE_VECTORS; v++)
                c[r][v] += x * y[v];
        }
        a += a_step;
        b += b_step;
    }
    for (int r = 0; r < TILE_M; r++)
        for (int v = 0; v < TILE_VECTORS; v++)
            ((vector *)sum)[r * TILE_VECTORS + v] = first ? c[r][v] : ((vector *)sum)[r * TILE_VECTORS + v] + c[r][v];
}

/* Missing rows or columns of a panel's last tile are 0, so that the innermost loop need not know of them. A panel that
   lies along k is loaded CHUNK elements at a time, which vectorises whatever the prologue is, and then transposed. */
#define CHUNK 64
#define CLEAR(to, tile, here, depth) \
    for (i64 p = 0; p < (depth); p++) \
        for (i64 r = (here); r < (tile); r++) \
            (to)[p * (tile) + r] = 0
#define TRANSPOSE(to, tile, lines, count) \
    for (i64 p = 0; p < (count); p++) \
        for (i64 r = 0; r < (tile); r++) \
            (to)[p * (tile) + r] = lines[r][p]

/* Rows i0 .. i0 + rows of A, depth columns from p0, as panels of [depth][TILE_M]. */
static void pack_a(PARAMETERS, i64 b, i64 i0, i64 rows, i64 p0, i64 depth, ACC *to) {
    for (i64 i = 0; i < rows; i += TILE_M, to += depth * TILE_M) {
        const i64 here = LEAST(TILE_M, rows - i);
#if A_ALONG_K
        ACC lines[TILE_M][CHUNK] = {{0}};
        for (i64 c = 0; c < depth; c += CHUNK) {
            const i64 count = LEAST(CHUNK, depth - c);
            for (i64 r = 0; r < here; r++) {
                _Pragma("omp simd")
                for (i64 p = 0; p < count; p++)
                    lines[r][p] = LOAD_A(b, i0 + i + r, p0 + c + p);
            }
            TRANSPOSE(to + c * TILE_M, TILE_M, lines, count);
        }
#else
        for (i64 p = 0; p < depth; p++) {
            _Pragma("omp simd")
            for (i64 r = 0; r < here; r++)
                to[p * TILE_M + r] = LOAD_A(b, i0 + i + r, p0 + p);
        }
        CLEAR(to, TILE_M, here, depth);
#endif
    }
}

/* Columns j0 .. j0 + columns of B, depth rows from p0, as panels of [depth][TILE_N]. */
static void pack_b(PARAMETERS, i64 b, i64 j0, i64 columns, i64 p0, i64 depth, ACC *to) {
    for (i64 j = 0; j < columns; j += TILE_N, to += depth * TILE_N) {
        const i64 here = LEAST(TILE_N, columns - j);
#if B_ALONG_K
        ACC lines[TILE_N][CHUNK] = {{0}};
        for (i64 c = 0; c < depth; c += CHUNK) {
            const i64 count = LEAST(CHUNK, depth - c);
            for (i64 s = 0; s < here; s++) {
                _Pragma("omp simd")
                for (i64 p = 0; p < count; p++)
                    lines[s][p] = LOAD_B(b, p0 + c + p, j0 + j + s);
            }
            TRANSPOSE(to + c * TILE_N, TILE_N, lines, count);
        }
#else
        for (i64 p = 0; p < depth; p++) {
            _Pragma("omp simd")
            for (i64 s = 0; s < here; s++)
                to[p * TILE_N + s] = LOAD_B(b, p0 + p, j0 + j + s);
        }
        CLEAR(to, TILE_N, here, depth);
#endif
    }
}

static void store(PARAMETERS, i64 b, i64 i0, i64 rows, i64 j0, i64 columns, const ACC *sum) {
    for (i64 r = 0; r < rows; r++) {
        _Pragma("omp simd")
        for (i64 s = 0; s < columns; s++)
            STORE_C(b, i0 + r, j0 + s, sum[r * TILE_N + s]);
    }
}

KERNEL {
    const i64 block_m = SHARE(M, BLOCK_M, TILE_M), block_n = SHARE(N, BLOCK_N, TILE_N);
    const i64 b = GROUP(2), i0 = GROUP(1) * block_m, j0 = GROUP(0) * block_n;
    const i64 rows = LEAST(block_m, M - i0), columns = LEAST(block_n, N - j0);
    /* How many leading rows and columns are read in place; a last, partial panel is packed in any case. */
    const i64 rows_in_place = PACK_A ? 0 : rows / TILE_M * TILE_M;
    const i64 columns_in_place = PACK_B ? 0 : columns / TILE_N * TILE_N;
    const i64 packed_rows = ROUND_UP(rows - rows_in_place, TILE_M), packed_columns = ROUND_UP(columns - columns_in_place, TILE_N);
    const i64 deepest = LEAST(BLOCK_K, K), sums = K > BLOCK_K ? ROUND_UP(rows, TILE_M) * ROUND_UP(columns, TILE_N) : 0;
    /* Sums and panels of B are whole vectors, so alignment to a cache line holds throughout. The allocator keeps such
       pieces between calls; the stack would do as well, were it large on every thread. */
    char *space = __builtin_malloc(sizeof(ACC) * (sums + (packed_rows + packed_columns) * deepest) + 64);
    ACC *const partial = (ACC *)(((u64)space + 63) / 64 * 64), *const panels_b = partial + sums;
    ACC *const panels_a = panels_b + packed_columns * deepest;
    i64 p0 = 0;
    do {
        const i64 depth = LEAST(BLOCK_K, K - p0);
        const int first = p0 == 0, last = p0 + depth == K;
        pack_b(ARGUMENTS, b, j0 + columns_in_place, columns - columns_in_place, p0, depth, panels_b);
        pack_a(ARGUMENTS, b, i0 + rows_in_place, rows - rows_in_place, p0, depth, panels_a);
        ACC *next = partial;
        for (i64 j = 0; j < columns; j += TILE_N) {
            for (i64 i = 0; i < rows; i += TILE_M) {
                ACC only[TILE_M * TILE_N] __attribute__((aligned(64)));
                ACC *const sum = first && last ? only : next;
                const ACC *x = panels_a + (i - rows_in_place) * depth, *y = panels_b + (j - columns_in_place) * depth;
                i64 x_row = 1, x_step = TILE_M, y_step = TILE_N;
#if !PACK_A
                if (i < rows_in_place)
                    x = (const ACC *)A_AT(b, i0 + i, p0), x_row = A_ROW, x_step = A_STEP;
#endif
#if !PACK_B
                if (j < columns_in_place)
                    y = (const ACC *)B_AT(b, p0, j0 + j), y_step = B_STEP;
#endif
                multiply(depth, x, x_row, x_step, y, y_step, first, sum);
                if (last)
                    store(ARGUMENTS, b, i0 + i, LEAST(TILE_M, rows - i), j0 + j, LEAST(TILE_N, columns - j), sum);
                next += TILE_M * TILE_N;
            }
        }
        p0 += BLOCK_K;
    } while (p0 < K);
    __builtin_free(space);
}
