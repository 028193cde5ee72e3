/* Multiplies words of narrow numbers: LANE_K of them lie in one word of 32 bits, the first lowest, and one instruction
   multiplies the words of two vectors part by part and adds the products to the sums in their lanes. Where the compiler
   does not know the instruction, the same is said in plain vectors.

   The text that is put in front, or the defines:
     LANE_K              2 or 4
     FLOAT_PARTS         1: bfloat16, two a word, summed in f32; 0: integers of 32 / LANE_K bits, summed in u32
     SIGNED_A SIGNED_B   of integers: 1 where they are signed
     PACK_A              of signed bytes: 1 where those of A come with their upper bits flipped
     VECTOR              bytes of a vector
   PRODUCT(x, y, sum) adds to `sum` the word x of A times each of the vector y of B. */

#ifndef LANE_K
#define LANE_K 2
#define FLOAT_PARTS 1
#define PACK_A 0
#define VECTOR 32
#endif

#define WORD u32
#define PART_BITS (32 / LANE_K)
typedef u32 words __attribute__((vector_size(VECTOR)));
typedef i32 signed_words __attribute__((vector_size(VECTOR)));
#if FLOAT_PARTS
#define ACC f32
#else
#define ACC u32
#endif
typedef ACC lane_sums __attribute__((vector_size(VECTOR)));

#define SPREAD(x) ((words){} + (x))
#define INSTRUCTION_OF(text, x, y, sum) ({ \
    lane_sums total = (sum); \
    __asm__(text " %2, %1, %0" : "+v"(total) : "v"(x), "v"(y)); \
    total; \
})

#if FLOAT_PARTS
/* In IEEE arithmetic: what the instruction's sums are but for rounding, unless it takes what is below the smallest
   normal number for 0, and at half its speed. */
#define LOW(x) ((lane_sums)((x) << 16))
#define HIGH(x) ((lane_sums)((x) & 0xffff0000u))
#define PLAIN_PRODUCT(x, y, sum) ((sum) + LOW(SPREAD(x)) * LOW(y) + HIGH(SPREAD(x)) * HIGH(y))
#ifdef __AVX512BF16__
#define PRODUCT(x, y, sum) INSTRUCTION_OF("vdpbf16ps", SPREAD(x), y, sum)
#define SURVEYS 1
#else
#define PRODUCT PLAIN_PRODUCT
#endif
#else
#define SIGNED_PART(x, g) ((words)((signed_words)((x) << (32 - PART_BITS - PART_BITS * (g))) >> (32 - PART_BITS)))
#define UNSIGNED_PART(x, g) ((x) << (32 - PART_BITS - PART_BITS * (g)) >> (32 - PART_BITS))
#define PARTS_PRODUCT(X, Y, g) (X(left, g) * Y(right, g))
#if LANE_K == 4
#define PARTS_SUM(X, Y) PARTS_PRODUCT(X, Y, 0) + PARTS_PRODUCT(X, Y, 1) + PARTS_PRODUCT(X, Y, 2) + PARTS_PRODUCT(X, Y, 3)
#else
#define PARTS_SUM(X, Y) PARTS_PRODUCT(X, Y, 0) + PARTS_PRODUCT(X, Y, 1)
#endif
#define PLAIN_SUM(X, Y, x, y, sum) ({ \
    const words left = (x), right = (y); \
    (sum) + PARTS_SUM(X, Y); \
})
#if LANE_K == 2
#ifdef __AVX512VNNI__
#define PRODUCT(x, y, sum) INSTRUCTION_OF("vpdpwssd", SPREAD(x), y, sum)
#else
#define PRODUCT(x, y, sum) PLAIN_SUM(SIGNED_PART, SIGNED_PART, SPREAD(x), y, sum)
#endif
#else
/* The instruction wants one factor unsigned. Where both are signed, 128 is added to those of A, which flips their upper
   bit, and the sums start at -128 times the sum of a column of B. */
#ifdef __AVX512VNNI__
#define UNSIGNED_BY_SIGNED(x, y, sum) INSTRUCTION_OF("vpdpbusd", x, y, sum)
/* As a vector: gcc, were it not kept from seeing that all lanes are the same, would flip a scalar, and to spread what is
   in a scalar's register takes longer than to spread what is in memory. */
#define FLIPPED(x) ({ \
    words bits = (words){} + FLIP; \
    __asm__("" : "+v"(bits)); \
    SPREAD(x) ^ bits; \
})
#else
#define UNSIGNED_BY_SIGNED(x, y, sum) PLAIN_SUM(UNSIGNED_PART, SIGNED_PART, x, y, sum)
#define FLIPPED(x) (SPREAD(x) ^ FLIP)
#endif
#if SIGNED_A && SIGNED_B
#define FLIP 0x80808080u
#endif
#if !SIGNED_B
#define PRODUCT(x, y, sum) UNSIGNED_BY_SIGNED(y, SPREAD(x), sum)
#elif !SIGNED_A || PACK_A
#define PRODUCT(x, y, sum) UNSIGNED_BY_SIGNED(SPREAD(x), y, sum)
#else
#define PRODUCT(x, y, sum) UNSIGNED_BY_SIGNED(FLIPPED(x), y, sum)
#endif
#endif
#endif
#ifndef FLIP
#define FLIP 0
#endif
#ifndef SURVEYS
#define SURVEYS 0 /* else PLAIN_PRODUCT is what to use where PRODUCT would take a number for 0 */
#endif
