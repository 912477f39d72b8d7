// aio_fsync covers reads too: it ends after every read that was queued before it.
// holds-reads
#include "check.h"

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 8192, 1);
    struct held h;
    struct aiocb read, barrier = request(fd, NULL, 0, 0);
    held_read(&h, &read, fd, 4096, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    settle();
    CHECK_EQ(aio_error(&barrier), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&barrier, 0, 0);
    CHECK_EQ(aio_error(&read), 0);
    CHECK(holds(h.buffer, 4096, 1));
    return 0;
}
