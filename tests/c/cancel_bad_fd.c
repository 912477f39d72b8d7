// aio_cancel of a descriptor that is not open: -1/EBADF.
#include "check.h"

int main(void) {
    struct aiocb cb = request(-1, NULL, 0, 0);
    CHECK_FAILS(aio_cancel(-1, NULL), EBADF);
    CHECK_FAILS(aio_cancel(-1, &cb), EBADF);
    CHECK_FAILS(aio_cancel(INT_MAX, NULL), EBADF);
    CHECK_FAILS(aio_cancel(INT_MIN, NULL), EBADF);
    int fd = temp_file(), high = fcntl(fd, F_DUPFD, 500);
    close(high);
    CHECK_FAILS(aio_cancel(high, NULL), EBADF);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
    return 0;
}
