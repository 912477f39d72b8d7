// Results are those of read and write: short at the end of the file, 0 behind it, ENOSPC and EPIPE as errors; a broken
// pipe does not kill the process.
#include "check.h"

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 5000, 1);
    static char buffer[8192];
    struct aiocb cb = request(fd, buffer, 4096, 3000);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 2000);
    const off_t behind[] = {5000, 5001, 1LL << 33};
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        cb = request(fd, buffer, 4096, behind[i]);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 0, 0);
    }

    int full = open("/dev/full", O_RDWR);
    CHECK(full >= 0);
    cb = request(full, buffer, 100, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, ENOSPC, -1);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 100);

    int p[2];
    CHECK_EQ(pipe(p), 0);
    close(p[0]);
    cb = request(p[1], buffer, 100, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, EPIPE, -1);

    CHECK_EQ(pipe(p), 0);
    close(p[1]);
    cb = request(p[0], buffer, 100, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 0);
    return 0;
}
