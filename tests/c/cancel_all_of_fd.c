// aio_cancel(fd, NULL) cancels every request of the descriptor that has not started, and none of another; what runs is
// left alone and makes the answer AIO_NOTCANCELED.
// holds-reads
#include "check.h"

enum { QUEUED = 500 };

int main(void) {
    int fd = temp_file(), other = temp_file();
    put_pattern(fd, 0, 4096, 1);
    put_pattern(other, 0, 4096, 1);
    struct held h, other_h;
    struct aiocb head, other_head;
    static struct aiocb queued[QUEUED], others[QUEUED];
    held_read(&h, &head, fd, 4096, 0);
    held_read(&other_h, &other_head, other, 4096, 0);
    for (int i = 0; i < QUEUED; i++) {
        // They overlap the held ones, so they wait; every tenth is a barrier.
        queued[i] = request(fd, "new", 3, i % 4000);
        others[i] = request(other, "new", 3, i % 4000);
        CHECK_EQ(i % 10 ? aio_write(&queued[i]) : aio_fsync(O_SYNC, &queued[i]), 0);
        CHECK_EQ(i % 10 ? aio_write(&others[i]) : aio_fsync(O_SYNC, &others[i]), 0);
    }
    CHECK_EQ(aio_cancel(fd, NULL), AIO_NOTCANCELED);
    CHECK_EQ(aio_error(&head), EINPROGRESS);
    for (int i = 0; i < QUEUED; i++) {
        CHECK_EQ(aio_error(&queued[i]), ECANCELED);
        CHECK_EQ(aio_return(&queued[i]), -1);
        CHECK_EQ(aio_error(&others[i]), EINPROGRESS);
    }
    CHECK_EQ(aio_cancel(fd, NULL), AIO_NOTCANCELED);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
    CHECK(file_holds(fd, 0, 4096, 1));
    release_held(&other_h);
    CHECK_DONE(&other_head, 0, 4096);
    for (int i = 0; i < QUEUED; i++) CHECK_DONE(&others[i], 0, i % 10 ? 3 : 0);
    CHECK(!file_holds(other, 0, 4096, 1));
    return 0;
}
