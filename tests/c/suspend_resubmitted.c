// A request that ends while a thread waits for it ends the wait, even if its aiocb is in flight again before that thread runs:
// one listed, or many, or so many threads that they have to share where they sleep; by whoever it is submitted again, cleared in
// between or not.
// timeout: 120
// takes: 4
#include "check.h"

enum { ROUNDS = 40, MOST = 40, CROWD = 80 };

static int p[2], idle[2];
static char byte, idle_bytes[MOST];
static struct aiocb again, others[MOST];
static bool clears, by_function;
static int listed = 1, returned, entered, last_runs;
static bool over;

static void submit(void);

// The request's own function.
static void resubmit(union sigval unused) {
    (void)unused;
    CHECK_EQ(aio_return(&again), 1);
    if (__atomic_load_n(&over, __ATOMIC_SEQ_CST))
        __atomic_add_fetch(&last_runs, 1, __ATOMIC_SEQ_CST);
    else
        submit();
}

static void submit(void) {
    if (clears) again = request(p[0], &byte, 1, 0);
    if (by_function) {
        again.aio_sigevent.sigev_notify = SIGEV_THREAD;
        again.aio_sigevent.sigev_notify_function = resubmit;
    }
    CHECK_EQ(aio_read(&again), 0);
}

static void *wait_for_it(void *thread) {
    const struct aiocb *list[MOST] = {0};
    for (int i = 0; i < listed - 1; i++) list[i] = &others[i];
    list[listed - 1] = &again;
    *(pid_t *)thread = thread_id();
    __atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
    struct timespec patience = {PATIENCE_S, 0};
    CHECK_EQ(aio_suspend(list, listed, &patience), 0);
    __atomic_add_fetch(&returned, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

// Never gives up its processor: the waiters cannot be faster.
static void *resubmitter(void *unused) {
    while (aio_error(&again) == EINPROGRESS) {}
    CHECK_EQ(aio_return(&again), 1);
    submit();
    return unused;
}

// Each round: threads wait, the request ends, and is submitted again at once; all return, although it never ends again.
static void check_waiters(int waiters) {
    static pthread_t threads[CROWD];
    static pid_t numbers[CROWD];
    again = request(p[0], &byte, 1, 0);
    __atomic_store_n(&over, false, __ATOMIC_SEQ_CST);
    submit();
    for (int round = 0; round < (waiters > 1 ? 4 : ROUNDS); round++) {
        pthread_t other = 0;
        returned = entered = 0;
        for (int i = 0; i < waiters; i++) threads[i] = start_thread(wait_for_it, &numbers[i]);
        WAIT_FOR(__atomic_load_n(&entered, __ATOMIC_SEQ_CST) == waiters);
        for (int i = 0; i < waiters; i++) wait_thread_blocked(numbers[i]);
        if (!by_function) other = start_thread(resubmitter, NULL);
        CHECK_EQ(write(p[1], "x", 1), 1);
        if (!by_function) join_thread(other);
        WAIT_FOR(__atomic_load_n(&returned, __ATOMIC_SEQ_CST) == waiters);
        for (int i = 0; i < waiters; i++) join_thread(threads[i]);
        // The function may be about to submit.
        if (by_function) WAIT_FOR(aio_error(&again) == EINPROGRESS);
    }
    CHECK_EQ(aio_error(&again), EINPROGRESS);
    __atomic_store_n(&over, true, __ATOMIC_SEQ_CST);
    CHECK_EQ(write(p[1], "x", 1), 1);
    wait_done(&again);
    if (by_function) WAIT_FOR(__atomic_exchange_n(&last_runs, 0, __ATOMIC_SEQ_CST) == 1);
}

int main(void) {
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(pipe(idle), 0);
    for (int i = 0; i < MOST; i++) {
        others[i] = request(idle[0], &idle_bytes[i], 1, 0);
        CHECK_EQ(aio_read(&others[i]), 0);
    }
    for (int way = 0; way < 8; way++) {
        clears = way & 1;
        by_function = way & 2;
        listed = way & 4 ? MOST : 1;
        check_waiters(1);
    }
    by_function = false;
    for (int many = 0; many < 2; many++) {
        listed = many ? 2 : 1;
        check_waiters(CROWD);
    }
    return 0;
}
