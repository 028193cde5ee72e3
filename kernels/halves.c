/* Runs of float16 as float32 and back, for templates that stand behind it. As a loop over the prelude's functions this is
   a dozen instructions a vector, since no compiler we know makes the one instruction (F16C) of it that there is. */

#if CPU_GROUPS && defined(__F16C__)
#define WIDENS 1
typedef f32 eight_floats __attribute__((vector_size(32)));
typedef f32 eight_floats_anywhere __attribute__((vector_size(32), aligned(4), may_alias));
typedef u16 eight_halves __attribute__((vector_size(16)));
typedef u16 eight_halves_anywhere __attribute__((vector_size(16), aligned(2), may_alias));

static inline void widen(const u16 *from, i64 count, f32 *to) {
    i64 k = 0;
    for (; k + 8 <= count; k += 8) {
        eight_floats wide;
        const eight_halves halves = *(const eight_halves_anywhere *)(from + k);
        __asm__("vcvtph2ps %1, %0" : "=x"(wide) : "x"(halves));
        *(eight_floats_anywhere *)(to + k) = wide;
    }
    for (; k < count; k++)
        to[k] = f16_to_f32(from[k]);
}

/* To nearest, ties to even. */
static inline void narrow(const f32 *from, i64 count, u16 *to) {
    i64 k = 0;
    for (; k + 8 <= count; k += 8) {
        eight_halves halves;
        const eight_floats wide = *(const eight_floats_anywhere *)(from + k);
        __asm__("vcvtps2ph $0, %1, %0" : "=x"(halves) : "x"(wide));
        *(eight_halves_anywhere *)(to + k) = halves;
    }
    for (; k < count; k++)
        to[k] = f32_to_f16(from[k]);
}
#endif
