// A read of a stream that has no data is cancelled whenever aio_cancel comes: also while the library is trying it. (A try
// waits for nothing, so the answer can wait for the try.)
// glibc: fails: a read that waits on a pipe cannot be cancelled
#include "check.h"

enum { ROUNDS = 5000 };

int main(void) {
    int p[2], s[2];
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    int readers[] = {p[0], s[0]};
    char buffer[8];
    for (int i = 0; i < ROUNDS; i++) {
        int reader = readers[i % 2];
        struct aiocb cb = request(reader, buffer, sizeof buffer, 0);
        CHECK_EQ(aio_read(&cb), 0);
        // Sooner or later in the life of the request, by a few hundred nanoseconds a round.
        for (volatile int spin = 0; spin < i % 997 * 8; spin++) continue;
        CHECK_EQ(aio_cancel(reader, i % 3 ? &cb : NULL), AIO_CANCELED);
        CHECK_EQ(aio_error(&cb), ECANCELED);
        CHECK_EQ(aio_return(&cb), -1);
    }
    return 0;
}
