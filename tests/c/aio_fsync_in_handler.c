// aio_fsync is safe in a signal handler, even one that interrupts a call of the family.
// glibc: races: aio_fsync in a signal handler deadlocks when it interrupts another call
#include "check.h"

enum { SYNCS = 64 };

static int fd;
static struct aiocb syncs[SYNCS];
static volatile unsigned used, runs;
static volatile bool over;

static void handler(int number) {
    (void)number;
    int saved = errno;
    for (unsigned i = 0; i < SYNCS; i++) {
        if (i < used && aio_error(&syncs[i]) == EINPROGRESS) continue;
        if (i < used && (aio_error(&syncs[i]) != 0 || aio_return(&syncs[i]) != 0)) FAIL("fsync: %d", aio_error(&syncs[i]));
        if (i >= used) used = i + 1;
        syncs[i] = request(fd, NULL, 0, 0);
        if (aio_fsync(runs % 2 ? O_SYNC : O_DSYNC, &syncs[i])) FAIL("aio_fsync: %s", strerrorname_np(errno));
        break;
    }
    runs++;
    errno = saved;
}

static void *interrupt_main(void *argument) {
    pthread_t *main_thread = argument;
    unsigned before = 0;
    double deadline = now_s() + PATIENCE_S;
    while (!over) {
        pthread_kill(*main_thread, SIGUSR1);
        while (runs == before && !over) {
            sched_yield();
            if (now_s() > deadline) FAIL("deadlock after %u runs of the handler", runs);
        }
        before = runs;
    }
    return NULL;
}

int main(void) {
    fd = temp_file();
    on_signal(SIGUSR1, handler);
    pthread_t self = pthread_self();
    struct aiocb cbs[8];
    unsigned char data[8][64];
    for (int i = 0; i < 8; i++) {
        fill(data[i], 64, (unsigned)i);
        cbs[i] = request(fd, data[i], 64, i * 64);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    pthread_t other = start_thread(interrupt_main, &self);
    double until = now_s() + 10;
    while (runs < 5000 && now_s() < until) {
        for (int i = 0; i < 8; i++) {
            const struct aiocb *list[1] = {&cbs[i]};
            struct timespec zero = {0, 0};
            aio_suspend(list, 1, &zero);
            if (aio_error(&cbs[i]) == EINPROGRESS) continue;
            CHECK_EQ(aio_error(&cbs[i]), 0);
            CHECK_EQ(aio_return(&cbs[i]), 64);
            CHECK_EQ(aio_write(&cbs[i]), 0);
        }
    }
    CHECK(runs > 100, "%u runs", runs);
    over = true;
    join_thread(other);
    for (int i = 0; i < 8; i++) CHECK_DONE(&cbs[i], 0, 64);
    for (unsigned i = 0; i < used; i++) wait_done(&syncs[i]);
    return 0;
}
