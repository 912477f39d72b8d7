// aio_fsync returns at once and stays EINPROGRESS until all requests queued before it on the descriptor have ended.
#include "check.h"

enum { QUEUED = 8 };

int main(void) {
    const int ops[] = {O_SYNC, O_DSYNC};
    for (int round = 0; round < 10; round++) {
        int fd = temp_file();
        struct held h;
        struct aiocb running, queued[QUEUED], barrier = request(fd, NULL, 0, 0);
        held_write(&h, &running, fd, 4096, 0, 1);
        static unsigned char data[4096];
        for (int i = 0; i < QUEUED; i++) {
            queued[i] = request(fd, data, sizeof data, 2048 + i * 4096);
            CHECK_EQ(aio_write(&queued[i]), 0);
        }
        CHECK_EQ(aio_fsync(ops[round % 2], &barrier), 0);
        settle();
        CHECK_EQ(aio_error(&barrier), EINPROGRESS);
        CHECK_EQ(aio_error(&running), EINPROGRESS);

        release_held(&h);
        CHECK_DONE(&barrier, 0, 0);
        // No waiting for these: they ended before.
        CHECK_EQ(aio_error(&running), 0);
        for (int i = 0; i < QUEUED; i++) CHECK_EQ(aio_error(&queued[i]), 0);
        free_held(&h);
        close(fd);
    }
    return 0;
}
