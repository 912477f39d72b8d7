// The fields of an aiocb belong to the caller again when the call returns: what he puts there changes no request,
// neither a running one nor one that still waits, nor its notification.
// glibc: fails: a queued request works with whatever is in the aiocb when its turn comes
// holds-reads
#include "check.h"

static struct sigevent other_signal;

static void scribble(struct aiocb *cb) {
    cb->aio_fildes = -1;
    cb->aio_lio_opcode = 12345;
    cb->aio_reqprio = -7;
    cb->aio_buf = (void *)8;
    cb->aio_nbytes = 3;
    cb->aio_offset = -9;
    cb->aio_sigevent = other_signal;
}

int main(void) {
    block_signal(SIGRTMIN);
    block_signal(SIGRTMIN + 1);
    struct aiocb other = {0};
    notify_by_signal(&other, SIGRTMIN + 1, 999);
    other_signal = other.aio_sigevent;

    int fd = temp_file();
    put_pattern(fd, 0, 8192, 1);
    struct held h;
    struct aiocb running;
    held_read_signal(&h, &running, fd, 4096, 0, SIGRTMIN, 1);

    // This one overlaps the read, and so waits for it.
    static unsigned char data[4096];
    fill(data, sizeof data, 2);
    struct aiocb queued = request(fd, data, sizeof data, 2048);
    notify_by_signal(&queued, SIGRTMIN, 2);
    CHECK_EQ(aio_write(&queued), 0);

    // So does this one, that has a sync to be told about.
    struct aiocb barrier = request(fd, NULL, 0, 0);
    notify_by_signal(&barrier, SIGRTMIN, 3);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);

    scribble(&running);
    scribble(&queued);
    scribble(&barrier);
    CHECK_EQ(aio_error(&running), EINPROGRESS);
    release_held(&h);

    CHECK_DONE(&running, 0, 4096);
    CHECK_DONE(&queued, 0, 4096);
    CHECK_DONE(&barrier, 0, 0);
    CHECK(holds(h.buffer, 4096, 1));
    CHECK(file_holds(fd, 2048, 4096, 2));
    int seen = 0;
    for (int i = 1; i <= 3; i++) seen |= 1 << take_signal(SIGRTMIN).si_value.sival_int;
    CHECK_EQ(seen, 0xe);
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGRTMIN + 1));
    return 0;
}
