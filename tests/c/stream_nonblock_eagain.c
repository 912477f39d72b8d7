// On an O_NONBLOCK stream EAGAIN is the result where read or write would give it, and a write that finds some room
// returns the part that fitted.
#include "check.h"

static void refuses(int reader, int writer) {
    char byte = 0;
    struct aiocb cb = request(reader, &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, EAGAIN, -1);

    CHECK_EQ(write(writer, "x", 1), 1);
    cb = request(reader, &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 1);
    CHECK_EQ(byte, 'x');

    static char much[8 << 20];
    cb = request(writer, much, sizeof much, 0);
    CHECK_EQ(aio_write(&cb), 0);
    wait_done(&cb);
    CHECK_EQ(aio_error(&cb), 0);
    ssize_t part = aio_return(&cb);
    CHECK(part > 0 && part < (ssize_t)sizeof much, "%zd", part);

    while (write(writer, much, 1) == 1) part++;
    cb = request(writer, much, 1, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, EAGAIN, -1);
    CHECK_EQ(drain_pipe(reader), part);
}

int main(void) {
    int p[2], s[2];
    CHECK_EQ(pipe2(p, O_NONBLOCK), 0);
    refuses(p[0], p[1]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
    refuses(s[0], s[1]);
    return 0;
}
