// An aiocb overwritten as a whole while in flight breaks nothing: its address still cannot be submitted again, and the
// request ends with its own data, status and notification.
// glibc: fails: the same aiocb is taken a second time while the first request still runs
// holds-reads
#include "check.h"

static void check_with(int byte) {
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    struct held h;
    struct aiocb cb;
    held_read_signal(&h, &cb, fd, 4096, 0, SIGRTMIN, 41);

    memset(&cb, byte, sizeof cb);
    char other[16] = "";
    struct aiocb again = request(fd, other, sizeof other, 0);
    memcpy(&cb, &again, sizeof cb);
    CHECK_FAILS(aio_write(&cb), EINVAL);
    CHECK_FAILS(aio_read(&cb), EINVAL);
    CHECK_FAILS(aio_fsync(O_SYNC, &cb), EINVAL);
    memset(&cb, byte, sizeof cb);

    release_held(&h);
    CHECK_EQ(take_signal(SIGRTMIN).si_value.sival_int, 41);
    CHECK_EQ(aio_error(&cb), 0);
    CHECK_EQ(aio_return(&cb), 4096);
    CHECK(holds(h.buffer, 4096, 1));
    CHECK(file_holds(fd, 0, 4096, 1));

    // The address is free now.
    cb = request(fd, other, sizeof other, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, sizeof other);
    free_held(&h);
    close(fd);
}

int main(void) {
    block_signal(SIGRTMIN);
    for (int round = 0; round < 20; round++) {
        check_with(0);
        check_with(0xff);
        check_with(0x01);
    }
    return 0;
}
