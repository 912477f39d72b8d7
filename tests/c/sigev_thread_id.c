// SIGEV_THREAD_ID sends the signal to the thread that it names, and to no other.
// glibc: fails: SIGEV_THREAD_ID is taken without an error and never notifies
// modes: shared,static,preload
#include "check.h"
#include <semaphore.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { COUNT = 100 };

static sem_t ready;
static volatile pid_t target;

static void *receiver(void *unused) {
    (void)unused;
    target = thread_id();
    sem_post(&ready);
    int seen[COUNT] = {0};
    for (int n = 0; n < COUNT; n++) {
        siginfo_t info = take_signal(SIGRTMIN + 1);
        CHECK_EQ(info.si_code, SI_ASYNCIO);
        int i = info.si_value.sival_int;
        CHECK(i >= 0 && i < COUNT);
        CHECK_EQ(seen[i]++, 0);
    }
    return NULL;
}

int main(void) {
    block_signal(SIGRTMIN + 1);
    sem_init(&ready, 0, 0);
    pthread_t thread = start_thread(receiver, NULL);
    while (sem_wait(&ready)) {}
    int fd = temp_file();
    static struct aiocb cbs[COUNT];
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(fd, "data", 4, 4 * i);
        cbs[i].aio_sigevent.sigev_notify = SIGEV_THREAD_ID;
        cbs[i].aio_sigevent.sigev_signo = SIGRTMIN + 1;
        cbs[i].aio_sigevent.sigev_value.sival_int = i;
        cbs[i].aio_sigevent.sigev_notify_thread_id = target;
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    for (int i = 0; i < COUNT; i++) CHECK_DONE(&cbs[i], 0, 4);
    join_thread(thread);
    sigset_t pending;
    CHECK_EQ(sigpending(&pending), 0);
    CHECK(!sigismember(&pending, SIGRTMIN + 1));

    // A thread that is gone: the result stands, and nothing else suffers.
    CHECK_EQ(aio_write(&cbs[0]), 0);
    CHECK_DONE(&cbs[0], 0, 4);
    struct aiocb plain = request(fd, "data", 4, 0);
    CHECK_EQ(aio_write(&plain), 0);
    CHECK_DONE(&plain, 0, 4);
    CHECK_EQ(sigpending(&pending), 0);
    CHECK(!sigismember(&pending, SIGRTMIN + 1));
    return 0;
}
