/* The cpu's threads: one loop at a time, cut into pieces that the caller and its workers take.

   Each thread has a share of neighbouring pieces, the same of every loop, so that what a core wrote is read there; one
   that is done takes from the ends of the others' shares. The caller therefore never waits for a worker that has not
   begun: where another program, or another library's spinning threads, hold the workers' cores, it does all the work
   itself. A worker looks for more for a moment (SPIN) before it sleeps. To wake one costs the caller several
   microseconds, so that small loops are shared only with workers that are awake, or where they follow one another so
   closely that the woken will stay so.

   Workers keep off the processor that the caller is on: the system likes to wake a thread where its waker runs, and
   would have the two take turns. Two callers at once do not share the workers: the second does its loop alone. */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define MOST 256 /* threads */
#define PIECES 16 /* of a share */
#define SPIN 20000 /* nanoseconds */
#define GIVE_UP 10000 /* the same */
#define FEW 16 /* processors up to which workers are told where not to run; of more, some are idle */
#define OPEN 1ULL
#define ONE 2ULL
#define EPOCH(gate) ((unsigned)((gate) >> 32))

typedef long long i64;
typedef unsigned long long u64;
typedef void body(const i64 *slots, i64 begin, i64 end);
typedef struct { u64 range; char apart[120]; } share; /* the first piece, and behind 32 bits the end; a line of its own */

static struct {
    u64 gate; /* the loop's number, behind 32 bits; ONE for each worker in it; OPEN while workers may join */
    char apart[120];
    body *run;
    const i64 *slots;
    i64 count, pieces, last; /* `last`: when a loop ended, in nanoseconds */
    int sleeping, busy, size, started, home, resting;
    pthread_t thread[MOST];
    share shares[MOST];
} team __attribute__((aligned(128))) = {.size = 1, .home = -1};

static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#ifdef __linux__
static unsigned *epoch_word(void) { return (unsigned *)&team.gate + (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__); }
enum { WAIT_PRIVATE = 128, WAKE_PRIVATE = 129 }; /* of linux/futex.h, which not every compiler comes with */
static void sleep_while(unsigned seen) { syscall(SYS_futex, epoch_word(), WAIT_PRIVATE, seen, 0, 0, 0); }
static void wake(int most) { syscall(SYS_futex, epoch_word(), WAKE_PRIVATE, most, 0, 0, 0); }
#else
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static void sleep_while(unsigned seen) {
    pthread_mutex_lock(&lock);
    while (EPOCH(__atomic_load_n(&team.gate, __ATOMIC_SEQ_CST)) == seen)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}
static void wake(int most) {
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}
#endif

/* The next piece of a share, from its front or its end; -1 where none is left. */
static i64 take(u64 *range, int from_end) {
    u64 seen = __atomic_load_n(range, __ATOMIC_RELAXED), left;
    i64 piece;
    do {
        const u64 begin = (unsigned)seen, end = seen >> 32;
        if (begin >= end)
            return -1;
        piece = from_end ? end - 1 : begin;
        left = from_end ? begin | (end - 1) << 32 : (begin + 1) | end << 32;
    } while (!__atomic_compare_exchange_n(range, &seen, left, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return piece;
}

static void work(int self) {
    const i64 count = team.count, pieces = team.pieces;
    for (int k = 0; k < team.size; k++) {
        u64 *const range = &team.shares[(self + k) % team.size].range;
        for (i64 piece; (piece = take(range, k > 0)) >= 0;)
            team.run(team.slots, piece * count / pieces, (piece + 1) * count / pieces);
    }
}

static i64 nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Until there is a loop that is not the one seen last. */
static u64 next_loop(unsigned seen) {
    u64 gate = __atomic_load_n(&team.gate, __ATOMIC_ACQUIRE);
    for (const i64 end = nanoseconds() + SPIN; EPOCH(gate) == seen && nanoseconds() < end;) {
        if (__atomic_load_n(&team.resting, __ATOMIC_RELAXED))
            break;
        for (int k = 0; k < 16 && EPOCH(gate) == seen; k++) {
            pause_briefly();
            gate = __atomic_load_n(&team.gate, __ATOMIC_ACQUIRE);
        }
    }
    while (EPOCH(gate) == seen) {
        __atomic_fetch_add(&team.sleeping, 1, __ATOMIC_SEQ_CST);
        sleep_while(seen);
        __atomic_fetch_sub(&team.sleeping, 1, __ATOMIC_SEQ_CST);
        gate = __atomic_load_n(&team.gate, __ATOMIC_ACQUIRE);
    }
    return gate;
}

static void *worker(void *number) {
    unsigned seen = 0;
    for (;;) {
        u64 gate = next_loop(seen);
        seen = EPOCH(gate);
        while (gate & OPEN && EPOCH(gate) == seen)
            if (__atomic_compare_exchange_n(&team.gate, &gate, gate + ONE, 1, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
                work((int)(i64)number);
                __atomic_fetch_sub(&team.gate, ONE, __ATOMIC_RELEASE);
                break;
            }
    }
    return 0;
}

/* A child process has the memory, and none of the threads. */
static void forget(void) {
    team.gate = 0;
    team.sleeping = team.busy = team.started = 0;
    team.home = -1;
}

static void start(void) {
    sigset_t all, before;
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's own threads' */
    for (int k = 1; k < team.size; k++)
        if (pthread_create(&team.thread[k], &detached, worker, (void *)(i64)k))
            team.size = k; /* the system gives no more */
    pthread_sigmask(SIG_SETMASK, &before, 0);
    pthread_attr_destroy(&detached);
    team.started = 1;
}

static void keep_apart(void) {
#ifdef __linux__
    static cpu_set_t allowed; /* where the first caller may run */
    static int processors;
    const int here = sched_getcpu();
    if (here == team.home)
        return;
    if (!processors)
        processors = sched_getaffinity(0, sizeof allowed, &allowed) ? 1 : CPU_COUNT(&allowed);
    team.home = here;
    if (processors < team.size || processors > FEW || here < 0)
        return;
    cpu_set_t others = allowed;
    CPU_CLR(here, &others);
    for (int k = 1; k < team.size && CPU_COUNT(&others); k++)
        pthread_setaffinity_np(team.thread[k], sizeof others, &others);
#endif
}

static void share_out(body *run, const i64 *slots, i64 count) {
    const int size = team.size;
    const i64 pieces = count < PIECES * size ? count : PIECES * size;
    team.run = run, team.slots = slots, team.count = count, team.pieces = pieces;
    for (i64 k = 0; k < size; k++)
        team.shares[k].range = (u64)(k * pieces / size) | (u64)((k + 1) * pieces / size) << 32;
    const unsigned before = EPOCH(__atomic_load_n(&team.gate, __ATOMIC_RELAXED));
    __atomic_store_n(&team.gate, (u64)(before + 1) << 32 | OPEN, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&team.sleeping, __ATOMIC_SEQ_CST))
        wake(size - 1);
    work(0);
    u64 gate = __atomic_and_fetch(&team.gate, ~OPEN, __ATOMIC_ACQUIRE);
    for (int k = 1; (unsigned)gate; k++) {
        if (k % 1024)
            pause_briefly();
        else
            sched_yield();
        gate = __atomic_load_n(&team.gate, __ATOMIC_ACQUIRE);
    }
}

/* run(slots, begin, end) over all of 0 .. count; `small` where waking a worker takes about as long. */
void team_run(body *run, const i64 *slots, i64 count, int small) {
    if (team.size == 1 || __atomic_exchange_n(&team.busy, 1, __ATOMIC_ACQUIRE)) {
        run(slots, 0, count);
        return;
    }
    if (!team.started)
        start();
    if (small && __atomic_load_n(&team.sleeping, __ATOMIC_RELAXED) && nanoseconds() - team.last > SPIN)
        run(slots, 0, count);
    else {
        keep_apart();
        share_out(run, slots, count);
    }
    team.last = nanoseconds();
    __atomic_store_n(&team.busy, 0, __ATOMIC_RELEASE);
}

/* Sends the workers to sleep: to be called before another library's threads are wanted. The system would wake those on
   the caller's processor where a worker is awake on theirs, and they take turns for milliseconds. */
void team_rest(void) {
    const int workers = team.size - 1;
    if (!team.started || __atomic_load_n(&team.sleeping, __ATOMIC_RELAXED) == workers)
        return;
    __atomic_store_n(&team.resting, 1, __ATOMIC_RELAXED);
    const i64 end = nanoseconds() + GIVE_UP;
    while (__atomic_load_n(&team.sleeping, __ATOMIC_RELAXED) < workers && nanoseconds() < end)
        pause_briefly();
    __atomic_store_n(&team.resting, 0, __ATOMIC_RELAXED);
}

/* How many threads there are, the caller's among them; to be called once, before the first loop. */
void team_size(i64 size) {
    team.size = size < 1 ? 1 : size > MOST ? MOST : (int)size;
    pthread_atfork(0, 0, forget);
}
