/* Twins of what CUDA gives, so that CUDA text compiles as C++ and runs its real blocks, threads, shared memory and
   barriers on a CPU. Each thread is a fiber with a stack of its own; a barrier hands control to the next. Blocks run
   one after the other, and the threads of a block in ascending and descending order by turns, warp by warp, so that a
   missing barrier shows. */
#include <cmath>
#include <cstdlib>
#include <cstdio>
#include <cstring>
#include <ucontext.h>

#define TILEWRIGHT_EMULATED 1
#define __global__
#define __launch_bounds__(threads)
#define DEVICE static inline
#define ALIGNED(nbytes) __attribute__((aligned(nbytes)))
#define SHARED(type, name, count) static __attribute__((section("emulated_shared"), aligned(16))) type name[count]
#define BARRIER() emulated::barrier(__LINE__)
#define UNROLL
#define GROUP_0 emulated::group.x
#define GROUP_1 emulated::group.y
#define GROUP_2 emulated::group.z
#define LOCAL_0 emulated::current->index.x
#define LOCAL_1 emulated::current->index.y
#define LOCAL_2 emulated::current->index.z
#define LOCAL_SIZE_0 emulated::size.x
#define LOCAL_SIZE_1 emulated::size.y
#define LOCAL_SIZE_2 emulated::size.z

static inline unsigned as_u32(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float as_f32(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

extern "C" char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));

namespace emulated {

struct Index {
    long long x, y, z;
};
enum State { READY, WAITING, GATHERED, POLLING, DONE }; /* at BARRIER(); at a warp's instruction; at an mbarrier */
constexpr int COPIES = 64;
struct Copy {
    char *to;
    const char *from;
    int nbytes, batch;
};
struct Thread {
    ucontext_t context;
    Index index;
    State state;
    int line; /* of the barrier it waits at */
    const unsigned long long *polled;
    unsigned parity; /* of the phase it waits for */
    int begun, done, batch; /* copies into shared memory, and the batch that is being put together */
    Copy copies[COPIES];
};
struct Warp {
    int arrived; /* lanes that have handed in their operands */
    void (*work)(Warp &);
    unsigned operands[32][10], results[32][4];
};

constexpr size_t STACK = 64 << 10;
static Index group, size;
static Thread *threads, *current;
static Warp *warps;
static ucontext_t scheduler;
static void (*kernel)();
static char fault[200];

/* emulated_hopper.h: whether a phase has ended; the arrival of a copy; what else happens when. */
static bool phase_over(const unsigned long long *barrier, unsigned parity);
static bool land_copy();
static void all_met(); /* at BARRIER() */
static void begin_block();
static void end_block(int warp_count);

static void barrier(int line) {
    current->state = WAITING;
    current->line = line;
    swapcontext(&current->context, &scheduler);
}

static void start() {
    kernel();
    current->state = DONE;
    swapcontext(&current->context, &scheduler);
}

/* After every thread ran as far as it could: whether the block may go on. They must all have met at one barrier. */
static bool may_continue(int count) {
    int waiting = 0, line = 0;
    for (int t = 0; t < count && !*fault; t++)
        if (threads[t].state == GATHERED) {
            std::snprintf(fault, sizeof fault,
                          "%d lanes carry out an instruction of their whole warp without the others",
                          warps[t / 32].arrived);
        } else if (threads[t].state == POLLING) {
            std::snprintf(fault, sizeof fault, "thread %d waits at an mbarrier for the end of a phase that never comes", t);
        } else if (threads[t].state == WAITING) {
            if (waiting++ && threads[t].line != line)
                std::snprintf(fault, sizeof fault, "threads wait at different barriers, in lines %d and %d", line,
                              threads[t].line);
            line = threads[t].line;
        }
    if (waiting && waiting < count && !*fault)
        std::snprintf(fault, sizeof fault, "%d threads wait at the barrier in line %d, %d have left the kernel",
                      waiting, line, count - waiting);
    all_met();
    return waiting && !*fault;
}

/* Runs those lanes of a warp that are ready, each as far as it can; whether there were any. */
static bool run_warp(int warp, int count, bool forward) {
    bool any = false;
    for (int lane = 0; lane < 32; lane++) {
        const int t = warp * 32 + (forward ? lane : 31 - lane);
        if (t < count && threads[t].state == POLLING && phase_over(threads[t].polled, threads[t].parity))
            threads[t].state = READY;
        if (t >= count || threads[t].state != READY)
            continue;
        current = threads + t, any = true;
        swapcontext(&scheduler, &current->context);
    }
    return any;
}

/* Runs all warps as far as they can go, in one order and the other by turns; copies arrive when nobody can go on. */
static void run_warps(int warp_count, int count, bool forward) {
    bool any = true;
    for (; any && !*fault; forward = !forward) {
        any = false;
        for (int w = 0; w < warp_count; w++)
            while (run_warp(forward ? w : warp_count - 1 - w, count, forward))
                any = true;
        any = any || land_copy();
    }
}

static void run_block(int count, char *stacks) {
    if (__start_emulated_shared) /* it may hold anything: NaN, to show what is read before it is written */
        std::memset(__start_emulated_shared, 0xFF, __stop_emulated_shared - __start_emulated_shared);
    for (int t = 0; t < count; t++) {
        Thread &thread = threads[t];
        thread.index = {t % size.x, t / size.x % size.y, t / (size.x * size.y)};
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = stacks + t * STACK;
        thread.context.uc_stack.ss_size = STACK;
        thread.begun = thread.done = thread.batch = 0;
        makecontext(&thread.context, start, 0);
    }
    const int warp_count = (count + 31) / 32;
    for (int w = 0; w < warp_count; w++)
        warps[w].arrived = 0;
    begin_block();
    bool forward = true;
    do {
        for (int t = 0; t < count; t++)
            threads[t].state = READY;
        run_warps(warp_count, count, forward);
        forward = !forward;
    } while (may_continue(count));
    if (!*fault)
        end_block(warp_count);
}

/* Runs every block of the grid; returns what went wrong, or an empty text. */
static const char *run(const long long *grid, Index threads_per_block, void (*body)()) {
    const int count = (int)(threads_per_block.x * threads_per_block.y * threads_per_block.z);
    size = threads_per_block, kernel = body, *fault = 0;
    threads = (Thread *)std::malloc(count * sizeof(Thread));
    warps = (Warp *)std::malloc((count + 31) / 32 * sizeof(Warp));
    char *stacks = (char *)std::malloc(count * STACK);
    for (group.z = 0; group.z < grid[2] && !*fault; group.z++)
        for (group.y = 0; group.y < grid[1] && !*fault; group.y++)
            for (group.x = 0; group.x < grid[0] && !*fault; group.x++)
                run_block(count, stacks);
    std::free(stacks);
    std::free(warps);
    std::free(threads);
    return fault;
}

} // namespace emulated
