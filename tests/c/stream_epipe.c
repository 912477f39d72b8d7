// A write to a stream that nobody reads ends with EPIPE, at once or while it waits, and SIGPIPE does not kill the
// process; a waiting read ends with 0 when the other end is closed.
#include "check.h"

static void broken(int pair[2], int other[2], int third[2]) {
    struct aiocb cb = request(pair[1], "x", 1, 0);
    close(pair[0]);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, EPIPE, -1);

    static char much[1 << 20];
    struct aiocb waiting = request(other[1], much, sizeof much, 0), behind = request(other[1], "x", 1, 0);
    CHECK_EQ(aio_write(&waiting), 0);
    CHECK_EQ(aio_write(&behind), 0);
    struct pollfd out = {.fd = other[1], .events = POLLOUT};
    WAIT_FOR(poll(&out, 1, 0) == 0);
    close(other[0]);
    wait_done(&waiting);
    // As with write(2), what was out before counts.
    CHECK(aio_error(&waiting) == EPIPE || (aio_error(&waiting) == 0 && aio_return(&waiting) < (ssize_t)sizeof much));
    CHECK_DONE(&behind, EPIPE, -1);

    char to[4];
    struct aiocb in = request(third[0], to, sizeof to, 0), in2 = request(third[0], to, sizeof to, 0);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_EQ(aio_read(&in2), 0);
    close(third[1]);
    CHECK_DONE(&in, 0, 0);
    CHECK_DONE(&in2, 0, 0);
}

int main(void) {
    int p[3][2], s[3][2];
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pipe(p[i]), 0);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s[i]), 0);
    }
    broken(p[0], p[1], p[2]);
    broken(s[0], s[1], s[2]);
    return 0;
}
