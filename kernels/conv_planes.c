/* Convolution as a matrix product, weights [O][taps] times patches [taps][pixels], for CPUs. A group is one thread and a
   block of outputs x pixels. For each BLOCK_K taps, whole channels of them, it copies what its pixels see of the input
   into planes, one for each residue of rows and columns modulo the stride and with the padding as zeros: there
   neighbouring pixels are neighbours for every tap and nothing is outside, so that panels of patches are packed
   in whole vectors without a question. Panels and weights, which are read in place where their taps lie in order, then
   go through the register tiles of matmul_cpu.c, behind which this file is put.

   A header made from the problem comes first, whose names conv_pack.c tells, and besides
     PERIOD_H PERIOD_W   residues of tap * DILATION modulo STRIDE there are, one after the other
     PIXELS_FLAT         1: what is read and stored for a pixel lies evenly from row to row
     A_AT(b, i, p) A_ROW  where PACK_A is 0: the weights of an output in the order (c, kh, kw), as they lie */


#define TAPS (KH * KW)
#define PHASES_H (KH < PERIOD_H ? KH : PERIOD_H)
#define PHASES_W (KW < PERIOD_W ? KW : PERIOD_W)
#define REACH_H ((KH - 1) * DILATION_H / STRIDE_H)
#define REACH_W ((KW - 1) * DILATION_W / STRIDE_W)
#define LANES_N (TILE_VECTORS * VECTOR / (i64)sizeof(ACC))
#define SIDE (VECTOR / (i64)sizeof(ACC))
#define REST_ROWS (REST > 1 ? 4 : 8)

typedef ACC span __attribute__((vector_size(VECTOR), aligned(sizeof(ACC)), may_alias));

/* What a group's pixels j0 .. j0 + columns see: rows first .. last of all images' results, of which `width` pixels from x0
   on; planes of `high` rows, `pitch` apart, `plane` elements each and `channel` for all planes of a channel. */
typedef struct { i64 first, last, x0, width, high, pitch, plane, channel; } area;

static area area_of(PARAMETERS, i64 j0, i64 columns) {
    area at = {j0 / OW, (j0 + columns - 1) / OW, 0, OW};
    if (at.first == at.last)
        at.x0 = j0 % OW, at.width = columns;
    at.high = at.last - at.first + 1 + (at.last / OH - at.first / OH + 1) * REACH_H;
    at.pitch = at.width + REACH_W;
    at.plane = at.high * at.pitch;
    at.channel = PHASES_H * PHASES_W * at.plane;
    return at;
}

/* Channels from_c .. from_c + count of group g into planes. What is outside stays as it is: 0. */
static void fill_planes(PARAMETERS, i64 g, i64 from_c, i64 count, area at, ACC *planes) {
    for (i64 n = at.first / OH; n <= at.last / OH; n++) {
        const i64 top = n == at.first / OH ? at.first % OH : 0, end = n == at.last / OH ? at.last % OH + 1 : OH;
        ACC *const image = planes + (n * OH + top - at.first + (n - at.first / OH) * REACH_H) * at.pitch;
        for (i64 c = 0; c < count; c++)
            for (i64 fh = 0; fh < PHASES_H; fh++)
                for (i64 q = 0; q < end - top + REACH_H; q++) {
                    const i64 y = (top + q) * STRIDE_H + fh * DILATION_H % STRIDE_H - PADDING_H;
                    if (y < 0 || y >= IN_H)
                        continue;
                    for (i64 fw = 0; fw < PHASES_W; fw++) {
                        ACC *const row = image + c * at.channel + (fh * PHASES_W + fw) * at.plane + q * at.pitch;
                        const i64 left = at.x0 * STRIDE_W + fw * DILATION_W % STRIDE_W - PADDING_W;
                        const i64 low = left >= 0 ? 0 : (-left + STRIDE_W - 1) / STRIDE_W;
                        const i64 most = (IN_W - left + STRIDE_W - 1) / STRIDE_W, high = LEAST(at.pitch, most);
                        FOR_EACH(s, low, high)
                            row[s] = LOAD_X(g, n, from_c + c, y, left + s * STRIDE_W);
                    }
                }
    }
}

/* A vector of neighbouring pixels: where it goes in a line of the panel, and from where in a plane. */
typedef struct { i64 to, from; } move;

/* The moves that fill a line with pixels j .. j + here and whatever lies behind them. */
static i64 find_moves(PARAMETERS, i64 j, i64 here, area at, move *moves) {
    i64 found = 0;
    for (i64 s = 0; s < here;) {
        const i64 line = (j + s) / OW, x = (j + s) % OW, run = LEAST(OW - x, here - s);
        const i64 row = line - at.first + (line / OH - at.first / OH) * REACH_H;
        for (i64 q = 0; q < (s + run == here ? LANES_N - s : run); q += SIDE) {
            const move next = {s + q, row * at.pitch + x - at.x0 + q};
            moves[found++] = next;
        }
        s += run;
    }
    return found;
}

/* Pixels j .. j + count and all taps of `channels` channels from the planes, as panels of [taps][LANES_N]. A vector that
   reaches beyond its pixels writes where the next one will, or behind the last panel. */
static void pack_planes(PARAMETERS, i64 j, i64 count, i64 channels, area at, const i64 *taps, const ACC *planes, ACC *to) {
    for (i64 s = 0; s < count; s += LANES_N) {
        move moves[LANES_N];
        const i64 many = find_moves(ARGUMENTS, j + s, LEAST(LANES_N, count - s), at, moves);
        for (i64 c = 0; c < channels; c++)
            for (i64 t = 0; t < TAPS; t++, to += LANES_N) {
                const ACC *const from = planes + c * at.channel + taps[t];
                for (i64 k = 0; k < many; k++)
                    *(span *)(to + moves[k].to) = *(const span *)(from + moves[k].from);
            }
    }
}

/* Weights of outputs first .. first + here, all taps of `channels` channels from from_c, as a panel of [taps][TILE_M]. */
static void pack_weights(PARAMETERS, i64 g, i64 first, i64 here, i64 from_c, i64 channels, ACC *to) {
    for (i64 c = from_c; c < from_c + channels; c++)
        for (i64 kh = 0; kh < KH; kh++)
            for (i64 kw = 0; kw < KW; kw++)
                for (i64 r = 0; r < TILE_M; r++)
                    *to++ = r < here ? LOAD_W(g, first + r, c, kh, kw) : 0;
}

static void store(PARAMETERS, i64 g, i64 i0, i64 rows, i64 j0, i64 columns, const ACC *sum) {
#if PIXELS_FLAT
    const i64 long_line = OW * OH;
#else
    const i64 long_line = OW;
#endif
    for (i64 s = 0; s < columns;) {
        const i64 line = (j0 + s) / long_line, column = (j0 + s) % long_line;
        const i64 left = long_line - column, end = left < columns - s ? s + left : columns;
#if PIXELS_FLAT
        const i64 n = line, y = 0;
#else
        const i64 n = line / OH, y = line % OH;
#endif
        for (i64 r = 0; r < rows; r++) {
            if (end - s == LANES_N) { /* a constant length */
                FOR_EACH(q, 0, LANES_N)
                    STORE_PIXEL(g, n, i0 + r, y, column + q, sum[r * LANES_N + q]);
            } else {
                FOR_EACH(q, s, end)
                    STORE_PIXEL(g, n, i0 + r, y, column + q - s, sum[r * LANES_N + q]);
            }
        }
        s = end;
    }
}

#if REST
/* sums[rows][REST] (+)= weights of `rows` outputs times the last pixels' patches, [REST][depth]: so few of them leave most
   of a vector of pixels empty, but along the taps vectors are full. */
FUSED static void multiply_rest(i64 depth, const ACC *a, i64 a_row, i64 rows, const ACC *b, int first, ACC *sums) {
    FUSE
    for (i64 r0 = 0; r0 < rows; r0 += REST_ROWS) {
        const ACC *row[REST_ROWS];
        vector dots[REST_ROWS][REST] = {};
        ACC rests[REST_ROWS][REST] = {};
        for (int r = 0; r < REST_ROWS; r++) /* the last ones again where there are no more */
            row[r] = a + LEAST(r0 + r, rows - 1) * a_row;
        i64 p = 0;
        for (; p + SIDE <= depth; p += SIDE) {
            vector x[REST];
            UNROLL
            for (int q = 0; q < REST; q++)
                x[q] = *(const span *)(b + q * depth + p);
            UNROLL
            for (int r = 0; r < REST_ROWS; r++) {
                const vector y = *(const span *)(row[r] + p);
                UNROLL
                for (int q = 0; q < REST; q++)
                    dots[r][q] += x[q] * y;
            }
        }
        for (; p < depth; p++)
            for (int r = 0; r < REST_ROWS; r++)
                for (int q = 0; q < REST; q++)
                    rests[r][q] += b[q * depth + p] * row[r][p];
        for (int r = 0; r < LEAST(REST_ROWS, rows - r0); r++)
            for (int q = 0; q < REST; q++) {
                ACC sum = rests[r][q];
                for (int s = 0; s < SIDE; s++)
                    sum += dots[r][q][s];
                ACC *const to = sums + (r0 + r) * REST + q;
                *to = first ? sum : *to + sum;
            }
    }
}

/* The last pixels' patches from the planes, [REST][depth]. */
static void pack_rest(PARAMETERS, i64 j, i64 channels, area at, const i64 *taps, const ACC *planes, ACC *to) {
    for (i64 q = j; q < j + REST; q++) {
        const i64 line = q / OW, row = line - at.first + (line / OH - at.first / OH) * REACH_H;
        for (i64 c = 0; c < channels; c++)
            for (i64 t = 0; t < TAPS; t++)
                *to++ = planes[c * at.channel + taps[t] + row * at.pitch + q % OW - at.x0];
    }
}

static void store_rest(PARAMETERS, i64 g, i64 i0, i64 rows, i64 j0, const ACC *sums) {
    ACC tile[TILE_M * LANES_N];
    for (i64 r = 0; r < rows; r++)
        for (int q = 0; q < REST; q++)
            tile[r * LANES_N + q] = sums[r * REST + q];
    store(ARGUMENTS, g, i0, rows, j0, REST, tile);
}
#endif

KERNEL {
    const i64 block_m = SHARE(M, BLOCK_M, TILE_M), block_n = SHARE(N, BLOCK_N, TILE_N);
    const i64 g = GROUP(2), i0 = GROUP(1) * block_m, j0 = GROUP(0) * block_n;
    const i64 rows = LEAST(block_m, M - i0), columns = LEAST(block_n, N - j0);
    const i64 most_c = BLOCK_K > TAPS ? BLOCK_K / TAPS : 1, block_c = BLOCKS(C, BLOCKS(C, most_c));
    const area at = area_of(ARGUMENTS, j0, columns);
    i64 taps[TAPS];
    for (i64 t = 0; t < TAPS; t++) {
        const i64 kh = t / KW, kw = t % KW;
        taps[t] = (kh % PERIOD_H * PHASES_W + kw % PERIOD_W) * at.plane
            + kh * DILATION_H / STRIDE_H * at.pitch + kw * DILATION_W / STRIDE_W;
    }
    const i64 rows_in_place = PACK_A ? 0 : rows / TILE_M * TILE_M, deepest = block_c * TAPS;
    const i64 rest = j0 + columns == N ? REST : 0, full = columns - rest; /* pixels */
    const i64 tiles = block_c < C ? ROUND_UP(rows, TILE_M) * ROUND_UP(full, TILE_N) : TILE_M * TILE_N;
    const i64 for_planes = ROUND_UP(block_c * at.channel + TILE_N, 16);
    const i64 for_b = LEAST(ROUND_UP(full, TILE_N), MOST_STRIP) * deepest + TILE_N;
    const i64 for_a = ROUND_UP(rows - rows_in_place, TILE_M) * deepest;
    char *const memory = __builtin_malloc(sizeof(ACC) * (tiles + for_planes + for_b + for_a + rest * (deepest + rows)) + 64);
    ACC *const partial = (ACC *)(((u64)memory + 63) / 64 * 64), *const panels_b = partial + tiles;
    ACC *const planes = panels_b + for_b, *const panels_a = planes + for_planes;
#if REST
    ACC *const patches = panels_a + for_a, *const rests = patches + rest * deepest;
#endif
    __builtin_memset(planes, 0, sizeof(ACC) * for_planes);
    for (i64 from_c = 0; from_c < C; from_c += block_c) {
        const i64 channels = LEAST(block_c, C - from_c), depth = channels * TAPS;
        const int first = from_c == 0, last = from_c + channels == C;
        ACC *sum = partial;
        fill_planes(ARGUMENTS, g, from_c, channels, at, planes);
        for (i64 i = rows_in_place; i < rows; i += TILE_M)
            pack_weights(ARGUMENTS, g, i0 + i, LEAST(TILE_M, rows - i), from_c, channels, panels_a + (i - rows_in_place) * depth);
#if REST
        if (rest)
            pack_rest(ARGUMENTS, j0 + full, channels, at, taps, planes, patches);
#endif
        for (i64 j1 = 0; j1 < full || j1 == 0; j1 += MOST_STRIP) {
            const i64 end = LEAST(j1 + MOST_STRIP, full);
            pack_planes(ARGUMENTS, j0 + j1, end - j1, channels, at, taps, planes, panels_b);
            for (i64 i = 0; i < rows; i += TILE_M) {
                const i64 here = LEAST(TILE_M, rows - i);
                for (i64 j = j1; j < end; j += TILE_N) {
                    const ACC *x = panels_a + (i - rows_in_place) * depth, *const y = panels_b + (j - j1) * depth;
                    i64 x_row = 1, x_step = TILE_M;
#if !PACK_A
                    if (i < rows_in_place)
                        x = A_AT(g, i0 + i, from_c * TAPS), x_row = A_ROW, x_step = 1;
#endif
                    const i64 wide = LEAST(TILE_N, full - j);
                    MULTIPLY_TILE(wide, depth, x, x_row, x_step, y, TILE_N, first, sum, TILE_N);
                    if (last)
                        store(ARGUMENTS, g, i0 + i, here, j0 + j, wide, sum);
                    if (block_c < C) /* else one tile's sums are enough */
                        sum += TILE_M * TILE_N;
                }
#if REST
                if (rest && j1 == 0) {
                    const ACC *const x = A_AT(g, i0 + i, from_c * TAPS);
                    multiply_rest(depth, x, A_ROW, here, patches, first, rests + i * REST);
                    if (last)
                        store_rest(ARGUMENTS, g, i0 + i, here, j0 + full, rests + i * REST);
                }
#endif
            }
        }
    }
    __builtin_free(memory);
}
