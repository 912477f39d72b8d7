// aio_suspend returns 0 at once when any of the listed requests has ended, even with a timeout of zero.
// holds-reads
#include "check.h"

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    struct held h;
    struct aiocb running, done, failed;
    char buffer[10];
    done = request(fd, buffer, sizeof buffer, 0);
    CHECK_EQ(aio_read(&done), 0);
    CHECK_DONE(&done, 0, 10);
    failed = request(-1, buffer, sizeof buffer, 0);
    CHECK_EQ(aio_read(&failed), 0);
    CHECK_DONE(&failed, EBADF, -1);
    held_read(&h, &running, fd, 4096, 0);

    const struct timespec zero = {0, 0}, long_time = {1000, 0};
    const struct aiocb *lists[][3] = {
        {&done, &running, &running}, {&running, &running, &done}, {&running, &failed, NULL}, {&done, &failed, &done}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        CHECK_EQ(aio_suspend(lists[i], 3, &zero), 0);
        CHECK_EQ(aio_suspend(lists[i], 3, &long_time), 0);
        CHECK_EQ(aio_suspend(lists[i], 3, NULL), 0);
    }
    CHECK_FAILS(aio_suspend(&lists[0][1], 2, &zero), EAGAIN);
    release_held(&h);
    CHECK_DONE(&running, 0, 4096);
    return 0;
}
