/* Matrix product by warpgroups, for CUDA's sm_90a: halves (f16, bf16) with f32 sums, bytes with 32-bit sums.

   A group computes blocks of BLOCK_M x BLOCK_N results, one after the other. Its last warp has the copy engine bring
   tiles of both factors, DEPTH_NBYTES deep, into STAGES places of shared memory; CONSUMERS warpgroups before it multiply
   them, each BLOCK_M / CONSUMERS rows by wgmma. Two barriers a stage keep them in step: `full` ends a phase when all
   bytes of a tile are there, `empty` when every warp has done with it. So the next block's tiles come while the last
   one's results are stored. What lies beyond the edges of a factor arrives as zeros. With SPLITS as many groups share a
   block; each takes a part of the depth, and of the warps at one place in the block the last one to come adds up what
   all have left in `partial`, in the order of the depth: results are the same every time.

   A tile lies in shared memory in rows of X_SPAN bytes, whose pieces of 16 bytes the copy engine exchanges by bits of
   their address, as wgmma expects. Where X_DEEP they are rows of k, DEPTH_NBYTES long; else rows of k's other axis, in
   as many boxes side by side as that needs.

   A header made from the problem comes first (see matmul_header.py and matmul_wgmma.py): BATCH M N K, ACC, STORE_C,
   NBYTES, SUMS "f" or "r", the WARPGROUP_PRODUCT `multiply_step`, and for both factors X: X_DEEP, X_SPAN, and X_BATCH, 0
   where one matrix serves the whole batch. The kernel's parameters map_a and map_b tell the copy engine of the factors:
   axes along the rows of tiles, across them, and the batch. Without it, this file compiles alone:
     nvcc -cubin -arch=sm_90a -include backends/prelude_cuda.h -x cu kernels/matmul_wgmma.c */

#ifndef NBYTES
#define PARAMETERS f32 *out0, i64 m, i64 n, i64 k
#define ARGUMENTS out0, m, n, k
#define BATCH 1
#define M m
#define N n
#define K k
#define ACC f32
#define SUMS "f"
#define NBYTES 2
#define STORE_C(b, i, j, sum) out0[(i) * n + (j)] = (sum)
#define A_DEEP 1
#define B_DEEP 0
#define A_SPAN 128
#define B_SPAN 64
#define A_BATCH 0
#define B_BATCH 0
#define BLOCK_M 128
#define BLOCK_N 32
#define DEPTH_NBYTES 128
#define STAGES 4
#define CONSUMERS 2
#define GROUPS 132
#define SPLITS 2
#define BLOCKS_MOST 1024
#define SWIZZLE 8
#define KERNEL \
    extern "C" __global__ void __launch_bounds__(288) \
        matmul(PARAMETERS, const TENSOR_MAP map_a, const TENSOR_MAP map_b)
WARPGROUP_PRODUCT(multiply_step, f32, "m64n32k16.f32.f16.f16",
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, %16, %17, p, 1, 1, 0, 1",
    "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]), "+f"(sum[6]), "+f"(sum[7]),
    "+f"(sum[8]), "+f"(sum[9]), "+f"(sum[10]), "+f"(sum[11]), "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]),
    "+f"(sum[15]))
#endif

#define STEP 32   /* bytes of depth that one wgmma multiplies */
#define ROWS 64   /* of its sums */
#define PATTERN 8 /* rows of a tile, after which the exchange of pieces repeats */
#define DEPTH (DEPTH_NBYTES / NBYTES)
#define A_NBYTES (BLOCK_M * DEPTH_NBYTES)
#define B_NBYTES (BLOCK_N * DEPTH_NBYTES)
#define STAGE_NBYTES (A_NBYTES + B_NBYTES)
#define MATRICES (BLOCK_M / CONSUMERS / ROWS) /* a warpgroup's, one below the other */
#define PER_THREAD (BLOCK_N / 2)              /* sums of each of them */
#define WARP_SUMS (32 * MATRICES * PER_THREAD)
#define CHUNK 32                              /* columns that a warp turns in shared memory at once */
#define TURN_ROW (CHUNK + 8)                  /* words; so far apart, half a warp writes to all banks */
#define LEAST(x, y) ((x) < (y) ? (x) : (y))

/* Bytes of a tile from one step to the next, and of A's from 64 rows to the next. */
#define X_STEP(deep, span) ((deep) ? STEP : STEP / NBYTES * (span))
#define A_ROWS (A_DEEP ? ROWS * A_SPAN : ROWS * NBYTES / A_SPAN * DEPTH * A_SPAN)

/* PTX, "Matrix Descriptor Format": in units of 16 bytes where a tile begins, how far a box is from the next beside it (1
   where there is none) and 8 rows from the next 8; then how pieces are exchanged: 1, 2, 3 for rows of 128, 64, 32. */
DEVICE u64 describe(const u8 *tile, u32 deep, u32 span) {
    const u64 across = deep ? 1 : DEPTH * span / 16, down = PATTERN * span / 16;
    const u64 exchange = span == 128 ? 1 : span == 64 ? 2 : 3;
    return shared_address(tile) / 16 | across << 16 | down << 32 | exchange << 62;
}

/* The block with that number; their count fits, as memory holds what they compute. Groups that run together walk down
   SWIZZLE rows of blocks before the next column: they share more of A and B. */
DEVICE void locate(PARAMETERS, u32 block, i64 *b, i64 *i, i64 *j) {
    const u32 high = (u32)((M + BLOCK_M - 1) / BLOCK_M), wide = (u32)((N + BLOCK_N - 1) / BLOCK_N);
    const u32 inside = block % (high * wide), band = inside / (SWIZZLE * wide), within = inside % (SWIZZLE * wide);
    const u32 height = LEAST(SWIZZLE, high - band * SWIZZLE);
    *b = block / (high * wide);
    *i = (i64)(band * SWIZZLE + within % height) * BLOCK_M;
    *j = (i64)(within / height) * BLOCK_N;
}

/* One thread begins to bring the tiles of both factors from depth `p` on; all bytes of a box count, also zeros. */
DEVICE void bring(u8 *to, u64 *full, const TensorMap *map_a, const TensorMap *map_b, int b, int i, int j, int p) {
    barrier_expect(full, STAGE_NBYTES);
#if A_DEEP
    copy_box(to, map_a, full, p, i, b * A_BATCH);
#else
    UNROLL
    for (int box = 0; box < BLOCK_M * NBYTES / A_SPAN; box++)
        copy_box(to + box * DEPTH * A_SPAN, map_a, full, i + box * (A_SPAN / NBYTES), p, b * A_BATCH);
#endif
#if B_DEEP
    copy_box(to + A_NBYTES, map_b, full, p, j, b * B_BATCH);
#else
    UNROLL
    for (int box = 0; box < BLOCK_N * NBYTES / B_SPAN; box++)
        copy_box(to + A_NBYTES + box * DEPTH * B_SPAN, map_b, full, j + box * (B_SPAN / NBYTES), p, b * B_BATCH);
#endif
}

/* The stage of the tile with that number since the kernel began, and the parity of the phase in which it comes. */
#define STAGE(tile) ((u32)((tile) % STAGES))
#define PARITY(tile) ((u32)((tile) / STAGES % 2))

/* A warpgroup's sums of a block, as wgmma spreads them over threads; `first` is the number of the block's first tile. */
DEVICE void multiply(const u8 *shared, u64 *full, u64 *empty, u32 first, int tiles, u32 consumer, u32 lane,
                     ACC sum[MATRICES][PER_THREAD]) {
    UNROLL
    for (int e = 0; e < MATRICES * PER_THREAD; e++) {
        sum[e / PER_THREAD][e % PER_THREAD] = 0;
        HOLD(SUMS, sum[e / PER_THREAD][e % PER_THREAD]);
    }
    for (u32 tile = first; tile != first + tiles; tile++) {
        const u8 *const from = shared + STAGE(tile) * STAGE_NBYTES;
        const u64 a = describe(from + consumer * MATRICES * A_ROWS, A_DEEP, A_SPAN);
        const u64 b = describe(from + A_NBYTES, B_DEEP, B_SPAN);
        barrier_wait(full + STAGE(tile), PARITY(tile));
        WGMMA_FENCE();
        UNROLL
        for (int step = 0; step < DEPTH_NBYTES / STEP; step++) {
            UNROLL
            for (int r = 0; r < MATRICES; r++)
                multiply_step(sum[r], a + (r * A_ROWS + step * X_STEP(A_DEEP, A_SPAN)) / 16,
                              b + step * X_STEP(B_DEEP, B_SPAN) / 16);
        }
        WGMMA_COMMIT();
        WGMMA_WAIT(1); /* the tile before this one is read */
        if (tile != first && lane == 0)
            barrier_arrive(empty + STAGE(tile - 1));
    }
    WGMMA_WAIT(0);
    if (tiles && lane == 0)
        barrier_arrive(empty + STAGE(first + tiles - 1));
    UNROLL
    for (int e = 0; e < MATRICES * PER_THREAD; e++)
        HOLD(SUMS, sum[e / PER_THREAD][e % PER_THREAD]);
}

#if SPLITS > 1
DEVICE_ARRAY(ACC, partial, SPLITS * BLOCKS_MOST * BLOCK_M * BLOCK_N);
DEVICE_ARRAY(u32, arrived, BLOCKS_MOST * 4 * CONSUMERS); /* warps that have left their sums; 0 behind the last one */

/* Leaves a warp's sums in memory; whether it is the last one at its place in the block, and all are there. */
DEVICE int meet_splits(u32 *turned, u32 block, int split, u32 warp, u32 lane, ACC sum[MATRICES][PER_THREAD]) {
    ACC *const mine = partial + (u64)((block * SPLITS + split) * 4 * CONSUMERS + warp) * WARP_SUMS + lane;
    UNROLL
    for (int e = 0; e < MATRICES * PER_THREAD; e++)
        mine[32 * e] = sum[e / PER_THREAD][e % PER_THREAD];
    FENCE(); /* what was written is seen before the count */
    WARP_BARRIER();
    u32 *const count = arrived + block * 4 * CONSUMERS + warp;
    if (lane == 0) {
        *turned = ATOMIC_ADD(count, 1);
        if (*turned == SPLITS - 1)
            *count = 0; /* for the next launch, which begins when this one has ended */
    }
    WARP_BARRIER();
    const u32 before = *turned;
    WARP_BARRIER(); /* before sums are turned there */
    FENCE();
    return before == SPLITS - 1;
}
#else
#define meet_splits(turned, block, split, warp, lane, sum) 1
#endif

/* A thread's sums of CHUNK columns from its sum `first` on: its own, or where there are SPLITS, those of all parts. */
DEVICE void take(ACC taken[CHUNK / 2], u32 block, u32 warp, u32 lane, int first, ACC sum[MATRICES][PER_THREAD]) {
#if SPLITS > 1
    /* volatile: not taken from this multiprocessor's cache, which may lag behind what others write */
    const volatile ACC *from = partial + (u64)(block * SPLITS * 4 * CONSUMERS + warp) * WARP_SUMS + lane;
#pragma unroll 1 /* a sum of each column is as much as fits beside those under way */
    for (int split = 0; split < SPLITS; split++, from += BLOCK_M * BLOCK_N) {
        UNROLL
        for (int e = 0; e < CHUNK / 2; e++)
            taken[e] = split == 0 ? from[32 * (first + e)] : taken[e] + from[32 * (first + e)];
    }
#else
    UNROLL
    for (int e = 0; e < CHUNK / 2; e++)
        taken[e] = sum[(first + e) / PER_THREAD][(first + e) % PER_THREAD];
#endif
}

/* Stores a warp's sums, 16 rows and CHUNK columns at a time, turned in shared memory so that neighbouring lanes store
   neighbouring elements. `turned` is this warp's own. PTX, "Matrix Fragments for wgmma.mma_async.m64nNk16": a thread
   holds, of every 8 columns, two in row lane / 4 and two 8 rows below. */
DEVICE void finish(ACC *turned, PARAMETERS, u32 block, i64 b, i64 i, i64 j, u32 warp, u32 lane,
                   ACC sum[MATRICES][PER_THREAD]) {
#if SPLITS == 1
    UNROLL /* a register has no run-time index */
#else
#pragma unroll 1
#endif
    for (int part = 0; part < MATRICES * (BLOCK_N / CHUNK); part++) {
        const int r = part / (BLOCK_N / CHUNK), chunk = part % (BLOCK_N / CHUNK);
        ACC taken[CHUNK / 2];
        take(taken, block, warp, lane, part * (CHUNK / 2), sum);
        UNROLL
        for (int e = 0; e < CHUNK / 2; e++)
            turned[(lane / 4 + e % 4 / 2 * 8) * TURN_ROW + e / 4 * 8 + lane % 4 * 2 + e % 2] = taken[e];
        WARP_BARRIER();
#pragma unroll 2 /* of all at once, addresses would push sums out of registers */
        for (int row = 0; row < 16; row++)
            if (i + r * ROWS + row < M && j + chunk * CHUNK + lane < N)
                STORE_C(b, i + r * ROWS + row, j + chunk * CHUNK + lane, turned[row * TURN_ROW + lane]);
        WARP_BARRIER();
    }
}

KERNEL {
    DYNAMIC_SHARED(given);
    u8 *const shared = given + (0u - shared_address(given)) % (PATTERN * 128); /* where patterns of any span begin */
    u64 *const full = (u64 *)(shared + STAGES * STAGE_NBYTES), *const empty = full + STAGES;
    const u32 thread = (u32)LOCAL(0), lane = thread % 32, warp = thread / 32, consumer = warp / 4;
    if (thread == 0) {
        for (int stage = 0; stage < STAGES; stage++) {
            barrier_init(full + stage, 1);
            barrier_init(empty + stage, 4 * CONSUMERS);
        }
        BARRIERS_ARE_MADE();
    }
    BARRIER();
    /* Blocks, each as often as it has parts; a part of the depth has as many tiles as every other, or fewer. */
    const u32 parts = (u32)(BATCH * ((M + BLOCK_M - 1) / BLOCK_M) * ((N + BLOCK_N - 1) / BLOCK_N)) * SPLITS;
    const u32 apart = GROUPS ? GROUPS : parts;
    const int all_tiles = (int)((K + DEPTH - 1) / DEPTH), share = (all_tiles + SPLITS - 1) / SPLITS;
    i64 b, i, j;
    u32 tile = 0;
    if (consumer == CONSUMERS) {
        if (lane != 0)
            return;
        prefetch_map(&map_a);
        prefetch_map(&map_b);
        for (u32 part = (u32)GROUP(0); part < parts; part += apart) {
            locate(ARGUMENTS, part / SPLITS, &b, &i, &j);
            const int begin = (int)(part % SPLITS) * share, end = LEAST(begin + share, all_tiles);
            for (int t = begin; t < end; t++, tile++) {
                barrier_wait(empty + STAGE(tile), PARITY(tile) ^ 1);
                bring(shared + STAGE(tile) * STAGE_NBYTES, full + STAGE(tile), &map_a, &map_b, (int)b, (int)i, (int)j,
                      t * DEPTH);
            }
        }
        return;
    }
    ACC *const turned = (ACC *)(empty + STAGES) + warp * 16 * TURN_ROW;
    const i64 row = consumer * MATRICES * ROWS + warp % 4 * 16;
    ACC sum[MATRICES][PER_THREAD];
    for (u32 part = (u32)GROUP(0); part < parts; part += apart) {
        const int split = (int)(part % SPLITS), left = all_tiles - split * share;
        const int tiles = left < 0 ? 0 : LEAST(share, left);
        multiply(shared, full, empty, tile, tiles, consumer, lane, sum);
        tile += tiles;
        locate(ARGUMENTS, part / SPLITS, &b, &i, &j);
        if (meet_splits((u32 *)turned, part / SPLITS, split, warp, lane, sum))
            finish(turned, ARGUMENTS, part / SPLITS, b, i + row, j, warp, lane, sum);
    }
}
