/* Matrix product on tensor cores, for CUDA from sm_80 on: halves (f16, bf16) with f32 sums, bytes with 32-bit sums.

   A group computes BLOCK_M x BLOCK_N results, each of its warps WARP_M x WARP_N of them by mma.sync. Factors come
   DEPTH_NBYTES bytes deep at a time into shared memory, where STAGES tiles lie: while one is multiplied, the others are
   on their way. With SLICES as many warps share a place in the block; each takes every SLICES-th step of the depth, and
   their sums meet at the end. How groups share the depth of blocks (SPLITS, STREAM) stands in matmul_share.c.

   A tile lies in shared memory as in global memory, in pieces of 16 bytes: rows of k (DEEP), or rows of k's other axis,
   which ldmatrix transposes on the way; it cannot do that with bytes, so those are always DEEP. Pieces of a row are
   exchanged (see `place`) so that the 8 rows of a matrix lie in different banks.

   A header made from the problem comes first (see matmul_header.py and matmul_mma.py): BATCH M N K, ACC, STORE_C, and
   for both factors X: ELEMENT_X(b, i, p) as bits, X_DEEP, and if X_IN_PLACE, X_PLACE(b, i, p) and X_APART, the elements
   from a row of the tile to the next, in memory; X_BY_ROWS where neighbouring threads do best with neighbouring rows.
   MMA names the instruction. Without it, this file compiles alone:
     nvcc -cubin -arch=sm_80 -include backends/prelude_cuda.h -x cu kernels/matmul_mma.c */

#ifndef MMA
#define PARAMETERS const f16 *in0, const f16 *in1, f32 *out0, i64 m, i64 n, i64 k
#define ARGUMENTS in0, in1, out0, m, n, k
#define BATCH 1
#define M m
#define N n
#define K k
#define ACC f32
#define MMA mma_f16_f16
#define NBYTES 2
#define A_PLACE(b, i, p) (in0 + (i) * k + (p))
#define B_PLACE(b, p, j) (in1 + (p) * n + (j))
#define ELEMENT_A(b, i, p) *A_PLACE(b, i, p)
#define ELEMENT_B(b, p, j) *B_PLACE(b, p, j)
#define STORE_C(b, i, j, sum) out0[(i) * n + (j)] = (sum)
#define A_APART k
#define B_APART n
#define A_IN_PLACE 1
#define B_IN_PLACE 1
#define A_DEEP 1
#define B_DEEP 0
#define A_BY_ROWS 0
#define B_BY_ROWS 0
#define BLOCK_M 128
#define BLOCK_N 128
#define WARP_M 64
#define WARP_N 64
#define DEPTH_NBYTES 64
#define STAGES 3
#define SLICES 1
#define SPLITS 1
#define STREAM 216
#define HOLDERS 128
#define SWIZZLE 8
#define MAX_GROUPS 2147483647
#define KERNEL extern "C" __global__ void __launch_bounds__(128) matmul(PARAMETERS)
#include "matmul_share.c"
#endif

#define PIECE 16                 /* bytes: what a lane copies, and a row of what ldmatrix loads */
#define STEP 32                  /* bytes of depth that one mma multiplies */
#define PER_PIECE (PIECE / NBYTES)
#define DEPTH (DEPTH_NBYTES / NBYTES)
#define WARPS_M (BLOCK_M / WARP_M)
#define WARPS_N (BLOCK_N / WARP_N)
#define THREADS (32 * WARPS_M * WARPS_N * SLICES)
#define A_NBYTES (BLOCK_M * DEPTH_NBYTES)
#define B_NBYTES (BLOCK_N * DEPTH_NBYTES)
#define STAGE_NBYTES (A_NBYTES + B_NBYTES)
#define PER_A (A_NBYTES / PIECE / THREADS) /* pieces that each thread brings */
#define PER_B (B_NBYTES / PIECE / THREADS)
#define A_PIECES ((A_DEEP ? DEPTH_NBYTES : BLOCK_M * NBYTES) / PIECE) /* in a row of a tile */
#define B_PIECES ((B_DEEP ? DEPTH_NBYTES : BLOCK_N * NBYTES) / PIECE)
#define FINISH_NBYTES (16 * (WARP_N + 8) * 4) /* of shared memory, in which a warp turns its sums */
#define ROWS_HERE (WARP_M / 16) /* matrices of a warp */
#define COLUMNS_HERE (WARP_N / 8)
#define LEAST(x, y) ((x) < (y) ? (x) : (y))

struct ALIGNED(16) Piece {
    u32 words[4];
};

/* Puts bits in the place of a piece's element `x`, which holds 0. */
DEVICE void put(Piece *whole, int x, u32 bits) { whole->words[x * NBYTES / 4] |= bits << x * NBYTES % 4 * 8; }

/* Where a piece lies in its tile. 8 pieces fill all banks once, and ldmatrix takes 8 rows at a time. */
DEVICE u32 place(u32 row, u32 piece, u32 pieces) {
    const u32 turn = pieces >= 8 ? row % 8 : row / (8 / pieces) % pieces;
    return (row * pieces + (piece ^ turn)) * PIECE;
}

/* How many of a piece's elements, from `at` on, are there. */
DEVICE int there(i64 at, i64 extent) { return at >= extent ? 0 : (int)LEAST(extent - at, (i64)PER_PIECE); }

/* Begins to bring the tiles from depth `p0` on, zeros beyond the edges, and does so at once where a factor is computed
   or not aligned. Neighbouring threads bring neighbouring pieces; rows where those are what memory has side by side. */
DEVICE void bring(u8 *to, PARAMETERS, i64 b, i64 i0, i64 j0, i64 p0, u32 thread, int a_aligned, int b_aligned) {
    UNROLL
    for (int e = 0; e < PER_A; e++) {
        const u32 at = thread + e * THREADS;
        const u32 row = A_BY_ROWS ? at % BLOCK_M : at / A_PIECES, piece = A_BY_ROWS ? at / BLOCK_M : at % A_PIECES;
        const i64 i = i0 + (A_DEEP ? row : piece * PER_PIECE), p = p0 + (A_DEEP ? piece * PER_PIECE : row);
        const int count = A_DEEP ? (i < M ? there(p, K) : 0) : (p < K ? there(i, M) : 0);
        u8 *const target = to + place(row, piece, A_PIECES);
#if A_IN_PLACE
        if (a_aligned) {
            copy_async(target, count ? A_PLACE(b, i, p) : A_PLACE(b, 0, 0), count * NBYTES);
            continue;
        }
#endif
        Piece whole = {{0, 0, 0, 0}};
        UNROLL
        for (int x = 0; x < PER_PIECE; x++)
            if (x < count)
                put(&whole, x, ELEMENT_A(b, i + (A_DEEP ? 0 : x), p + (A_DEEP ? x : 0)));
        *(Piece *)target = whole;
    }
    UNROLL
    for (int e = 0; e < PER_B; e++) {
        const u32 at = thread + e * THREADS;
        const u32 row = B_BY_ROWS ? at % BLOCK_N : at / B_PIECES, piece = B_BY_ROWS ? at / BLOCK_N : at % B_PIECES;
        const i64 j = j0 + (B_DEEP ? row : piece * PER_PIECE), p = p0 + (B_DEEP ? piece * PER_PIECE : row);
        const int count = B_DEEP ? (j < N ? there(p, K) : 0) : (p < K ? there(j, N) : 0);
        u8 *const target = to + A_NBYTES + place(row, piece, B_PIECES);
#if B_IN_PLACE
        if (b_aligned) {
            copy_async(target, count ? B_PLACE(b, p, j) : B_PLACE(b, 0, 0), count * NBYTES);
            continue;
        }
#endif
        Piece whole = {{0, 0, 0, 0}};
        UNROLL
        for (int x = 0; x < PER_PIECE; x++)
            if (x < count)
                put(&whole, x, ELEMENT_B(b, p + (B_DEEP ? x : 0), j + (B_DEEP ? 0 : x)));
        *(Piece *)target = whole;
    }
}

/* One warp's share of a tile: every SLICES-th step from `slice` on, of the rows from `i` and the columns from `j`. */
DEVICE void multiply(const u8 *a_tile, u32 i, u32 j, u32 slice, u32 lane, ACC sum[ROWS_HERE][COLUMNS_HERE][4]) {
    const u8 *const b_tile = a_tile + A_NBYTES;
    UNROLL
    for (int turn = 0; turn < DEPTH_NBYTES / STEP / SLICES; turn++) {
        const u32 step = turn * SLICES + slice, depth = step * (STEP / NBYTES), piece = step * (STEP / PIECE);
        u32 a[ROWS_HERE][4], b[COLUMNS_HERE / 2][4];
        UNROLL
        for (int r = 0; r < ROWS_HERE; r++) {
            const u32 row = i + r * 16;
#if A_DEEP
            ldmatrix(a[r], a_tile + place(row + lane % 16, piece + lane / 16, A_PIECES));
#else
            ldmatrix_trans(a[r], a_tile + place(depth + lane % 8 + lane / 16 * 8, row / 8 + lane / 8 % 2, A_PIECES));
#endif
        }
        UNROLL
        for (int s = 0; s < COLUMNS_HERE / 2; s++) {
            const u32 column = j + s * 16;
#if B_DEEP
            ldmatrix(b[s], b_tile + place(column + lane % 8 + lane / 16 * 8, piece + lane / 8 % 2, B_PIECES));
#else
            ldmatrix_trans(b[s], b_tile + place(depth + lane % 16, column / 8 + lane / 16, B_PIECES));
#endif
        }
        UNROLL
        for (int r = 0; r < ROWS_HERE; r++) {
            UNROLL
            for (int s = 0; s < COLUMNS_HERE; s++)
                MMA(sum[r][s], a[r], b[s / 2] + s % 2 * 2);
        }
    }
}

/* Adds the sums of the other slices to those of the first. Nobody reads tiles any more once all have come here. */
DEVICE void gather(u8 *shared, u32 warp, u32 slice, u32 lane, ACC sum[ROWS_HERE][COLUMNS_HERE][4]) {
    ACC *const mine = (ACC *)shared + warp * WARP_M * WARP_N + lane;
    for (u32 other = 1; other < SLICES; other++) {
        BARRIER();
        UNROLL
        for (int e = 0; e < ROWS_HERE * COLUMNS_HERE * 4; e++)
            if (slice == other)
                mine[32 * e] = sum[e / 4 / COLUMNS_HERE][e / 4 % COLUMNS_HERE][e % 4];
        BARRIER();
        UNROLL
        for (int e = 0; e < ROWS_HERE * COLUMNS_HERE * 4; e++)
            if (slice == 0)
                sum[e / 4 / COLUMNS_HERE][e / 4 % COLUMNS_HERE][e % 4] += mine[32 * e];
    }
}

/* Stores a warp's sums, 16 rows at a time, turned in shared memory so that neighbouring lanes store neighbouring
   elements. `shared` is this warp's own; rows lie 8 words further apart than they are long, so that half a warp writes
   to all banks. */
DEVICE void finish_warp(u8 *shared, PARAMETERS, i64 b, i64 i, i64 j, u32 lane, ACC sum[ROWS_HERE][COLUMNS_HERE][4]) {
    ACC *const rows = (ACC *)shared;
    UNROLL
    for (int r = 0; r < ROWS_HERE; r++) {
        UNROLL
        for (int e = 0; e < COLUMNS_HERE * 4; e++)
            rows[(lane / 4 + e % 4 / 2 * 8) * (WARP_N + 8) + e / 4 * 8 + lane % 4 * 2 + e % 2] = sum[r][e / 4][e % 4];
        WARP_BARRIER();
#pragma unroll 2 /* of all at once, addresses would push sums out of registers */
        for (int e = 0; e < WARP_N / 2; e++) {
            const u32 at = e * 32 + lane, row = at / WARP_N, column = at % WARP_N;
            if (i + r * 16 + row < M && j + column < N)
                STORE_C(b, i + r * 16 + row, j + column, rows[row * (WARP_N + 8) + column]);
        }
        WARP_BARRIER();
    }
}

KERNEL {
    DYNAMIC_SHARED(shared);
    SHARED(u32, order, 1);
    const u32 thread = (u32)LOCAL(0), lane = thread % 32, warp = thread / 32 / SLICES, slice = thread / 32 % SLICES;
    const u32 warp_i = warp / WARPS_N * WARP_M, warp_j = warp % WARPS_N * WARP_N;
    const i64 blocks_m = (M + BLOCK_M - 1) / BLOCK_M, blocks_n = (N + BLOCK_N - 1) / BLOCK_N;
    Work work = work_of_group(BATCH * blocks_m * blocks_n, (int)((K + DEPTH - 1) / DEPTH));
    Part part;
    while (take(&work, &part)) {
        const i64 b = BATCH == 1 ? 0 : part.block / (blocks_m * blocks_n), block = part.block - b * blocks_m * blocks_n;
        /* Blocks one after the other walk down SWIZZLE rows before the next column: they share more of A and B. */
        const i64 band = block / (SWIZZLE * blocks_n), height = LEAST(SWIZZLE, blocks_m - band * SWIZZLE);
        const i64 within = block - band * SWIZZLE * blocks_n;
        const i64 i0 = (band * SWIZZLE + within % height) * BLOCK_M, j0 = within / height * BLOCK_N;
        const i64 depth0 = (i64)part.first * DEPTH;
        int a_aligned = 0, b_aligned = 0; /* whether every piece begins at a multiple of 16 bytes */
#if A_IN_PLACE
        a_aligned = ((u64)A_PLACE(b, 0, 0) | (u64)(A_APART * NBYTES)) % PIECE == 0;
#endif
#if B_IN_PLACE
        b_aligned = ((u64)B_PLACE(b, 0, 0) | (u64)(B_APART * NBYTES)) % PIECE == 0;
#endif
        ACC sum[ROWS_HERE][COLUMNS_HERE][4];
        UNROLL
        for (int e = 0; e < ROWS_HERE * COLUMNS_HERE * 4; e++)
            sum[e / 4 / COLUMNS_HERE][e / 4 % COLUMNS_HERE][e % 4] = 0;
        for (int t = 0; t < STAGES - 1; t++) {
            if (t < part.tiles)
                bring(shared + t * STAGE_NBYTES, ARGUMENTS, b, i0, j0, depth0 + t * DEPTH, thread, a_aligned,
                      b_aligned);
            COPY_COMMIT();
        }
        for (int t = 0; t < part.tiles; t++) {
            COPY_WAIT(STAGES - 2);
            BARRIER(); /* tile t is there, and everybody is done with tile t - 1, whose place is taken now */
            const int next = t + STAGES - 1;
            u8 *const free_stage = shared + next % STAGES * STAGE_NBYTES;
            if (next < part.tiles)
                bring(free_stage, ARGUMENTS, b, i0, j0, depth0 + next * DEPTH, thread, a_aligned, b_aligned);
            COPY_COMMIT(); /* an empty batch at the end keeps the count right */
            multiply(shared + t % STAGES * STAGE_NBYTES, warp_i, warp_j, slice, lane, sum);
        }
        gather(shared, warp, slice, lane, sum);
        BARRIER(); /* all are done with the tiles, whose place the sums take */
        const int last = meet_sharers(&work, part, order, slice == 0 ? warp * 32 + lane : HOLDERS, &sum[0][0][0]);
        if (last && slice == 0)
            finish_warp(shared + warp * FINISH_NBYTES, ARGUMENTS, b, i0 + warp_i, j0 + warp_j, lane, sum);
        BARRIER(); /* before the tiles of the next part take that place */
    }
}
