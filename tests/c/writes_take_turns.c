// Buffered writes of one file, which the kernel runs one after the other, do not each block a worker; those of other files,
// and whatever else can run, do not wait for them, and the waiting ones can be cancelled.
// may-skip: the file system of the temporary directory decides
// glibc: skip: it serves each descriptor by one thread
#include "check.h"
#include <sys/sysmacros.h>

enum { WRITES = 60 };

int main(void) {
    int fd = temp_file(), other = temp_file(), log = temp_open("log", O_RDWR | O_CREAT | O_APPEND);
    int second = dup(fd);
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    if (major(st.st_dev) == 0) SKIP("the file system does not lie on a block device");
    unsigned char data[WRITES][64];
    // What a write takes is known by then, and the queue goes through all its ways.
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = request(fd, data, sizeof data, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, sizeof data);
    }
    int before = thread_count();
    struct held h;
    struct aiocb head, cbs[WRITES];
    held_write(&h, &head, fd, 4096, 0, 1);
    for (int i = 0; i < WRITES; i++) {
        fill(data[i], 64, (unsigned)i);
        cbs[i] = request(i % 2 ? fd : second, data[i], 64, 8192 + i * 64);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    // Appends of a log and writes of another file run meanwhile.
    for (int i = 0; i < 50; i++) {
        struct aiocb cb = request(i % 2 ? log : other, data[0], 64, i * 64);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 64);
    }
    // A busy machine takes a few more; a worker for each would be many.
    CHECK(thread_count() <= before + WRITES / 2, "%d threads, %d before", thread_count(), before);
    for (int i = 0; i < WRITES; i++) CHECK_EQ(aio_error(&cbs[i]), EINPROGRESS);
    CHECK_EQ(aio_cancel(second, &cbs[4]), AIO_CANCELED);
    CHECK_DONE(&cbs[4], ECANCELED, -1);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    for (int i = 0; i < WRITES; i++) {
        if (i == 4) continue;
        CHECK_DONE(&cbs[i], 0, 64);
        CHECK(file_holds(fd, 8192 + i * 64, 64, (unsigned)i), "write %d", i);
    }
    return 0;
}
