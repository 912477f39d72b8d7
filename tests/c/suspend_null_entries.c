// NULL entries in aio_suspend's list are skipped, wherever they stand.
#include "check.h"

int main(void) {
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    for (int at = 0; at < 5; at++) {
        char byte;
        struct aiocb cb = request(ends[0], &byte, 1, 0);
        const struct aiocb *list[5] = {NULL};
        list[at] = &cb;
        CHECK_EQ(aio_read(&cb), 0);
        struct timespec timeout = {0, 1000000};
        CHECK_FAILS(aio_suspend(list, 5, &timeout), EAGAIN);
        pthread_t writer = write_when_blocked(ends[1]);
        CHECK_EQ(aio_suspend(list, 5, NULL), 0);
        CHECK_EQ(aio_error(&cb), 0);
        CHECK_EQ(aio_return(&cb), 1);
        join_thread(writer);
    }

    // Nothing to wait for: at once, or when the time is over.
    const struct aiocb *nothing[3] = {NULL};
    struct timespec timeout = {0, 1000000};
    int got = aio_suspend(nothing, 3, &timeout);
    CHECK(got == 0 || (got == -1 && errno == EAGAIN));
    got = aio_suspend(nothing, 0, &timeout);
    CHECK(got == 0 || (got == -1 && errno == EAGAIN));
    return 0;
}
