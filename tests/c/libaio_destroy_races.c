// A context is destroyed while other threads, or what a signal handler has interrupted, take its events, submit to it and poll it:
// each of those calls does what it says or gives EINVAL, and none touches a ring that is no more.
// interface: libaio
// glibc: races: io_getevents looks into a ring that is no more
// timeout: 120
// takes: 5
#include "rings.h"

enum { PAIRS = 24, ROUNDS = 40, COUNT = 64 };

static int fd;

struct pair {
    pthread_barrier_t begin, end;
    io_context_t made;
    unsigned seed;
};

static void check_answer(long answer, long most) {
    CHECK((answer >= 0 && answer <= most) || answer == -EINVAL || answer == -EAGAIN, "%ld", answer);
}

static int submit_reads(io_context_t made, struct iocb *blocks, char *byte, int count) {
    struct iocb *list[COUNT];
    for (int i = 0; i < count; i++) {
        io_prep_pread(&blocks[i], fd, byte, 1, 0);
        list[i] = &blocks[i];
    }
    return io_submit(made, count, list);
}

static void *taker(void *argument) {
    struct pair *pair = argument;
    struct io_event events[COUNT];
    struct iocb blocks[COUNT];
    struct timespec no_time = {0, 0};
    char byte;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&pair->begin);
        io_context_t made = pair->made;
        int answer = 0;
        switch (round % 3) {
        case 0:
            while (answer >= 0) check_answer(answer = io_getevents(made, 1, COUNT, events, NULL), COUNT);
            break;
        case 1:
            while (answer >= 0 || answer == -EAGAIN) {
                check_answer(answer = submit_reads(made, blocks, &byte, 1 + round % COUNT), COUNT);
                if (answer > 0) check_answer(io_getevents(made, 1, COUNT, events, NULL), COUNT);
            }
            break;
        default:
            while (answer >= 0) check_answer(answer = io_getevents(made, 0, COUNT, events, &no_time), COUNT);
        }
        pthread_barrier_wait(&pair->end);
    }
    return NULL;
}

static void *destroyer(void *argument) {
    struct pair *pair = argument;
    struct iocb blocks[COUNT];
    char byte;
    for (int round = 0; round < ROUNDS; round++) {
        pair->made = context(COUNT);
        pthread_barrier_wait(&pair->begin);
        for (int i = rand_r(&pair->seed) % 3000; i > 0; i--) __asm__ volatile("");
        check_answer(submit_reads(pair->made, blocks, &byte, 1 + rand_r(&pair->seed) % COUNT), COUNT);
        for (int i = rand_r(&pair->seed) % 3000; i > 0; i--) __asm__ volatile("");
        CHECK_EQ(io_destroy(pair->made), 0);
        pthread_barrier_wait(&pair->end);
    }
    return NULL;
}

// ---- by a signal handler ----

static io_context_t interrupted;
static int destroyed;

static void destroys(int number) {
    (void)number;
    destroyed = io_destroy(interrupted);
}

static void in_handlers(void) {
    struct io_event events[COUNT];
    struct iocb blocks[COUNT];
    timer_t timer;
    char byte;
    unsigned seed = 7;
    struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    on_signal(SIGUSR1, destroys);
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &how, &timer), 0);
    for (int round = 0; round < 100; round++) {
        int answer = 0;
        interrupted = context(COUNT);
        struct itimerspec soon = {.it_value = {0, 1 + rand_r(&seed) % 200000}};
        CHECK_EQ(timer_settime(timer, 0, &soon, NULL), 0);
        while (answer >= 0 || answer == -EAGAIN) {
            check_answer(answer = submit_reads(interrupted, blocks, &byte, 1 + round % COUNT), COUNT);
            if (answer <= 0) continue;
            int got = io_getevents(interrupted, 1, COUNT, events, NULL);
            if (got != -EINTR) check_answer(got, COUNT);
        }
        CHECK_EQ(destroyed, 0);
    }
    CHECK_EQ(timer_delete(timer), 0);
}

int main(void) {
    static struct pair pairs[PAIRS];
    pthread_t threads[2 * PAIRS];
    fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < PAIRS; i++) {
        pairs[i].seed = (unsigned)i;
        CHECK_EQ(pthread_barrier_init(&pairs[i].begin, NULL, 2), 0);
        CHECK_EQ(pthread_barrier_init(&pairs[i].end, NULL, 2), 0);
        threads[2 * i] = start_thread(taker, &pairs[i]);
        threads[2 * i + 1] = start_thread(destroyer, &pairs[i]);
    }
    for (int i = 0; i < 2 * PAIRS; i++) join_thread(threads[i]);
    in_handlers();
    return 0;
}
