/* Packs the factors of a matrix product into panels for matmul_cpu.c, which this file is put in front of, and stores its
   tiles.

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
                              counted in words: matmul_narrow.c, in front, says what those are
     A_HALVES_AT(b, i, p) B_HALVES_AT(b, p, j) C_HALVES_AT(b, i, j)   only of plain float16 that lies side by side as it
                              is read or stored: halves.c, in front, converts runs of it
   Without it, this file and the next compile alone:
     cat kernels/matmul_pack.c kernels/matmul_cpu.c | cc -O3 -march=native -fopenmp-simd \
        -include backends/prelude_cpu.h -x c -c - */

#if !defined(LOAD_A) && !defined(WORD) && !defined(PACKS_ITSELF)
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

#ifndef WORD
#define WORD ACC
#define WORD_A(b, i, p) LOAD_A(b, i, p)
#define WORD_B(b, p, j) LOAD_B(b, p, j)
#define LAST_A WORD_A
#define LAST_B WORD_B
#define WHOLE_WORDS K
#define START_ROWS 0
#define TAKE_STARTS(panels, columns, depth) ((void)0)
#endif
#if CPU_GROUPS /* see matmul_cpu.c */
#define WORK
#else
#define WORK __local
#endif
#define TILE_N (TILE_VECTORS * VECTOR / (i64)sizeof(ACC))
#define LEAST(x, y) ((x) < (y) ? (x) : (y))
#define BLOCKS(extent, block) (((extent) + (block) - 1) / (block))
#define ROUND_UP(x, step) (BLOCKS(x, step) * (step))
#ifndef WIDENS /* no halves.c in front, or it has no instruction */
#define WIDENS 0
#endif

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

/* `count` words of line r from depth p on, or at depth p of lines from r on. */
#define FILL_ALONG(LOADED, r, p, count, to) FOR_EACH(q, 0, count) (to)[q] = LOADED(r, (p) + q)
#define FILL_ACROSS(LOADED, r, p, count, to) FOR_EACH(s, 0, count) (to)[s] = LOADED((r) + s, p)

/* What lies along k: `here` lines to a panel of [depth][tile]. Whole vectors are written, the last of a
   line first, since what it is too wide lies where the next line begins, or behind the panel. */
#define PACK_ALONG_K(FILL, LAST, here, tile, depth, whole, to) \
    WORD lines[ROUND_UP(tile, LANES)][CHUNK] __attribute__((aligned(64))); \
    for (i64 r = (here); r < ROUND_UP(tile, LANES); r++) \
        for (i64 q = 0; q < CHUNK; q++) \
            lines[r][q] = 0; \
    for (i64 p = 0; p < (depth); p += CHUNK) { \
        const i64 count = LEAST(CHUNK, (depth) - p); \
        for (i64 r = 0; r < (here); r++) { \
            FILL(r, p, LEAST(CHUNK, (whole) - p), lines[r]); \
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
#define PACK_ACROSS_K(FILL, LAST, extent, tile, depth, pitch, to) \
    for (i64 begin = 0; begin < (extent); begin += TOGETHER * (tile)) \
        for (i64 p = 0; p < (depth); p++) \
            for (i64 r = begin; r < LEAST(begin + TOGETHER * (tile), extent); r += (tile)) { \
                WORK WORD *const line = (to) + r * (pitch) + p * (tile); \
                if (r + (tile) <= (extent)) { /* a constant length */ \
                    FILL(r, p, tile, line); \
                } else { \
                    FOR_EACH(s, 0, tile) \
                        line[s] = r + s < (extent) ? LAST(r + s, p) : 0; \
                } \
            }

#ifndef PACKS_ITSELF /* else pack_a, pack_b and store are another's: see conv_planes.c */

/* Rows i0 .. i0 + rows of A, depth columns from p0, as panels of [depth][TILE_M]. */
static void pack_a(PARAMETERS, i64 b, i64 i0, i64 rows, i64 p0, i64 depth, WORK WORD *to) {
#define ROW(r, p) WORD_A(b, i0 + (r), p0 + (p))
#define LAST_ROW(r, p) LAST_A(b, i0 + (r), p0 + (p))
#if WIDENS && defined(A_HALVES_AT)
#define FILL_ROWS(r, p, count, to) widen(A_HALVES_AT(b, i0 + (r), p0 + (p)), count, to)
#elif A_ALONG_K
#define FILL_ROWS(r, p, count, to) FILL_ALONG(ROW, r, p, count, to)
#else
#define FILL_ROWS(r, p, count, to) FILL_ACROSS(LAST_ROW, r, p, count, to)
#endif
#if A_ALONG_K
    const i64 whole = LEAST(depth, WHOLE_WORDS - p0);
    for (; rows > 0; rows -= TILE_M, i0 += TILE_M, to += depth * TILE_M) {
        PACK_ALONG_K(FILL_ROWS, LAST_ROW, LEAST(TILE_M, rows), TILE_M, depth, whole, to)
    }
#else
    PACK_ACROSS_K(FILL_ROWS, LAST_ROW, rows, TILE_M, depth, depth, to)
#endif
}

/* Columns j0 .. j0 + columns of B, depth rows from p0, as panels of [depth][TILE_N]. */
static void pack_b(PARAMETERS, i64 b, i64 j0, i64 columns, i64 p0, i64 depth, WORK WORD *to) {
#define COLUMN(s, p) WORD_B(b, p0 + (p), j0 + (s))
#define LAST_COLUMN(s, p) LAST_B(b, p0 + (p), j0 + (s))
#if WIDENS && defined(B_HALVES_AT)
#define FILL_COLUMNS(s, p, count, to) widen(B_HALVES_AT(b, p0 + (p), j0 + (s)), count, to)
#elif B_ALONG_K
#define FILL_COLUMNS(s, p, count, to) FILL_ALONG(COLUMN, s, p, count, to)
#else
#define FILL_COLUMNS(s, p, count, to) FILL_ACROSS(LAST_COLUMN, s, p, count, to)
#endif
#if B_ALONG_K
    const i64 whole = LEAST(depth, WHOLE_WORDS - p0);
    for (i64 s = 0; s < columns; s += TILE_N, j0 += TILE_N) {
        WORK WORD *const panel = to + s * (depth + START_ROWS);
        PACK_ALONG_K(FILL_COLUMNS, LAST_COLUMN, LEAST(TILE_N, columns - s), TILE_N, depth, whole, panel)
    }
#else
    PACK_ACROSS_K(FILL_COLUMNS, LAST_COLUMN, columns, TILE_N, depth, depth + START_ROWS, to)
#endif
    TAKE_STARTS(to, columns, depth);
}

static void store(PARAMETERS, i64 b, i64 i0, i64 rows, i64 j0, i64 columns, WORK const ACC *sum) {
    for (i64 r = 0; r < rows; r++) {
#if WIDENS && defined(C_HALVES_AT)
        narrow(sum + r * TILE_N, columns, C_HALVES_AT(b, i0 + r, j0));
        continue;
#endif
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
