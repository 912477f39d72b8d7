// A SIGEV_THREAD request whose callback thread cannot be created, because the user may have no more: the submission says
// EAGAIN, or the callback runs once a thread can be had. It is never lost.
// glibc: fails: a SIGEV_THREAD notification is lost when the process may create no more threads
// env: AIO_RS=idle=60s
#include "check.h"

enum { COUNT = 50 };

static int calls[COUNT], total;

static void called(union sigval value) {
    __atomic_add_fetch(&calls[value.sival_int], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&total, 1, __ATOMIC_RELEASE);
}

static void run(void) {
    int file = temp_file();
    struct aiocb first = request(file, "data", 4, 0);
    CHECK_EQ(aio_write(&first), 0); // now there is a worker
    CHECK_DONE(&first, 0, 4);
    limit_threads(0);
    static struct aiocb cbs[COUNT];
    int accepted = 0;
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(file, "data", 4, i * 4);
        cbs[i].aio_sigevent =
            (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = called, .sigev_value.sival_int = i};
        if (aio_write(&cbs[i]) == 0) {
            accepted++;
            CHECK_DONE(&cbs[i], 0, 4); // the result does not depend on it
        } else {
            CHECK_EQ(errno, EAGAIN);
        }
    }
    limit_threads(RLIM_INFINITY);
    WAIT_FOR(__atomic_load_n(&total, __ATOMIC_ACQUIRE) == accepted);
    for (int i = 0; i < COUNT; i++) CHECK(calls[i] <= 1);
}

int main(void) {
    return run_unprivileged(run);
}
