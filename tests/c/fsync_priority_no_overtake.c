// Priority never lets an aio_fsync overtake: a write of the lowest priority that was queued before it ends first.
// glibc: fails: an fsync overtakes a queued write of lower priority
// holds-reads
#include "check.h"

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 8192, 1);
    struct held h, h2 = hold(4096);
    struct aiocb running;
    held_read(&h, &running, fd, 4096, 0);

    // Overlaps the read, so that it is queued for certain.
    fill(h2.content, 4096, 2);
    struct aiocb write = request(fd, h2.buffer, 4096, 2048), barrier = request(fd, NULL, 0, 0);
    write.aio_reqprio = 20;
    barrier.aio_reqprio = 0;
    CHECK_EQ(aio_write(&write), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    CHECK(untouched(&h2));

    release_held(&h);
    wait_held(&h2);
    settle();
    CHECK_EQ(aio_error(&barrier), EINPROGRESS);
    CHECK_DONE(&running, 0, 4096);
    release_held(&h2);
    CHECK_DONE(&barrier, 0, 0);
    CHECK_EQ(aio_error(&write), 0);
    CHECK(file_holds(fd, 2048, 4096, 2));
    return 0;
}
