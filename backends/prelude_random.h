/* Random numbers that are the same on every device: integer arithmetic, and floating point in which every operation is
   rounded by itself. So no FMA, no function of the device's own, and in f32 neither division nor square root, which
   OpenCL lets a device round as it likes. */

/* GCC vectorizes a product's low half and its high half, but takes twice as long to take a wide one apart; LLVM knows
   only wide ones. */
#if defined(__GNUC__) && !defined(__clang__)
#define LOW_HALF(wide, a, b) ((a) * (b))
#else
#define LOW_HALF(wide, a, b) ((u32)(wide))
#endif

/* One of the four words of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). Compilers
   see that two words of one counter share their rounds, where these are written out and not a loop. */
#define PHILOX_ROUND(step) { \
    const u64 a = (u64)0xD2511F53u * c0, b = (u64)0xCD9E8D57u * c2; \
    const u32 low = LOW_HALF(a, 0xD2511F53u, c0); \
    c0 = (u32)(b >> 32) ^ c1 ^ (k0 + step * 0x9E3779B9u); \
    c1 = LOW_HALF(b, 0xCD9E8D57u, c2); \
    c2 = (u32)(a >> 32) ^ c3 ^ (k1 + step * 0xBB67AE85u); \
    c3 = low; \
}
DEVICE u32 philox(u32 c0, u32 c1, u32 c2, u32 c3, u32 k0, u32 k1, int word) {
    PHILOX_ROUND(0u) PHILOX_ROUND(1u) PHILOX_ROUND(2u) PHILOX_ROUND(3u) PHILOX_ROUND(4u)
    PHILOX_ROUND(5u) PHILOX_ROUND(6u) PHILOX_ROUND(7u) PHILOX_ROUND(8u) PHILOX_ROUND(9u)
    return word == 0 ? c0 : word == 1 ? c1 : word == 2 ? c2 : c3;
}
#undef PHILOX_ROUND

/* floor(R n / 2^64) for the 64 random bits R, most significant word first: a number below n, each of them with
   probability 1/n up to 2^-64. n = 0 stands for 2^32. */
DEVICE u32 below_u32(u32 w0, u32 w1, u32 n) {
    const u64 wide = (u64)w0 * n;
    const u32 part = LOW_HALF(wide, w0, n), sum = part + (u32)((u64)w1 * n >> 32);
    return n ? (u32)(wide >> 32) + (sum < part) : w0;
}
DEVICE u64 high_product(u64 a, u64 b) {
    const u64 a0 = (u32)a, a1 = a >> 32, b0 = (u32)b, b1 = b >> 32;
    const u64 middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (u32)middle;
    return a1 * b1 + (middle >> 32) + (other >> 32);
}
/* The same for 128 bits and n of 64: each number with probability 1/n up to 2^-128. n = 0 stands for 2^64. */
DEVICE u64 below_u64(u32 w0, u32 w1, u32 w2, u32 w3, u32 n0, u32 n1) {
    const u64 n = (u64)n1 << 32 | n0, high = (u64)w0 << 32 | w1, low = (u64)w2 << 32 | w3;
    const u64 part = high * n, sum = part + high_product(low, n);
    return n ? high_product(high, n) + (sum < part) : high;
}

/* Normal deviates by inversion. A word is a sign and a probability p in (0, 1/2); with x = 1 - 2p and
   w = -log(4p(1 - p)), as Giles ("Approximating the erfinv function", 2010) has it, the quantile is x times a function of
   w that is nearly straight: one polynomial for small w and one for the tail, interpolated at Chebyshev nodes. */
#define TERM(center, tail) y = y * d + (central ? center : tail);
DEVICE f32 normal_f32(u32 word) {
    const i32 m = (i32)(word & 0x7fffffffu);
    const f32 p = ((f32)m + 0.5f) * 2.32830644e-10f, x = ((f32)(0x7fffffff - m) + 0.5f) * 4.65661287e-10f;
    const f32 t = 4.0f * p * (1.0f - p);
    const u32 bits = as_u32(t) - 0x3f3504f3u; /* the square root of 1/2 */
    const f32 f = as_f32((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    f32 q = -0.0745118633f;
    q = q * f + 0.128066108f;
    q = q * f + -0.132660314f;
    q = q * f + 0.141996503f;
    q = q * f + -0.166083694f;
    q = q * f + 0.200009391f;
    q = q * f + -0.250015795f;
    q = q * f + 0.333333462f;
    q = q * f + -0.499999881f;
    q = q * f + 1.0f;
    const f32 w = (f32)((i32)bits >> 23) * -0.693147181f - q * f;
    const b8 central = w < 6.0f;
    const f32 d = w - (central ? 3.0f : 14.0f);
    f32 y = central ? 1.00118114e-9f : 4.82526942e-13f;
    TERM(-7.68859643e-9f, -6.16163977e-12f) TERM(-2.85177553e-8f, -2.10651236e-11f)
    TERM(6.33129673e-7f, 6.77640888e-10f) TERM(-2.49137497e-6f, -9.12147158e-9f) TERM(-1.79662056e-5f, 2.10237815e-7f)
    TERM(0.000275889179f, -4.8629322e-6f) TERM(-0.0011825714f, 0.000115394985f) TERM(-0.00811496284f, -0.00335112796f)
    TERM(0.341717005f, 0.190615252f) TERM(2.29603505f, 5.06159687f)
    return x * (word >> 31 ? -y : y);
}
#if HAS_F64
#define ODD(k) q = q * z + 1.0 / k;
/* 53 bits of two words. Division and square root of f64 are exactly rounded everywhere. */
DEVICE f64 normal_f64(u32 word, u32 more) {
    const f64 m = (f64)(i32)(word & 0x7fffffffu) * 2097152.0 + (f64)(i32)(more >> 11) + 0.5;
    const f64 p = m * 1.1102230246251565e-16, x = (4503599627370496.0 - m) * 2.220446049250313e-16;
    const f64 t = 4.0 * p * (1.0 - p);
    const i32 e = (i32)(as_u32((f32)t) - 0x3f3504f3u) >> 23;
    const f64 r = t * (f64)as_f32((u32)(127 - e) << 23), s = (r - 1.0) / (r + 1.0), z = s * s;
    f64 q = 1.0 / 23;
    ODD(21) ODD(19) ODD(17) ODD(15) ODD(13) ODD(11) ODD(9) ODD(7) ODD(5) ODD(3) ODD(1)
    const f64 w = (f64)e * -0.6931471805599453 - 2.0 * s * q, root = sqrt_f64(w); /* always: a branch stays scalar */
    const b8 central = w < 7.0;
    const f64 d = central ? w - 3.5 : root - 4.375;
    f64 y = central ? 2.8067126195470493e-23 : -7.586046157891725e-14;
    TERM(-3.367966069330423e-22, 7.904576718628045e-14) TERM(-1.3405973488974334e-21, 2.0851893285568467e-12)
    TERM(3.863483344000585e-20, -5.626593697624628e-12) TERM(-1.2572546942032259e-19, -1.0521924514178828e-11)
    TERM(-1.5710365604065982e-18, 6.736770820997462e-11) TERM(1.6500056313971097e-17, -1.2732929465335689e-10)
    TERM(-2.5696554284564112e-17, 8.938930417649725e-11) TERM(-6.919667955805641e-16, 5.647570275449998e-10)
    TERM(6.31042215116699e-15, -3.605720526041312e-09) TERM(-8.061036035760593e-15, 1.0637404055830763e-08)
    TERM(-2.8754558315644825e-13, -1.5358736210701905e-08) TERM(2.5456153129873103e-12, -1.2020904430916299e-08)
    TERM(-2.715804236320962e-12, 1.454190360151346e-07) TERM(-1.2178863138455176e-10, -5.111522107110468e-07)
    TERM(1.0532354558808877e-09, 1.2527572477498744e-06) TERM(-9.961638507352496e-10, -2.4724300989211216e-06)
    TERM(-5.2145313457736676e-08, 4.367819325992377e-06) TERM(4.5492731195318317e-07, -8.324806297947949e-06)
    TERM(-5.407506593644149e-07, 2.1411885358340707e-05) TERM(-2.2342387428500164e-05, -7.174840695944667e-05)
    TERM(0.00022424097638230238, 0.0002495477005770907) TERM(-0.0006806376011777538, -0.000722791569819245)
    TERM(-0.009499366667650683, 0.0007120531459458041) TERM(0.33284705432033934, 1.428538912740938)
    TERM(2.464733712695302, 5.965832629372007)
    return x * (word >> 31 ? -y : y);
}
#undef ODD
#endif
#undef TERM
