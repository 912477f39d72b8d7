// dup2 and the like that fail or change nothing leave the requests of the descriptor alone: they are not taken for a
// close.
// holds-reads
#include "check.h"

int main(void) {
    int fd = temp_file(), p[2];
    put_pattern(fd, 0, 4096, 1);
    CHECK_EQ(pipe(p), 0);
    struct held h;
    char byte = 0;
    struct aiocb head, queued = request(fd, "new", 3, 5), waiting = request(p[0], &byte, 1, 0);
    held_read(&h, &head, fd, 4096, 0);
    CHECK_EQ(aio_write(&queued), 0);
    CHECK_EQ(aio_read(&waiting), 0);
    int both[2] = {fd, p[0]};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(dup2(both[i], both[i]), both[i]);
        CHECK_FAILS(dup2(-1, both[i]), EBADF);
        CHECK_FAILS(dup2(900, both[i]), EBADF);
        CHECK_FAILS(dup3(both[i], both[i], 0), EINVAL);
        CHECK_FAILS(dup3(1, both[i], 0x40000000), EINVAL);
        CHECK_EQ(close_range((unsigned)both[i], (unsigned)both[i], CLOSE_RANGE_CLOEXEC), 0);
        CHECK_FAILS(close_range((unsigned)both[i], (unsigned)both[i], 0x1000), EINVAL);
        CHECK_EQ(close(dup(both[i])), 0);
        int copy = dup(both[i]), another = dup(1);
        CHECK_EQ(dup2(both[i], another), another);
        close(copy);
        close(another);
    }
    CHECK_EQ(aio_error(&queued), EINPROGRESS);
    CHECK_EQ(aio_error(&waiting), EINPROGRESS);
    CHECK_EQ(aio_cancel(fd, &head), AIO_NOTCANCELED);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    CHECK_DONE(&queued, 0, 3);
    CHECK_EQ(aio_error(&waiting), EINPROGRESS);
    CHECK_EQ(write(p[1], "y", 1), 1);
    CHECK_DONE(&waiting, 0, 1);
    return 0;
}
