// Every call of the family may be made in a signal handler that interrupts any of them, on an alternate stack of 16 KiB:
// no deadlock, no lost or wrong result.
// glibc: races: AIO calls in a signal handler that interrupts another AIO call corrupt its lists or deadlock
// timeout: 90
// takes: 6
#include "check.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { SLOTS = 12, LENGTH = 512, HANDLER_RUNS = 20000, SECONDS = 6, STACK = 16 << 10 };

// The main program and its handler have a side each, and do the same.
struct slot {
    struct aiocb cb;
    unsigned char buffer[LENGTH];
    unsigned wanted, there; // seeds of the data in flight, of the data in the file
    enum { IDLE, WRITE, READ, SYNC } kind;
};
struct side {
    int fd;
    unsigned steps, done, cancelled, random;
    struct slot slots[SLOTS];
};
static struct side main_side, handler_side;
static volatile unsigned handler_runs;
static volatile bool over;
static timer_t timer;
static pthread_t main_thread;

static unsigned random_number(struct side *s, unsigned below) {
    s->random = s->random * 1664525 + 1013904223;
    return (s->random >> 8) % below;
}

static void collect(struct side *s, struct slot *slot) {
    int error = aio_error(&slot->cb);
    ssize_t result = aio_return(&slot->cb);
    if (error == ECANCELED) {
        if (result != -1) FAIL("cancelled, and returns %zd", result);
        s->cancelled++;
    } else {
        if (error) FAIL("kind %d ends with %s", slot->kind, strerrorname_np(error));
        if (result != (slot->kind == SYNC ? 0 : LENGTH)) FAIL("kind %d returns %zd", slot->kind, result);
        if (slot->kind == WRITE) slot->there = slot->wanted;
        if (slot->kind == READ && !holds(slot->buffer, LENGTH, slot->there)) FAIL("a read returns other data");
        s->done++;
    }
    slot->kind = IDLE;
}

static void start(struct side *s, struct slot *slot) {
    off_t at = (slot - s->slots) * LENGTH;
    unsigned how = random_number(s, 10);
    slot->cb = request(s->fd, slot->buffer, LENGTH, at);
    slot->kind = how == 9 ? SYNC : slot->there && how % 2 ? READ : WRITE;
    int got;
    if (slot->kind == WRITE) {
        slot->wanted = ++s->steps;
        fill(slot->buffer, LENGTH, slot->wanted);
        slot->cb.aio_lio_opcode = LIO_WRITE;
    } else {
        slot->cb.aio_lio_opcode = LIO_READ;
    }
    struct aiocb *list[1] = {&slot->cb};
    if (slot->kind == SYNC) {
        got = aio_fsync(O_DSYNC, &slot->cb);
    } else if (how == 4 || how == 5) {
        got = lio_listio(LIO_NOWAIT, list, 1, NULL);
    } else if (how == 6) {
        got = lio_listio(LIO_WAIT, list, 1, NULL);
        if (got && errno == EINTR) got = 0;
    } else {
        got = slot->kind == WRITE ? aio_write(&slot->cb) : aio_read(&slot->cb);
    }
    if (got) FAIL("submission of kind %d, how %u: %s", slot->kind, how, strerrorname_np(errno));
}

static void step(struct side *s) {
    struct slot *slot = &s->slots[random_number(s, SLOTS)];
    struct timespec zero = {0, 0};
    const struct aiocb *list[2] = {&slot->cb, NULL};
    if (slot->kind == IDLE) {
        start(s, slot);
    } else if (aio_error(&slot->cb) != EINPROGRESS) {
        collect(s, slot);
    } else {
        int got = 0, how = (int)random_number(s, 4);
        if (how == 0) got = aio_cancel(s->fd, &slot->cb);
        if (how == 1) got = aio_suspend(list, 2, &zero);
        if (how == 2) got = aio_suspend(list, 2, NULL);
        if (got == -1 && errno != EAGAIN && errno != EINTR) FAIL("call %d: %s", how, strerrorname_np(errno));
    }
}

static void arm(void) {
    long ns = 5000 + (long)random_number(&handler_side, 60000);
    struct itimerspec when = {.it_value = {0, ns}};
    timer_settime(timer, 0, &when, NULL);
}

static void handler(int number) {
    (void)number;
    int saved = errno;
    if (!pthread_equal(pthread_self(), main_thread)) FAIL("the handler runs in another thread");
    for (int i = 0; i < 3; i++) step(&handler_side);
    handler_runs++;
    if (!over) arm();
    errno = saved;
}

// Says what went wrong, before the harness only kills.
static void *watch(void *unused) {
    (void)unused;
    unsigned before = 0;
    for (int quiet = 0; !over; quiet++) {
        pause_ms(100);
        unsigned now = __atomic_load_n(&main_side.done, __ATOMIC_RELAXED) + handler_runs;
        if (now != before) quiet = 0;
        before = now;
        if (quiet > PATIENCE_S * 10) FAIL("deadlock: nothing moves for %d s after %u handler runs", PATIENCE_S, handler_runs);
    }
    return NULL;
}

int main(void) {
    main_thread = pthread_self();
    main_side.fd = temp_file();
    handler_side.fd = temp_file();
    main_side.random = 1;
    handler_side.random = 2;
    // The first request is not made in a handler: it may create the first thread.
    start(&main_side, &main_side.slots[0]);

    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *stack = mmap(NULL, page + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    CHECK_EQ(mprotect(stack, page, PROT_NONE), 0); // an overflow is a SIGSEGV
    CHECK_EQ(sigaltstack(&(stack_t){.ss_sp = stack + page, .ss_size = STACK}, NULL), 0);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    CHECK_EQ(sigaction(SIGRTMIN + 5, &action, NULL), 0);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 5};
    event.sigev_notify_thread_id = thread_id();
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 5);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    pthread_t watcher = start_thread(watch, NULL);
    CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);

    double until = now_s() + SECONDS;
    arm();
    while (handler_runs < HANDLER_RUNS && (now_s() < until || handler_runs < 1000)) step(&main_side);
    over = true;
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    join_thread(watcher);
    for (int i = 0; i < SLOTS; i++) {
        struct side *sides[2] = {&main_side, &handler_side};
        for (int n = 0; n < 2; n++) {
            if (sides[n]->slots[i].kind == IDLE) continue;
            wait_done(&sides[n]->slots[i].cb);
            collect(sides[n], &sides[n]->slots[i]);
        }
    }
    CHECK(main_side.done > 100 && handler_side.done > 100);
    dprintf(1, "%u handler runs, %u + %u requests, %u + %u cancelled\n", handler_runs, main_side.done,
            handler_side.done, main_side.cancelled, handler_side.cancelled);
    return 0;
}
