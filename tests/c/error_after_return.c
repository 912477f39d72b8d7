// aio_error keeps its answer after aio_return, for good results and for errors.
#include "check.h"

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 100, 1);
    char buffer[200];
    struct aiocb good = request(fd, buffer, sizeof buffer, 0), bad = request(-1, buffer, sizeof buffer, 0);
    CHECK_EQ(aio_read(&good), 0);
    CHECK_EQ(aio_read(&bad), 0);
    CHECK_DONE(&good, 0, 100);
    CHECK_DONE(&bad, EBADF, -1);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(aio_error(&good), 0);
        CHECK_EQ(aio_error(&bad), EBADF);
    }
    // Other requests come and go meanwhile.
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = request(fd, buffer, 1, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 1);
    }
    CHECK_EQ(aio_error(&good), 0);
    CHECK_EQ(aio_error(&bad), EBADF);
    return 0;
}
