/* Twins of the instructions that a whole warp carries out, written from PTX's description of which lane holds what: the
   operands of all 32 lanes are put together into matrices, worked on as such, and handed back. Copies into shared
   memory are done when they are waited for, not before, and until then their places hold NaN. */
namespace emulated {

static void complain(const char *what) {
    if (!*fault)
        std::snprintf(fault, sizeof fault, "%s", what);
}

static bool in_shared(const void *place, size_t nbytes) {
    const char *at = (const char *)place;
    return __start_emulated_shared <= at && at + nbytes <= __stop_emulated_shared;
}

/* Hands in this lane's operands, waits until all lanes have, and takes its results. The last one to come works. */
static void meet(void (*work)(Warp &), const void *operands, size_t operand_nbytes, void *results,
                 size_t result_nbytes) {
    const int thread = (int)(current - threads), lane = thread % 32;
    Warp &warp = warps[thread / 32];
    std::memcpy(warp.operands[lane], operands, operand_nbytes);
    if (warp.arrived && warp.work != work)
        complain("lanes of a warp carry out different instructions");
    warp.work = work;
    if (++warp.arrived == 32) {
        warp.arrived = 0;
        if (!*fault)
            work(warp);
        for (int other = 0; other < 32; other++)
            threads[thread - lane + other].state = READY;
    } else {
        current->state = GATHERED;
        swapcontext(&current->context, &scheduler);
    }
    std::memcpy(results, warps[thread / 32].results[lane], result_nbytes);
}

static float half_value(unsigned bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float finite = std::ldexp((float)(fraction + (exponent ? 1024 : 0)), (exponent ? exponent : 1) - 25);
    const float size = exponent < 31 ? finite : fraction ? NAN : INFINITY;
    return bits & 0x8000 ? -size : size;
}
static float brain_value(unsigned bits) { return as_f32(bits << 16); }
static int signed_value(unsigned bits) { return (int)(bits & 0x7f) - (int)(bits & 0x80); }
static int unsigned_value(unsigned bits) { return (int)bits; }

/* An element of `nbytes` at place `at` among a lane's registers. */
static unsigned element(const void *registers, int at, int nbytes) {
    unsigned bits = 0;
    std::memcpy(&bits, (const char *)registers + at * nbytes, nbytes);
    return bits;
}

/* PTX, "Matrix Fragments for mma.m16n8k16 with floating point type" and "... mma.m16n8k32": a lane holds, of A, PACK
   elements side by side in each of 4 registers (rows group and group + 8, then both again half the depth further on);
   of B as many in 2 registers of column group; of C two columns of both rows. Operands are a[4], b[2], c[4]. */
template <int NBYTES, class Sum, class Value, Value (*VALUE_A)(unsigned), Value (*VALUE_B)(unsigned)>
static void product(Warp &warp) {
    constexpr int PACK = 4 / NBYTES, DEPTH = 32 / NBYTES;
    static Value a[16][DEPTH], b[DEPTH][8];
    for (int lane = 0; lane < 32; lane++) {
        const int group = lane / 4, in_group = lane % 4;
        for (int i = 0; i < 4 * PACK; i++) {
            const int part = i / PACK, row = part % 2 ? group + 8 : group;
            a[row][in_group * PACK + i % PACK + (part >= 2 ? DEPTH / 2 : 0)] =
                VALUE_A(element(warp.operands[lane], i, NBYTES));
        }
        for (int i = 0; i < 2 * PACK; i++)
            b[in_group * PACK + i % PACK + (i >= PACK ? DEPTH / 2 : 0)][group] =
                VALUE_B(element(warp.operands[lane] + 4, i, NBYTES));
    }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + (i >= 2 ? 8 : 0), column = lane % 4 * 2 + i % 2;
            Sum sum;
            std::memcpy(&sum, &warp.operands[lane][6 + i], 4);
            for (int p = 0; p < DEPTH; p++)
                sum += (Sum)(a[row][p] * b[p][column]);
            std::memcpy(&warp.results[lane][i], &sum, 4);
        }
}

/* PTX, "ldmatrix": matrix q's row r is the 16 bytes to which lane 8 q + r points; lane l receives 32 bits of row l / 4
   (of the transposed: elements (2 (l % 4), l / 4) and the one below). */
template <bool TRANSPOSED> static void load_matrices(Warp &warp) {
    for (int q = 0; q < 4; q++) {
        unsigned short matrix[8][8];
        unsigned banks = 0; /* of 16 bytes each */
        for (int r = 0; r < 8; r++) {
            const char *row;
            std::memcpy(&row, warp.operands[8 * q + r], sizeof row);
            if (!in_shared(row, 16) || (size_t)row % 16)
                return complain("ldmatrix reads a row that is not 16 bytes of shared memory at a multiple of 16");
            std::memcpy(matrix[r], row, 16);
            banks |= 1u << (size_t)row / 16 % 8;
        }
        if (banks != 255)
            return complain("rows of a matrix lie in the same banks, so that ldmatrix takes them one after the other");
        for (int lane = 0; lane < 32; lane++) {
            const int row = lane / 4, column = lane % 4 * 2;
            const unsigned low = TRANSPOSED ? matrix[column][row] : matrix[row][column];
            const unsigned high = TRANSPOSED ? matrix[column + 1][row] : matrix[row][column + 1];
            warp.results[lane][q] = low | high << 16;
        }
    }
}

static void nothing(Warp &) {}

static void multiply(void (*work)(Warp &), void *sum, const unsigned *a, const unsigned *b) {
    unsigned operands[10];
    std::memcpy(operands, a, 16);
    std::memcpy(operands + 4, b, 8);
    std::memcpy(operands + 6, sum, 16);
    meet(work, operands, sizeof operands, sum, 16);
}

static void begin_copy(void *to, const void *from, int nbytes) {
    if (!in_shared(to, 16) || (size_t)to % 16 || (size_t)from % 16 || nbytes < 0 || nbytes > 16)
        return complain("cp.async copies between places that are not at multiples of 16, or not into shared memory");
    if (current->begun - current->done == COPIES)
        return complain("a thread has more copies under way than the emulation keeps");
    std::memset(to, 0xFF, 16);
    current->copies[current->begun++ % COPIES] = {(char *)to, (const char *)from, nbytes, current->batch};
}

static void wait_for_copies(int left) {
    for (; current->done < current->begun; current->done++) {
        const Copy &copy = current->copies[current->done % COPIES];
        if (copy.batch >= current->batch - left)
            return;
        std::memset(copy.to, 0, 16);
        std::memcpy(copy.to, copy.from, copy.nbytes);
    }
}

} // namespace emulated

#define DYNAMIC_SHARED(name) \
    static __attribute__((section("emulated_shared"), aligned(128))) unsigned char name[EMULATED_DYNAMIC_NBYTES]
#define WARP_BARRIER() emulated::meet(emulated::nothing, "", 0, emulated::warps, 0)
#define DEVICE_ARRAY(type, name, count) static type name[count]
#define FENCE()
static unsigned ATOMIC_ADD(unsigned *place, unsigned amount) { return (*place += amount) - amount; }
static void copy_async(void *to, const void *from, int nbytes) { emulated::begin_copy(to, from, nbytes); }
#define COPY_COMMIT() ((void)emulated::current->batch++)
#define COPY_WAIT(n) emulated::wait_for_copies(n)

static void ldmatrix(unsigned *parts, const void *row) {
    emulated::meet(emulated::load_matrices<false>, &row, sizeof row, parts, 16);
}
static void ldmatrix_trans(unsigned *parts, const void *row) {
    emulated::meet(emulated::load_matrices<true>, &row, sizeof row, parts, 16);
}

#define EMULATED_PRODUCT(name, type, nbytes, Sum, Value, of_a, of_b) \
    static void name(type *sum, const unsigned *a, const unsigned *b) { \
        emulated::multiply(emulated::product<nbytes, Sum, Value, emulated::of_a, emulated::of_b>, sum, a, b); \
    }
EMULATED_PRODUCT(mma_f16_f16, float, 2, float, float, half_value, half_value)
EMULATED_PRODUCT(mma_bf16_bf16, float, 2, float, float, brain_value, brain_value)
EMULATED_PRODUCT(mma_i8_i8, unsigned, 1, unsigned, int, signed_value, signed_value)
EMULATED_PRODUCT(mma_i8_u8, unsigned, 1, unsigned, int, signed_value, unsigned_value)
EMULATED_PRODUCT(mma_u8_i8, unsigned, 1, unsigned, int, unsigned_value, signed_value)
EMULATED_PRODUCT(mma_u8_u8, unsigned, 1, unsigned, int, unsigned_value, unsigned_value)
