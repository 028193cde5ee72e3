/* Matrix product with packed panels for CPUs, after Goto and van de Geijn, "Anatomy of high-performance matrix
   multiplication", ACM TOMS 34 (2008). A group is one thread and one block of the result, at most BLOCK_M x BLOCK_N:
   for each BLOCK_K of the depth it packs its rows of A, and strip by strip of STRIP_N columns of B, into panels that
   the innermost loops walk in order. A strip stays in the second cache, a panel of A in the first, and tiles of TILE_M
   rows x TILE_VECTORS vectors live in registers.

   A header made from the problem comes first:
     PARAMETERS ARGUMENTS     the kernel's parameters, so that helpers can take and pass all of them
     M N K                    extents
     ACC                      the type of factors and sums
     LOAD_A(b, i, p) LOAD_B(b, p, j) STORE_C(b, i, j, sum)   prologues and epilogue
     A_ALONG_K B_ALONG_K      1 where the operand lies side by side along k, so that packing must transpose
     PACK_A PACK_B            0: full panels are read where they lie, at A_AT(b, i, p) + r * A_ROW + s * A_STEP
                              and at B_AT(b, p, j) + s * B_STEP
     C_AT(b, i, j) C_ROW      only where the sums are the result: sums of a row lie there side by side
     LANE_K                   1; of narrow factors as many neighbours along k share a word of the panels, and depths are
                              counted in words: matmul_lanes.c, in front, says how those are packed and multiplied
   Without it, this file compiles alone:
     cc -O3 -march=native -fopenmp-simd -include backends/prelude_cpu.h -c kernels/matmul_cpu.c */

#if !defined(LOAD_A) && !defined(PACKS_ITSELF) && !defined(PART_A)
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
#define STRIP_N 128
#define C_AT(b, i, j) (out0 + (i) * n + (j))
#define C_ROW n
#define LANE_K 1
#define KERNEL void matmul(PARAMETERS, i64 group_0, i64 group_1, i64 group_2)
#endif

#if LANE_K == 1
#define WORD ACC
#define WORD_A(b, i, p) LOAD_A(b, i, p)
#define WORD_B(b, p, j) LOAD_B(b, p, j)
#define LAST_A WORD_A
#define LAST_B WORD_B
#define WHOLE_WORDS K
#define A_IN_PLACE 1
#define PRODUCT(x, y, sum) ((sum) + (x) * (y))
#define START(b, depth, v) ((vector){})
#define START_ROWS 0
#define TAKE_STARTS(panels, columns, depth) ((void)0)
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

#ifndef PACKS_ITSELF /* else pack_a, pack_b and store are there already: see conv_pack.c */

/* Missing rows or columns of a panel's last tile are 0, so that the innermost loop need not know of them. A panel that
   lies along k is loaded CHUNK elements at a time, which vectorises whatever the prologue is, and then transposed. The
   others are copied, TOGETHER panels at a time: their pieces of a row lie side by side, so that memory is read in runs
   long enough to be fetched ahead. */
#define CHUNK 64
#define TOGETHER 4
#define LANES (VECTOR / (int)sizeof(ACC))
#ifndef TURNS /* no turn.c in front */
#define TURNS(tile) 0
#define turn(lines, line_step, count, to, step) ((void)0)
#endif

/* What lies along k: `here` lines to a panel of [depth][tile]. Whole vectors are written, the last of a
   line first, since what it is too wide lies where the next line begins, or behind the panel. */
#define PACK_ALONG_K(LOADED, LAST, here, tile, depth, whole, to) \
    WORD lines[ROUND_UP(tile, LANES)][CHUNK] __attribute__((aligned(64))); \
    for (i64 r = (here); r < ROUND_UP(tile, LANES); r++) \
        for (i64 q = 0; q < CHUNK; q++) \
            lines[r][q] = 0; \
    for (i64 p = 0; p < (depth); p += CHUNK) { \
        const i64 count = LEAST(CHUNK, (depth) - p); \
        for (i64 r = 0; r < (here); r++) { \
            FOR_EACH(q, 0, LEAST(CHUNK, (whole) - p)) \
                lines[r][q] = LOADED(r, p + q); \
            if (LANE_K > 1 && p + count > (whole)) \
                lines[r][count - 1] = LAST(r, p + count - 1); \
        } \
        if (TURNS(tile)) { \
            for (i64 q = 0; q < count; q += LANES) \
                for (i64 r = ROUND_UP(tile, LANES) - LANES; r >= 0; r -= LANES) \
                    turn((ACC *)lines[r] + q, CHUNK, count - q, (ACC *)(to) + (p + q) * (tile) + r, tile); \
        } else \
            for (i64 q = 0; q < count; q++) \
                for (i64 r = 0; r < (tile); r++) \
                    (to)[(p + q) * (tile) + r] = lines[r][q]; \
    }

/* What lies across k: `extent` lines to panels of [depth][tile], `pitch` rows apart. */
#define PACK_ACROSS_K(LOADED, extent, tile, depth, pitch, to) \
    for (i64 begin = 0; begin < (extent); begin += TOGETHER * (tile)) \
        for (i64 p = 0; p < (depth); p++) \
            for (i64 r = begin; r < LEAST(begin + TOGETHER * (tile), extent); r += (tile)) { \
                WORK WORD *const line = (to) + r * (pitch) + p * (tile); \
                if (r + (tile) <= (extent)) { /* a constant length */ \
                    FOR_EACH(s, 0, tile) \
                        line[s] = LOADED(r + s, p); \
                } else { \
                    FOR_EACH(s, 0, tile) \
                        line[s] = r + s < (extent) ? LOADED(r + s, p) : 0; \
                } \
            }

/* Rows i0 .. i0 + rows of A, depth columns from p0, as panels of [depth][TILE_M]. */
static void pack_a(PARAMETERS, i64 b, i64 i0, i64 rows, i64 p0, i64 depth, WORK WORD *to) {
#define ROW(r, p) WORD_A(b, i0 + (r), p0 + (p))
#define LAST_ROW(r, p) LAST_A(b, i0 + (r), p0 + (p))
#if A_ALONG_K
    const i64 whole = LEAST(depth, WHOLE_WORDS - p0);
    for (; rows > 0; rows -= TILE_M, i0 += TILE_M, to += depth * TILE_M) {
        PACK_ALONG_K(ROW, LAST_ROW, LEAST(TILE_M, rows), TILE_M, depth, whole, to)
    }
#else
    PACK_ACROSS_K(LAST_ROW, rows, TILE_M, depth, depth, to)
#endif
}

/* Columns j0 .. j0 + columns of B, depth rows from p0, as panels of [depth][TILE_N]. */
static void pack_b(PARAMETERS, i64 b, i64 j0, i64 columns, i64 p0, i64 depth, WORK WORD *to) {
#define COLUMN(s, p) WORD_B(b, p0 + (p), j0 + (s))
#define LAST_COLUMN(s, p) LAST_B(b, p0 + (p), j0 + (s))
#if B_ALONG_K
    const i64 whole = LEAST(depth, WHOLE_WORDS - p0);
    for (i64 s = 0; s < columns; s += TILE_N, j0 += TILE_N) {
        WORK WORD *const panel = to + s * (depth + START_ROWS);
        PACK_ALONG_K(COLUMN, LAST_COLUMN, LEAST(TILE_N, columns - s), TILE_N, depth, whole, panel)
    }
#else
    PACK_ACROSS_K(LAST_COLUMN, columns, TILE_N, depth, depth + START_ROWS, to)
#endif
    TAKE_STARTS(to, columns, depth);
}

static void store(PARAMETERS, i64 b, i64 i0, i64 rows, i64 j0, i64 columns, WORK const ACC *sum) {
    for (i64 r = 0; r < rows; r++) {
        if (columns == TILE_N) { /* a constant length */
            FOR_EACH(s, 0, TILE_N)
                STORE_C(b, i0 + r, j0 + s, sum[r * TILE_N + s]);
        } else {
            FOR_EACH(s, 0, columns)
                STORE_C(b, i0 + r, j0 + s, sum[r * TILE_N + s]);
        }
    }
}
#endif

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
