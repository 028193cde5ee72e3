/* Convolution as a matrix product whose factors are never stored: weights [O][taps] times patches [taps][pixels], summed
   over taps, the pixels being those of all images. This file packs both factors for matmul_cpu.c, which it is put in
   front of, and stores its tiles. Pixels of a panel's tile are told by the runs of them that lie in one row of one
   image, so that only the borders of runs ask what is inside.

   A header made from the problem comes first (see conv.py):
     PARAMETERS ARGUMENTS   the kernel's parameters, so that helpers can take and pass all of them
     M N K ACC              extents of the product and the type of its sums
     SWAP                   1: the transposed product, whose rows are the pixels
     C KH KW OH OW IN_H IN_W   channels and taps of the weights, height and width of output and input
     TAPS_INNER             1: taps lie (c, kh, kw), 0: (kh, kw, c)
     CHANNEL_RUNS           1: taps lie (kh, kw, c), channels are many, and SWAP; see RUN
     STRIDE_H STRIDE_W DILATION_H DILATION_W PADDING_H PADDING_W
     LOAD_X(g, n, c, y, x) LOAD_W(g, o, c, kh, kw) STORE_PIXEL(g, n, o, y, x, sum)
   Without it, this file and the next compile alone:
     cat kernels/conv_pack.c kernels/matmul_cpu.c | cc -O3 -march=native -fopenmp-simd \
        -include backends/prelude_cpu.h -x c -c - */

#ifndef LOAD_X
#define PARAMETERS const f32 *in0, const f32 *in1, f32 *out0, i64 channels, i64 outputs, i64 height, i64 width
#define ARGUMENTS in0, in1, out0, channels, outputs, height, width
#define M outputs
#define N (OH * OW)
#define K (C * KH * KW)
#define ACC f32
#define SWAP 0
#define C channels
#define KH 3
#define KW 3
#define OH height
#define OW width
#define IN_H height
#define IN_W width
#define TAPS_INNER 1
#define CHANNEL_RUNS 0
#define STRIDE_H 1
#define STRIDE_W 1
#define DILATION_H 1
#define DILATION_W 1
#define PADDING_H 1
#define PADDING_W 1
#define LOAD_X(g, n, c, y, x) in0[(((n) * C + (c)) * IN_H + (y)) * IN_W + (x)]
#define LOAD_W(g, o, c, kh, kw) in1[(((o) * C + (c)) * KH + (kh)) * KW + (kw)]
#define STORE_PIXEL(g, n, o, y, x, sum) out0[(((n) * M + (o)) * OH + (y)) * OW + (x)] = (sum)
#define PACK_A 1
#define PACK_B 1
#define VECTOR 32
#define TILE_M 6
#define TILE_VECTORS 2
#define BLOCK_M 192
#define BLOCK_N 512
#define BLOCK_K 256
#define KERNEL void conv(PARAMETERS, i64 group_0, i64 group_1, i64 group_2)
#endif

#ifndef TURNS /* no turn.c in front */
#define TURNS(tile) 0
#define turn(lines, line_step, count, to, step) ((void)0)
#endif
#if CPU_GROUPS /* see matmul_cpu.c */
#define WORK
#else
#define WORK __local
#endif
#define LANES_N (TILE_VECTORS * VECTOR / (i64)sizeof(ACC))
#if SWAP
#define PATCHES_TILE TILE_M
#define WEIGHTS_TILE LANES_N
#define pack_a pack_patches
#define pack_b pack_weights
#else
#define PATCHES_TILE LANES_N
#define WEIGHTS_TILE TILE_M
#define pack_a pack_weights
#define pack_b pack_patches
#endif

typedef struct { i64 c, kh, kw; } tap;

#if CHANNEL_RUNS
/* Channels lie side by side in the input, so that patches are copied in runs of them and nothing is turned around. In
   the weights the taps of one channel do. The product's taps are therefore in the order (c / RUN, kh, kw, c % RUN): a
   run's weights are all read while they are near, and it is long enough to copy. */
#define RUN 32

static inline tap tap_at(PARAMETERS, i64 p) {
    const i64 base = p / (RUN * KH * KW) * RUN, rest = p - base * KH * KW, wide = C - base < RUN ? C - base : RUN;
    const tap t = {base + rest % wide, rest / (wide * KW), rest / wide % KW};
    return t;
}

/* How many of `most` taps from t on are of its run. */
static inline i64 run_of(PARAMETERS, tap t, i64 most) {
    const i64 end = (t.c / RUN + 1) * RUN, left = (C < end ? C : end) - t.c;
    return left < most ? left : most;
}

static inline tap next_run(PARAMETERS, tap t) {
    t.c -= t.c % RUN;
    if (++t.kw == KW) {
        t.kw = 0;
        if (++t.kh == KH)
            t.kh = 0, t.c += RUN;
    }
    return t;
}

/* Weights of outputs first .. first + count, `depth` taps from p0, as panels of [depth][WEIGHTS_TILE]. */
static void pack_weights(PARAMETERS, i64 g, i64 first, i64 count, i64 p0, i64 depth, WORK ACC *to) {
    const tap start = tap_at(ARGUMENTS, p0);
    for (i64 o = 0; o < count; o += WEIGHTS_TILE) {
        const i64 left = count - o < WEIGHTS_TILE ? count - o : WEIGHTS_TILE;
        ACC lines[WEIGHTS_TILE][RUN] __attribute__((aligned(64)));
        for (i64 s = left; s < WEIGHTS_TILE; s++)
            for (i64 q = 0; q < RUN; q++)
                lines[s][q] = 0;
        tap t = start;
        for (i64 p = 0, here; p < depth; p += here, to += here * WEIGHTS_TILE, t = next_run(ARGUMENTS, t)) {
            here = run_of(ARGUMENTS, t, depth - p);
            for (i64 s = 0; s < left; s++) {
                FOR_EACH(q, 0, here)
                    lines[s][q] = LOAD_W(g, first + o + s, t.c + q, t.kh, t.kw);
            }
            if (TURNS(WEIGHTS_TILE)) {
                for (i64 q = 0; q < here; q += VECTOR / (i64)sizeof(ACC))
                    for (i64 s = 0; s < WEIGHTS_TILE; s += VECTOR / (i64)sizeof(ACC))
                        turn(lines[s] + q, RUN, here - q, to + q * WEIGHTS_TILE + s, WEIGHTS_TILE);
            } else
                for (i64 q = 0; q < here; q++)
                    for (i64 s = 0; s < WEIGHTS_TILE; s++)
                        to[q * WEIGHTS_TILE + s] = lines[s][q];
        }
    }
}

/* Pixels first .. first + count, `depth` taps from p0, as panels of [PATCHES_TILE][depth]. */
#define PACKED_ROW(depth) (depth)
#define PACKED_STEP 1
static void pack_patches(PARAMETERS, i64 g, i64 first, i64 count, i64 p0, i64 depth, WORK ACC *to) {
    const tap start = tap_at(ARGUMENTS, p0);
    for (i64 j = first; j < first + count; j++, to += depth) {
        const i64 line = j / OW, n = line / OH;
        const i64 top = line % OH * STRIDE_H - PADDING_H, left = j % OW * STRIDE_W - PADDING_W;
        tap t = start;
        for (i64 p = 0, here; p < depth; p += here, t = next_run(ARGUMENTS, t)) {
            const i64 y = top + t.kh * DILATION_H, x = left + t.kw * DILATION_W;
            here = run_of(ARGUMENTS, t, depth - p);
            if (y >= 0 && y < IN_H && x >= 0 && x < IN_W) {
                FOR_EACH(s, 0, here)
                    to[p + s] = LOAD_X(g, n, t.c + s, y, x);
            } else
                for (i64 s = 0; s < here; s++)
                    to[p + s] = 0;
        }
    }
    for (i64 rest = (PATCHES_TILE - count % PATCHES_TILE) % PATCHES_TILE * depth; rest > 0; rest--)
        *to++ = 0;
}
#else
static inline tap tap_at(PARAMETERS, i64 p) {
#if TAPS_INNER
    const tap t = {p / (KH * KW), p / KW % KH, p % KW};
#else
    const tap t = {p % C, p / (C * KW), p / C % KW};
#endif
    return t;
}

static inline tap next_tap(PARAMETERS, tap t) {
#if TAPS_INNER
    if (++t.kw == KW) {
        t.kw = 0;
        if (++t.kh == KH)
            t.kh = 0, t.c++;
    }
#else
    if (++t.c == C) {
        t.c = 0;
        if (++t.kw == KW)
            t.kw = 0, t.kh++;
    }
#endif
    return t;
}

/* Weights of outputs first .. first + count, `depth` taps from p0, as panels of [depth][WEIGHTS_TILE]. */
static void pack_weights(PARAMETERS, i64 g, i64 first, i64 count, i64 p0, i64 depth, WORK ACC *to) {
    for (i64 o = 0; o < count; o += WEIGHTS_TILE, to += depth * WEIGHTS_TILE) {
        const i64 here = count - o < WEIGHTS_TILE ? count - o : WEIGHTS_TILE;
        tap t = tap_at(ARGUMENTS, p0);
        for (i64 p = 0; p < depth; p++, t = next_tap(ARGUMENTS, t)) {
            for (i64 s = 0; s < here; s++)
                to[p * WEIGHTS_TILE + s] = LOAD_W(g, first + o + s, t.c, t.kh, t.kw);
            for (i64 s = here; s < WEIGHTS_TILE; s++)
                to[p * WEIGHTS_TILE + s] = 0;
        }
    }
}

/* Neighbouring pixels `begin` .. `end` of a tile in one row of image n; y and x are where the first tap reads. */
typedef struct { i64 begin, end, n, y, x; } run;

/* The runs of pixels j .. j + count; there are at most as many as pixels. */
static inline int find_runs(PARAMETERS, i64 j, i64 count, run *runs) {
    int found = 0;
    for (i64 s = 0; s < count;) {
        const i64 row = (j + s) / OW, column = (j + s) % OW;
        const i64 left = OW - column, end = left < count - s ? s + left : count;
        const run next = {s, end, row / OH, row % OH * STRIDE_H - PADDING_H, column * STRIDE_W - PADDING_W};
        runs[found++] = next;
        s = end;
    }
    return found;
}

/* Pixels first .. first + count, `depth` taps from p0, as panels of [depth][PATCHES_TILE]. */
static void pack_patches(PARAMETERS, i64 g, i64 first, i64 count, i64 p0, i64 depth, WORK ACC *to) {
    for (i64 j = 0; j < count; j += PATCHES_TILE, to += depth * PATCHES_TILE) {
        const i64 here = count - j < PATCHES_TILE ? count - j : PATCHES_TILE;
        run runs[PATCHES_TILE];
        const int many = find_runs(ARGUMENTS, first + j, here, runs);
        const int whole = many == 1 && here == PATCHES_TILE;
        tap t = tap_at(ARGUMENTS, p0);
        WORK ACC *line = to;
        for (i64 p = 0; p < depth; p++, line += PATCHES_TILE, t = next_tap(ARGUMENTS, t)) {
            const i64 down = t.kh * DILATION_H, right = t.kw * DILATION_W;
            if (whole) { /* the most common case by far, with a constant length */
                const i64 y = runs[0].y + down, x = runs[0].x + right;
                if (y >= 0 && y < IN_H && x >= 0 && x + (PATCHES_TILE - 1) * STRIDE_W < IN_W) {
                    FOR_EACH(s, 0, PATCHES_TILE)
                        line[s] = LOAD_X(g, runs[0].n, t.c, y, x + s * STRIDE_W);
                    continue;
                }
            }
            for (i64 s = 0; s < PATCHES_TILE; s++)
                line[s] = 0;
            for (int k = 0; k < many; k++) {
                const i64 y = runs[k].y + down, x = runs[k].x + right - runs[k].begin * STRIDE_W;
                if (y < 0 || y >= IN_H)
                    continue;
                /* x + s * STRIDE_W is inside from `begin` to `end` */
                i64 begin = x < 0 ? (-x + STRIDE_W - 1) / STRIDE_W : 0, end = (IN_W - x + STRIDE_W - 1) / STRIDE_W;
                begin = begin < runs[k].begin ? runs[k].begin : begin, end = end > runs[k].end ? runs[k].end : end;
                for (i64 s = begin; s < end; s++)
                    line[s] = LOAD_X(g, runs[k].n, t.c, y, x + s * STRIDE_W);
            }
        }
    }
}
#endif

static void store(PARAMETERS, i64 g, i64 i0, i64 rows, i64 j0, i64 columns, WORK const ACC *sum) {
#if SWAP
    for (i64 r = 0; r < rows; r++) {
        const i64 line = (i0 + r) / OW;
        FOR_EACH(s, 0, columns)
            STORE_PIXEL(g, line / OH, j0 + s, line % OH, (i0 + r) % OW, sum[r * LANES_N + s]);
    }
#else
    for (i64 s = 0; s < columns;) {
        const i64 line = (j0 + s) / OW, column = (j0 + s) % OW;
        const i64 left = OW - column, end = left < columns - s ? s + left : columns;
        for (i64 r = 0; r < rows; r++) {
            FOR_EACH(q, s, end)
                STORE_PIXEL(g, line / OH, i0 + r, line % OH, column + q - s, sum[r * LANES_N + q]);
        }
        s = end;
    }
#endif
}
