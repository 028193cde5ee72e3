/* The product of matmul_cpu.c for a group that is one vector of threads: each has the columns of its lane. What is packed
   is packed by all of them together, so that any prologue and epilogue is computed in vectors; an element of A is the
   same for all. A panel of A lies as A does: along k in rows of BLOCK_K, else in rows of TILE_M. The header is that of
   matmul_cpu.c, and this file compiles behind it only. PARTIAL: whether K is more than BLOCK_K;
   ACC_NBYTES: the size of a sum. */

#define LANES (VECTOR / ACC_NBYTES)
#define TILE_N (TILE_VECTORS * LANES)
#define LEAST(x, y) ((x) < (y) ? (x) : (y))
#define BLOCKS(extent, block) (((extent) + (block) - 1) / (block))
#define ROUND_UP(x, step) (BLOCKS(x, step) * (step))
#define SHARE(extent, block, tile) ROUND_UP(BLOCKS(extent, BLOCKS(extent, block)), tile)
#define MOST_M ROUND_UP(BLOCK_M, TILE_M)
#define MOST_N ROUND_UP(BLOCK_N, TILE_N)
#define MOST_STRIP ROUND_UP(STRIP_N, TILE_N)
#if !PACK_A
#define A_MEMORY GLOBAL
#define A_PLACE(r, p) (LEAST(r, rows - 1) * a_row + (p) * a_step)
#else
#define A_MEMORY __local
#define A_PLACE(r, p) (A_ALONG_K ? (r) * BLOCK_K + (p) : (p) * TILE_M + (r))
#endif
#if PACK_B
#define B_MEMORY __local
#else
#define B_MEMORY GLOBAL
#endif

#if PACK_A
/* Rows i0 .. i0 + rows of A, depth columns from p0. Missing rows of the last panel are 0. */
DEVICE void pack_a(PARAMETERS, i64 b, i64 i0, i64 rows, i64 p0, i64 depth, __local ACC *to) {
    for (i64 i = 0; i < rows; i += TILE_M, to += TILE_M * BLOCK_K) {
#if A_ALONG_K
        for (i64 r = 0; r < TILE_M; r++) {
            if (i + r < rows) {
                for (i64 p = LOCAL(0); p < depth; p += LANES)
                    to[A_PLACE(r, p)] = LOAD_A(b, i0 + i + r, p0 + p);
            } else
                for (i64 p = LOCAL(0); p < depth; p += LANES)
                    to[A_PLACE(r, p)] = 0;
        }
#else
        for (i64 p = 0; p < depth; p++)
            for (i64 r = LOCAL(0); r < TILE_M; r += LANES)
                to[A_PLACE(r, p)] = i + r < rows ? LOAD_A(b, i0 + LEAST(i + r, rows - 1), p0 + p) : 0;
#endif
    }
}

#endif

#if PACK_B
/* Columns j0 .. j0 + columns of B, depth rows from p0, as panels of [depth][TILE_N]; missing columns of the last are 0. */
DEVICE void pack_b(PARAMETERS, i64 b, i64 j0, i64 columns, i64 p0, i64 depth, __local ACC *to) {
    for (i64 j = 0; j < columns; j += TILE_N, to += depth * TILE_N) {
        if (j + TILE_N <= columns) {
            i64 p = 0;
#if B_ALONG_K && LANES > 2 /* squares are loaded along k and turned: see turned.py */
            for (; p + LANES <= depth; p += LANES)
                for (i64 v = 0; v < TILE_N; v += LANES) {
                    ACC line[LANES];
                    UNROLL
                    for (int r = 0; r < LANES; r++)
                        line[r] = LOAD_B(b, p0 + p + LOCAL(0), j0 + j + v + r);
                    UNROLL
                    for (int step = 1; step < LANES; step *= 2) {
                        UNROLL
                        for (int r = 0; r < LANES; r++)
                            if (!(r & step))
                                LANES_EXCHANGE(ACC, line[r], line[r + step], step);
                    }
                    UNROLL
                    for (int r = 0; r < LANES; r++)
                        to[(p + r) * TILE_N + v + LOCAL(0)] = line[r];
                }
#endif
            for (; p < depth; p++) {
                UNROLL
                for (int v = 0; v < TILE_VECTORS; v++)
                    to[p * TILE_N + v * LANES + LOCAL(0)] = LOAD_B(b, p0 + p, j0 + j + v * LANES + LOCAL(0));
            }
        } else
            for (i64 p = 0; p < depth; p++)
                for (i64 s = LOCAL(0); s < TILE_N; s += LANES)
                    to[p * TILE_N + s] = j + s < columns ? LOAD_B(b, p0 + p, j0 + LEAST(j + s, columns - 1)) : 0;
    }
}

#endif

/* sums[TILE_M, TILE_N] (+)= a[TILE_M, depth] * b[depth, TILE_N], of which this thread has every LANES-th column. `rows` and
   `columns` are those that there are: of what is read in place others lie outside, and the last one stands for them. */
#define MULTIPLY(name, B_PLACE) \
    DEVICE void name(i64 depth, A_MEMORY const ACC *a, i64 a_row, i64 a_step, i64 rows, B_MEMORY const ACC *b, i64 b_step, \
                     i64 columns, int first, __local ACC *sums) { \
        ACC c[TILE_M][TILE_VECTORS]; \
        UNROLL \
        for (int r = 0; r < TILE_M; r++) { \
            UNROLL \
            for (int v = 0; v < TILE_VECTORS; v++) \
                c[r][v] = 0; \
        } \
        for (i64 p = 0; p < depth; p++) { \
            ACC y[TILE_VECTORS]; \
            UNROLL \
            for (int v = 0; v < TILE_VECTORS; v++) \
                y[v] = b[p * b_step + B_PLACE(v * LANES + LOCAL(0))]; \
            UNROLL \
            for (int r = 0; r < TILE_M; r++) { \
                const ACC x = a[A_PLACE(r, p)]; \
                UNROLL \
                for (int v = 0; v < TILE_VECTORS; v++) \
                    c[r][v] = MULTIPLY_ADD(x, y[v], c[r][v]); \
            } \
        } \
        UNROLL \
        for (int r = 0; r < TILE_M; r++) { \
            UNROLL \
            for (int v = 0; v < TILE_VECTORS; v++) { \
                const i64 at = r * TILE_N + v * LANES + LOCAL(0); \
                sums[at] = first ? c[r][v] : sums[at] + c[r][v]; \
            } \
        } \
    }
#define ANY(s) (s)
#define INSIDE(s) LEAST(s, columns - 1)
MULTIPLY(multiply, ANY)
#if !PACK_B
MULTIPLY(multiply_edge, INSIDE)
#endif

/* Each thread stores its own columns. */
DEVICE void store(PARAMETERS, i64 b, i64 i0, i64 rows, i64 j0, i64 columns, __local const ACC *sum) {
    for (i64 r = 0; r < rows; r++) {
        if (columns == TILE_N) {
            for (i64 v = 0; v < TILE_VECTORS; v++)
                STORE_C(b, i0 + r, j0 + v * LANES + LOCAL(0), sum[r * TILE_N + v * LANES + LOCAL(0)]);
        } else
            for (i64 s = LOCAL(0); s < columns; s += LANES)
                STORE_C(b, i0 + r, j0 + s, sum[r * TILE_N + s]);
    }
}

KERNEL {
    const i64 block_m = SHARE(M, BLOCK_M, TILE_M), block_n = SHARE(N, BLOCK_N, TILE_N);
    const i64 b = GROUP(2), i0 = GROUP(1) * block_m, j0 = GROUP(0) * block_n;
    const i64 rows = LEAST(block_m, M - i0), columns = LEAST(block_n, N - j0);
    SHARED(ACC, partial, PARTIAL ? MOST_M * MOST_N : TILE_M * TILE_N) __attribute__((aligned(64)));
#if PACK_B
    SHARED(ACC, panels_b, MOST_STRIP * BLOCK_K) __attribute__((aligned(64)));
#endif
#if PACK_A
    SHARED(ACC, panels_a, MOST_M * BLOCK_K) __attribute__((aligned(64)));
#endif
    for (i64 p0 = 0; p0 == 0 || p0 < K; p0 += BLOCK_K) {
        const i64 depth = LEAST(BLOCK_K, K - p0);
        const int first = p0 == 0, last = p0 + depth == K;
        __local ACC *sum = partial;
#if PACK_A
        BARRIER(); /* the last panels of A are done with */
        pack_a(ARGUMENTS, b, i0, rows, p0, depth, panels_a);
        BARRIER(); /* of B a thread reads what it packed itself */
#endif
        for (i64 j1 = 0; j1 < columns; j1 += MOST_STRIP) {
            const i64 end = LEAST(j1 + MOST_STRIP, columns);
#if PACK_B
            pack_b(ARGUMENTS, b, j0 + j1, end - j1, p0, depth, panels_b);
#endif
            for (i64 i = 0; i < rows; i += TILE_M)
                for (i64 j = j1; j < end; j += TILE_N) {
                    const i64 here = LEAST(TILE_M, rows - i), wide = LEAST(TILE_N, columns - j);
#if PACK_A
                    __local const ACC *x = panels_a + i * BLOCK_K;
                    const i64 x_row = 0, x_step = 0;
#else
                    GLOBAL const ACC *x = (GLOBAL const ACC *)A_AT(b, i0 + i, p0);
                    const i64 x_row = A_ROW, x_step = A_STEP;
#endif
#if PACK_B
                    multiply(depth, x, x_row, x_step, here, panels_b + (j - j1) * depth, TILE_N, wide, first, sum);
#else
                    GLOBAL const ACC *y = (GLOBAL const ACC *)B_AT(b, p0, j0 + j);
                    if (wide == TILE_N)
                        multiply(depth, x, x_row, x_step, here, y, B_STEP, wide, first, sum);
                    else
                        multiply_edge(depth, x, x_row, x_step, here, y, B_STEP, wide, first, sum);
#endif
                    if (last)
                        store(ARGUMENTS, b, i0 + i, here, j0 + j, wide, sum);
                    if (PARTIAL) /* else one tile's sums are enough */
                        sum += TILE_M * TILE_N;
                }
        }
    }
}
