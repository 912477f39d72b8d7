// A read that waits on a stream and is cancelled leaves nothing behind that the library would wait for: after the idle
// time all its threads end.
// glibc: skip: there a read that waits on a stream cannot be cancelled
// env: AIO_RS=idle=100ms
// takes: 6
#include "check.h"

enum how { CANCEL_ONE, CANCEL_ALL, CLOSE, HOWS };

static void run(enum how how, int reader) {
    int p[2];
    char bytes[2];
    CHECK_EQ(pipe(p), 0);
    struct aiocb waiting = request(reader, &bytes[0], 1, 0), later = request(p[0], &bytes[1], 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    CHECK_EQ(aio_read(&later), 0);
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_DONE(&later, 0, 1); // streams are taken up in turn: the other one is being waited for by now
    CHECK(thread_count() > 1);
    if (how == CLOSE)
        CHECK_EQ(close(reader), 0);
    else
        CHECK_EQ(aio_cancel(reader, how == CANCEL_ONE ? &waiting : NULL), AIO_CANCELED);
    CHECK_DONE(&waiting, ECANCELED, -1);
    WAIT_FOR(thread_count() == 1);
    close(p[0]);
    close(p[1]);
}

int main(void) {
    for (enum how how = CANCEL_ONE; how < HOWS; how++) {
        int p[2], s[2];
        CHECK_EQ(pipe(p), 0);
        run(how, p[0]);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
        run(how, s[0]);
    }
    return 0;
}
