// A read that waits for data on a stream can be cancelled, and then takes none: not from the head, not from the middle
// of the queue; those beside it go on in order.
// glibc: fails: a read that waits on a pipe cannot be cancelled
#include "check.h"

static void cancel_reads(int reader, int writer) {
    static unsigned char buffers[5][8], none[8];
    memset(buffers, 0xEE, sizeof buffers);
    memset(none, 0xEE, sizeof none);
    struct aiocb cbs[5];
    for (int i = 0; i < 5; i++) {
        cbs[i] = request(reader, buffers[i], 4, 0);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < 5; i += 2) { // the head, the middle, the tail
        CHECK_EQ(aio_cancel(reader, &cbs[i]), AIO_CANCELED);
        CHECK_EQ(aio_error(&cbs[i]), ECANCELED);
        CHECK_EQ(aio_return(&cbs[i]), -1);
        CHECK_EQ(aio_cancel(reader, &cbs[i]), AIO_ALLDONE);
    }
    CHECK_EQ(write(writer, "abcd", 4), 4);
    CHECK_DONE(&cbs[1], 0, 4);
    CHECK_EQ(write(writer, "efgh", 4), 4);
    CHECK_DONE(&cbs[3], 0, 4);
    CHECK(memcmp(buffers[1], "abcd", 4) == 0 && memcmp(buffers[3], "efgh", 4) == 0);

    CHECK_EQ(aio_read(&cbs[0]), 0);
    CHECK_EQ(aio_cancel(reader, NULL), AIO_CANCELED);
    CHECK_EQ(aio_error(&cbs[0]), ECANCELED);
    char rest[8];
    CHECK_EQ(write(writer, "ijkl", 4), 4);
    CHECK_EQ(read(reader, rest, sizeof rest), 4);
    CHECK(memcmp(rest, "ijkl", 4) == 0);
    for (int i = 0; i < 5; i += 2) CHECK(memcmp(buffers[i], none, 8) == 0, "cancelled read %d took data", i);
}

// Data and cancellation at the same time: whoever wins, no byte is lost.
static void race(int reader, int writer) {
    for (int round = 0; round < 2000; round++) {
        unsigned char to = 0, byte = (unsigned char)(round | 1), rest = 0;
        struct aiocb cb = request(reader, &to, 1, 0);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_EQ(write(writer, &byte, 1), 1);
        int got = aio_cancel(reader, &cb);
        wait_done(&cb);
        if (got == AIO_CANCELED) {
            CHECK_EQ(aio_error(&cb), ECANCELED);
            CHECK_EQ(aio_return(&cb), -1);
            CHECK_EQ(read(reader, &rest, 1), 1);
            CHECK_EQ(rest, byte);
            CHECK_EQ(to, 0);
        } else {
            CHECK_EQ(aio_error(&cb), 0);
            CHECK_EQ(aio_return(&cb), 1);
            CHECK_EQ(to, byte);
        }
    }
}

int main(void) {
    int p[2], s[2];
    CHECK_EQ(pipe(p), 0);
    for (int round = 0; round < 300; round++) cancel_reads(p[0], p[1]);
    race(p[0], p[1]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    for (int round = 0; round < 300; round++) cancel_reads(s[0], s[1]);
    race(s[0], s[1]);
    return 0;
}
