/* Convolution as a matrix product, weights [O][taps] times patches [taps][pixels], for CPUs. A group is one thread and a
   block of outputs x pixels. For each BLOCK_K taps, whole channels of them, it copies what its pixels see of the input
   into planes, one for each residue of rows and columns modulo the stride and with zeros for the padding: there
   neighbouring pixels are neighbours for every tap and nothing is outside, so that panels of patches are packed in whole
   vectors without a question, and what is read is loaded, converted or turned around (NHWC) once for all taps. Panels,
   and weights, which are read in place where their taps lie in order, then go through the register tiles of
   matmul_cpu.c, which stands in front of this file, behind matmul_pack.c's macros; conv_blocks.c behind it is the loop
   around all that.

   A header made from the problem comes first, whose names conv_pack.c tells, and besides
     PERIOD_H PERIOD_W    how many residues of tap * DILATION modulo STRIDE there are
     REST                 so many last pixels, fewer than a vector's, are summed along the taps; weights are A_AT then
     PIXELS_FLAT          1: what is read and stored for a pixel lies evenly from one row of an image to the next
     TAP_AT(g, o, c, p)   where weights lie evenly in the order (c, kh, kw): the p-th of output o from channel c on
     A_AT(b, i, p) A_ROW  those weights as they lie, where they may be read in place
     X_AT(g, c) X_C X_N   where one tap sees one pixel and the input may be read in place: it takes the planes' place */

#define TAPS (KH * KW)
#define PHASES_H LEAST(KH, PERIOD_H)
#define PHASES_W LEAST(KW, PERIOD_W)
#define REACH_H ((KH - 1) * DILATION_H / STRIDE_H)
#define REACH_W ((KW - 1) * DILATION_W / STRIDE_W)
#if PIXELS_FLAT
#define LINES 1
#define LINE (OH * OW)
#else
#define LINES OH
#define LINE OW
#endif

/* What a group sees: rows first .. last of all images' results, of which `width` pixels from x0 on, in planes of rows
   `pitch` apart, `plane` elements each, `channel` from one channel's to the next. A vector may be written beyond the end
   of a plane's last row. */
typedef struct { i64 first, last, x0, width, pitch, plane, channel; } area;

static area area_of(PARAMETERS, i64 j0, i64 columns) {
    area at = {j0 / OW, (j0 + columns - 1) / OW, 0, OW};
    if (at.first == at.last)
        at.x0 = j0 % OW, at.width = columns;
    const i64 rows = at.last - at.first + 1 + (at.last / OH - at.first / OH + 1) * REACH_H;
    at.pitch = at.width + REACH_W;
    at.plane = rows * at.pitch + LANES;
    at.channel = PHASES_H * PHASES_W * at.plane;
    return at;
}

/* Where the first tap's pixel of a row of the result lies in a plane. */
static inline i64 place(PARAMETERS, area at, i64 line, i64 x) {
#ifdef X_AT
    return line / OH * X_N + line % OH * OW + x;
#else
    return (line - at.first + (line / OH - at.first / OH) * REACH_H) * at.pitch + x - at.x0;
#endif
}

#ifndef X_AT
/* to[c][s] = channel c of pixel x + s * STRIDE_W, s < pixels. In NHWC, what is beyond becomes 0 up to a whole vector. */
static inline void fill_row(PARAMETERS, i64 g, i64 n, i64 from_c, i64 channels, i64 y, i64 x, i64 pixels, i64 step,
                            ACC *to) {
#if TAPS_INNER
    for (i64 c = 0; c < channels; c++) {
        FOR_EACH(s, 0, pixels)
            to[c * step + s] = LOAD_X(g, n, from_c + c, y, x + s * STRIDE_W);
    }
#else
    ACC lines[LANES][LANES] __attribute__((aligned(64)));
    for (i64 s = 0; s < pixels; s += LANES)
        for (i64 c = 0; c < channels; c += LANES) {
            const i64 here = LEAST(LANES, pixels - s), wide = LEAST(LANES, channels - c);
            for (i64 r = 0; r < here; r++) {
                const i64 from = x + (s + r) * STRIDE_W;
                if (wide == LANES) { /* a constant length */
                    FOR_EACH(q, 0, LANES)
                        lines[r][q] = LOAD_X(g, n, from_c + c + q, y, from);
                } else {
                    FOR_EACH(q, 0, wide)
                        lines[r][q] = LOAD_X(g, n, from_c + c + q, y, from);
                }
            }
            for (i64 r = here; r < LANES; r++) {
                FOR_EACH(q, 0, LANES)
                    lines[r][q] = 0;
            }
            if (TURNS(LANES))
                turn(lines[0], LANES, wide, to + c * step + s, step);
            else
                for (i64 q = 0; q < wide; q++)
                    for (i64 r = 0; r < LANES; r++)
                        to[(c + q) * step + s + r] = lines[r][q];
        }
#endif
}

/* Channels from_c .. from_c + channels of group g into planes. What is outside stays 0. Rows of a plane are written in
   order, so that a vector beyond the end of one is overwritten. */
static void fill_planes(PARAMETERS, i64 g, i64 from_c, i64 channels, area at, ACC *planes) {
    for (i64 f = 0; f < PHASES_H * PHASES_W; f++) {
        const i64 down = f / PHASES_W * DILATION_H % STRIDE_H, right = f % PHASES_W * DILATION_W % STRIDE_W;
        const i64 left = at.x0 * STRIDE_W + right - PADDING_W;
        const i64 low = left >= 0 ? 0 : (-left + STRIDE_W - 1) / STRIDE_W;
        const i64 high = LEAST(at.pitch, (IN_W - left + STRIDE_W - 1) / STRIDE_W);
        for (i64 n = at.first / OH; n <= at.last / OH; n++) {
            const i64 top = n == at.first / OH ? at.first % OH : 0, end = n == at.last / OH ? at.last % OH + 1 : OH;
            ACC *const image = planes + f * at.plane + place(ARGUMENTS, at, n * OH + top, at.x0);
            for (i64 q = 0; q < end - top + REACH_H; q++) {
                const i64 y = (top + q) * STRIDE_H + down - PADDING_H, x = left + low * STRIDE_W;
                if (y >= 0 && y < IN_H && low < high)
                    fill_row(ARGUMENTS, g, n, from_c, channels, y, x, high - low, at.channel, image + q * at.pitch + low);
            }
        }
    }
}
#endif

#if PACK_B
/* A vector of neighbouring pixels: where it goes in a line of a panel, and from where in a plane. */
typedef struct { i64 to, from; } move;

/* The moves that fill a line with `here` pixels from j on and what lies behind them. */
static int find_moves(PARAMETERS, i64 j, i64 here, area at, move *moves) {
    int found = 0;
    for (i64 s = 0, run; s < here; s += run) {
        const i64 from = place(ARGUMENTS, at, (j + s) / OW, (j + s) % OW);
        run = LEAST(OW - (j + s) % OW, here - s);
        for (i64 q = 0; q < (s + run == here ? TILE_N - s : run); q += LANES) {
            const move next = {s + q, from + q};
            moves[found++] = next;
        }
    }
    return found;
}

/* Pixels j .. j + count and all taps of `channels` channels from the planes, as panels of [taps][TILE_N]. A vector that
   reaches beyond its pixels writes where the next one will, or behind the last panel. */
static void pack_patches(PARAMETERS, i64 j, i64 count, i64 channels, area at, const i64 *taps, const ACC *planes,
                         ACC *to) {
    for (; count > 0; j += TILE_N, count -= TILE_N) {
        const i64 here = LEAST(TILE_N, count);
#ifdef X_AT /* behind the input's end nothing may be read */
        if (here < TILE_N || j % (OH * OW) + TILE_N > OH * OW) {
            for (i64 c = 0; c < channels; c++, to += TILE_N)
                for (i64 s = 0; s < TILE_N; s++)
                    to[s] = s < here ? planes[c * at.channel + place(ARGUMENTS, at, (j + s) / OW, (j + s) % OW)] : 0;
            continue;
        }
        const ACC *from = planes + place(ARGUMENTS, at, j / OW, j % OW);
        for (i64 c = 0; c < channels; c++, to += TILE_N, from += at.channel) {
            FOR_EACH(s, 0, TILE_N)
                to[s] = from[s];
        }
#else
        move moves[TILE_N];
        const int many = find_moves(ARGUMENTS, j, here, at, moves);
        for (i64 c = 0; c < channels; c++)
            for (i64 t = 0; t < TAPS; t++, to += TILE_N) {
                const ACC *const from = planes + c * at.channel + taps[t];
                for (int k = 0; k < many; k++)
                    *(vector_anywhere *)(to + moves[k].to) = *(const vector_anywhere *)(from + moves[k].from);
            }
#endif
    }
}
#endif

/* Weights of `here` outputs from `first` on, all taps of `channels` channels from from_c, as a panel of [taps][TILE_M]. */
static void pack_weights(PARAMETERS, i64 g, i64 first, i64 here, i64 from_c, i64 channels, ACC *to) {
#ifdef TAP_AT
#define TAP(r, p) TAP_AT(g, first + (r), from_c, p)
#define FILL_TAPS(r, p, count, to) FILL_ALONG(TAP, r, p, count, to)
    PACK_ALONG_K(FILL_TAPS, TAP, here, TILE_M, channels * TAPS, channels * TAPS, to)
#else
    for (i64 c = from_c; c < from_c + channels; c++)
        for (i64 kh = 0; kh < KH; kh++)
            for (i64 kw = 0; kw < KW; kw++)
                for (i64 r = 0; r < TILE_M; r++)
                    *to++ = r < here ? LOAD_W(g, first + r, c, kh, kw) : 0;
#endif
}

/* Pixels j0 .. j0 + columns, at most TILE_N, of outputs i0 .. i0 + rows; in NHWC, `sum` has whole squares of LANES. */
static void store(PARAMETERS, i64 g, i64 i0, i64 rows, i64 j0, i64 columns, const ACC *sum) {
#if !TAPS_INNER
    ACC turned[TILE_N][ROUND_UP(TILE_M, LANES)] __attribute__((aligned(64)));
    for (i64 s = 0; s < columns; s += LANES)
        for (i64 r = 0; r < rows; r += LANES) {
            if (TURNS(LANES))
                turn(sum + r * TILE_N + s, TILE_N, LANES, turned[s] + r, ROUND_UP(TILE_M, LANES));
            else
                for (i64 q = 0; q < LANES; q++)
                    for (i64 p = 0; p < LANES; p++)
                        turned[s + q][r + p] = sum[(r + p) * TILE_N + s + q];
        }
#endif
    for (i64 s = 0, end; s < columns; s = end) {
        const i64 line = (j0 + s) / LINE, n = line / LINES, y = line % LINES, x = (j0 + s) % LINE - s;
        end = LEAST(columns, s + LINE - (j0 + s) % LINE);
#if TAPS_INNER
        for (i64 r = 0; r < rows; r++) {
            if (end - s == TILE_N) { /* a constant length */
                FOR_EACH(q, 0, TILE_N)
                    STORE_PIXEL(g, n, i0 + r, y, x + q, sum[r * TILE_N + q]);
            } else {
                FOR_EACH(q, s, end)
                    STORE_PIXEL(g, n, i0 + r, y, x + q, sum[r * TILE_N + q]);
            }
        }
#else
        for (i64 q = s; q < end; q++) {
            if (rows == TILE_M) {
                FOR_EACH(r, 0, TILE_M)
                    STORE_PIXEL(g, n, i0 + r, y, x + q, turned[q][r]);
            } else {
                FOR_EACH(r, 0, rows)
                    STORE_PIXEL(g, n, i0 + r, y, x + q, turned[q][r]);
            }
        }
#endif
    }
}
