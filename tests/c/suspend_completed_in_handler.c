// When the request has ended by the time the interrupting handler returns, aio_suspend gives 0, not EINTR.
// glibc: fails: aio_suspend gives EINTR although the request has ended
#include "check.h"

static pthread_t waiter;
static pid_t waiter_id;
static int ends[2];
static struct aiocb cb;

static void handler(int number) {
    (void)number;
    if (write(ends[1], "x", 1) != 1) _exit(9);
    while (aio_error(&cb) == EINPROGRESS) sched_yield();
}

static void *interrupt(void *unused) {
    wait_thread_blocked(waiter_id);
    CHECK_EQ(pthread_kill(waiter, SIGUSR1), 0);
    return unused;
}

int main(void) {
    on_signal(SIGUSR1, handler);
    waiter = pthread_self();
    waiter_id = thread_id();
    CHECK_EQ(pipe(ends), 0);
    for (int round = 0; round < 20; round++) {
        char byte;
        cb = request(ends[0], &byte, 1, 0);
        const struct aiocb *list[] = {&cb};
        struct timespec timeout = {PATIENCE_S, 0};
        CHECK_EQ(aio_read(&cb), 0);
        pthread_t thread = start_thread(interrupt, NULL);
        CHECK_EQ(aio_suspend(list, 1, round % 2 ? &timeout : NULL), 0);
        CHECK_EQ(aio_error(&cb), 0);
        join_thread(thread);
    }
    return 0;
}
