/* The loop around conv_planes.c, which stands in front of this file; tiles that read the planes without packing (PACK_B
   0: the pixels of a tile are then neighbours in a plane, some of them nobody's), and the last few pixels. */

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

#if !PACK_B
/* sums[TILE_M, vectors] (+)= a[TILE_M, depth] times the vectors at b + taps[p]: MULTIPLY of matmul_cpu.c for planes. */
#define MULTIPLY_THERE(name, vectors) \
    FUSED static void name(i64 depth, const ACC *a, i64 a_row, i64 a_step, const ACC *b, const i64 *taps, int first, \
                           ACC *sums) { \
        FUSE \
        vector c[TILE_M][vectors] = {}; \
        for (i64 p = 0; p < depth; p++, a += a_step) { \
            const vector_anywhere *const there = (const vector_anywhere *)(b + taps[p]); \
            vector y[vectors]; \
            UNROLL \
            for (int v = 0; v < vectors; v++) \
                y[v] = there[v]; \
            UNROLL \
            for (int r = 0; r < TILE_M; r++) { \
                const ACC x = a[r * a_row]; \
                UNROLL \
                for (int v = 0; v < vectors; v++) \
                    c[r][v] += x * y[v]; \
            } \
        } \
        UNROLL \
        for (int r = 0; r < TILE_M; r++) { \
            vector_anywhere *const sum = (vector_anywhere *)(sums + r * TILE_N); \
            UNROLL \
            for (int v = 0; v < vectors; v++) \
                sum[v] = first ? c[r][v] : (vector)sum[v] + c[r][v]; \
        } \
    }
MULTIPLY_THERE(multiply_there, TILE_VECTORS)
MULTIPLY_THERE(multiply_half_there, ((TILE_VECTORS + 1) / 2))

/* Pixels of a tile that are neighbours in their row. */
typedef struct { i64 lane, pixel, count; } run;

/* The runs of pixels that a tile has which starts at pixel j, of all pixels before `end`. */
static int find_runs(PARAMETERS, i64 j, i64 end, area at, run *runs) {
    const i64 start = place(ARGUMENTS, at, j / OW, j % OW);
    int found = 0;
    for (i64 lane = 0; lane < TILE_N && j < end; lane = place(ARGUMENTS, at, j / OW, j % OW) - start) {
        const run next = {lane, j, LEAST(LEAST(OW - j % OW, end - j), TILE_N - lane)};
        runs[found++] = next;
        j += next.count;
    }
    return found;
}
#endif

/* A group's share: outputs i0 .. i0 + rows and pixels j0 .. j0 + full, and of those channels from_c .. from_c + channels. */
typedef struct { i64 g, i0, rows, j0, full, from_c, channels, depth; int first, last; } share;

/* Pixels j1 .. end of the share times the weights of outputs i .. i + TILE_M, at x. The sums' tiles lie one behind the
   other, or where they are stored at once, in one place; returns where the next ones do. */
static ACC *multiply_row(PARAMETERS, share of, area at, const i64 *taps, i64 i, i64 j1, i64 end, const ACC *x, i64 x_row,
                         i64 x_step, const ACC *from, ACC *sum) {
    const i64 here = LEAST(TILE_M, of.rows - i), depth = of.depth;
    for (i64 j = j1, next; j < end; j = next) {
#if PACK_B
        const i64 wide = LEAST(TILE_N, end - j);
        next = j + TILE_N;
        MULTIPLY_TILE(0, wide, depth, x, x_row, x_step, from + (j - j1) * depth, TILE_N, of.first, sum, TILE_N);
        if (of.last)
            store(ARGUMENTS, of.g, of.i0 + i, here, of.j0 + j, wide, sum);
#else
        run runs[TILE_N];
        const int many = find_runs(ARGUMENTS, of.j0 + j, of.j0 + end, at, runs);
        const ACC *const y = from + place(ARGUMENTS, at, (of.j0 + j) / OW, (of.j0 + j) % OW);
        next = runs[many - 1].pixel + runs[many - 1].count - of.j0;
        if (runs[many - 1].lane + runs[many - 1].count > HALF_N)
            multiply_there(depth, x, x_row, x_step, y, taps, of.first, sum);
        else
            multiply_half_there(depth, x, x_row, x_step, y, taps, of.first, sum);
        for (int k = 0; k < (of.last ? many : 0); k++)
            store(ARGUMENTS, of.g, of.i0 + i, here, runs[k].pixel, runs[k].count, sum + runs[k].lane);
#endif
        if (of.channels < C) /* else one tile's sums are enough */
            sum += TILE_M * TILE_N;
    }
    return sum;
}

KERNEL {
    const i64 block_m = SHARE(M, BLOCK_M, TILE_M), block_n = SHARE(N, BLOCK_N, TILE_N);
    share of = {GROUP(2), GROUP(1) * block_m, LEAST(block_m, M - GROUP(1) * block_m), GROUP(0) * block_n};
    const i64 columns = LEAST(block_n, N - of.j0), rest = of.j0 + columns == N ? REST : 0;
    of.full = columns - rest;
    const i64 block_c = BLOCKS(C, BLOCKS(C, BLOCK_K > TAPS ? BLOCK_K / TAPS : 1)), deepest = block_c * TAPS;
    const i64 rows_in_place = PACK_A ? 0 : of.rows / TILE_M * TILE_M, strip = PACK_B ? MOST_STRIP : of.full;
    area at = area_of(ARGUMENTS, of.j0, columns);
    i64 taps[PACK_B ? TAPS : deepest], span = of.full; /* span: as far as the tiles go, whose pixels may be nobody's */
    find_taps(ARGUMENTS, at, taps);
#if !PACK_B
    for (i64 p = TAPS; p < deepest; p++)
        taps[p] = taps[p - TAPS] + at.channel;
    span = 1 + place(ARGUMENTS, at, at.last, (of.j0 + columns - 1) % OW) - place(ARGUMENTS, at, at.first, of.j0 % OW);
#endif
    /* Besides whole tiles there is room for what is written or turned around a vector or a square at a time. */
    const i64 tiles = block_c < C ? ROUND_UP(of.rows, TILE_M) * BLOCKS(span, TILE_N) : TILE_M;
    const i64 for_sums = TILE_N * (tiles + LANES + 1), for_rests = rest ? TILE_N * (of.rows + LANES) : 0;
    const i64 for_b = PACK_B ? ROUND_UP(LEAST(strip, of.full), TILE_N) * deepest + TILE_N : 0;
    const i64 for_a = ROUND_UP(ROUND_UP(of.rows - rows_in_place, TILE_M) * deepest + LANES, LANES);
    const i64 for_patches = ROUND_UP(rest * deepest, LANES);
#ifdef X_AT
    const i64 for_planes = 0;
    at.channel = X_C;
#else
    const i64 for_planes = block_c * at.channel + TILE_N;
#endif
    const i64 needed = for_sums + for_b + for_a + for_patches + for_rests + for_planes;
    char *const memory = __builtin_malloc(sizeof(ACC) * needed + 64);
    ACC *const sums = (ACC *)(((u64)memory + 63) / 64 * 64), *const panels_b = sums + for_sums;
    ACC *const panels_a = panels_b + for_b, *const patches = panels_a + for_a, *const rests = patches + for_patches;
#ifndef X_AT
    ACC *const planes = rests + for_rests;
    __builtin_memset(planes, 0, sizeof(ACC) * for_planes);
#endif
    for (; of.from_c < C; of.from_c += block_c) {
        of.channels = LEAST(block_c, C - of.from_c), of.depth = of.channels * TAPS;
        of.first = of.from_c == 0, of.last = of.from_c + of.channels == C;
        ACC *sum = sums;
#ifdef X_AT
        const ACC *const planes = X_AT(of.g, of.from_c);
#else
        fill_planes(ARGUMENTS, of.g, of.from_c, of.channels, at, planes);
#endif
        for (i64 i = rows_in_place; i < of.rows; i += TILE_M)
            pack_weights(ARGUMENTS, of.g, of.i0 + i, LEAST(TILE_M, of.rows - i), of.from_c, of.channels,
                         panels_a + (i - rows_in_place) * of.depth);
#if REST
        if (rest)
            pack_rest(ARGUMENTS, of.j0 + of.full, of.channels, at, taps, planes, patches);
#endif
        for (i64 j1 = 0; j1 == 0 || j1 < of.full; j1 += strip) {
            const i64 end = LEAST(j1 + strip, of.full);
#if PACK_B
            pack_patches(ARGUMENTS, of.j0 + j1, end - j1, of.channels, at, taps, planes, panels_b);
#endif
            for (i64 i = 0; i < of.rows; i += TILE_M) {
                const ACC *x = panels_a + (i - rows_in_place) * of.depth;
                i64 x_row = 1, x_step = TILE_M;
#if !PACK_A
                if (i < rows_in_place)
                    x = A_AT(of.g, of.i0 + i, of.from_c * TAPS), x_row = A_ROW, x_step = 1;
#endif
                const ACC *const from = PACK_B ? panels_b : planes;
                sum = multiply_row(ARGUMENTS, of, at, taps, i, j1, end, x, x_row, x_step, from, sum);
#if REST
                if (rest && j1 == 0) { /* while the weights are near */
                    const i64 here = LEAST(TILE_M, of.rows - i);
                    const ACC *const weights = A_AT(of.g, of.i0 + i, of.from_c * TAPS);
                    multiply_rest(of.depth, weights, A_ROW, here, patches, of.first, rests + i * TILE_N);
                    if (of.last)
                        store(ARGUMENTS, of.g, of.i0 + i, here, of.j0 + of.full, REST, rests + i * TILE_N);
                }
#endif
            }
        }
    }
    __builtin_free(memory);
}
