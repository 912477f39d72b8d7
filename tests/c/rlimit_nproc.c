// When not one thread can be created, the call that needs one says EAGAIN and nothing of its request remains; the same
// aiocb works when the limit is lifted, and a limit that comes later leaves the threads there are at work.
// env: AIO_RS=idle=60s
#include "check.h"

static int file, p[2];

static void no_thread_at_all(void) {
    limit_threads(0);
    check_no_thread_left();
    char byte = 0;
    struct aiocb out = request(file, "data", 4, 0), in = request(p[0], &byte, 1, 0), sync = request(file, NULL, 0, 0);
    struct aiocb member = request(file, "list", 4, 100), *list[1] = {&member};
    member.aio_lio_opcode = LIO_WRITE;
    for (int i = 0; i < 1000; i++) { // nothing is used up
        CHECK_FAILS(aio_write(&out), EAGAIN);
        CHECK_FAILS(aio_read(&in), EAGAIN);
        CHECK_FAILS(aio_fsync(O_SYNC, &sync), EAGAIN);
        CHECK(aio_error(&out) != EINPROGRESS && aio_error(&in) != EINPROGRESS && aio_error(&sync) != EINPROGRESS);
    }
    errno = 0;
    CHECK(lio_listio(LIO_NOWAIT, list, 1, NULL) == -1 && (errno == EAGAIN || errno == EIO));
    errno = 0;
    CHECK(lio_listio(LIO_WAIT, list, 1, NULL) == -1 && (errno == EAGAIN || errno == EIO));
    CHECK(aio_error(&member) != EINPROGRESS);
    CHECK_EQ(aio_cancel(file, NULL), AIO_ALLDONE);
    CHECK_EQ(aio_cancel(p[0], NULL), AIO_ALLDONE);
    struct stat st;
    CHECK_EQ(fstat(file, &st), 0);
    CHECK_EQ(st.st_size, 0);

    limit_threads(RLIM_INFINITY);
    CHECK_EQ(aio_write(&out), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_DONE(&out, 0, 4);
    CHECK_DONE(&sync, 0, 0);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_DONE(&in, 0, 1);
    CHECK_EQ(byte, 'x');
}

static void threads_there_are(void) {
    enum { COUNT = 200 };
    static struct aiocb cbs[COUNT];
    static unsigned char data[COUNT][64];
    limit_threads(0);
    for (int i = 0; i < COUNT; i++) {
        fill(data[i], 64, (unsigned)i);
        cbs[i] = request(file, data[i], 64, i * 64);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    struct aiocb sync = request(file, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_DONE(&sync, 0, 0);
    for (int i = 0; i < COUNT; i++) {
        CHECK_DONE(&cbs[i], 0, 64);
        CHECK(file_holds(file, i * 64, 64, (unsigned)i));
    }
    char byte = 0;
    struct aiocb in = request(p[0], &byte, 1, 0);
    if (aio_read(&in) == 0) { // what is accepted completes
        CHECK_EQ(write(p[1], "y", 1), 1);
        CHECK_DONE(&in, 0, 1);
    } else {
        CHECK_EQ(errno, EAGAIN);
    }
    limit_threads(RLIM_INFINITY);
}

static void limited(void) {
    no_thread_at_all();
    threads_there_are();
}

int main(void) {
    file = temp_file();
    CHECK_EQ(pipe(p), 0);
    return run_unprivileged(limited);
}
