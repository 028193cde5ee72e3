/* Matrix product with packed panels for CPUs, after Goto and van de Geijn, "Anatomy of high-performance matrix
   multiplication", ACM TOMS 34 (2008). A group is one thread and one block of the result, at most BLOCK_M x BLOCK_N:
   for each BLOCK_K of the depth it packs its rows of A, and strip by strip of STRIP_N columns of B, into panels that
   the innermost loops walk in order. A strip stays in the second cache, a panel of A in the first, and tiles of TILE_M
   rows x TILE_VECTORS vectors live in registers.

   What it is of comes first: a header made from the problem, and a file that packs (matmul_pack.c, which says what that
   header holds, or conv_pack.c), behind matmul_narrow.c where narrow factors share lanes:
     pack_a pack_b store      the panels of a block of A and of a strip of B, [depth][TILE_M] and [depth][TILE_N], one
                              behind the other; a tile of the result
     PACKED_ROW(depth) PACKED_STEP   where panels of A lie otherwise: from a row to the next, and along k
     WORD PRODUCT(x, y, sum)  an element of the panels and how it is multiplied, LANE_K of the factors' along k */

#ifndef LANE_K
#define LANE_K 1
#endif
#if LANE_K == 1
#undef WORD
#define WORD ACC
#define A_IN_PLACE 1
#define PRODUCT(x, y, sum) ((sum) + (x) * (y))
#define START(b, depth, v) ((vector){})
#define START_ROWS 0
#define SURVEYS 0
typedef ACC word_anywhere;
typedef ACC words __attribute__((vector_size(VECTOR)));
#endif

#define TILE_N (TILE_VECTORS * VECTOR / (i64)sizeof(ACC))
#define HALF_N ((TILE_VECTORS + 1) / 2 * VECTOR / (i64)sizeof(ACC))
#define LEAST(x, y) ((x) < (y) ? (x) : (y))
#define BLOCKS(extent, block) (((extent) + (block) - 1) / (block))
#define ROUND_UP(x, step) (BLOCKS(x, step) * (step))
/* A group's share of an extent: blocks evened out, so that the last is not a sliver, in whole tiles. */
#define SHARE(extent, block, tile) ROUND_UP(BLOCKS(extent, BLOCKS(extent, block)), tile)

/* The most rows and columns of a group, in whole tiles. */
#define MOST_M ROUND_UP(BLOCK_M, TILE_M)
#define MOST_N ROUND_UP(BLOCK_N, TILE_N)
#define MOST_STRIP ROUND_UP(STRIP_N, TILE_N)
#define BLOCK_WORDS (BLOCK_K / LANE_K)
#define WORDS BLOCKS(K, LANE_K)

/* Through OpenCL a CPU's group is one work-item, and what it works on lies in local memory, which there is plain
   memory. Pointers name their memory, so that factors cannot be read in place. */
#if CPU_GROUPS
#define WORK
#define FETCH(address) __builtin_prefetch(address, 1)
#else
#define WORK __local
#define FETCH(address) ((void)0)
#endif
#if CPU_GROUPS && defined(C_AT)
#define C_IN_PLACE 1
#else
#define C_IN_PLACE 0
#endif

typedef ACC vector __attribute__((vector_size(VECTOR)));
typedef ACC vector_anywhere __attribute__((vector_size(VECTOR), aligned(sizeof(ACC)), may_alias));
typedef WORD words_anywhere __attribute__((vector_size(VECTOR), aligned(sizeof(WORD)), may_alias));

/* A product's multiply-adds may fuse, user expressions may not, so contraction is on in this one function; that
   is also why it is not inlined. */
#if !CPU_GROUPS
#define FUSED
#define FUSE _Pragma("clang fp contract(fast)")
#elif defined(__clang__)
#define FUSED __attribute__((noinline))
#define FUSE _Pragma("clang fp contract(fast)")
#else
#define FUSED __attribute__((noinline, optimize("fp-contract=fast")))
#define FUSE
#endif

/* sums[TILE_M, vectors] (+)= a[TILE_M, depth] * b[depth, vectors], rows of the sums lying `row` apart. The tile's
   accumulators, one row of b and one element of a must fit into the vector registers. */
#define MULTIPLY(name, vectors, PRODUCT) \
    FUSED static void name(i64 depth, WORK const word_anywhere *a, i64 a_row, i64 a_step, WORK const WORD *b, \
                           i64 b_step, int first, WORK ACC *sums, i64 row) { \
        FUSE \
        vector c[TILE_M][vectors]; \
        UNROLL \
        for (int r = 0; r < TILE_M; r++) { \
            UNROLL \
            for (int v = 0; v < vectors; v++) { \
                FETCH((WORK vector_anywhere *)(sums + r * row) + v); /* asked for now, here when the loop is done */ \
                c[r][v] = START(b, depth, v); \
            } \
        } \
        for (i64 p = 0; p < depth; p++) { \
            words y[vectors]; \
            UNROLL \
            for (int v = 0; v < vectors; v++) \
                y[v] = ((WORK const words_anywhere *)b)[v]; \
            UNROLL \
            for (int r = 0; r < TILE_M; r++) { \
                const WORD x = a[r * a_row]; \
                UNROLL \
                for (int v = 0; v < vectors; v++) \
                    c[r][v] = PRODUCT(x, y[v], c[r][v]); \
            } \
            a += a_step; \
            b += b_step; \
        } \
        UNROLL \
        for (int r = 0; r < TILE_M; r++) { \
            WORK vector_anywhere *const sum = (WORK vector_anywhere *)(sums + r * row); \
            UNROLL \
            for (int v = 0; v < vectors; v++) \
                sum[v] = first ? c[r][v] : (vector)sum[v] + c[r][v]; \
        } \
    }
MULTIPLY(multiply, TILE_VECTORS, PRODUCT)
MULTIPLY(multiply_half, ((TILE_VECTORS + 1) / 2), PRODUCT) /* for a last tile that is no wider */
#if SURVEYS
MULTIPLY(multiply_plainly, TILE_VECTORS, PLAIN_PRODUCT)
#else
#define multiply_plainly multiply
#endif
#define MULTIPLY_TILE(plainly, wide, ...) \
    if (plainly) multiply_plainly(__VA_ARGS__); \
    else if ((wide) > HALF_N) multiply(__VA_ARGS__); \
    else multiply_half(__VA_ARGS__)

#if C_IN_PLACE
/* A tile beyond the result's edge. */
static void add_part(PARAMETERS, i64 b, i64 i0, i64 rows, i64 j0, i64 columns, int first, const ACC *sum) {
    for (i64 r = 0; r < rows; r++, sum += TILE_N) {
        ACC *const c = (ACC *)C_AT(b, i0 + r, j0);
        for (i64 s = 0; s < columns; s++)
            c[s] = first ? sum[s] : c[s] + sum[s];
    }
}
#endif

#ifndef PACKED_ROW /* else panels of A lie otherwise: see conv_pack.c */
#define PACKED_ROW(depth) 1
#define PACKED_STEP TILE_M
#endif

#ifndef DRIVES_ITSELF /* else the kernel follows: see conv_planes.c */
KERNEL {
    const i64 block_m = SHARE(M, BLOCK_M, TILE_M), block_n = SHARE(N, BLOCK_N, TILE_N);
    const i64 b = GROUP(2), i0 = GROUP(1) * block_m, j0 = GROUP(0) * block_n;
    const i64 rows = LEAST(block_m, M - i0), columns = LEAST(block_n, N - j0);
    /* How many leading rows and columns are read in place; a last, partial panel is packed in any case. */
    const i64 rows_in_place = PACK_A || !A_IN_PLACE ? 0 : rows / TILE_M * TILE_M;
    const i64 columns_in_place = PACK_B ? 0 : columns / TILE_N * TILE_N;
#if CPU_GROUPS
    /* The allocator keeps such pieces between calls; the stack would do as well, were it large on every thread. */
    const i64 deepest = LEAST(BLOCK_WORDS, WORDS) + START_ROWS, tiles = K > BLOCK_K && !C_IN_PLACE ? MOST_M * MOST_N : 0;
    const i64 packed_rows = ROUND_UP(rows - rows_in_place, TILE_M);
    const i64 packed_columns = LEAST(ROUND_UP(columns - columns_in_place, TILE_N), MOST_STRIP);
    const i64 needed = tiles + (packed_rows + packed_columns) * deepest;
    char *const memory = needed ? __builtin_malloc(sizeof(ACC) * needed + 64 + VECTOR) : 0;
    ACC *const aligned = (ACC *)(((u64)memory + 63) / 64 * 64);
    WORD *const panels_b = (WORD *)(aligned + tiles), *const panels_a = panels_b + packed_columns * deepest;
    ACC tile[TILE_M * TILE_N] __attribute__((aligned(64))), *const partial = tiles ? aligned : tile;
#else
    SHARED(ACC, partial, MOST_M * MOST_N) __attribute__((aligned(64)));
    SHARED(WORD, panels_b, MOST_STRIP * BLOCK_WORDS) __attribute__((aligned(64)));
    SHARED(WORD, panels_a, MOST_M * BLOCK_WORDS) __attribute__((aligned(64)));
#endif
#if SURVEYS
    int tiny = 0; /* whether sums may be so small that an instruction would take them for 0 */
#endif
    for (i64 p0 = 0; p0 == 0 || p0 < WORDS; p0 += BLOCK_WORDS) {
        const i64 depth = LEAST(BLOCK_WORDS, WORDS - p0);
        const int first = p0 == 0, last = p0 + depth == WORDS;
        WORK ACC *sum = partial;
        pack_a(ARGUMENTS, b, i0 + rows_in_place, rows - rows_in_place, p0, depth, panels_a);
#if SURVEYS
        const i64 words_a = ROUND_UP(rows - rows_in_place, TILE_M) * depth;
        const u32 packed_least = least_magnitude(panels_a, 0, 1, words_a);
        const u32 placed_least = least_magnitude(A_AT(b, i0, p0), A_ROW, rows_in_place, depth);
        const u32 least_a = LEAST(packed_least, placed_least);
#endif
        for (i64 j1 = 0, end; j1 < columns; j1 = end) {
            end = LEAST(j1 + MOST_STRIP, columns);
            const i64 packed = columns_in_place < j1 ? j1 : columns_in_place < end ? columns_in_place : end;
            pack_b(ARGUMENTS, b, j0 + packed, end - packed, p0, depth, panels_b);
#if SURVEYS
            const i64 packed_words = ROUND_UP(end - packed, TILE_N) * depth;
            const int plainly = would_flush(least_a, least_magnitude(panels_b, 0, 1, packed_words));
            tiny |= plainly;
#else
            const int plainly = 0;
#endif
            for (i64 i = 0; i < rows; i += TILE_M)
                for (i64 j = j1; j < end; j += TILE_N) {
                    WORK const word_anywhere *x = panels_a + (i - rows_in_place) * depth;
                    WORK const WORD *y = panels_b + (j - packed) * (depth + START_ROWS);
                    i64 x_row = PACKED_ROW(depth), x_step = PACKED_STEP, y_step = TILE_N;
#if !PACK_A
                    if (i < rows_in_place)
                        x = (const word_anywhere *)A_AT(b, i0 + i, p0), x_row = A_ROW, x_step = A_STEP;
#endif
#if !PACK_B
                    if (j < columns_in_place)
                        y = (const WORD *)B_AT(b, p0, j0 + j), y_step = B_STEP;
#endif
                    const i64 here = LEAST(TILE_M, rows - i), wide = LEAST(TILE_N, columns - j);
#if C_IN_PLACE
                    if (here == TILE_M && wide == TILE_N) {
                        ACC *const c = (ACC *)C_AT(b, i0 + i, j0 + j);
                        MULTIPLY_TILE(plainly, TILE_N, depth, x, x_row, x_step, y, y_step, first, c, C_ROW);
                    } else {
                        MULTIPLY_TILE(plainly, wide, depth, x, x_row, x_step, y, y_step, 1, sum, TILE_N);
                        add_part(ARGUMENTS, b, i0 + i, here, j0 + j, wide, first, sum);
                    }
#else
                    MULTIPLY_TILE(plainly, wide, depth, x, x_row, x_step, y, y_step, first, sum, TILE_N);
#ifdef STORES_ROUNDED
                    if (last && !tiny && wide == TILE_N)
                        store_rounded(ARGUMENTS, b, i0 + i, here, j0 + j, sum);
                    else
#endif
                    if (last)
                        store(ARGUMENTS, b, i0 + i, here, j0 + j, wide, sum);
                    if (K > BLOCK_K) /* else one tile's sums are enough */
                        sum += TILE_M * TILE_N;
#endif
                }
        }
    }
#if CPU_GROUPS
    __builtin_free(memory);
#endif
}
#endif
