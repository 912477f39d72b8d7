// Any number of seconds is a time to wait: up to the largest, without an overflow that would end the wait at once.
// glibc: fails: aio_suspend with the largest tv_sec gives EAGAIN at once
#include "check.h"

int main(void) {
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    const time_t seconds[] = {
        INT_MAX, (time_t)UINT_MAX + 1, 1LL << 40, LLONG_MAX / 1000000000 + 1, LLONG_MAX - 1, LLONG_MAX,
    };
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        char byte;
        struct aiocb cb = request(ends[0], &byte, 1, 0);
        const struct aiocb *list[] = {&cb};
        struct timespec timeout = {seconds[i], 999999999};
        CHECK_EQ(aio_read(&cb), 0);
        pthread_t writer = write_when_blocked(ends[1]);
        int got = aio_suspend(list, 1, &timeout);
        CHECK(got == 0, "tv_sec %lld gives %s", (long long)seconds[i], check_errno(errno));
        CHECK_EQ(aio_error(&cb), 0);
        join_thread(writer);
    }
    return 0;
}
