// aio_cancel with the aiocb of another descriptor: -1/EINVAL, and nothing happens to it.
// holds-reads
#include "check.h"

int main(void) {
    int fd = temp_file(), other = temp_file();
    put_pattern(fd, 0, 4096, 1);
    struct held h;
    struct aiocb cb;
    held_read(&h, &cb, fd, 4096, 0);
    CHECK_FAILS(aio_cancel(other, &cb), EINVAL);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&cb, 0, 4096);
    CHECK_FAILS(aio_cancel(other, &cb), EINVAL);
    CHECK_EQ(aio_error(&cb), 0);
    return 0;
}
