// A tv_nsec outside 0..999,999,999 is -1/EINVAL.
// glibc: fails: aio_suspend with a tv_nsec of 3,000,000,000 aborts the process
#include "check.h"

int main(void) {
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    char byte;
    struct aiocb cb = request(ends[0], &byte, 1, 0);
    const struct aiocb *list[] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);
    const long bad[] = {3000000000, 1000000000, -1, LONG_MAX, LONG_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct timespec timeout = {0, bad[i]};
        CHECK_FAILS(aio_suspend(list, 1, &timeout), EINVAL);
        timeout.tv_sec = 5;
        CHECK_FAILS(aio_suspend(list, 1, &timeout), EINVAL);
    }
    // A time before now is over, or wrong.
    struct timespec timeout = {-1, 0};
    CHECK(aio_suspend(list, 1, &timeout) == -1 && (errno == EAGAIN || errno == EINVAL));
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_DONE(&cb, 0, 1);
    return 0;
}
