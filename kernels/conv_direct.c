/* Convolution as it is written, for groups with so few outputs that a matrix product would pack patches for nobody:
   depthwise. A group of the grid is one thread and ROWS rows of the result. A row is summed by rows of
   taps in lines that stay in the nearest cache, what lies at the borders apart: along the pixels (NCHW; without a stride
   several short rows are one line), or along the
   groups, of PIXELS neighbours at a time (NHWC, whose weights are turned around first).

   A header made from the problem comes first, whose names conv_pack.c tells; TAPS_W is KW as a constant. Without it,
   this file compiles alone:
     cc -O3 -march=native -fopenmp-simd -include backends/prelude_cpu.h -c kernels/conv_direct.c */

#ifndef LOAD_X
#define PARAMETERS const f32 *in0, const f32 *in1, f32 *out0, i64 groups, i64 height, i64 width
#define ARGUMENTS in0, in1, out0, groups, height, width
#define IMAGES 1
#define BATCH groups
#define OUTPUTS 1
#define ACC f32
#define MULTIPLY_ADD(a, b, c) FMA(a, b, c)
#define C 1
#define KH 3
#define KW 3
#define OH height
#define OW width
#define IN_H height
#define IN_W width
#define TAPS_INNER 1
#define STRIDE_H 1
#define STRIDE_W 1
#define DILATION_H 1
#define DILATION_W 1
#define PADDING_H 1
#define PADDING_W 1
#define LOAD_X(g, n, c, y, x) in0[((g) * IN_H + (y)) * IN_W + (x)]
#define LOAD_W(g, o, c, kh, kw) in1[((g) * KH + (kh)) * KW + (kw)]
#define STORE_PIXEL(g, n, o, y, x, sum) out0[((g) * OH + (y)) * OW + (x)] = (sum)
#define TAPS_W 3
#define ROWS 8
#define KERNEL void conv(PARAMETERS, i64 group_0, i64 group_1, i64 group_2)
#endif

#define LINE 512 /* sums at a time */
#define NARROW 128 /* pixels of rows that are summed several at once: of wider ones too few fit */
#define LEAST(x, y) ((x) < (y) ? (x) : (y))
#define MOST(x, y) ((x) > (y) ? (x) : (y))

#if TAPS_INNER
/* Pixels x0 .. x0 + count of one row of output o of group g. */
static void sum_line(PARAMETERS, i64 n, i64 g, i64 o, i64 y, i64 x0, i64 count) {
    ACC line[LINE];
    for (i64 s = 0; s < count; s++)
        line[s] = 0;
    /* From `low` to `high` all taps of a row are inside. */
    const i64 left = x0 * STRIDE_W - PADDING_W, reach = (TAPS_W - 1) * DILATION_W;
    const i64 low = LEAST(count, left >= 0 ? 0 : (-left + STRIDE_W - 1) / STRIDE_W);
    const i64 high = MOST(low, LEAST(count, IN_W - reach - left <= 0 ? 0 : (IN_W - reach - left - 1) / STRIDE_W + 1));
    for (i64 c = 0; c < C; c++)
        for (i64 kh = 0; kh < KH; kh++) {
            const i64 row = y * STRIDE_H - PADDING_H + kh * DILATION_H;
            if (row < 0 || row >= IN_H)
                continue;
            ACC weights[TAPS_W];
            for (int k = 0; k < TAPS_W; k++)
                weights[k] = LOAD_W(g, o, c, kh, k);
            FOR_EACH(s, low, high) {
                ACC sum = line[s];
                UNROLL
                for (int k = 0; k < TAPS_W; k++)
                    sum = MULTIPLY_ADD(weights[k], LOAD_X(g, n, c, row, left + s * STRIDE_W + k * DILATION_W), sum);
                line[s] = sum;
            }
            for (i64 s = low ? 0 : high; s < count; s = s + 1 == low ? high : s + 1) /* the borders */
                for (int k = 0; k < TAPS_W; k++) {
                    const i64 x = left + s * STRIDE_W + k * DILATION_W;
                    if (x >= 0 && x < IN_W)
                        line[s] = MULTIPLY_ADD(weights[k], LOAD_X(g, n, c, row, x), line[s]);
                }
        }
    FOR_EACH(s, 0, count)
        STORE_PIXEL(g, n, o, y, x0 + s, line[s]);
}

#if STRIDE_H == 1 && STRIDE_W == 1
#define PLANE 2048 /* elements: with as many sums a half of the nearest cache */
#define PITCH (OW + (TAPS_W - 1) * DILATION_W)

/* `count` rows of output o of group g, from y on, as one line: rows of the input lie one behind the other with zeros for
   the padding, so that neither short rows nor borders end a loop. Sums between rows are nobody's. */
static void sum_rows(PARAMETERS, i64 n, i64 g, i64 o, i64 y, i64 count) {
    ACC plane[PLANE], line[PLANE];
    const i64 high = count + (KH - 1) * DILATION_H, many = (count - 1) * PITCH + OW;
    const i64 low = LEAST(PADDING_W, PITCH), end = MOST(low, LEAST(PITCH, IN_W + PADDING_W));
    FOR_EACH(s, 0, many)
        line[s] = 0;
    for (i64 c = 0; c < C; c++) {
        if (c == 0) { /* what is outside stays as it is */
            FOR_EACH(s, 0, high * PITCH)
                plane[s] = 0;
        }
        for (i64 q = MOST(0, PADDING_H - y); q < LEAST(high, IN_H + PADDING_H - y); q++) {
            FOR_EACH(s, low, end)
                plane[q * PITCH + s] = LOAD_X(g, n, c, y + q - PADDING_H, s - PADDING_W);
        }
        for (i64 kh = 0; kh < KH; kh++) {
            const ACC *const from = plane + kh * DILATION_H * PITCH;
            ACC weights[TAPS_W];
            for (int k = 0; k < TAPS_W; k++)
                weights[k] = LOAD_W(g, o, c, kh, k);
            FOR_EACH(s, 0, many) {
                ACC sum = line[s];
                UNROLL
                for (int k = 0; k < TAPS_W; k++)
                    sum = MULTIPLY_ADD(weights[k], from[s + k * DILATION_W], sum);
                line[s] = sum;
            }
        }
    }
    for (i64 q = 0; q < count; q++) {
        FOR_EACH(x, 0, OW)
            STORE_PIXEL(g, n, o, y + q, x, line[q * PITCH + x]);
    }
}
#endif

KERNEL {
    const i64 rows = IMAGES * BATCH * OUTPUTS * OH, end = LEAST(rows, (GROUP(0) + 1) * ROWS);
    for (i64 r = GROUP(0) * ROWS, count; r < end; r += count) {
        const i64 y = r % OH, o = r / OH % OUTPUTS, g = r / (OH * OUTPUTS) % BATCH, n = r / (OH * OUTPUTS * BATCH);
#if STRIDE_H == 1 && STRIDE_W == 1
        count = LEAST(PLANE / PITCH - (KH - 1) * DILATION_H, LEAST(end - r, OH - y));
        if (count > 0 && OW <= NARROW) {
            sum_rows(ARGUMENTS, n, g, o, y, count);
            continue;
        }
#endif
        for (i64 x = 0; x < OW; x += LINE)
            sum_line(ARGUMENTS, n, g, o, y, x, LEAST(LINE, OW - x));
        count = 1;
    }
}
#else
#define CHUNK 256 /* groups whose weights are turned around at a time */
#define WIDE 32   /* groups that are summed at a time */
#define PIXELS 4  /* neighbours, which share weights and, at stride 1, most of what they read */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Groups g0 .. g0 + count, at most WIDE, of `pixels` neighbours from x on, whose taps are inside; `weights` are
   [tap][CHUNK]. Constants as arguments make it straight code. */
ALWAYS_INLINE void sum_tile(PARAMETERS, i64 n, i64 g0, i64 count, i64 o, i64 y, i64 x, const ACC *weights,
                            const int pixels) {
    ACC lines[PIXELS][WIDE]; /* nothing is there before the first row of taps, which is cheaper than clearing */
    int started = 0;
    const i64 left = x * STRIDE_W - PADDING_W;
    for (i64 c = 0; c < C; c++)
        for (i64 kh = 0; kh < KH; kh++, weights += TAPS_W * CHUNK) {
            const i64 row = y * STRIDE_H - PADDING_H + kh * DILATION_H;
            if (row < 0 || row >= IN_H)
                continue;
            FOR_EACH(s, 0, count) {
                UNROLL
                for (int p = 0; p < pixels; p++) {
                    ACC sum = started ? lines[p][s] : 0;
                    UNROLL
                    for (int k = 0; k < TAPS_W; k++) {
                        const i64 column = left + p * STRIDE_W + k * DILATION_W;
                        sum = MULTIPLY_ADD(weights[k * CHUNK + s], LOAD_X(g0 + s, n, c, row, column), sum);
                    }
                    lines[p][s] = sum;
                }
            }
            started = 1;
        }
    for (int p = 0; p < pixels; p++) {
        FOR_EACH(s, 0, count)
            STORE_PIXEL(g0 + s, n, o, y, x + p, started ? lines[p][s] : 0);
    }
}

/* The same of any number of groups. */
ALWAYS_INLINE void sum_tiles(PARAMETERS, i64 n, i64 g0, i64 count, i64 o, i64 y, i64 x, const ACC *weights,
                             const int pixels) {
    i64 s = 0;
    for (; s + WIDE <= count; s += WIDE)
        sum_tile(ARGUMENTS, n, g0 + s, WIDE, o, y, x, weights + s, pixels);
    if (s < count)
        sum_tile(ARGUMENTS, n, g0 + s, count - s, o, y, x, weights + s, pixels);
}

/* Groups g0 .. g0 + count of one pixel at a border. */
static void sum_pixel(PARAMETERS, i64 n, i64 g0, i64 count, i64 o, i64 y, i64 x, const ACC *weights) {
    ACC line[CHUNK];
    for (i64 s = 0; s < count; s++)
        line[s] = 0;
    for (i64 c = 0; c < C; c++)
        for (i64 kh = 0; kh < KH; kh++) {
            const i64 row = y * STRIDE_H - PADDING_H + kh * DILATION_H;
            for (i64 kw = 0; kw < KW; kw++, weights += CHUNK) {
                const i64 column = x * STRIDE_W - PADDING_W + kw * DILATION_W;
                if (row < 0 || row >= IN_H || column < 0 || column >= IN_W)
                    continue;
                FOR_EACH(s, 0, count)
                    line[s] = MULTIPLY_ADD(weights[s], LOAD_X(g0 + s, n, c, row, column), line[s]);
            }
        }
    FOR_EACH(s, 0, count)
        STORE_PIXEL(g0 + s, n, o, y, x, line[s]);
}

/* Groups g0 .. g0 + count of one row of pixels. */
static void sum_row(PARAMETERS, i64 n, i64 g0, i64 count, i64 o, i64 y, const ACC *weights) {
    /* From `low` to `high` all taps of a row are inside. */
    const i64 reach = IN_W + PADDING_W - (TAPS_W - 1) * DILATION_W;
    const i64 low = LEAST(OW, (PADDING_W + STRIDE_W - 1) / STRIDE_W);
    const i64 high = MOST(low, LEAST(OW, reach <= 0 ? 0 : (reach - 1) / STRIDE_W + 1));
    i64 x = 0;
    for (; x < low; x++)
        sum_pixel(ARGUMENTS, n, g0, count, o, y, x, weights);
    for (; x + PIXELS <= high; x += PIXELS)
        sum_tiles(ARGUMENTS, n, g0, count, o, y, x, weights, PIXELS);
    for (; x < high; x++)
        sum_tiles(ARGUMENTS, n, g0, count, o, y, x, weights, 1);
    for (; x < OW; x++)
        sum_pixel(ARGUMENTS, n, g0, count, o, y, x, weights);
}

/* Weights of groups g0 .. g0 + count as [tap][CHUNK]. */
static void turn_weights(PARAMETERS, i64 g0, i64 count, i64 o, ACC *to) {
    for (i64 c = 0; c < C; c++)
        for (i64 kh = 0; kh < KH; kh++)
            for (i64 kw = 0; kw < KW; kw++, to += CHUNK)
                for (i64 s = 0; s < count; s++)
                    to[s] = LOAD_W(g0 + s, o, c, kh, kw);
}

KERNEL {
    ACC *const weights = __builtin_malloc(sizeof(ACC) * CHUNK * C * KH * KW);
    const i64 rows = IMAGES * OH;
    for (i64 g0 = 0; g0 < BATCH; g0 += CHUNK)
        for (i64 o = 0; o < OUTPUTS; o++) {
            const i64 count = LEAST(CHUNK, BATCH - g0);
            turn_weights(ARGUMENTS, g0, count, o, weights);
            for (i64 r = GROUP(0) * ROWS; r < LEAST(rows, (GROUP(0) + 1) * ROWS); r++)
                sum_row(ARGUMENTS, r / OH, g0, count, o, r % OH, weights);
        }
    __builtin_free(weights);
}
#endif
