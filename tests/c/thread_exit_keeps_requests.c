// A thread that submits requests and exits leaves them running: they end as if it were still there.
#include "check.h"

static int fd, ends[2];
static struct held h;
static struct aiocb running, queued, barrier, waiting;
static unsigned char data[4096];
static char in[16];

static void *submit(void *unused) {
    held_write(&h, &running, fd, 4096, 0, 1);
    fill(data, sizeof data, 2);
    queued = request(fd, data, sizeof data, 2048);
    CHECK_EQ(aio_write(&queued), 0);
    barrier = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    waiting = request(ends[0], in, sizeof in, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    return unused;
}

int main(void) {
    fd = temp_file();
    CHECK_EQ(pipe(ends), 0);
    join_thread(start_thread(submit, NULL));
    settle();
    CHECK_EQ(aio_error(&running), EINPROGRESS);
    CHECK_EQ(aio_error(&queued), EINPROGRESS);
    CHECK_EQ(aio_error(&barrier), EINPROGRESS);
    CHECK_EQ(aio_error(&waiting), EINPROGRESS);

    release_held(&h);
    CHECK_EQ(write(ends[1], "late", 4), 4);
    CHECK_DONE(&running, 0, 4096);
    CHECK_DONE(&queued, 0, 4096);
    CHECK_DONE(&barrier, 0, 0);
    CHECK_DONE(&waiting, 0, 4);
    CHECK(file_holds(fd, 0, 2048, 1) && file_holds(fd, 2048, 4096, 2));
    return 0;
}
