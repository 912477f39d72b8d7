// A write on a blocking pipe or socket ends only when all of it is written, and returns the full count; the
// descriptor's flags are not touched meanwhile.
#include "check.h"

enum { LENGTH = 4 << 20, ROOM = 1 << 20 }; // ROOM: more than what a pipe or a socket takes in

static void write_all(int from, int to) {
    static char data[LENGTH], back[LENGTH];
    fill(data, LENGTH, 5);
    memset(back, 0, LENGTH);
    struct aiocb cb = request(from, data, LENGTH, 0);
    CHECK_EQ(aio_write(&cb), 0);
    for (size_t at = 0; at < LENGTH;) {
        if (at < LENGTH - ROOM) CHECK_EQ(aio_error(&cb), EINPROGRESS);
        CHECK_EQ(fcntl(from, F_GETFL) & O_NONBLOCK, 0);
        size_t piece = LENGTH - at;
        ssize_t got = read(to, back + at, piece < 10000 ? piece : 10000);
        CHECK(got > 0);
        at += (size_t)got;
    }
    CHECK_DONE(&cb, 0, LENGTH);
    CHECK(holds(back, LENGTH, 5));
    CHECK_EQ(drain_pipe(to), 0);
}

int main(void) {
    int p[2], s[2];
    CHECK_EQ(pipe(p), 0);
    write_all(p[1], p[0]);
    write_all(p[1], p[0]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    write_all(s[0], s[1]);
    return 0;
}
