// An aiocb that is in flight and submitted again: -1/EINVAL, and the first request goes on undisturbed.
// glibc: fails: the same aiocb is taken a second time while the first request still runs
// holds-reads
#include "check.h"

static void check_refused(struct aiocb *cb) {
    CHECK_FAILS(aio_read(cb), EINVAL);
    CHECK_FAILS(aio_write(cb), EINVAL);
    CHECK_FAILS(aio_fsync(O_DSYNC, cb), EINVAL);
    struct aiocb *list[] = {cb};
    cb->aio_lio_opcode = LIO_WRITE;
    CHECK_FAILS(lio_listio(LIO_NOWAIT, list, 1, NULL), EIO);
    CHECK_EQ(aio_error(cb), EINPROGRESS);
}

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 8192, 1);

    // Running, and queued behind it.
    struct held h;
    struct aiocb running, queued, barrier;
    held_read(&h, &running, fd, 4096, 0);
    static unsigned char data[4096];
    fill(data, sizeof data, 2);
    queued = request(fd, data, sizeof data, 0);
    CHECK_EQ(aio_write(&queued), 0);
    barrier = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    check_refused(&running);
    check_refused(&queued);
    check_refused(&barrier);

    // Waiting on a stream.
    int p[2];
    CHECK_EQ(pipe(p), 0);
    char in[8] = "";
    struct aiocb waiting = request(p[0], in, sizeof in, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    check_refused(&waiting);

    release_held(&h);
    CHECK_DONE(&running, 0, 4096);
    CHECK_DONE(&queued, 0, 4096);
    CHECK_DONE(&barrier, 0, 0);
    CHECK(holds(h.buffer, 4096, 1));
    CHECK(file_holds(fd, 0, 4096, 2));
    CHECK_EQ(write(p[1], "hello", 5), 5);
    CHECK_DONE(&waiting, 0, 5);
    CHECK(memcmp(in, "hello", 6) == 0);

    CHECK_EQ(aio_write(&queued), 0);
    CHECK_DONE(&queued, 0, 4096);
    return 0;
}
