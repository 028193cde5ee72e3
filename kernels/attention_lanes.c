/* The attention of attention_cpu.c for a group that is one vector of threads: each has the keys and elements of its lane,
   whose scores and sums it alone writes. What the others read of them, as factors that are the same for all lanes, they
   read behind a barrier. The header is that of attention_cpu.c; HEAD_D and HEAD_E are D and E as constants. This file
   compiles behind it only. */

#define LANES (VECTOR / (i64)sizeof(ACC))
#define TILE_N (TILE_VECTORS * LANES)
#define LEAST(x, y) ((x) < (y) ? (x) : (y))
#define ROUND_UP(x, step) (((x) + (step) - 1) / (step) * (step))
#define MOST_ROWS ROUND_UP(BLOCK_M, TILE_M)
#define MOST_KEYS ROUND_UP(BLOCK_N, TILE_N)
#define WIDTH ROUND_UP(HEAD_E, TILE_N)

/* c[TILE_M][TILE_N] (+)= a[TILE_M, depth] * b[depth, TILE_N]; rows of a and c lie `a_row` and `c_row` apart. */
DEVICE void multiply(i64 depth, __local const ACC *a, i64 a_row, __local const ACC *b, int first, __local ACC *c,
                     i64 c_row) {
    ACC sum[TILE_M][TILE_VECTORS];
    UNROLL
    for (int r = 0; r < TILE_M; r++) {
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++)
            sum[r][v] = first ? 0 : c[r * c_row + v * LANES + LOCAL(0)];
    }
    for (i64 p = 0; p < depth; p++) {
        ACC y[TILE_VECTORS];
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++)
            y[v] = b[p * TILE_N + v * LANES + LOCAL(0)];
        UNROLL
        for (int r = 0; r < TILE_M; r++) {
            const ACC x = a[r * a_row + p];
            UNROLL
            for (int v = 0; v < TILE_VECTORS; v++)
                sum[r][v] = FMA(x, y[v], sum[r][v]);
        }
    }
    UNROLL
    for (int r = 0; r < TILE_M; r++) {
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++)
            c[r * c_row + v * LANES + LOCAL(0)] = sum[r][v];
    }
}

/* Keys j0 .. j0 + count as panels of [D][TILE_N]; what is missing in the last is 0. */
DEVICE void pack_keys(PARAMETERS, PLACE, i64 j0, i64 count, __local ACC *to) {
    for (i64 j = 0; j < count; j += TILE_N, to += HEAD_D * TILE_N)
        for (i64 p = 0; p < HEAD_D; p++)
            for (i64 s = LOCAL(0); s < TILE_N; s += LANES)
                to[p * TILE_N + s] = j + s < count ? LOAD_K(j0 + LEAST(j + s, count - 1), p) : 0;
}

/* Values j0 .. j0 + count as panels of [count][TILE_N]; elements that there are not are 0. */
DEVICE void pack_values(PARAMETERS, PLACE, i64 j0, i64 count, __local ACC *to) {
    for (i64 e = 0; e < HEAD_E; e += TILE_N, to += count * TILE_N)
        for (i64 j = 0; j < count; j++)
            for (i64 s = LOCAL(0); s < TILE_N; s += LANES)
                to[j * TILE_N + s] = e + s < HEAD_E ? LOAD_V(j0 + j, LEAST(e + s, HEAD_E - 1)) : 0;
}

/* One query's scores to weights, as in attention_cpu.c; those of keys that it does not see are 0. `most` and `sum` are
   this thread's copies of what all of them have. */
DEVICE ACC weigh(PARAMETERS, PLACE, i64 i, i64 j0, i64 own, i64 seen, __local ACC *row, __local ACC *most,
                 __local ACC *sum) {
    const ACC before = *most;
    ACC peak = before, weights = 0;
    for (i64 j = LOCAL(0); j < own; j += LANES) {
#if MASK == 1
        row[j] = LOAD_MASK(i, j0 + j) ? row[j] : -INFINITE;
#elif MASK == 2
        row[j] += LOAD_MASK(i, j0 + j);
#endif
        peak = MAX_NAN(peak, row[j]);
    }
    GROUP_REDUCE(ACC, MAX_NAN, peak, row);
    const ACC base = peak == -INFINITE ? 0 : peak;
    for (i64 j = LOCAL(0); j < own; j += LANES) {
        const ACC weight = EXP(row[j] - base);
        row[j] = weight;
        weights += weight;
    }
#define PLUS(a, b) ((a) + (b))
    GROUP_REDUCE(ACC, PLUS, weights, row);
    for (i64 j = LOCAL(0); j < seen; j += LANES)
        row[j] = j < own ? row[j] : 0;
    const ACC factor = EXP(before - base);
    *sum = *sum * factor + weights;
    *most = peak;
    return factor;
}

KERNEL {
    UNRAVEL(GROUP(1))
    SHARED(ACC, scores, MOST_ROWS * MOST_KEYS) __attribute__((aligned(64)));
    SHARED(ACC, keys, MOST_KEYS * HEAD_D) __attribute__((aligned(64)));
    SHARED(ACC, vals, MOST_KEYS * WIDTH) __attribute__((aligned(64)));
    SHARED(ACC, sums, MOST_ROWS * WIDTH) __attribute__((aligned(64)));
    SHARED(ACC, queries, MOST_ROWS * HEAD_D) __attribute__((aligned(64)));
    SHARED(ACC, most, MOST_ROWS * LANES) __attribute__((aligned(64)));
    SHARED(ACC, total, MOST_ROWS * LANES) __attribute__((aligned(64)));
    /* The last queries first: if causal, they see most keys, and what is left at the end is short. */
    const i64 i0 = ((M + BLOCK_M - 1) / BLOCK_M - 1 - GROUP(0)) * BLOCK_M, rows = LEAST(BLOCK_M, M - i0);
    const i64 most_rows = ROUND_UP(rows, TILE_M);
    for (i64 r = 0; r < most_rows; r++) {
        most[r * LANES + LOCAL(0)] = -INFINITE, total[r * LANES + LOCAL(0)] = 0;
        for (i64 e = LOCAL(0); e < WIDTH; e += LANES)
            sums[r * WIDTH + e] = 0;
        for (i64 p = LOCAL(0); p < HEAD_D; p += LANES)
            queries[r * HEAD_D + p] = r < rows ? LOAD_Q(i0 + LEAST(r, rows - 1), p) * SCALE : 0;
    }
    BARRIER();
    const i64 end = CAUSAL ? LEAST(N, i0 + rows) : N;
    for (i64 j0 = 0; j0 < end; j0 += MOST_KEYS) {
        const i64 count = LEAST(MOST_KEYS, end - j0);
        pack_keys(ARGUMENTS, AT, j0, count, keys);
        pack_values(ARGUMENTS, AT, j0, count, vals);
        for (i64 r = 0; r < most_rows; r += TILE_M) {
            const i64 seen = CAUSAL ? LEAST(count, i0 + r + TILE_M - j0) : count; /* by the tile's last query */
            if (seen > 0) {
                __local ACC *const tile = scores + r * MOST_KEYS;
                for (i64 j = 0; j < seen; j += TILE_N)
                    multiply(HEAD_D, queries + r * HEAD_D, HEAD_D, keys + j * HEAD_D, 1, tile + j, MOST_KEYS);
                for (i64 q = r; q < r + TILE_M; q++) {
                    const i64 left = CAUSAL ? LEAST(seen, i0 + q + 1 - j0) : seen, own = q >= rows || left < 0 ? 0 : left;
                    const i64 at = q * LANES + LOCAL(0);
                    const ACC factor = weigh(ARGUMENTS, AT, i0 + LEAST(q, rows - 1), j0, own, seen, scores + q * MOST_KEYS,
                                             most + at, total + at);
                    for (i64 e = LOCAL(0); e < WIDTH; e += LANES)
                        sums[q * WIDTH + e] = own > 0 ? sums[q * WIDTH + e] * factor : sums[q * WIDTH + e];
                }
                BARRIER();
                for (i64 e = 0; e < WIDTH; e += TILE_N)
                    multiply(seen, tile, MOST_KEYS, vals + e * count, 0, sums + r * WIDTH + e, WIDTH);
                BARRIER(); /* the next keys' scores are written where these weights are */
            }
        }
    }
    for (i64 r = 0; r < rows; r++) {
        const ACC all = total[r * LANES + LOCAL(0)], factor = all == 0 ? 0 : 1 / all;
        for (i64 e = LOCAL(0); e < HEAD_E; e += LANES)
            STORE_O(i0 + r, e, sums[r * WIDTH + e] * factor);
    }
}
