// A signal handler that runs during aio_suspend ends it with EINTR; the request goes on.
#include "check.h"

static pthread_t waiter;
static pid_t waiter_id;
static bool returned;
static volatile sig_atomic_t handled;

static void handler(int number) {
    (void)number;
    handled++;
}

// Again and again: the thread may also block on its way to the wait, and a signal there interrupts nothing.
static void *interrupt(void *unused) {
    while (!__atomic_load_n(&returned, __ATOMIC_ACQUIRE)) {
        wait_thread_blocked(waiter_id);
        CHECK_EQ(pthread_kill(waiter, SIGUSR1), 0);
    }
    return unused;
}

int main(void) {
    on_signal(SIGUSR1, handler);
    waiter = pthread_self();
    waiter_id = thread_id();
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    char byte;
    struct aiocb cb = request(ends[0], &byte, 1, 0);
    const struct aiocb *list[] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);
    for (int round = 0; round < 20; round++) {
        struct timespec timeout = {PATIENCE_S, 0};
        returned = false;
        int before = handled;
        pthread_t thread = start_thread(interrupt, NULL);
        CHECK_FAILS(aio_suspend(list, 1, round % 2 ? &timeout : NULL), EINTR);
        __atomic_store_n(&returned, true, __ATOMIC_RELEASE);
        CHECK(handled > before);
        join_thread(thread);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
    }
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_DONE(&cb, 0, 1);
    return 0;
}
