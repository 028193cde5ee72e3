/* Twins of what only sm_90a has, written from PTX's description: barriers in shared memory that count arrivals and
   bytes, the copy engine, and products of a warpgroup. All is as late as it may be: a copy arrives when no thread can go
   on without it, a product is worked out when it is waited for; until then their places hold NaN. */
struct TensorMap { /* in the terms of tensor_map.py */
    const char *base;
    long long shape[3], strides[2];
    int box[3], nbytes, span;
};
#define TENSOR_MAP TensorMap

namespace emulated {

typedef unsigned long long u64;
constexpr unsigned SHARED_NBYTES = 256 << 10, FIRST = 1152; /* shared memory begins at no multiple of a pattern */
constexpr int MOST_BYTES = (1 << 20) - 1;                   /* that a phase may announce */

struct Barrier {
    u64 *at;
    int count, pending, bytes;
    unsigned phase;
    bool seen, known; /* by the copy engine; by all threads */
    const Thread *maker;
};
struct Box {
    unsigned to;
    TensorMap map;
    int x, y, z;
    Barrier *barrier;
};
static Barrier barriers[64];
static Box boxes[64];
static int barrier_count, box_count, landed;
static bool used; /* any of this by the latest block */
static unsigned char under_way[SHARED_NBYTES / 16], span_of[SHARED_NBYTES / 16]; /* of each piece of 16 bytes */
static unsigned short readers[SHARED_NBYTES / 16];

static unsigned address_of(const void *place) { return (unsigned)((const char *)place - __start_emulated_shared) + FIRST; }
static char *place_of(unsigned address) { return __start_emulated_shared + (address - FIRST); }
/* A piece's place moves within a span by bits 7 to 9 of its address. */
static unsigned exchanged(unsigned address, int span) { return address ^ ((address >> 7 & (span / 16 - 1)) << 4); }

static Barrier *find_barrier(const u64 *at) {
    for (int k = 0; k < barrier_count; k++)
        if (barriers[k].at == at) {
            if (*at != 0xB0000000u + k)
                complain("a barrier was overwritten");
            if (!barriers[k].known && barriers[k].maker != current)
                complain("a barrier is used by a thread that its maker has not met since");
            return barriers + k;
        }
    complain("a barrier is used that was not made");
    return barriers;
}
static void make_barrier(u64 *at, unsigned count) {
    if (!in_shared(at, 8) || address_of(at) % 8 || !count || count > MOST_BYTES || barrier_count == 64)
        return complain("a barrier is no u64 of shared memory, or waits for no or for too many arrivals");
    for (int k = 0; k < barrier_count; k++)
        if (barriers[k].at == at)
            return complain("a barrier is made twice");
    used = true;
    *at = 0xB0000000u + barrier_count;
    barriers[barrier_count++] = {at, (int)count, (int)count, 0, 0, false, false, current};
}
static void show_barriers() {
    for (int k = 0; k < barrier_count; k++)
        barriers[k].seen = barriers[k].seen || barriers[k].maker == current;
}
static void all_met() {
    for (int k = 0; k < barrier_count; k++)
        barriers[k].known = true;
}
static void end_phase(Barrier &barrier) {
    if (!barrier.pending && !barrier.bytes)
        barrier.phase ^= 1, barrier.pending = barrier.count;
}
static void arrive(u64 *at, int bytes) {
    Barrier &barrier = *find_barrier(at);
    barrier.bytes += bytes;
    if (!barrier.pending-- || barrier.bytes > MOST_BYTES)
        complain("more threads arrive at a barrier than it waits for, or announce more bytes than it counts");
    end_phase(barrier);
}
static bool phase_over(const u64 *at, unsigned parity) { return *fault || find_barrier(at)->phase != parity; }
static void wait_for_phase(u64 *at, unsigned parity) {
    if (parity > 1)
        complain("a parity is neither 0 nor 1");
    while (!phase_over(at, parity)) {
        current->polled = at, current->parity = parity, current->state = POLLING;
        swapcontext(&current->context, &scheduler);
    }
}

static void begin_box(void *to, const TensorMap *map, u64 *at, int x, int y, int z) {
    const int nbytes = map->box[0] * map->box[1] * map->box[2] * map->nbytes;
    Barrier *const barrier = find_barrier(at);
    if (!in_shared(to, nbytes) || address_of(to) % 128)
        return complain("a box does not go to a multiple of 128 bytes, or not into shared memory");
    if (!barrier->seen)
        return complain("a copy counts at a barrier that its maker has not shown to the copy engine");
    if (box_count == 64)
        return complain("more boxes are under way than the emulation keeps");
    for (unsigned piece = address_of(to) / 16; piece < (address_of(to) + nbytes) / 16; piece++) {
        if (under_way[piece])
            return complain("a box goes where another one is still under way to");
        if (readers[piece])
            return complain("a box goes where a product under way still reads");
        under_way[piece] = 1;
    }
    std::memset(to, 0xFF, nbytes);
    boxes[box_count++] = {address_of(to), *map, x, y, z, barrier};
}

/* Brings the oldest and the latest box by turns; whether there was one. */
static bool land_copy() {
    if (!box_count)
        return false;
    const int which = landed++ % 2 ? box_count - 1 : 0;
    const Box box = boxes[which];
    std::memmove(boxes + which, boxes + which + 1, (--box_count - which) * sizeof(Box));
    const TensorMap &map = box.map;
    unsigned to = box.to;
    for (long long z = box.z; z < box.z + map.box[2]; z++)
        for (long long y = box.y; y < (long long)box.y + map.box[1]; y++)
            for (int at = 0; at < map.span; at += map.nbytes, to += map.nbytes) {
                const long long x = (long long)box.x + at / map.nbytes;
                const bool inside = x >= 0 && x < map.shape[0] && y >= 0 && y < map.shape[1] && z >= 0 && z < map.shape[2];
                const unsigned place = exchanged(to, map.span);
                std::memset(place_of(place), 0, map.nbytes);
                if (inside)
                    std::memcpy(place_of(place), map.base + z * map.strides[1] + y * map.strides[0] + x * map.nbytes,
                                map.nbytes);
                under_way[place / 16] = 0, span_of[place / 16] = map.span;
            }
    box.barrier->bytes -= to - box.to;
    end_phase(*box.barrier);
    return true;
}

} // namespace emulated

static unsigned shared_address(const void *place) { return emulated::address_of(place); }
static void barrier_init(unsigned long long *barrier, unsigned count) { emulated::make_barrier(barrier, count); }
#define BARRIERS_ARE_MADE() emulated::show_barriers()
static void barrier_arrive(unsigned long long *barrier) { emulated::arrive(barrier, 0); }
static void barrier_expect(unsigned long long *barrier, unsigned nbytes) { emulated::arrive(barrier, nbytes); }
static void barrier_wait(unsigned long long *barrier, unsigned parity) { emulated::wait_for_phase(barrier, parity); }
static void copy_box(void *to, const TensorMap *map, unsigned long long *barrier, int x, int y, int z) {
    emulated::begin_box(to, map, barrier, x, y, z);
}
static void prefetch_map(const TensorMap *) {}
