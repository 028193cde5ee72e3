// What WGSL lacks and kernels call: one function after the other, from which a kernel takes those that it needs.
// Functions are at most a few units in the last place off and have C's special values. Compilers take
// floating point to be real numbers: (a + b) - a becomes b, n a + n b becomes n (a + b), NaN is lost in comparisons. So
// whatever depends on rounding goes through opaque(), whose word of zeros only the host knows, and NaN is told by bits.

fn opaque(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ values_.zero_); }
fn inf() -> f32 { return bitcast<f32>(0x7f800000u ^ values_.zero_); }
fn nan() -> f32 { return bitcast<f32>(0x7fc00000u ^ values_.zero_); }
fn isnan_f32(x: f32) -> u32 { return u32((bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u); }
fn isinf_f32(x: f32) -> u32 { return u32((bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u); }
fn isfinite_f32(x: f32) -> u32 { return u32((bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u); }
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn is_inf(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u; }
fn fabs_f32(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) & 0x7fffffffu); }
fn copysign_f32(x: f32, y: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(x) & 0x7fffffffu) | (bitcast<u32>(y) & 0x80000000u));
}
// floats in the order of integers: comparisons that mean what they say for NaN, infinities and subnormals
fn ordered(x: f32) -> i32 {
    let bits = bitcast<i32>(x);
    return select(bits, -(bits & 0x7fffffff), bits < 0);
}
fn unordered(a: f32, b: f32) -> bool { return is_nan(a) || is_nan(b); }
fn eq_f32(a: f32, b: f32) -> u32 { return u32(!unordered(a, b) && ordered(a) == ordered(b)); }
fn ne_f32(a: f32, b: f32) -> u32 { return u32(unordered(a, b) || ordered(a) != ordered(b)); }
fn lt_f32(a: f32, b: f32) -> u32 { return u32(!unordered(a, b) && ordered(a) < ordered(b)); }
fn le_f32(a: f32, b: f32) -> u32 { return u32(!unordered(a, b) && ordered(a) <= ordered(b)); }
fn gt_f32(a: f32, b: f32) -> u32 { return lt_f32(b, a); }
fn ge_f32(a: f32, b: f32) -> u32 { return le_f32(b, a); }
fn max_nan_f32(a: f32, b: f32) -> f32 { return select(select(b, a, a > b), a, is_nan(a)); }
fn min_nan_f32(a: f32, b: f32) -> f32 { return select(select(b, a, a < b), a, is_nan(a)); }
fn sign_f32(x: f32) -> f32 { return select(sign(x), x, is_nan(x)); }
fn floor_f32(x: f32) -> f32 { return copysign_f32(select(floor(x), x, fabs_f32(x) >= 8388608.0 || is_nan(x)), x); }
fn ceil_f32(x: f32) -> f32 { return copysign_f32(select(ceil(x), x, fabs_f32(x) >= 8388608.0 || is_nan(x)), x); }
fn trunc_f32(x: f32) -> f32 { return copysign_f32(select(trunc(x), x, fabs_f32(x) >= 8388608.0 || is_nan(x)), x); }
fn rint_f32(x: f32) -> f32 { return copysign_f32(select(round(x), x, fabs_f32(x) >= 8388608.0 || is_nan(x)), x); }
fn sqrt_f32(x: f32) -> f32 { return select(sqrt(x), nan(), x < 0.0 || is_nan(x)); }
fn nextafter_f32(x: f32, y: f32) -> f32 {
    if (unordered(x, y)) { return nan(); }
    let a = ordered(x);
    let b = ordered(y);
    if (a == b) { return y; }
    let next = select(a - 1, a + 1, b > a);
    return bitcast<f32>(select(bitcast<u32>(next), bitcast<u32>(-next) | 0x80000000u, next < 0 || (next == 0 && a < 0)));
}

// a * b = p + what this gives, exactly: halves of 12 bits have exact products
fn product_rest(a: f32, b: f32, p: f32) -> f32 {
    let a1 = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
    let b1 = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
    let a2 = a - a1;
    let b2 = b - b1;
    return ((opaque(a1 * b1) - opaque(p)) + opaque(a1 * b2) + opaque(a2 * b1)) + a2 * b2;
}

fn power_of_2(n: i32) -> f32 { return bitcast<f32>(u32(n + 127) << 23u); }
fn expm1_series(r: f32) -> f32 {
    var p = fma(1.0 / 5040.0, r, 1.0 / 720.0);
    p = fma(p, r, 1.0 / 120.0);
    p = fma(p, r, 1.0 / 24.0);
    p = fma(p, r, 1.0 / 6.0);
    p = fma(p, r, 0.5);
    return fma(p * r, r, r);
}
fn exp_f32(value: f32) -> f32 {
    let x = clamp(value, -104.0, 89.0);
    let n = round(x * 1.44269504);
    let r = fma(n, 2.12194440e-4, opaque(fma(n, -0.693359375, x)));
    let part = i32(n) >> 1u;
    let result = opaque((1.0 + expm1_series(r)) * power_of_2(part)) * power_of_2(i32(n) - part);
    return select(result, nan(), is_nan(value));
}
fn exp2_f32(value: f32) -> f32 {
    let x = clamp(value, -151.0, 129.0);
    let n = round(x);
    let part = i32(n) >> 1u;
    let result = opaque((1.0 + expm1_series((x - n) * 0.693147181)) * power_of_2(part)) * power_of_2(i32(n) - part);
    return select(result, nan(), is_nan(value));
}
fn expm1_to_64(x: f32) -> f32 {
    let n = round(x * 1.44269504);
    let r = fma(n, 2.12194440e-4, opaque(fma(n, -0.693359375, x)));
    let power = power_of_2(i32(n));
    return fma(power, expm1_series(r), power - 1.0);
}
fn expm1_f32(x: f32) -> f32 {
    if (x > 64.0 || is_nan(x)) { return exp_f32(x); }
    return select(expm1_to_64(max(x, -32.0)), x, fabs_f32(x) < 1e-30);
}
fn tanh_f32(x: f32) -> f32 {
    let e = expm1_to_64(min(2.0 * fabs_f32(x), 40.0));
    return select(copysign_f32(e / (e + 2.0), x), x, is_nan(x) || fabs_f32(x) < 1e-30);
}
fn sinh_f32(x: f32) -> f32 {
    let a = fabs_f32(x);
    let e = expm1_to_64(min(a, 9.0));
    let t = exp_f32(0.5 * a);
    let result = select(0.5 * (e + e / (e + 1.0)), opaque(0.5 * t) * t, a > 9.0);
    return select(copysign_f32(result, x), x, is_nan(x) || a < 1e-30);
}
fn cosh_f32(x: f32) -> f32 {
    let a = fabs_f32(x);
    let t = exp_f32(0.5 * a);
    let e = exp_f32(min(a, 9.0));
    return select(select(0.5 * e + 0.5 / e, opaque(0.5 * t) * t, a > 9.0), x, is_nan(x));
}

// x = m 2^e with m near 1; (e, m - 1)
fn split(x: f32) -> vec2<f32> {
    let small = (bitcast<u32>(x) & 0x7fffffffu) < 0x00800000u;
    // a subnormal's bits as a number: 2^-149 times an integer
    let scaled = select(x, f32(bitcast<u32>(x) & 0x7fffffu), small);
    let bits = bitcast<u32>(scaled) - 0x3f3504f3u;
    let m = bitcast<f32>((bits & 0x007fffffu) + 0x3f3504f3u);
    return vec2<f32>(f32(bitcast<i32>(bits) >> 23u) - select(0.0, 149.0, small), m - 1.0);
}
fn log_special(x: f32, result: f32) -> f32 {
    let bits = bitcast<u32>(x);
    if ((bits & 0x7fffffffu) == 0u) { return -inf(); }
    if (bits > 0x7f800000u) { return nan(); }
    return select(result, x, bits == 0x7f800000u);
}
// log(1 + f) less f, for small f: f - (f^2/2 - s (f^2/2 + R)) with s = f / (2 + f)
fn log_rest(f: f32, more: f32) -> f32 {
    let s = f / (2.0 + f);
    let z = s * s;
    let half_square = 0.5 * f * f;
    let R = z * fma(z, fma(z, fma(z, 2.0 / 9.0, 2.0 / 7.0), 2.0 / 5.0), 2.0 / 3.0);
    return half_square - fma(s, half_square + R, more);
}
fn log_f32(x: f32) -> f32 {
    let p = split(x);
    return log_special(x, fma(p.x, 0.693359375, p.y - log_rest(p.y, p.x * -2.12194440e-4)));
}
fn log2_f32(x: f32) -> f32 {
    let p = split(x);
    let l = p.y - log_rest(p.y, 0.0);
    return log_special(x, p.x + l * 1.44269504);
}
fn log10_f32(x: f32) -> f32 {
    let p = split(x);
    let l = p.y - log_rest(p.y, 0.0);
    return log_special(x, fma(p.x, 0.301025390625, fma(p.x, 4.60503898e-6, l * 0.434294482)));
}
fn log1p_f32(x: f32) -> f32 {
    let u = opaque(1.0 + x);
    let d = u - 1.0;
    if (is_nan(x) || fabs_f32(x) < 1e-10) { return x; }
    if (is_inf(x)) { return select(x, nan(), x < 0.0); }
    return select(log_f32(u) * (x / d), log_f32(u), u <= 0.0 || d == 0.0);
}
fn logaddexp_f32(a: f32, b: f32) -> f32 {
    if (unordered(a, b)) { return nan(); }
    if (ordered(a) == ordered(b)) { return a + 0.693147181; }
    return max(a, b) + log1p_f32(exp_f32(-fabs_f32(a - b)));
}
fn asinh_f32(x: f32) -> f32 {
    let a = fabs_f32(x);
    let l = select(log1p_f32(a + a * a / (1.0 + sqrt(a * a + 1.0))), log_f32(a) + 0.693147181, a > 1e10);
    return select(copysign_f32(l, x), x, is_nan(x) || a < 1e-5);
}
fn acosh_f32(x: f32) -> f32 {
    let t = x - 1.0;
    let l = select(log1p_f32(t + sqrt(2.0 * t + t * t)), log_f32(x) + 0.693147181, x > 1e10);
    return select(l, nan(), x < 1.0 || is_nan(x));
}
fn atanh_f32(x: f32) -> f32 {
    let a = fabs_f32(x);
    if (is_nan(x) || a > 1.0) { return nan(); }
    if (a == 1.0) { return copysign_f32(inf(), x); }
    return select(copysign_f32(0.5 * log1p_f32(2.0 * a / (1.0 - a)), x), x, a < 1e-5);
}
fn erf_f32(x: f32) -> f32 {
    let a = fabs_f32(x);
    let t = a * a;
    let d = min(a, 4.0) - 2.5;
    var p = fma(7.84725926e-5, t, -8.00818962e-4);
    var q = fma(3.87770484e-7, d, -1.94654767e-5);
    p = fma(p, t, 5.18809911e-3);
    q = fma(q, d, 6.66940687e-5);
    p = fma(p, t, -2.68536918e-2);
    q = fma(q, d, -4.26088169e-4);
    p = fma(p, t, 0.112835824);
    q = fma(q, d, 2.16799392e-3);
    p = fma(p, t, -0.37612626);
    q = fma(q, d, -1.08544594e-2);
    p = fma(p, t, 1.12837911);
    q = fma(q, d, -0.943892658);
    q = fma(q, d, -5.35268068);
    q = fma(q, d, -7.80681515);
    return select(copysign_f32(select(1.0 - exp_f32(q), a * p, a < 1.0), x), x, is_nan(x));
}

// 32 x 32 bits: the product's high and low word
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let middle = a1 * b0 + ((a0 * b0) >> 16u);
    let other = a0 * b1 + (middle & 0xffffu);
    return vec2<u32>(a1 * b1 + (middle >> 16u) + (other >> 16u), a * b);
}
fn two_over_pi(word: u32) -> u32 {
    switch word {
        case 0u: { return 0xa2f9836eu; }
        case 1u: { return 0x4e441529u; }
        case 2u: { return 0xfc2757d1u; }
        case 3u: { return 0xf534ddc0u; }
        case 4u: { return 0xdb629599u; }
        case 5u: { return 0x3c439041u; }
        case 6u: { return 0xfe5163abu; }
        default: { return 0xdebbc561u; }
    }
}
fn bits_of_two_over_pi(first: u32) -> u32 {
    let word = first >> 5u;
    let shift = first & 31u;
    let high = two_over_pi(word) << shift;
    return select(high | (two_over_pi(word + 1u) >> ((32u - shift) & 31u)), high, shift == 0u);
}
// Payne and Hanek, 1983: |x| 2/pi modulo 4 from those 96 bits of 2/pi that matter; (quarter, angle)
fn reduce_large(a: f32) -> vec2<f32> {
    let bits = bitcast<u32>(a);
    let m = (bits & 0x7fffffu) | 0x800000u;
    let first = (bits >> 23u) - 150u - 2u; // bits above are multiples of four turns
    let f0 = bits_of_two_over_pi(first);
    let f1 = bits_of_two_over_pi(first + 32u);
    let f2 = bits_of_two_over_pi(first + 64u);
    let p2 = wide_product(m, f2);
    let p1 = wide_product(m, f1);
    let low = p1.y + p2.x;
    let high = m * f0 + p1.x + u32(low < p1.y);
    let quarter = (high + 0x20000000u) >> 30u;
    var h = (high << 2u) | (low >> 30u);
    var l = low << 2u;
    let negative = h >= 0x80000000u;
    if (negative) {
        l = ~l + 1u;
        h = ~h + u32(l == 0u);
    }
    let zeros = countLeadingZeros(h);
    let top = select((h << zeros) | (l >> ((32u - zeros) & 31u)), h, zeros == 0u);
    let angle = f32(top) * 1.57079633 * power_of_2(-32 - i32(zeros));
    return vec2<f32>(f32(quarter), select(angle, -angle, negative));
}
// (quarter, angle between -pi/4 and pi/4) of a = |x|
fn reduce(a: f32) -> vec2<f32> {
    if (a > 80000.0) { return reduce_large(a); }
    let n = round(a * 0.636619772);
    let r = opaque(opaque(a - n * 1.5703125) - n * 4.83751297e-4) - n * 7.54978995e-8;
    return vec2<f32>(n, r);
}
fn sine(quarter: i32, r: f32) -> f32 {
    let z = r * r;
    let s = fma(fma(fma(-1.9515295891e-4, z, 8.3321608736e-3), z, -1.6666654611e-1) * z, r, r);
    let c = fma(fma(fma(2.443315711809948e-5, z, -1.388731625493765e-3), z, 4.166664568298827e-2), z * z, 1.0 - 0.5 * z);
    let value = select(s, c, (quarter & 1) != 0);
    return select(value, -value, (quarter & 2) != 0);
}
fn sin_f32(x: f32) -> f32 {
    if (isfinite_f32(x) == 0u) { return nan(); }
    let p = reduce(fabs_f32(x));
    let s = sine(i32(p.x), p.y);
    return select(select(s, -s, x < 0.0), x, fabs_f32(x) < 1e-5);
}
fn cos_f32(x: f32) -> f32 {
    if (isfinite_f32(x) == 0u) { return nan(); }
    let p = reduce(fabs_f32(x));
    return sine(i32(p.x) + 1, p.y);
}
fn tan_f32(x: f32) -> f32 {
    if (isfinite_f32(x) == 0u) { return nan(); }
    let p = reduce(fabs_f32(x));
    let t = sine(i32(p.x), p.y) / sine(i32(p.x) + 1, p.y);
    return select(select(t, -t, x < 0.0), x, fabs_f32(x) < 1e-5);
}
fn asin_series(x: f32, z: f32) -> f32 {
    let p = fma(fma(fma(fma(4.2163199048e-2, z, 2.4181311049e-2), z, 4.5470025998e-2), z, 7.4953002686e-2), z, 1.6666752422e-1);
    return fma(p * z, x, x);
}
fn asin_f32(x: f32) -> f32 {
    let a = fabs_f32(x);
    if (is_nan(x) || a > 1.0) { return nan(); }
    let z = 0.5 * (1.0 - a);
    let large = 1.57079633 - 2.0 * asin_series(sqrt(z), z);
    return select(copysign_f32(select(asin_series(a, a * a), large, a > 0.5), x), x, a < 1e-5);
}
fn acos_f32(x: f32) -> f32 {
    let a = fabs_f32(x);
    if (is_nan(x) || a > 1.0) { return nan(); }
    let z = 0.5 * (1.0 - a);
    let large = 2.0 * asin_series(sqrt(z), z);
    let small = asin_series(x, x * x);
    return select(1.57079633 - small, select(large, 3.14159265 - large, x < 0.0), a > 0.5);
}
// of a >= 0
fn atan_positive(a: f32) -> f32 {
    let steep = a > 2.41421356;
    let middle = a > 0.414213562 && !steep;
    let x = select(select(a, (a - 1.0) / (a + 1.0), middle), -1.0 / a, steep);
    let y = select(select(0.0, 0.785398163, middle), 1.57079633, steep);
    let z = x * x;
    let p = fma(fma(fma(8.05374449538e-2, z, -1.38776856032e-1), z, 1.99777106478e-1), z, -3.33329491539e-1);
    return y + fma(p * z, x, x);
}
fn atan_f32(x: f32) -> f32 {
    let a = fabs_f32(x);
    let result = select(atan_positive(a), 1.57079633, is_inf(x));
    return select(copysign_f32(result, x), x, is_nan(x) || a < 1e-5);
}
fn atan2_f32(y: f32, x: f32) -> f32 {
    if (unordered(x, y)) { return nan(); }
    let a = fabs_f32(x);
    let b = fabs_f32(y);
    let low = min(a, b);
    let high = max(a, b);
    var ratio = low / high;
    if (low == high) { ratio = 1.0; }
    if (low == 0.0 || (is_inf(high) && !is_inf(low))) { ratio = 0.0; }
    var angle = select(atan_positive(ratio), ratio, ratio < 1e-5);
    angle = select(angle, 1.57079633 - angle, b > a);
    angle = select(angle, 3.14159265 - angle, (bitcast<u32>(x) & 0x80000000u) != 0u);
    return copysign_f32(angle, y);
}
fn hypot_f32(x: f32, y: f32) -> f32 {
    if (is_inf(x) || is_inf(y)) { return inf(); }
    if (unordered(x, y)) { return nan(); }
    let high = max(fabs_f32(x), fabs_f32(y));
    let ratio = min(fabs_f32(x), fabs_f32(y)) / high;
    return select(high * sqrt(1.0 + ratio * ratio), high, high == 0.0);
}
// 2^(y log2 x) with the logarithm in two floats
fn pow_f32(x: f32, y: f32) -> f32 {
    if (y == 0.0 || x == 1.0) { return 1.0; }
    if (unordered(x, y)) { return nan(); }
    let a = fabs_f32(x);
    let large = fabs_f32(y) >= 16777216.0;
    let whole = large || trunc(y) == y;
    let odd = whole && !large && (i32(y) & 1) != 0;
    let minus = odd && (bitcast<u32>(x) >> 31u) != 0u;
    if (a == 0.0 || is_inf(a)) {
        let grows = (a == 0.0) != (y > 0.0);
        return copysign_f32(select(0.0, inf(), grows), select(1.0, -1.0, minus));
    }
    if (is_inf(y)) { return select(select(0.0, inf(), (a > 1.0) == (y > 0.0)), 1.0, a == 1.0); }
    if (x < 0.0 && !whole) { return nan(); }
    let p = split(a);
    let d = opaque(2.0 + p.y);
    let s = opaque(p.y / d);
    let sd = opaque(s * d);
    let s_rest = (((p.y - sd) - product_rest(s, d, sd)) - s * (p.y - (d - 2.0))) / d;
    let z = s * s;
    let tail = s * z * fma(z, fma(z, fma(z, 2.0 / 9.0, 2.0 / 7.0), 2.0 / 5.0), 2.0 / 3.0);
    let l = 2.0 * s;
    let l_rest = 2.0 * s_rest + tail;
    let scaled = opaque(l * 1.44269502);
    let scaled_rest = product_rest(l, 1.44269502, scaled) + l * 1.92596303e-8 + l_rest * 1.44269504;
    let sum = opaque(p.x + scaled);
    let sum_rest = (scaled - (sum - p.x)) + scaled_rest;
    let sum_after = select(sum_rest, scaled_rest, p.x == 0.0);
    let exact = opaque(clamp(y * sum, -300.0, 300.0));
    if (fabs_f32(exact) >= 200.0) {
        return copysign_f32(select(0.0, inf(), exact > 0.0), select(1.0, -1.0, minus));
    }
    let rest = product_rest(y, sum, exact) + y * sum_after;
    let n = round(exact);
    let r = (opaque(exact) - n) + rest;
    let part = i32(n) >> 1u;
    let result = opaque((1.0 + expm1_series(r * 0.693147181)) * power_of_2(part)) * power_of_2(i32(n) - part);
    return select(result, -result, minus);
}
// The remainder of long division, exact: mantissas as integers, one bit of the quotient at a time
fn fmod_f32(x: f32, y: f32) -> f32 {
    let b = bitcast<u32>(y) & 0x7fffffffu;
    let a = bitcast<u32>(x) & 0x7fffffffu;
    if (a >= 0x7f800000u || b > 0x7f800000u || b == 0u) { return nan(); }
    if (a < b) { return x; }
    var ea = i32(a >> 23u);
    var eb = i32(b >> 23u);
    var r = (a & 0x7fffffu) | select(0u, 0x800000u, ea > 0);
    let d = (b & 0x7fffffu) | select(0u, 0x800000u, eb > 0);
    ea = max(ea, 1);
    eb = max(eb, 1);
    r = r % d;
    for (var k: i32 = ea - eb; k > 0; k -= 7) {
        let bits = u32(min(k, 7));
        r = (r << bits) % d;
    }
    if (r == 0u) { return copysign_f32(0.0, x); }
    let zeros = min(i32(countLeadingZeros(r)) - 8, eb - 1);
    let e = eb - zeros;
    let m = r << u32(zeros);
    let bits = select(m, (m & 0x7fffffu) | (u32(e) << 23u), m >= 0x800000u);
    return copysign_f32(bitcast<f32>(bits), x);
}
fn mod_f32(a: f32, b: f32) -> f32 {
    let r = fmod_f32(a, b);
    if ((bitcast<u32>(r) & 0x7fffffffu) == 0u) { return copysign_f32(0.0, b); }
    return select(r, r + b, (b < 0.0) != (r < 0.0));
}
fn floordiv_f32(a: f32, b: f32) -> f32 {
    let whole = a / b;
    if (b == 0.0 || isfinite_f32(a) == 0u || isfinite_f32(b) == 0u) { return whole; }
    let r = fmod_f32(a, b);
    let zero = (bitcast<u32>(r) & 0x7fffffffu) == 0u;
    var q = opaque(opaque(a - r) / b);
    q = select(q, q - 1.0, !zero && (b < 0.0) != (r < 0.0));
    let f = floor_f32(q);
    return select(select(f, f + 1.0, q - f > 0.5), copysign_f32(0.0, whole), q == 0.0);
}

// 16-bit floats in integer arithmetic: exact, to nearest even, whatever the device does to subnormals
fn f16_to_f32(value: u32) -> f32 {
    let magnitude = value & 0x7fffu;
    let normal = (magnitude << 13u) + 0x38000000u;
    let tiny = bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8);
    let bits = select(select(normal, normal + 0x38000000u, magnitude >= 0x7c00u), tiny, magnitude < 0x400u);
    return bitcast<f32>(bits | ((value & 0x8000u) << 16u));
}
fn f32_to_f16(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let magnitude = bits & 0x7fffffffu;
    let normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13u) & 1u)) >> 13u;
    let tiny = bitcast<u32>(opaque(bitcast<f32>(magnitude) + 0.5)) - 0x3f000000u;
    let large = select(0x7c00u, 0x7e00u | ((magnitude >> 13u) & 0x3ffu), magnitude > 0x7f800000u);
    return select(select(normal, large, magnitude >= 0x477ff000u), tiny, magnitude < 0x38800000u) | ((bits >> 16u) & 0x8000u);
}
fn f32_to_bf16(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
    return select(rounded, (bits >> 16u) | 0x40u, (bits & 0x7fffffffu) > 0x7f800000u);
}
fn ROUND_f16(x: f32) -> f32 { return f16_to_f32(f32_to_f16(x)); }
fn ROUND_bf16(x: f32) -> f32 { return bitcast<f32>(f32_to_bf16(x) << 16u); }

// parts of a word, and what is stored in them
fn byte(word: u32, at: i32) -> u32 { return (word >> (u32(at & 3) << 3u)) & 255u; }
fn half(word: u32, at: i32) -> u32 { return (word >> (u32(at & 1) << 4u)) & 65535u; }
fn load_b8(x: u32) -> u32 { return x; }
fn load_u8(x: u32) -> u32 { return x; }
fn load_u16(x: u32) -> u32 { return x; }
fn load_i8(x: u32) -> i32 { return narrow_i8(i32(x)); }
fn load_i16(x: u32) -> i32 { return narrow_i16(i32(x)); }
fn load_f16(x: u32) -> f32 { return f16_to_f32(x); }
fn load_bf16(x: u32) -> f32 { return bitcast<f32>(x << 16u); }
fn store_b8(x: u32) -> u32 { return x; }
fn store_u8(x: u32) -> u32 { return x; }
fn store_u16(x: u32) -> u32 { return x; }
fn store_i8(x: i32) -> u32 { return u32(x); }
fn store_i16(x: i32) -> u32 { return u32(x); }
fn store_f16(x: f32) -> u32 { return f32_to_f16(x); }
fn store_bf16(x: f32) -> u32 { return f32_to_bf16(x); }

fn complex_f32(re: f32, im: f32) -> c64 { return c64(re, im); }
fn mul_c64(a: c64, b: c64) -> c64 { return c64(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
fn div_c64(a: c64, b: c64) -> c64 {
    if (b.x == 0.0 && b.y == 0.0) { return c64(a.x / fabs_f32(b.x), a.y / fabs_f32(b.y)); }
    let turn = ge_f32(fabs_f32(b.x), fabs_f32(b.y)) == 0u;
    let big = select(b.x, b.y, turn);
    let small = select(b.y, b.x, turn);
    let x = select(a.x, a.y, turn);
    let y = select(a.y, a.x, turn);
    let ratio = small / big;
    let scale = 1.0 / (big + small * ratio);
    return c64((x + y * ratio) * scale, select(y - x * ratio, x * ratio - y, turn) * scale);
}
fn conj_c64(a: c64) -> c64 { return c64(a.x, -a.y); }
fn abs_c64(a: c64) -> f32 { return hypot_f32(a.x, a.y); }
fn eq_c64(a: c64, b: c64) -> u32 { return eq_f32(a.x, b.x) & eq_f32(a.y, b.y); }
fn ne_c64(a: c64, b: c64) -> u32 { return eq_c64(a, b) ^ 1u; }
fn isnan_c64(a: c64) -> u32 { return isnan_f32(a.x) | isnan_f32(a.y); }
fn isinf_c64(a: c64) -> u32 { return isinf_f32(a.x) | isinf_f32(a.y); }
fn isfinite_c64(a: c64) -> u32 { return isfinite_f32(a.x) & isfinite_f32(a.y); }

// Random numbers as everywhere: see prelude_random.h of tilewright
fn philox(a0: u32, a1: u32, a2: u32, a3: u32, k0: u32, k1: u32, word: u32) -> u32 {
    var c = vec4<u32>(a0, a1, a2, a3);
    for (var step: u32 = 0u; step < 10u; step += 1u) {
        let a = wide_product(0xD2511F53u, c.x);
        let b = wide_product(0xCD9E8D57u, c.z);
        c = vec4<u32>(b.x ^ c.y ^ (k0 + step * 0x9E3779B9u), b.y, a.x ^ c.w ^ (k1 + step * 0xBB67AE85u), a.y);
    }
    return c[word];
}
fn below_u32(w0: u32, w1: u32, n: u32) -> u32 {
    let part = wide_product(w0, n);
    let sum = part.y + wide_product(w1, n).x;
    return select(part.x + u32(sum < part.y), w0, n == 0u);
}
fn high_product(a: u64, b: u64) -> u64 {
    let a0 = a & u64(0xffffffffu);
    let a1 = a >> 32u;
    let b0 = b & u64(0xffffffffu);
    let b1 = b >> 32u;
    let middle = a1 * b0 + ((a0 * b0) >> 32u);
    let other = a0 * b1 + (middle & u64(0xffffffffu));
    return a1 * b1 + (middle >> 32u) + (other >> 32u);
}
fn below_u64(w0: u32, w1: u32, w2: u32, w3: u32, n0: u32, n1: u32) -> u64 {
    let n = (u64(n1) << 32u) | u64(n0);
    let high = (u64(w0) << 32u) | u64(w1);
    let low = (u64(w2) << 32u) | u64(w3);
    let part = high * n;
    let sum = part + high_product(low, n);
    return select(high_product(high, n) + select(u64(0), u64(1), sum < part), high, n == u64(0));
}
fn normal_f32(word: u32) -> f32 {
    let m = word & 0x7fffffffu;
    let p = (f32(m) + 0.5) * 2.32830644e-10;
    let x = (f32(0x7fffffffu - m) + 0.5) * 4.65661287e-10;
    let bits = bitcast<u32>(4.0 * p * (1.0 - p)) - 0x3f3504f3u;
    let f = bitcast<f32>((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0;
    var q = -0.0745118633;
    q = q * f + 0.128066108;
    q = q * f + -0.132660314;
    q = q * f + 0.141996503;
    q = q * f + -0.166083694;
    q = q * f + 0.200009391;
    q = q * f + -0.250015795;
    q = q * f + 0.333333462;
    q = q * f + -0.499999881;
    q = q * f + 1.0;
    let w = f32(bitcast<i32>(bits) >> 23u) * -0.693147181 - q * f;
    let central = w < 6.0;
    let d = w - select(14.0, 3.0, central);
    var y = select(4.82526942e-13, 1.00118114e-9, central);
    y = y * d + select(-6.16163977e-12, -7.68859643e-9, central);
    y = y * d + select(-2.10651236e-11, -2.85177553e-8, central);
    y = y * d + select(6.77640888e-10, 6.33129673e-7, central);
    y = y * d + select(-9.12147158e-9, -2.49137497e-6, central);
    y = y * d + select(2.10237815e-7, -1.79662056e-5, central);
    y = y * d + select(-4.8629322e-6, 0.000275889179, central);
    y = y * d + select(0.000115394985, -0.0011825714, central);
    y = y * d + select(-0.00335112796, -0.00811496284, central);
    y = y * d + select(0.190615252, 0.341717005, central);
    y = y * d + select(5.06159687, 2.29603505, central);
    return x * select(y, -y, (word >> 31u) != 0u);
}
