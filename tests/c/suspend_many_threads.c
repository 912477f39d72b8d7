// 64 threads, each in aio_suspend on its own request: each wakes for its own, whatever the order; and 16 threads on one
// request all wake; and so do 200 that each wait for two requests, of which the other never ends.
#include "check.h"

enum { N = 200, ALONE = 64, SAME = 16 };

static int ends[N][2];
static struct aiocb cbs[N], endless;
static pid_t ids[N];
static int woken;

static void *wait_own(void *argument) {
    size_t i = (size_t)argument;
    __atomic_store_n(&ids[i], thread_id(), __ATOMIC_RELEASE);
    const struct aiocb *list[] = {&cbs[i]};
    CHECK_EQ(aio_suspend(list, 1, NULL), 0);
    CHECK_EQ(aio_error(&cbs[i]), 0);
    __atomic_add_fetch(&woken, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void *wait_first(void *argument) {
    ids[(size_t)argument] = thread_id();
    const struct aiocb *list[] = {&cbs[0]};
    CHECK_EQ(aio_suspend(list, 1, NULL), 0);
    CHECK_EQ(aio_error(&cbs[0]), 0);
    return NULL;
}

static void *wait_own_of_two(void *argument) {
    size_t i = (size_t)argument;
    __atomic_store_n(&ids[i], thread_id(), __ATOMIC_RELEASE);
    const struct aiocb *list[] = {&endless, &cbs[i]};
    CHECK_EQ(aio_suspend(list, 2, NULL), 0);
    CHECK_EQ(aio_error(&cbs[i]), 0);
    __atomic_add_fetch(&woken, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void wait_all_blocked(int n) {
    for (int i = 0; i < n; i++) {
        WAIT_FOR(__atomic_load_n(&ids[i], __ATOMIC_ACQUIRE) != 0);
        wait_thread_blocked(ids[i]);
    }
}

static char bytes[N];
static pthread_t threads[N];

static void each_wakes_for_its_own(int n, void *(*wait)(void *)) {
    memset(ids, 0, sizeof ids);
    woken = 0;
    for (int i = 0; i < n; i++) {
        CHECK_EQ(aio_read(&cbs[i]), 0);
        threads[i] = start_thread(wait, (void *)(size_t)i);
    }
    wait_all_blocked(n);
    CHECK_EQ(woken, 0);
    for (int i = 0; i < n; i++) CHECK_EQ(write(ends[i * 37 % n][1], "x", 1), 1);
    for (int i = 0; i < n; i++) join_thread(threads[i]);
    CHECK_EQ(woken, n);
}

int main(void) {
    for (size_t i = 0; i < N; i++) {
        CHECK_EQ(pipe(ends[i]), 0);
        cbs[i] = request(ends[i][0], &bytes[i], 1, 0);
    }
    each_wakes_for_its_own(ALONE, wait_own);

    memset(ids, 0, sizeof ids);
    CHECK_EQ(aio_read(&cbs[0]), 0);
    for (size_t i = 0; i < SAME; i++) threads[i] = start_thread(wait_first, (void *)i);
    wait_all_blocked(SAME);
    CHECK_EQ(write(ends[0][1], "x", 1), 1);
    for (int i = 0; i < SAME; i++) join_thread(threads[i]);

    int idle[2];
    char byte;
    CHECK_EQ(pipe(idle), 0);
    endless = request(idle[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&endless), 0);
    each_wakes_for_its_own(N, wait_own_of_two);
    CHECK_EQ(aio_error(&endless), EINPROGRESS);
    return 0;
}
