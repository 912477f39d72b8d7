// aio_return is -1 for a request that failed and for one that was cancelled; aio_error says which.
// holds-reads
#include "check.h"

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    char buffer[100];
    struct aiocb cb = request(-1, buffer, sizeof buffer, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, EBADF, -1);
    cb = request(fd, (void *)8, 100, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, EFAULT, -1);

    struct held h;
    struct aiocb running, first, second;
    held_read(&h, &running, fd, 4096, 0);
    static unsigned char data[4096];
    first = request(fd, data, sizeof data, 0);
    second = request(fd, data, sizeof data, 0);
    CHECK_EQ(aio_write(&first), 0);
    CHECK_EQ(aio_write(&second), 0);
    CHECK_EQ(aio_cancel(fd, &second), AIO_CANCELED);
    CHECK_EQ(aio_error(&second), ECANCELED);
    CHECK_EQ(aio_return(&second), -1);
    release_held(&h);
    CHECK_DONE(&running, 0, 4096);
    CHECK_DONE(&first, 0, 4096);
    return 0;
}
