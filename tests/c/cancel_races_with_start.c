// Requests cancelled by one thread while others submit, and while they start: each ends exactly once, as cancelled or
// as done, and its data says which.
#include "check.h"

enum { THREADS = 4, ROUNDS = 3000 };

static int fd;

static void *submit_and_cancel(void *argument) {
    int self = (int)(intptr_t)argument, cancelled = 0;
    for (int round = 1; round <= ROUNDS; round++) {
        uint32_t data = (uint32_t)(self * ROUNDS + round), back = 0;
        off_t at = ((off_t)self * ROUNDS + round) * 4;
        struct aiocb cb = request(fd, &data, 4, at), second = request(fd, &data, 4, at);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_EQ(aio_write(&second), 0);
        CHECK(aio_cancel(fd, &second) >= 0);
        CHECK(aio_cancel(fd, &cb) >= 0);
        wait_done(&cb);
        wait_done(&second);
        bool done = aio_error(&cb) == 0 || aio_error(&second) == 0;
        CHECK(aio_error(&cb) == 0 || aio_error(&cb) == ECANCELED);
        CHECK(aio_error(&second) == 0 || aio_error(&second) == ECANCELED);
        CHECK_EQ(aio_return(&cb), aio_error(&cb) ? -1 : 4);
        CHECK_EQ(aio_return(&second), aio_error(&second) ? -1 : 4);
        ssize_t got = pread(fd, &back, 4, at);
        CHECK(got >= 0);
        CHECK_EQ(back, done ? data : 0);
        cancelled += !done;
    }
    return (void *)(intptr_t)cancelled;
}

int main(void) {
    fd = temp_file();
    pthread_t threads[THREADS];
    for (intptr_t i = 0; i < THREADS; i++) threads[i] = start_thread(submit_and_cancel, (void *)i);
    for (int i = 0; i < THREADS; i++) join_thread(threads[i]);
    return 0;
}
