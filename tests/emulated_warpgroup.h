/* Twins of wgmma, written from PTX's "Asynchronous Warpgroup Level Matrix Instructions". Each warp works out its own 16
   rows when it waits for them, from what lies in shared memory then. */
namespace emulated {

struct Factor { /* a matrix descriptor, taken apart */
    unsigned start, across, down;
    int span;
    bool turned; /* along its rows or columns and not along the depth */
};
struct Product {
    Factor a, b;
    int columns, sums, batch;
    bool halves, signed_a, signed_b;
    float (*value)(unsigned);
};
struct Sums { /* of a warp: where its lanes keep them, and their values while products are under way */
    unsigned *places[32];
    unsigned values[16][256];
    int under_way;
};
struct Queue {
    Product products[64];
    Sums sums[4];
    int count, batch, issued; /* products under way; batches ended; products of the block so far */
    bool fenced;
};
struct Issued {
    int number;
    u64 a, b;
    const char *shape;
};
static Queue queues[32];
static Issued log[8][256]; /* of each warpgroup, to compare its warps */

static Factor take_apart(u64 bits, bool turned) {
    const Factor factor = {(unsigned)(bits & 0x3FFF) * 16, (unsigned)(bits >> 16 & 0x3FFF) * 16,
                           (unsigned)(bits >> 32 & 0x3FFF) * 16, (int)(256 >> (bits >> 62)), turned};
    const unsigned pattern = 8 * factor.span;
    if (bits & 0x3FFFC000C000C000ull || !(bits >> 62))
        complain("a descriptor has bits that stand for nothing, a base offset, or tiles without exchanged pieces");
    else if (turned ? factor.start % pattern : factor.start % pattern + 32 > factor.span)
        complain("a tile begins within the pattern of its exchanged pieces, or a step leaves a row");
    return factor;
}

/* Address of the piece that holds depth `p` bytes or rows, row or column `i`. PTX, "Canonical Layouts". */
static unsigned address_in(const Factor &factor, int i, int p, int nbytes) {
    const int per_row = factor.span / nbytes;
    const unsigned at = factor.turned ? i / per_row * factor.across + i % per_row * nbytes + p / 8 * factor.down +
                                            p % 8 * factor.span
                                      : i / 8 * factor.down + i % 8 * factor.span + p * nbytes;
    return exchanged(factor.start + at, factor.span);
}

/* For each piece that a warp reads of a factor: whether it may, and that it does. */
static void mark(const Factor &factor, int first, int count, int nbytes, int change) {
    const int depth = 32 / nbytes, along = 16 / nbytes;
    for (int i = first; i < first + count; i += factor.turned ? along : 1)
        for (int p = 0; p < depth; p += factor.turned ? 1 : along) {
            const unsigned piece = address_in(factor, i, p, nbytes) / 16;
            if (piece >= SHARED_NBYTES / 16 || under_way[piece])
                return complain(change > 0 ? "a product reads a tile that is still under way"
                                           : "a tile was overwritten before a product had read it");
            if (span_of[piece] != factor.span)
                return complain("a descriptor exchanges pieces otherwise than the copy did, or nothing was copied there");
            readers[piece] += change;
        }
}

static unsigned bits_at(const Factor &factor, int i, int p, int nbytes) {
    unsigned bits = 0;
    std::memcpy(&bits, place_of(address_in(factor, i, p, nbytes)), nbytes);
    return bits;
}

template <class Sum, class Value> static void work_out(const Product &product, int row, Sums &sums) {
    static Value a[16][32], b[32][256];
    const int nbytes = product.halves ? 2 : 1, depth = 32 / nbytes;
    auto value = [&](const Factor &factor, int i, int p, bool is_signed) -> Value {
        const unsigned bits = bits_at(factor, i, p, nbytes);
        return product.halves ? (Value)product.value(bits) : (Value)(is_signed ? signed_value(bits) : unsigned_value(bits));
    };
    for (int p = 0; p < depth; p++) {
        for (int i = 0; i < 16; i++)
            a[i][p] = value(product.a, row + i, p, product.signed_a);
        for (int j = 0; j < product.columns; j++)
            b[p][j] = value(product.b, j, p, product.signed_b);
    }
    for (int i = 0; i < 16; i++)
        for (int p = 0; p < depth; p++)
            for (int j = 0; j < product.columns; j++) {
                Sum sum;
                std::memcpy(&sum, &sums.values[i][j], 4);
                sum += (Sum)(a[i][p] * b[p][j]);
                std::memcpy(&sums.values[i][j], &sum, 4);
            }
}

/* PTX, "Matrix Fragments for wgmma.mma_async.m64nNk16": where lane and register of a warp's 16 rows are. */
static unsigned &sum_at(Sums &sums, int lane, int e) {
    return sums.values[lane / 4 + e % 4 / 2 * 8][e / 4 * 8 + lane % 4 * 2 + e % 2];
}

static void finish_products(Queue &queue, int warp, int left) {
    int done = 0;
    for (; done < queue.count && queue.products[done].batch < queue.batch - left; done++) {
        const Product &product = queue.products[done];
        const int nbytes = product.halves ? 2 : 1, row = warp % 4 * 16;
        Sums &sums = queue.sums[product.sums];
        mark(product.a, row, 16, nbytes, -1);
        mark(product.b, 0, product.columns, nbytes, -1);
        if (*fault)
            return;
        product.halves ? work_out<float, float>(product, row, sums) : work_out<unsigned, int>(product, row, sums);
        if (--sums.under_way)
            continue;
        for (int lane = 0; lane < 32; lane++)
            for (int e = 0; e < product.columns / 2; e++) {
                if (sums.places[lane][e] != ~0u)
                    return complain("sums were touched while products were under way");
                sums.places[lane][e] = sum_at(sums, lane, e);
            }
    }
    queue.count -= done;
    std::memmove(queue.products, queue.products + done, queue.count * sizeof(Product));
}

struct Operands {
    unsigned *sum;
    u64 a, b;
    const char *shape, *operands;
};

/* Compares the warps of a warpgroup: they carry out the same products of the same tiles. */
static void compare_warps(const Operands &given, int warp) {
    const int number = ++queues[warp].issued;
    Issued &issued = log[warp / 4][number % 256];
    if (issued.number != number)
        issued = {number, given.a, given.b, given.shape};
    else if (issued.a != given.a || issued.b != given.b || issued.shape != given.shape)
        complain("warps of a warpgroup multiply different tiles");
}

/* What the instruction's text asks for. */
static Product read_text(const Operands &given) {
    int columns = 0, depth = 0, turned_a = 0, turned_b = 0;
    char total[8] = "", of_a[8] = "", of_b[8] = "", tail[60];
    std::sscanf(given.shape, "m64n%dk%d.%7[^.].%7[^.].%7s", &columns, &depth, total, of_a, of_b);
    const bool halves = depth == 16 && !std::strcmp(total, "f32") && !std::strcmp(of_a, of_b) &&
                        (!std::strcmp(of_a, "f16") || !std::strcmp(of_a, "bf16"));
    const bool bytes = depth == 32 && !std::strcmp(total, "s32") && std::strchr("su", *of_a) && std::strchr("su", *of_b) &&
                       !std::strcmp(of_a + 1, "8") && !std::strcmp(of_b + 1, "8") && (columns <= 32 || columns % 16 == 0);
    std::snprintf(tail, sizeof tail, "%%%d}, %%%d, %%%d, p", columns / 2 - 1, columns / 2, columns / 2 + 1);
    const char *const flags = std::strstr(given.operands, tail);
    const int found = flags ? std::sscanf(flags + std::strlen(tail), ", 1, 1, %d, %d", &turned_a, &turned_b) : 0;
    if (!(halves || bytes) || columns < 8 || columns > 256 || columns % 8 || !flags || found != (halves ? 2 : -1))
        complain("there is no such wgmma");
    return {take_apart(given.a, turned_a), take_apart(given.b, turned_b), columns, 0, 0, halves, *of_a == 's',
            *of_b == 's', *of_a == 'b' ? brain_value : half_value};
}

static void begin_product(Warp &warp) {
    const int number = (int)(&warp - warps);
    Queue &queue = queues[number];
    Operands given, other;
    used = true;
    std::memcpy(&given, warp.operands[0], sizeof given);
    for (int lane = 1; lane < 32; lane++) {
        std::memcpy(&other, warp.operands[lane], sizeof other);
        if (other.a != given.a || other.b != given.b || other.shape != given.shape)
            return complain("lanes of a warp multiply different tiles");
    }
    compare_warps(given, number);
    Product product = read_text(given);
    if (*fault)
        return;
    if (!queue.fenced || queue.count == 64)
        return complain("wgmma.fence is missing before a product, or too many are under way");
    int which = 0;
    while (which < 3 && queue.sums[which].under_way && queue.sums[which].places[0] != given.sum)
        which++;
    for (int later = which + 1; later < 4; later++)
        if (queue.sums[later].under_way && queue.sums[later].places[0] == given.sum)
            which = later;
    Sums &sums = queue.sums[which];
    for (int lane = 0; lane < 32 && !sums.under_way; lane++) {
        std::memcpy(&other, warp.operands[lane], sizeof other);
        sums.places[lane] = other.sum;
        for (int e = 0; e < product.columns / 2; e++)
            sum_at(sums, lane, e) = other.sum[e], other.sum[e] = ~0u;
    }
    if (sums.places[0] != given.sum)
        return complain("more sums are under way than the emulation keeps");
    sums.under_way++;
    product.sums = which, product.batch = queue.batch;
    mark(product.a, number % 4 * 16, 16, product.halves ? 2 : 1, 1);
    mark(product.b, 0, product.columns, product.halves ? 2 : 1, 1);
    queue.products[queue.count++] = product;
}

static void fence_products(Warp &warp) { queues[&warp - warps].fenced = true; }
static void end_batch(Warp &warp) { queues[&warp - warps].batch++; }
static void wait_for_products(Warp &warp) {
    Queue &queue = queues[&warp - warps];
    queue.fenced = false;
    finish_products(queue, (int)(&warp - warps), (int)warp.operands[0][0]);
}

static void begin_block() {
    if (!used)
        return;
    used = false;
    barrier_count = box_count = 0;
    std::memset(under_way, 0, sizeof under_way);
    std::memset(span_of, 0, sizeof span_of);
    std::memset(readers, 0, sizeof readers);
    std::memset(log, 0, sizeof log);
    for (Queue &queue : queues) {
        queue.count = queue.batch = queue.issued = 0, queue.fenced = false;
        for (Sums &sums : queue.sums)
            sums.under_way = 0;
    }
}

static void end_block(int warp_count) {
    if (box_count)
        complain("a block ends while boxes are under way");
    for (int warp = 0; warp < warp_count; warp++) {
        if (queues[warp].count)
            complain("a block ends while products are under way");
        if (queues[warp].issued != queues[warp / 4 * 4].issued || (queues[warp].issued && warp / 4 * 4 + 4 > warp_count))
            complain("not all of 4 warps from a multiple of 4 carry out the products of a warpgroup");
    }
}

} // namespace emulated

#define WARPGROUP_PRODUCT(name, type, shape, operands, ...) \
    static void name(type *sum, unsigned long long a, unsigned long long b) { \
        const emulated::Operands given = {(unsigned *)sum, a, b, shape, operands}; \
        emulated::meet(emulated::begin_product, &given, sizeof given, 0, 0); \
    }
#define WGMMA_FENCE() emulated::meet(emulated::fence_products, "", 0, 0, 0)
#define WGMMA_COMMIT() emulated::meet(emulated::end_batch, "", 0, 0, 0)
static void WGMMA_WAIT(int left) { emulated::meet(emulated::wait_for_products, &left, sizeof left, 0, 0); }
#define HOLD(letter, x)
