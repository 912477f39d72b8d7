// A completed aiocb can be used again for ever without aio_return: 150,000 times here, and memory stays flat (but for the
// stacks of a few threads more).
// timeout: 120
// takes: 8
// once: it is about what a request leaves behind
#include "check.h"

int main(void) {
    int fd = temp_file();
    char byte = 'x';
    long after_warm_up = 0;
    struct aiocb cb = request(fd, &byte, 1, 0);
    for (int i = 0; i < 150000; i++) {
        byte = (char)i;
        cb.aio_offset = i % 4096;
        CHECK_EQ(i % 4 ? aio_write(&cb) : aio_read(&cb), 0);
        wait_done(&cb);
        CHECK(aio_error(&cb) == 0 || aio_error(&cb) == EINPROGRESS);
        if (i == 10000) after_warm_up = anonymous_kib();
    }
    long grown = anonymous_kib() - after_warm_up;
    CHECK(grown < 1100, "140,000 reuses cost %ld KiB", grown);
    CHECK_EQ(aio_return(&cb), 1);
    return 0;
}
