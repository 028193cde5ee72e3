/* Transposes in registers what a CPU's packing has loaded. It stands behind a header that tells ACC and in front of
   templates that pack (matmul_cpu.c, attention_cpu.c), which do without it, one element at a time. VECTOR is the bytes
   of a register. */

#if CPU_GROUPS && !defined(__clang__)
#define TURN_LANES (VECTOR / (int)sizeof(ACC))
#define TURNS(tile) (2 * (tile) > TURN_LANES) /* else most lines of a square would be of nobody */
#define EXCHANGE(block) \
    if (block < TURN_LANES) { \
        const turn_words odd = (place & block) != 0; \
        const turn_words low = place + (odd & (TURN_LANES - block)); \
        const turn_words high = place + (odd & TURN_LANES) + (~odd & block); \
        UNROLL \
        for (int r = 0; r < TURN_LANES; r++) { \
            if (r & block) \
                continue; \
            const turn_line x = line[r], y = line[(r + block) % TURN_LANES]; \
            line[r] = __builtin_shuffle(x, y, low); \
            line[(r + block) % TURN_LANES] = __builtin_shuffle(x, y, high); \
        } \
    }

typedef __typeof__(__builtin_choose_expr(sizeof(ACC) == 8, (i64)0, (i32)0)) turn_word;
typedef turn_word turn_words __attribute__((vector_size(VECTOR)));
typedef ACC turn_line __attribute__((vector_size(VECTOR)));
typedef ACC turn_anywhere __attribute__((vector_size(VECTOR), aligned(sizeof(ACC)), may_alias));

/* From a square of TURN_LANES lines, `line_step` apart: element k of each becomes line k of the result, `step` apart,
   for k < count. Blocks of 1, 2, 4, ... change places across the diagonal (Eklundh, "A fast computer method for matrix
   transposing", 1972). */
static inline void turn(const ACC *lines, i64 line_step, i64 count, ACC *to, i64 step) {
    turn_line line[TURN_LANES];
    turn_words place;
    UNROLL
    for (int k = 0; k < TURN_LANES; k++) {
        line[k] = *(const turn_anywhere *)(lines + k * line_step);
        place[k] = k;
    }
    EXCHANGE(1) EXCHANGE(2) EXCHANGE(4) EXCHANGE(8) EXCHANGE(16)
    UNROLL
    for (int k = 0; k < TURN_LANES; k++)
        if (k < count)
            *(turn_anywhere *)(to + k * step) = line[k];
}
#endif
