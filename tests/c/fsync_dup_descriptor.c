// aio_fsync on a dup waits for the requests that were queued through the other descriptor.
// glibc: fails: an fsync on a dup does not wait for the writes queued on the original
#include "check.h"

int main(void) {
    int fd = temp_open("file", O_RDWR);
    int others[] = {dup(fd), fcntl(fd, F_DUPFD_CLOEXEC, 100), dup2(fd, 200)};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK(others[i] >= 0);
        struct held h;
        struct aiocb write, barrier = request(others[i], NULL, 0, 0);
        held_write(&h, &write, fd, 4096, 0, (unsigned)i);
        CHECK_EQ(aio_fsync(i % 2 ? O_SYNC : O_DSYNC, &barrier), 0);
        settle();
        CHECK_EQ(aio_error(&barrier), EINPROGRESS);
        CHECK_EQ(aio_error(&write), EINPROGRESS);

        release_held(&h);
        CHECK_DONE(&barrier, 0, 0);
        CHECK_EQ(aio_error(&write), 0);
        free_held(&h);
    }
    return 0;
}
