// A waiting aio_fsync can be cancelled; requests behind it, and other barriers, go on.
// glibc: fails: an aio_fsync holds up the younger requests of its descriptor, cancelled or not
// holds-reads
#include "check.h"

int main(void) {
    need_writes_beside_reads();
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    struct held h;
    struct aiocb head, barriers[3], behind = request(fd, "data", 4, 8192);
    held_read(&h, &head, fd, 4096, 0);
    for (int i = 0; i < 3; i++) {
        barriers[i] = request(fd, NULL, 0, 0);
        CHECK_EQ(aio_fsync(i == 1 ? O_DSYNC : O_SYNC, &barriers[i]), 0);
    }
    CHECK_EQ(aio_cancel(fd, &barriers[1]), AIO_CANCELED);
    CHECK_EQ(aio_error(&barriers[1]), ECANCELED);
    CHECK_EQ(aio_return(&barriers[1]), -1);
    CHECK_EQ(aio_error(&barriers[0]), EINPROGRESS);
    CHECK_EQ(aio_error(&barriers[2]), EINPROGRESS);
    CHECK_EQ(aio_write(&behind), 0);
    CHECK_DONE(&behind, 0, 4);
    CHECK_EQ(aio_cancel(fd, &barriers[0]), AIO_CANCELED);
    CHECK_EQ(aio_error(&barriers[2]), EINPROGRESS);
    CHECK_EQ(aio_error(&head), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    CHECK_DONE(&barriers[2], 0, 0);
    CHECK_EQ(aio_error(&barriers[0]), ECANCELED);
    CHECK_EQ(aio_error(&barriers[1]), ECANCELED);

    // The cancelled ones can be used again; a cancelled request is no failure for the barrier that covers it.
    free_held(&h);
    held_read(&h, &head, fd, 4096, 0);
    struct aiocb covered = request(fd, "more", 4, 0);
    CHECK_EQ(aio_write(&covered), 0); // waits for the held read
    CHECK_EQ(aio_fsync(O_SYNC, &barriers[0]), 0);
    CHECK_EQ(aio_cancel(fd, &covered), AIO_CANCELED);
    CHECK_EQ(aio_error(&barriers[0]), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&barriers[0], 0, 0);
    CHECK_DONE(&head, 0, 4096);
    return 0;
}
