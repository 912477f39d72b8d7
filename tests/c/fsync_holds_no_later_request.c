// Requests made after an aio_fsync are not delayed by it: they run while it still waits for an earlier one.
// glibc: fails: a waiting fsync stops every later request on its descriptor
// holds-reads
#include "check.h"

int main(void) {
    need_writes_beside_reads();
    int fd = temp_file();
    put_pattern(fd, 0, 16384, 1);
    // A read, because the kernel lets a held write stop other writes of the file.
    struct held h;
    struct aiocb running, barrier = request(fd, NULL, 0, 0);
    held_read(&h, &running, fd, 4096, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    CHECK_EQ(aio_error(&barrier), EINPROGRESS);

    static unsigned char data[4096];
    fill(data, sizeof data, 2);
    struct aiocb write = request(fd, data, sizeof data, 8192);
    CHECK_EQ(aio_write(&write), 0);
    CHECK_DONE(&write, 0, 4096);
    CHECK(file_holds(fd, 8192, 4096, 2));

    static unsigned char in[4096];
    struct aiocb read = request(fd, in, sizeof in, 12288);
    CHECK_EQ(aio_read(&read), 0);
    CHECK_DONE(&read, 0, 4096);

    CHECK_EQ(aio_error(&running), EINPROGRESS);
    CHECK_EQ(aio_error(&barrier), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&running, 0, 4096);
    CHECK_DONE(&barrier, 0, 0);
    return 0;
}
