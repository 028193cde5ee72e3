/* Panels of narrow factors for matmul_pack.c and matmul_cpu.c, which this file is put in front of: LANE_K neighbours
   along k lie in one word, the first lowest, which narrow.c, in front, multiplies. What a last word lacks is 0.

   A header made from the problem comes first (see matmul_narrow.py), on top of what those ask for:
     PART_A(b, i, p) PART_B(b, p, j) an element's bits, in the low part of a u32
     A_IN_WORDS B_IN_WORDS           1 where the factor's words lie in memory, the last one apart, at
                                     A_AT(b, i, word) and B_AT(b, word, j)
     A_ROW_PARTS                     elements from a row of A to the next, where A_IN_WORDS
     ROUNDED_AT(b, i, j)             only where the sums, rounded to bfloat16, are the result: a row's lie side by side
   Without it, these files compile alone:
     cat kernels/narrow.c kernels/matmul_narrow.c kernels/matmul_pack.c kernels/matmul_cpu.c | cc -O3 -march=native \
        -fopenmp-simd -include backends/prelude_cpu.h -x c -c - */

#ifndef PART_A
#define PARAMETERS const u16 *in0, const u16 *in1, f32 *out0, i64 m, i64 n, i64 k
#define ARGUMENTS in0, in1, out0, m, n, k
#define M m
#define N n
#define K k
#define PART_A(b, i, p) ((u32)in0[(i) * k + (p)])
#define PART_B(b, p, j) ((u32)in1[(p) * n + (j)])
#define A_IN_WORDS 1
#define A_AT(b, i, word) (in0 + (i) * k + (word) * LANE_K)
#define A_ROW_PARTS k
#define B_IN_WORDS 0
#define STORE_C(b, i, j, sum) out0[(i) * n + (j)] = (sum)
#define A_ALONG_K 1
#define B_ALONG_K 0
#define PACK_B 1
#define TILE_M 6
#define TILE_VECTORS 2
#define BLOCK_M 192
#define BLOCK_N 512
#define BLOCK_K 512
#define STRIP_N 128
#define C_AT(b, i, j) (out0 + (i) * n + (j))
#define C_ROW n
#define KERNEL void matmul(PARAMETERS, i64 group_0, i64 group_1, i64 group_2)
#endif

#define LANES_N (TILE_VECTORS * VECTOR / 4)
typedef u32 word_anywhere __attribute__((aligned(1), may_alias));

/* The depth of a panel is counted in words; of the last one there may be only a part. */
#define WHOLE_WORDS (K / LANE_K)

/* Rows are read in place where each begins with a word and ends with one. */
#if A_IN_WORDS
#define A_ROW (A_ROW_PARTS / LANE_K)
#define A_STEP 1
#define A_IN_PLACE (K % LANE_K == 0 && A_ROW_PARTS % LANE_K == 0)
#else
#define A_AT(b, i, word) 0
#define A_ROW 0
#define A_STEP 0
#define A_IN_PLACE 0
#endif

#define FLIP_PACKED (PACK_A ? FLIP : 0)
#define SHIFTED(PART, g) (PART(g) << PART_BITS * (g))
#if LANE_K == 4
#define JOINED(PART) (PART(0) | SHIFTED(PART, 1) | SHIFTED(PART, 2) | SHIFTED(PART, 3))
#else
#define JOINED(PART) (PART(0) | SHIFTED(PART, 1))
#endif

/* Word `p`, all of which is there; and of which something may be missing. */
DEVICE u32 word_a(PARAMETERS, i64 b, i64 i, i64 p) {
#if A_IN_WORDS
    return *(const word_anywhere *)A_AT(b, i, p) ^ FLIP_PACKED;
#else
#define OF_A(g) PART_A(b, i, p * LANE_K + (g))
    return JOINED(OF_A) ^ FLIP_PACKED;
#endif
}

DEVICE u32 word_b(PARAMETERS, i64 b, i64 p, i64 j) {
#if B_IN_WORDS
    return *(const word_anywhere *)B_AT(b, p, j);
#else
#define OF_B(g) PART_B(b, p * LANE_K + (g), j)
    return JOINED(OF_B);
#endif
}

#define INSIDE(g) (p * LANE_K + (g) < K ? p * LANE_K + (g) : K - 1)
#define KEPT(g) (-(u32)(p * LANE_K + (g) < K))

DEVICE u32 last_a(PARAMETERS, i64 b, i64 i, i64 p) {
#define LAST_OF_A(g) (PART_A(b, i, INSIDE(g)) & KEPT(g))
    return JOINED(LAST_OF_A) ^ FLIP_PACKED;
}

DEVICE u32 last_b(PARAMETERS, i64 b, i64 p, i64 j) {
#define LAST_OF_B(g) (PART_B(b, INSIDE(g), j) & KEPT(g))
    return JOINED(LAST_OF_B);
}

#define WORD_A(b, i, p) word_a(ARGUMENTS, b, i, p)
#define WORD_B(b, p, j) word_b(ARGUMENTS, b, p, j)
#define LAST_A(b, i, p) last_a(ARGUMENTS, b, i, p)
#define LAST_B(b, p, j) last_b(ARGUMENTS, b, p, j)

#if FLIP
/* The last row of panels of [depth + 1][LANES_N]: -128 times the sums along k of the rows before. */
#define START_ROWS 1
#define START(b, depth, v) (((const vector_anywhere *)((b) + (depth) * LANES_N))[v])
#define TAKE_STARTS take_starts
static void take_starts(WORD *panels, i64 columns, i64 depth) {
    for (; columns > 0; columns -= LANES_N, panels += (depth + 1) * LANES_N) {
        words sums[TILE_VECTORS] = {};
        for (i64 p = 0; p < depth; p++)
            for (int v = 0; v < TILE_VECTORS; v++)
                sums[v] = UNSIGNED_BY_SIGNED(SPREAD(0x80808080u), ((const words *)(panels + p * LANES_N))[v], sums[v]);
        for (int v = 0; v < TILE_VECTORS; v++)
            ((words *)(panels + depth * LANES_N))[v] = -sums[v];
    }
}
#else
#define START_ROWS 0
#define START(b, depth, v) ((vector){})
#define TAKE_STARTS(panels, columns, depth) ((void)0)
#endif

#if SURVEYS
/* The instruction takes factors, sums and results below the smallest normal number, 2^-126, for 0. A bfloat16 of biased
   exponent E is a multiple of 2^(E - 134), so that products, and what rounded sums of them there are, are multiples of
   2^(E + F - 268) with the least E and F of the two factors: 0 or at least 2^-126 where E + F >= 142. */
#define LEAST_SUM 142

/* Of `rows` of `count` words the least magnitude but for 0, less one, as bits; 0x7fff where all are 0. */
static u32 least_magnitude(const void *from, i64 row, i64 rows, i64 count) {
    typedef u16 halves __attribute__((vector_size(VECTOR)));
    typedef u16 halves_anywhere __attribute__((vector_size(VECTOR), aligned(1), may_alias));
    halves least = (halves){} - 1;
    u16 found = 0xffff;
    for (const word_anywhere *x = from; rows > 0; rows--, x += row) {
        i64 k = 0;
        for (; k + VECTOR / 4 <= count; k += VECTOR / 4) {
            const halves bits = *(const halves_anywhere *)(x + k), magnitude = bits + bits - 2;
            __asm__("vpminuw %1, %0, %0" : "+v"(least) : "v"(magnitude));
        }
        for (; k < count; k++)
            for (int part = 0; part < 2; part++) {
                const u16 magnitude = 2 * (x[k] >> 16 * part) - 2;
                found = magnitude < found ? magnitude : found;
            }
    }
    for (int lane = 0; lane < VECTOR / 2; lane++)
        found = least[lane] < found ? least[lane] : found;
    return found >> 1;
}

static int would_flush(u32 least_a, u32 least_b) {
    const u32 a = (least_a + 1) >> 7, b = (least_b + 1) >> 7;
    return a == 0 || b == 0 || a + b < LEAST_SUM;
}

#ifdef ROUNDED_AT
/* What `store` does with a whole tile that is 0 or at least 2^-126, which this instruction would take for 0 as well. */
#define STORES_ROUNDED 1
static void store_rounded(PARAMETERS, i64 b, i64 i0, i64 rows, i64 j0, const f32 *sum) {
    typedef u16 rounded __attribute__((vector_size(VECTOR / 2)));
    typedef u16 rounded_anywhere __attribute__((vector_size(VECTOR / 2), aligned(2), may_alias));
    for (i64 r = 0; r < rows; r++, sum += LANES_N) {
        rounded_anywhere *const to = (rounded_anywhere *)ROUNDED_AT(b, i0 + r, j0);
        for (int v = 0; v < TILE_VECTORS; v++) {
            rounded bits;
            __asm__("vcvtneps2bf16 %1, %0" : "=v"(bits) : "v"(((const lane_sums *)sum)[v]));
            to[v] = bits;
        }
    }
}
#endif
#endif
