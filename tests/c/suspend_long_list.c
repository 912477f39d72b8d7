// A list of 4,000,000 entries is served like a short one: the stack does not overflow.
// glibc: fails: aio_suspend overflows the stack on a long list
#include "check.h"

enum { N = 4000000 };

int main(void) {
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    const struct aiocb **list = calloc(N, sizeof *list);
    CHECK(list != NULL);
    for (int round = 0; round < 2; round++) {
        char byte;
        struct aiocb cb = request(ends[0], &byte, 1, 0);
        CHECK_EQ(aio_read(&cb), 0);
        // The request as the last entry, then as every one.
        for (int i = round ? 0 : N - 1; i < N; i++) list[i] = &cb;
        struct timespec timeout = {0, 1000000};
        CHECK_FAILS(aio_suspend(list, N, &timeout), EAGAIN);
        pthread_t writer = write_when_blocked(ends[1]);
        CHECK_EQ(aio_suspend(list, N, NULL), 0);
        CHECK_EQ(aio_error(&cb), 0);
        CHECK_EQ(aio_suspend(list, N, NULL), 0);
        join_thread(writer);
    }
    return 0;
}
