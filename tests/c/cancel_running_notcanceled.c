// A request that runs is left alone: AIO_NOTCANCELED, and it ends as if nothing had been asked.
// holds-reads
#include "check.h"

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    struct held h;
    struct aiocb cb;
    held_read(&h, &cb, fd, 4096, 0);
    CHECK_EQ(aio_cancel(fd, &cb), AIO_NOTCANCELED);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_NOTCANCELED);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&cb, 0, 4096);
    CHECK(holds(h.buffer, 4096, 1));
    free_held(&h);

    held_write(&h, &cb, fd, 4096, 4096, 2);
    CHECK_EQ(aio_cancel(fd, &cb), AIO_NOTCANCELED);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&cb, 0, 4096);
    CHECK(file_holds(fd, 4096, 4096, 2));
    return 0;
}
