// A read of what is in the page cache notifies like any other: by signal, once, after its status; by thread; also when the
// signal queue is full; and a list of such reads notifies once all have ended, even if no thread was left by then.
// glibc: skip: with a full signal queue its signals are lost
#include "check.h"
#include <semaphore.h>

enum { N = 50 };

static sem_t called;
static struct aiocb by_thread;

static void function(union sigval value) {
    CHECK(value.sival_ptr == &by_thread && aio_error(&by_thread) == 0);
    // Until it has returned, this thread takes every signal: those that come next are main's.
    block_signal(SIGRTMIN + 1);
    sem_post(&called);
}

int main(void) {
    int fd = temp_file(), number = SIGRTMIN + 1;
    static unsigned char data[N][100];
    put_pattern(fd, 0, 4096, 1);
    block_signal(number);
    static struct aiocb cbs[N];
    struct aiocb *list[N];
    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, data[i], 100, 0);
        notify_by_signal(&cbs[i], number, i);
        CHECK_EQ(aio_read(&cbs[i]), 0);
        siginfo_t info = take_signal(number);
        CHECK_EQ(info.si_code, SI_ASYNCIO);
        CHECK_EQ(info.si_value.sival_int, i);
        CHECK_DONE(&cbs[i], 0, 100);
    }
    CHECK_EQ(sem_init(&called, 0, 0), 0);
    static unsigned char byte;
    by_thread = request(fd, &byte, 1, 0);
    by_thread.aio_sigevent.sigev_notify = SIGEV_THREAD;
    by_thread.aio_sigevent.sigev_notify_function = function;
    by_thread.aio_sigevent.sigev_value.sival_ptr = &by_thread;
    CHECK_EQ(aio_read(&by_thread), 0);
    while (sem_wait(&called) != 0) {}

    for (int i = 0; i < N; i++) {
        cbs[i] = request(fd, data[i], 100, 0);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    struct aiocb event = {0};
    notify_by_signal(&event, number, 1000);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, N, &event.aio_sigevent), 0);
    CHECK_EQ(take_signal(number).si_value.sival_int, 1000);
    for (int i = 0; i < N; i++) CHECK_DONE(&cbs[i], 0, 100);

    // Room for four signals, and no more until somebody takes them.
    struct rlimit limit = {4, 4};
    CHECK_EQ(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
    for (int i = 0; i < N; i++) {
        notify_by_signal(&cbs[i], number, i);
        CHECK_EQ(aio_read(&cbs[i]), 0);
        CHECK_DONE(&cbs[i], 0, 100);
    }
    bool seen[N] = {false};
    for (int i = 0; i < N; i++) {
        int value = take_signal(number).si_value.sival_int;
        CHECK(value >= 0 && value < N && !seen[value], "value %d", value);
        seen[value] = true;
    }
    return 0;
}
