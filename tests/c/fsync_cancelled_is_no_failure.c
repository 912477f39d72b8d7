// A covered request that was cancelled is no failure: the aio_fsync still gives 0.
#include "check.h"

int main(void) {
    int fd = temp_file();
    struct held h;
    struct aiocb running, queued[3], barrier = request(fd, NULL, 0, 0);
    held_write(&h, &running, fd, 4096, 0, 1);
    static unsigned char data[4096];
    for (int i = 0; i < 3; i++) {
        queued[i] = request(fd, data, sizeof data, 1024);
        CHECK_EQ(aio_write(&queued[i]), 0);
    }
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    // Not the first that is queued: libc strands the others then, which is another test's matter.
    CHECK_EQ(aio_cancel(fd, &queued[1]), AIO_CANCELED);
    CHECK_EQ(aio_error(&queued[1]), ECANCELED);
    CHECK_EQ(aio_error(&barrier), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&barrier, 0, 0);
    CHECK_DONE(&running, 0, 4096);
    CHECK_DONE(&queued[0], 0, 4096);
    CHECK_EQ(aio_return(&queued[1]), -1);
    CHECK_DONE(&queued[2], 0, 4096);
    return 0;
}
