// Nothing pending: AIO_ALLDONE, for a finished request, for a descriptor without any, and before the first request.
// holds-reads
#include "check.h"

int main(void) {
    int fd = temp_file();
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
    char data[4] = "abc";
    struct aiocb cb = request(fd, data, 4, 0);
    CHECK_EQ(aio_write(&cb), 0);
    wait_done(&cb);
    CHECK_EQ(aio_cancel(fd, &cb), AIO_ALLDONE);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
    CHECK_EQ(aio_error(&cb), 0);
    CHECK_EQ(aio_return(&cb), 4);
    CHECK_EQ(aio_cancel(fd, &cb), AIO_ALLDONE);

    // Requests of another descriptor do not count, even one of the same file.
    int other = temp_file();
    put_pattern(other, 0, 4096, 1);
    int twin = dup(other);
    struct held h;
    struct aiocb held_cb;
    held_read(&h, &held_cb, other, 4096, 0);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
    CHECK_EQ(aio_cancel(twin, NULL), AIO_ALLDONE);
    CHECK_EQ(aio_cancel(other, NULL), AIO_NOTCANCELED);
    release_held(&h);
    CHECK_DONE(&held_cb, 0, 4096);
    CHECK_EQ(aio_cancel(other, NULL), AIO_ALLDONE);
    return 0;
}
