// aio_suspend gives EAGAIN when the time is over: not before, by CLOCK_MONOTONIC.
#include "check.h"

int main(void) {
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    char byte;
    struct aiocb cb = request(ends[0], &byte, 1, 0);
    const struct aiocb *list[] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);

    const long nanoseconds[] = {0, 1, 1000, 999999, 10000000, 250000000, 999999999};
    for (size_t i = 0; i < sizeof nanoseconds / sizeof *nanoseconds; i++) {
        struct timespec timeout = {0, nanoseconds[i]};
        double start = now_s();
        CHECK_FAILS(aio_suspend(list, 1, &timeout), EAGAIN);
        double elapsed = now_s() - start;
        CHECK(elapsed >= (double)nanoseconds[i] / 1e9, "%ld ns took %.9f s", nanoseconds[i], elapsed);
        CHECK(elapsed < (double)nanoseconds[i] / 1e9 + 5, "%ld ns took %.9f s", nanoseconds[i], elapsed);
    }
    struct timespec timeout = {1, 100000000};
    double start = now_s();
    CHECK_FAILS(aio_suspend(list, 1, &timeout), EAGAIN);
    CHECK(now_s() - start >= 1.1);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);

    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_DONE(&cb, 0, 1);
    return 0;
}
