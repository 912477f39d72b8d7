// When a request that was queued at the time of the aio_fsync fails, the aio_fsync reports its error; a failure before
// the call or after it does not count.
// glibc: fails: a queued write that fails leaves the fsync at 0
// holds-reads
#include "check.h"

static void *nowhere;

// Holds the file, queues a request that will fail with EFAULT behind it, and calls aio_fsync.
static void check_covered(int (*submit)(struct aiocb *), int barrier_by_dup) {
    int fd = temp_file(), sync_fd = barrier_by_dup ? dup(fd) : fd;
    put_pattern(fd, 0, 8192, 1);
    struct held h;
    struct aiocb running, failing, barrier, second;
    held_write(&h, &running, fd, 4096, 0, 2);
    failing = request(fd, nowhere, 4096, 0);
    CHECK_EQ(submit(&failing), 0);
    CHECK_EQ(aio_error(&failing), EINPROGRESS);
    barrier = request(sync_fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    second = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_DSYNC, &second), 0);

    release_held(&h);
    CHECK_DONE(&running, 0, 4096);
    CHECK_DONE(&failing, EFAULT, -1);
    CHECK_DONE(&barrier, EFAULT, -1);
    CHECK_DONE(&second, EFAULT, -1);
    CHECK(file_holds(fd, 0, 4096, 2));

    // The failure lies before this one.
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    CHECK_DONE(&barrier, 0, 0);
    free_held(&h);
    close(fd);
}

static void check_not_covered(void) {
    int fd = temp_file();
    struct aiocb failed = request(fd, nowhere, 4096, 0), barrier = request(fd, NULL, 0, 0), running, later;
    CHECK_EQ(aio_write(&failed), 0);
    CHECK_DONE(&failed, EFAULT, -1);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    CHECK_DONE(&barrier, 0, 0);

    // A later one that fails while the barrier still waits.
    struct held h;
    put_pattern(fd, 0, 8192, 1);
    held_read(&h, &running, fd, 4096, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    later = request(fd, nowhere, 4096, 4096);
    CHECK_EQ(aio_write(&later), 0);
    CHECK_DONE(&later, EFAULT, -1);
    CHECK_EQ(aio_error(&barrier), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&barrier, 0, 0);
    CHECK_DONE(&running, 0, 4096);
}

int main(void) {
    need_writes_beside_reads();
    nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check_covered(aio_write, 0);
    check_covered(aio_write, 1);
    check_covered(aio_read, 0);
    check_not_covered();
    return 0;
}
