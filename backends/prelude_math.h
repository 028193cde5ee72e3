/* Float32 functions in plain arithmetic without branches, which a compiler turns into vectors. OWN_MATH is 0 where the
   device's own are better, 1 where all but exp and tanh are (libmvec's take 1.3 and 1.6 times as long, and a call in a loop
   spills its sums), 2 where they are scalar calls.
   At most 4 units in the last place off; special values as in C. */
#if OWN_MATH >= 1
#undef exp_f32
#undef tanh_f32
#define exp_f32(x) own_exp((f32)(x))
#define tanh_f32(x) own_tanh((f32)(x))
#endif
#if OWN_MATH >= 2
#undef expm1_f32
#undef log_f32
#undef log1p_f32
#undef erf_f32
#undef fabs_f32
#undef copysign_f32
#define expm1_f32(x) own_expm1((f32)(x))
#define log_f32(x) own_log((f32)(x))
#define log1p_f32(x) own_log1p((f32)(x))
#define erf_f32(x) own_erf((f32)(x))
#define fabs_f32(x) own_fabs((f32)(x))
#define copysign_f32(x, y) own_copysign((f32)(x), (f32)(y))
#if HAS_F64
#undef sin_f32
#undef cos_f32
#undef tan_f32
#define sin_f32(x) own_sin((f32)(x))
#define cos_f32(x) own_cos((f32)(x))
#define tan_f32(x) own_tan((f32)(x))
#endif
#endif

#if OWN_MATH >= 1

/* x = n ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits: unlike
   a conversion, that is defined for NaN too. ln 2 comes in two parts, the first so short that n times it is exact. */
#define ROUNDER 12582912.0f
#define ROUNDER_BITS 0x4b400000
DEVICE f32 own_shifted(f32 x) { return FMA(x, 1.44269504f, ROUNDER); }
DEVICE f32 own_rest(f32 x, f32 shifted) {
    return FMA(shifted - ROUNDER, 2.12194440e-4f, FMA(shifted - ROUNDER, -0.693359375f, x));
}
DEVICE f32 own_fabs(f32 x) { return as_f32(as_u32(x) & 0x7fffffffu); }
DEVICE f32 own_copysign(f32 x, f32 y) { return as_f32((as_u32(x) & 0x7fffffffu) | (as_u32(y) & 0x80000000u)); }
DEVICE f32 own_power_of_2(u32 n) { return as_f32((n << 23) + 0x3f800000u); } /* of which the low 9 bits count */
/* (exp(r) - 1 - r) / r^2, fitted so that the largest error relative to exp(r) - 1, 1.4e-8, is least. */
DEVICE f32 own_exp_tail(f32 r) {
    f32 p = FMA(1.39464973e-3f, r, 8.36661085e-3f);
    p = FMA(p, r, 4.16662805e-2f);
    p = FMA(p, r, 0.166665435f);
    return FMA(p, r, 0.5f);
}
/* Above 89, n stays 128, and r, NaN too, is what makes infinity or NaN of it. */
DEVICE f32 own_exp(f32 value) {
    const f32 x = value < -104.0f ? -104.0f : value;
    const i32 bits = (i32)as_u32(own_shifted(x)), n = bits < ROUNDER_BITS + 128 ? bits : ROUNDER_BITS + 128;
    const f32 r = own_rest(x, as_f32((u32)n)), power = FMA(FMA(own_exp_tail(r), r, 1.0f), r, 1.0f);
    const i32 part = n >> 1; /* two factors reach infinity and the subnormals */
    return power * own_power_of_2((u32)part) * own_power_of_2((u32)(n - part));
}
DEVICE f32 own_expm1_to_64(f32 x) {
    const f32 shifted = own_shifted(x), r = own_rest(x, shifted), power = own_power_of_2(as_u32(shifted));
    return FMA(power, FMA(own_exp_tail(r) * r, r, r), power - 1.0f);
}
DEVICE f32 own_expm1(f32 x) {
    const f32 near = own_expm1_to_64(x > 64.0f ? 64.0f : x < -32.0f ? -32.0f : x);
    return x > 64.0f ? own_exp(x) : x == 0 ? x : near;
}
DEVICE f32 own_tanh(f32 x) {
    const f32 twice = 2.0f * own_fabs(x), e = own_expm1_to_64(twice > 40.0f ? 40.0f : twice);
    return own_copysign(e / (e + 2.0f), x);
}
/* x = m 2^e with m near 1; with s = f / (2 + f), log(1 + f) = f - (f^2/2 - s (f^2/2 + R)), R from the series of atanh s. */
DEVICE f32 own_log(f32 x) {
    const f32 scaled = x < 1.17549435e-38f ? x * 8388608.0f : x;
    const u32 bits = as_u32(scaled) - 0x3f3504f3u; /* the square root of 1/2 */
    const f32 m = as_f32((bits & 0x007fffffu) + 0x3f3504f3u), f = m - 1.0f;
    const f32 e = (f32)((i32)bits >> 23) - (x < 1.17549435e-38f ? 23.0f : 0.0f);
    const f32 s = f / (2.0f + f), z = s * s, half_square = 0.5f * f * f;
    const f32 R = z * FMA(z, FMA(z, FMA(z, 2.0f / 9, 2.0f / 7), 2.0f / 5), 2.0f / 3);
    const f32 tail = FMA(s, half_square + R, e * -2.12194440e-4f);
    const f32 result = FMA(e, 0.693359375f, f - (half_square - tail));
    return x == 0 ? -INF_f32 : x < 0 ? NAN_f32 : (x < INF_f32) ? result : x;
}
DEVICE f32 own_log1p(f32 x) { /* Kahan: the error of 1 + x cancels in x / ((1 + x) - 1) */
    const f32 u = 1.0f + x, d = u - 1.0f;
    return d == 0 ? x : u < INF_f32 ? own_log(u) * (x / d) : u;
}
/* Below 1 a polynomial in x^2, above it log(1 - erf) as one around 2.5, both fitted at Chebyshev nodes. */
DEVICE f32 own_erf(f32 x) {
    const f32 a = own_fabs(x), t = a * a, c = a > 4.0f ? 4.0f : a, d = c - 2.5f;
    f32 p = FMA(7.84725926e-5f, t, -8.00818962e-4f), q = FMA(3.87770484e-7f, d, -1.94654767e-5f);
    p = FMA(p, t, 5.18809911e-3f);
    q = FMA(q, d, 6.66940687e-5f);
    p = FMA(p, t, -2.68536918e-2f);
    q = FMA(q, d, -4.26088169e-4f);
    p = FMA(p, t, 0.112835824f);
    q = FMA(q, d, 2.16799392e-3f);
    p = FMA(p, t, -0.37612626f);
    q = FMA(q, d, -1.08544594e-2f);
    p = FMA(p, t, 1.12837911f);
    q = FMA(q, d, -0.943892658f);
    q = FMA(q, d, -5.35268068f);
    q = FMA(q, d, -7.80681515f);
    return own_copysign(a < 1.0f ? a * p : 1.0f - own_exp(q), x);
}
#endif

#if HAS_F64
#define ROUNDER_64 6755399441055744.0 /* 1.5 * 2^52, as ROUNDER */
#define PI_64 3.141592653589793

#if OWN_MATH >= 2
/* Float32 x / (2 pi) + ahead, less whole turns, of which a few may be left: one road for numbers of every size. 1 / (2 pi)
   comes in parts of 29 bits, x has 24, so the products are exact, what is whole in them goes without a trace, and the sum
   is right even next to a whole number. The last part, of 53 bits, gives less than 2^-19.
   sin errs by 2.0 units at most, cos by 2.7, tan by 3.8: of every seventh float, and of all whose sine or cosine is
   below 1e-3. libmvec's of small numbers take half the time, PoCL's 10 times and more. */
DEVICE f64 own_turns(f64 x, f64 ahead) {
    const f64 a = x * 0.15915494272485375, b = x * 3.6704158115630214e-10, c = x * 5.690025167992954e-19;
    const f64 d = x * 1.4703036846932608e-27, e = x * 2.5867171752090537e-36;
    const f64 sum = ((a - rint_f64(a)) + ahead + (b - rint_f64(b))) + (c - rint_f64(c)) + (d - rint_f64(d));
    return FMA(x, 9.458140970740169e-46, sum + (e - rint_f64(e)));
}
DEVICE f32 own_arch(f32 r) { /* sin(r) for |r| <= pi/2, fitted so that the largest relative error, 6.1e-9, is least */
    const f32 z = r * r;
    f32 p = FMA(2.60569095e-6f, z, -1.98095644e-4f);
    p = FMA(p, z, 8.33306555e-3f);
    p = FMA(p, z, -0.166666597f);
    return FMA(p * z, r, r);
}
DEVICE f32 own_wave(f64 x, f64 ahead) {
    const f64 halves = 2.0 * own_turns(x, ahead), shifted = halves + ROUNDER_64;
    const f64 r = (halves - (shifted - ROUNDER_64)) * PI_64;
    return own_arch((f32)as_f64(as_u64(r) ^ (as_u64(shifted) << 63))); /* every other half turn is upside down */
}
DEVICE f32 own_sin(f32 x) {
    const f32 wave = own_wave((f64)x, 0.0);
    return x == 0 ? x : wave;
}
DEVICE f32 own_cos(f32 x) { return own_wave((f64)x, 0.25); }
DEVICE f32 own_tan(f32 x) {
    const f64 halves = 2.0 * own_turns((f64)x, 0.0), rest = halves - rint_f64(halves);
    const f64 left = 0.5 - as_f64(as_u64(rest) & 0x7fffffffffffffffu);
    const f32 ratio = own_arch((f32)(rest * PI_64)) / own_arch((f32)(left * PI_64));
    return x == 0 ? x : ratio;
}
#endif
#endif

/* Float64 functions where the device's own, libmvec's or PoCL's, are 3 units off, for people who compare with NumPy's:
   within 0.9 of a unit, at twice the time for sin and cos. There OWN_MATH_64 is 1. */
#if OWN_MATH_64
DEVICE f64 own_power_of_2_64(f64 n) { return as_f64(as_u64(n + (ROUNDER_64 + 1023)) << 52); }
DEVICE f64 own_exp_64(f64 value) {
    const f64 x = value > 710.0 ? 710.0 : value < -746.0 ? -746.0 : value;
    const f64 n = (x * 1.4426950408889634 + ROUNDER_64) - ROUNDER_64;
    const f64 high = x - n * 0.6931471805598903, low = n * 5.497923018708371e-14; /* n times the first part is exact */
    const f64 r = high - low, rest = (high - r) - low;
    f64 p = FMA(1.0 / 6227020800, r, 1.0 / 479001600); /* Taylor: the first term left out is below 5e-18 */
    p = FMA(p, r, 1.0 / 39916800);
    p = FMA(p, r, 1.0 / 3628800);
    p = FMA(p, r, 1.0 / 362880);
    p = FMA(p, r, 1.0 / 40320);
    p = FMA(p, r, 1.0 / 5040);
    p = FMA(p, r, 1.0 / 720);
    p = FMA(p, r, 1.0 / 120);
    p = FMA(p, r, 1.0 / 24);
    p = FMA(p, r, 1.0 / 6);
    p = FMA(p, r, 0.5);
    const f64 part = (n * 0.5 + ROUNDER_64) - ROUNDER_64; /* two factors reach infinity and the subnormals */
    return (1.0 + (r + FMA(p * r, r, rest))) * own_power_of_2_64(part) * own_power_of_2_64(n - part);
}

/* x = n pi/2 + r + rest with |r| <= pi/4. pi/2 comes in parts of 33 bits, so that n times each is exact up to n = 2^20,
   and with what each subtraction rounds away (Knuth), r is right to its last bit even next to a multiple of pi/2. */
struct own_turn { f64 r, rest; u64 quarter; };
DEVICE struct own_turn own_reduce_64(f64 x) {
    const f64 shifted = x * 0.6366197723675814 + ROUNDER_64, n = shifted - ROUNDER_64;
    const f64 a = x - n * 1.5707963267341256, b = n * 6.077100506303966e-11;
    const f64 s = a - b, back = s - a, lost = (a - (s - back)) - (b + back);
    const f64 c = n * 2.0222662487111665e-21, t = s - c, back_2 = t - s, lost_2 = (s - (t - back_2)) - (c + back_2);
    const f64 tail = (lost + lost_2) - n * 8.4784276603689e-32, r = t + tail;
    return (struct own_turn){r, (t - r) + tail, as_u64(shifted)};
}
DEVICE f64 own_wave_64(struct own_turn turn, u64 ahead) { /* sin(r + rest + (quarter + ahead) pi/2) by Taylor series */
    const f64 r = turn.r, rest = turn.rest, z = r * r, halved = 0.5 * z, above = 1.0 - halved;
    const u64 quarter = turn.quarter + ahead;
    f64 p = FMA(1.0 / 355687428096000, z, -1.0 / 1307674368000);
    f64 q = FMA(1.0 / 20922789888000, z, -1.0 / 87178291200);
    p = FMA(p, z, 1.0 / 6227020800);
    q = FMA(q, z, 1.0 / 479001600);
    p = FMA(p, z, -1.0 / 39916800);
    q = FMA(q, z, -1.0 / 3628800);
    p = FMA(p, z, 1.0 / 362880);
    q = FMA(q, z, 1.0 / 40320);
    p = FMA(p, z, -1.0 / 5040);
    q = FMA(q, z, -1.0 / 720);
    p = FMA(p, z, 1.0 / 120);
    q = FMA(q, z, 1.0 / 24);
    p = FMA(p, z, -1.0 / 6);
    const f64 sine = r + FMA(p * z, r, rest * above);
    const f64 cosine = above + (((1.0 - above) - halved) + FMA(z * z, q, -r * rest));
    return as_f64(as_u64(quarter & 1 ? cosine : sine) ^ ((quarter & 2) << 62));
}
#define OWN_FAR 1e6 /* from here on the device's own, which reduces any argument */
DEVICE f64 own_sin_64(f64 x) {
    const f64 size = as_f64(as_u64(x) & 0x7fffffffffffffffu), far = sin(size > OWN_FAR ? x : 0.0);
    return size > OWN_FAR ? far : x == 0 ? x : own_wave_64(own_reduce_64(x), 0);
}
DEVICE f64 own_cos_64(f64 x) {
    const f64 size = as_f64(as_u64(x) & 0x7fffffffffffffffu), far = cos(size > OWN_FAR ? x : 0.0);
    return size > OWN_FAR ? far : own_wave_64(own_reduce_64(x), 1);
}
#undef exp_f64
#undef sin_f64
#undef cos_f64
#define exp_f64(x) own_exp_64(x)
#define sin_f64(x) own_sin_64(x)
#define cos_f64(x) own_cos_64(x)
#endif
