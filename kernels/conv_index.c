/* Convolution's factors and result as matmul_tile.c asks for them, one by one: it stands between the header made from
   the problem, whose names conv_pack.c tells, and that file. Indices are divided in 32 bits, which costs a GPU a tenth of
   64; products with more pixels or taps are refused. */

DEVICE ACC patch_at(PARAMETERS, i64 g, i64 tap, i64 pixel) {
    const u32 p = (u32)tap, j = (u32)pixel, kh_extent = (u32)KH, kw_extent = (u32)KW, wide = (u32)OW, high = (u32)OH;
#if TAPS_INNER
    const u32 c = p / (kh_extent * kw_extent), kh = p / kw_extent % kh_extent, kw = p % kw_extent;
#else
    const u32 channels = (u32)C, c = p % channels, kh = p / (channels * kw_extent), kw = p / channels % kw_extent;
#endif
    const i64 y = (i64)(j / wide % high) * STRIDE_H - PADDING_H + (i64)kh * DILATION_H;
    const i64 x = (i64)(j % wide) * STRIDE_W - PADDING_W + (i64)kw * DILATION_W;
    const int inside = y >= 0 && y < IN_H && x >= 0 && x < IN_W;
    /* Reading what is there and choosing afterwards keeps the loads free of branches. */
    const ACC value = LOAD_X(g, (i64)(j / (wide * high)), (i64)c, inside ? y : 0, inside ? x : 0);
    return inside ? value : (ACC)0;
}

DEVICE ACC weight_at(PARAMETERS, i64 g, i64 tap, i64 o) {
    const u32 p = (u32)tap, kh_extent = (u32)KH, kw_extent = (u32)KW;
#if TAPS_INNER
    return LOAD_W(g, o, (i64)(p / (kh_extent * kw_extent)), (i64)(p / kw_extent % kh_extent), (i64)(p % kw_extent));
#else
    const u32 channels = (u32)C;
    return LOAD_W(g, o, (i64)(p % channels), (i64)(p / (channels * kw_extent)), (i64)(p / channels % kw_extent));
#endif
}

DEVICE void store_at(PARAMETERS, i64 g, i64 o, i64 pixel, ACC sum) {
    const u32 j = (u32)pixel, wide = (u32)OW, high = (u32)OH;
    STORE_PIXEL(g, (i64)(j / (wide * high)), o, (i64)(j / wide % high), (i64)(j % wide), sum);
}

#if SWAP
#define LOAD_A(b, i, p) patch_at(ARGUMENTS, b, p, i)
#define LOAD_B(b, p, j) weight_at(ARGUMENTS, b, p, j)
#define STORE_C(b, i, j, sum) store_at(ARGUMENTS, b, j, i, sum)
#else
#define LOAD_A(b, i, p) weight_at(ARGUMENTS, b, p, i)
#define LOAD_B(b, p, j) patch_at(ARGUMENTS, b, p, j)
#define STORE_C(b, i, j, sum) store_at(ARGUMENTS, b, i, j, sum)
#endif
