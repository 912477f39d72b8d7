// The write at the head of a stream's queue cannot be cancelled, since part of it may be out; those behind it can, and
// then none of their bytes appears.
#include "check.h"

static void cancel_writes(int writer, int reader) {
    enum { LENGTH = 1 << 20 };
    static char data[LENGTH], back[LENGTH];
    fill(data, LENGTH, 8);
    struct aiocb head = request(writer, data, LENGTH, 0), second = request(writer, "second", 6, 0),
                 third = request(writer, "third", 5, 0);
    CHECK_EQ(aio_write(&head), 0);
    struct pollfd out = {.fd = writer, .events = POLLOUT};
    WAIT_FOR(poll(&out, 1, 0) == 0); // part of it is out
    CHECK_EQ(aio_write(&second), 0);
    CHECK_EQ(aio_write(&third), 0);

    CHECK_EQ(aio_cancel(writer, &head), AIO_NOTCANCELED);
    CHECK_EQ(aio_error(&head), EINPROGRESS);
    CHECK_EQ(aio_cancel(writer, &second), AIO_CANCELED);
    CHECK_EQ(aio_error(&second), ECANCELED);
    CHECK_EQ(aio_return(&second), -1);
    CHECK_EQ(aio_error(&third), EINPROGRESS);
    CHECK_EQ(aio_cancel(writer, NULL), AIO_NOTCANCELED);
    CHECK_EQ(aio_error(&third), ECANCELED);
    CHECK_EQ(aio_error(&head), EINPROGRESS);

    for (size_t at = 0; at < LENGTH;) {
        ssize_t got = read(reader, back + at, LENGTH - at);
        CHECK(got > 0);
        at += (size_t)got;
    }
    CHECK_DONE(&head, 0, LENGTH);
    CHECK(holds(back, LENGTH, 8));
    struct aiocb last = request(writer, "last", 4, 0);
    CHECK_EQ(aio_write(&last), 0);
    CHECK_DONE(&last, 0, 4);
    char tail[16] = "";
    CHECK_EQ(read(reader, tail, sizeof tail), 4);
    CHECK(strcmp(tail, "last") == 0, "%s", tail);
    CHECK_EQ(aio_cancel(writer, NULL), AIO_ALLDONE);
}

int main(void) {
    int p[2], s[2];
    CHECK_EQ(pipe(p), 0);
    cancel_writes(p[1], p[0]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    cancel_writes(s[0], s[1]);
    return 0;
}
