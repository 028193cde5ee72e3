/* How groups share the depth of blocks: stands between the header and a template in which a group computes BLOCK_M x
   BLOCK_N results at a time, by tiles of the depth, and HOLDERS of its threads hold BLOCK_M * BLOCK_N / HOLDERS sums
   each. One group a block is all there is with SPLITS 1 and STREAM 0.

   SPLITS groups share each block, or STREAM groups, as many as the device holds, share all: every group takes an equal
   run of the tiles of all blocks, which may begin and end within one (stream-K, arXiv 2301.03598). Where there are many
   blocks, STREAM to 2 * STREAM - 1 of them are shared so, and of the others each group takes as many whole ones: all
   end together, and a group leaves at most two partial sums.

   Nobody waits for anybody, so groups may run in any order and number: each leaves its sums of a block that it shares
   in `partial`, and the last one to come adds up what all have left, in the order of the depth. Which tiles are added
   to which sum depends on sizes and config only, so results are the same every time. */

#if STREAM
#define SHARED_MOST (2 * STREAM) /* blocks */
#define PARTIALS (2 * STREAM)
#define PARTIAL_AT(group, head) (2 * (group) + ((group) == (head))) /* a run ends in one block, begins in another */
#else
#define SHARED_MOST BLOCKS_MOST
#define PARTIALS (SPLITS * BLOCKS_MOST)
#define PARTIAL_AT(group, head) (group)
#endif
#define SHARING (STREAM || SPLITS > 1)

/* What is left for this group. Run g of the tiles of shared blocks begins at tile g * tiles / runs; a block is `deep`
   tiles deep. */
struct Work {
    i64 at, end, tiles, runs; /* of shared blocks: tile `at` to `end` */
    i64 whole, blocks;        /* the next block that it takes whole, of so many */
    int deep;
};

/* A part of a block: tiles `first` to first + tiles - 1 of its depth. */
struct Part {
    i64 block;
    int first, tiles;
};

DEVICE Work work_of_group(i64 blocks, int deep) {
    const i64 group = GROUP(0);
    Work work = {0, 0, 1, 1, group, blocks, deep};
#if STREAM
    const i64 shared_blocks = blocks < 2 * STREAM ? blocks : STREAM + blocks % STREAM;
    work.tiles = shared_blocks * deep;
    work.runs = work.tiles < STREAM ? work.tiles : STREAM;
    work.end = work.tiles;
    work.whole = shared_blocks + group;
#elif SHARING
    work.tiles = deep; /* of each block as of all: no run goes on into the next */
    work.runs = deep < SPLITS ? deep : SPLITS;
    work.end = blocks * deep;
    work.whole = blocks;
#endif
#if SHARING
    work.at = group * work.tiles / work.runs;
    const i64 next = (group + 1) * work.tiles / work.runs;
    work.end = next < work.end ? next : work.end;
#endif
    return work;
}

/* Whether there is a part left, and which is the next. */
DEVICE int take(Work *work, Part *part) {
#if SHARING
    if (work->at < work->end) {
        const i64 block = work->at / work->deep, left = work->end - work->at;
        const int first = (int)(work->at - block * work->deep), rest = work->deep - first;
        *part = {block, first, left < rest ? (int)left : rest};
        work->at += part->tiles;
        return 1;
    }
#endif
    if (work->whole >= work->blocks)
        return 0;
    *part = {work->whole, 0, work->deep};
    work->whole += STREAM ? STREAM : MAX_GROUPS;
    return 1;
}

#if SHARING
DEVICE_ARRAY(ACC, partial, (i64)PARTIALS * BLOCK_M * BLOCK_N);
DEVICE_ARRAY(u32, arrived, SHARED_MOST); /* groups that have left their sums; 0 again behind the last one */

/* The group that takes a tile of the shared blocks. */
DEVICE i64 group_at(const Work *work, i64 tile) { return ((tile + 1) * work->runs - 1) / work->tiles; }

/* Leaves the sums of a part; whether this group is the last of its block, and then holds the sums of all. `holder` is
   the thread's index among HOLDERS, or one beyond; `order` is shared. */
DEVICE int meet_sharers(const Work *work, Part part, u32 *order, u32 holder, ACC *sum) {
    if (part.tiles == work->deep)
        return 1;
    const i64 start = part.block * work->deep;
    const i64 head = group_at(work, start), tail = group_at(work, start + work->deep - 1);
    /* volatile: past the first cache, which does not see what other groups write */
    volatile ACC *const mine = partial + PARTIAL_AT(GROUP(0), head) * (BLOCK_M * BLOCK_N) + holder;
    UNROLL
    for (int e = 0; e < BLOCK_M * BLOCK_N / HOLDERS; e++)
        if (holder < HOLDERS)
            mine[e * HOLDERS] = sum[e];
    FENCE(); /* what was written is seen before the count */
    BARRIER();
    if (LOCAL(0) == 0)
        *order = ATOMIC_ADD(arrived + part.block, 1);
    BARRIER();
    if (*order != tail - head)
        return 0;
    FENCE();
    if (LOCAL(0) == 0)
        arrived[part.block] = 0; /* for the next launch, which begins when this one has ended */
    for (i64 group = head; group <= tail; group++) {
        volatile ACC *const theirs = partial + PARTIAL_AT(group, head) * (BLOCK_M * BLOCK_N) + holder;
        UNROLL
        for (int e = 0; e < BLOCK_M * BLOCK_N / HOLDERS; e++)
            if (holder < HOLDERS)
                sum[e] = group == head ? theirs[e * HOLDERS] : sum[e] + theirs[e * HOLDERS];
    }
    return 1;
}
#else
#define meet_sharers(work, part, order, holder, sum) 1
#endif
