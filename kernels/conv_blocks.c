/* The last few pixels and the loop around conv_planes.c, which stands in front of this file. */

#define REST_ROWS (REST > 1 ? 4 : 8) /* enough sums to hide their latency */

#if REST
/* sums[rows][TILE_N] (+)= weights of `rows` outputs times the last pixels' patches, [REST][depth]: so few pixels leave
   most of a vector empty, but along the taps vectors are full. */
FUSED static void multiply_rest(i64 depth, const ACC *a, i64 a_row, i64 rows, const ACC *b, int first, ACC *sums) {
    FUSE
    for (i64 base = 0; base < rows; base += REST_ROWS) {
        const ACC *row[REST_ROWS];
        vector dots[REST_ROWS][REST] = {};
        ACC ends[REST_ROWS][REST] = {};
        for (int r = 0; r < REST_ROWS; r++) /* where there are no more, the last one again */
            row[r] = a + LEAST(base + r, rows - 1) * a_row;
        i64 p = 0;
        for (; p + LANES <= depth; p += LANES) {
            UNROLL
            for (int r = 0; r < REST_ROWS; r++) {
                const vector weights = *(const vector_anywhere *)(row[r] + p);
                UNROLL
                for (int q = 0; q < REST; q++)
                    dots[r][q] += weights * *(const vector_anywhere *)(b + q * depth + p);
            }
        }
        for (; p < depth; p++)
            for (int r = 0; r < REST_ROWS; r++)
                for (int q = 0; q < REST; q++)
                    ends[r][q] += row[r][p] * b[q * depth + p];
        for (int r = 0; r < LEAST(REST_ROWS, rows - base); r++)
            for (int q = 0; q < REST; q++) {
                ACC sum = ends[r][q], *const to = sums + (base + r) * TILE_N + q;
                for (int s = 0; s < LANES; s++)
                    sum += dots[r][q][s];
                *to = first ? sum : *to + sum;
            }
    }
}

/* The patches of the last pixels, from j on. */
static void pack_rest(PARAMETERS, i64 j, i64 channels, area at, const i64 *taps, const ACC *planes, ACC *to) {
    for (i64 q = j; q < j + REST; q++)
        for (i64 c = 0; c < channels; c++)
            for (i64 t = 0; t < TAPS; t++)
                *to++ = planes[c * at.channel + taps[t] + place(ARGUMENTS, at, q / OW, q % OW)];
}
#endif

/* What each tap adds to a pixel's place in the planes. */
static void find_taps(PARAMETERS, area at, i64 *taps) {
    for (i64 kh = 0; kh < KH; kh++)
        for (i64 kw = 0; kw < KW; kw++)
            *taps++ = (kh % PERIOD_H * PHASES_W + kw % PERIOD_W) * at.plane
                + kh * DILATION_H / STRIDE_H * at.pitch + kw * DILATION_W / STRIDE_W;
}

KERNEL {
    const i64 block_m = SHARE(M, BLOCK_M, TILE_M), block_n = SHARE(N, BLOCK_N, TILE_N);
    const i64 g = GROUP(2), i0 = GROUP(1) * block_m, j0 = GROUP(0) * block_n;
    const i64 rows = LEAST(block_m, M - i0), columns = LEAST(block_n, N - j0);
    const i64 rest = j0 + columns == N ? REST : 0, full = columns - rest, strip = LEAST(MOST_STRIP, ROUND_UP(full, TILE_N));
    const i64 block_c = BLOCKS(C, BLOCKS(C, BLOCK_K > TAPS ? BLOCK_K / TAPS : 1)), deepest = block_c * TAPS;
    const i64 rows_in_place = PACK_A ? 0 : rows / TILE_M * TILE_M;
    area at = area_of(ARGUMENTS, j0, columns);
    i64 taps[TAPS];
    find_taps(ARGUMENTS, at, taps);
#ifdef X_AT
    const i64 for_planes = 0;
    at.channel = X_C;
#else
    const i64 for_planes = ROUND_UP(block_c * at.channel + TILE_N, LANES);
#endif
    /* Besides whole tiles, what is written or turned around a vector or a square at a time. */
    const i64 for_sums = (block_c < C ? ROUND_UP(rows, TILE_M) * ROUND_UP(full, TILE_N) : TILE_M * TILE_N) + LANES * TILE_N;
    const i64 for_b = ROUND_UP(strip * deepest + TILE_N, LANES);
    const i64 for_a = ROUND_UP(ROUND_UP(rows - rows_in_place, TILE_M) * deepest + LANES, LANES);
    const i64 for_rest = rest ? ROUND_UP(rest * deepest, LANES) + ROUND_UP(rows, LANES) * TILE_N : 0;
    char *const memory = __builtin_malloc(sizeof(ACC) * (for_sums + for_b + for_a + for_rest + for_planes) + 64);
    ACC *const sums = (ACC *)(((u64)memory + 63) / 64 * 64), *const panels_b = sums + for_sums;
    ACC *const panels_a = panels_b + for_b, *const rests = panels_a + for_a;
#ifndef X_AT
    ACC *const planes = rests + for_rest;
    __builtin_memset(planes, 0, sizeof(ACC) * for_planes);
#endif
    for (i64 from_c = 0; from_c < C; from_c += block_c) {
        const i64 channels = LEAST(block_c, C - from_c), depth = channels * TAPS;
        const int first = from_c == 0, last = from_c + channels == C;
        ACC *sum = sums;
#ifdef X_AT
        const ACC *const planes = X_AT(g, from_c);
#else
        fill_planes(ARGUMENTS, g, from_c, channels, at, planes);
#endif
        for (i64 i = rows_in_place; i < rows; i += TILE_M)
            pack_weights(ARGUMENTS, g, i0 + i, LEAST(TILE_M, rows - i), from_c, channels, panels_a + (i - rows_in_place) * depth);
#if REST
        ACC *const patches = rests + ROUND_UP(rows, LANES) * TILE_N;
        if (rest)
            pack_rest(ARGUMENTS, j0 + full, channels, at, taps, planes, patches);
#endif
        for (i64 j1 = 0; j1 == 0 || j1 < full; j1 += MOST_STRIP) {
            const i64 end = LEAST(j1 + MOST_STRIP, full);
            pack_patches(ARGUMENTS, j0 + j1, end - j1, channels, at, taps, planes, panels_b);
            for (i64 i = 0; i < rows; i += TILE_M) {
                const i64 here = LEAST(TILE_M, rows - i);
                const ACC *x = panels_a + (i - rows_in_place) * depth;
                i64 x_row = 1, x_step = TILE_M;
#if !PACK_A
                if (i < rows_in_place)
                    x = A_AT(g, i0 + i, from_c * TAPS), x_row = A_ROW, x_step = 1;
#endif
                for (i64 j = j1; j < end; j += TILE_N) {
                    const i64 wide = LEAST(TILE_N, end - j);
                    MULTIPLY_TILE(wide, depth, x, x_row, x_step, panels_b + (j - j1) * depth, TILE_N, first, sum, TILE_N);
                    if (last)
                        store(ARGUMENTS, g, i0 + i, here, j0 + j, wide, sum);
                    if (block_c < C) /* else one tile's sums are enough */
                        sum += TILE_M * TILE_N;
                }
#if REST
                if (rest && j1 == 0) { /* while the weights are near */
                    ACC *const those = rests + i * TILE_N;
                    multiply_rest(depth, A_AT(g, i0 + i, from_c * TAPS), A_ROW, here, patches, first, those);
                    if (last)
                        store(ARGUMENTS, g, i0 + i, here, j0 + full, REST, those);
                }
#endif
            }
        }
    }
    __builtin_free(memory);
}
