// Cancelling the first, a middle or the last queued request of a descriptor leaves the others: all of them run.
// glibc: fails: cancelling the first queued request of a descriptor strands the others for ever
// env: AIO_RS=threads=1
// holds-reads
#include "check.h"

enum { COUNT = 5 };

static void cancel_one(int which) {
    int blocked = temp_file(), fd = temp_file();
    put_pattern(blocked, 0, 4096, 1);
    struct held h;
    struct aiocb head, cbs[COUNT], sync;
    unsigned char data[COUNT][100];
    held_read(&h, &head, blocked, 4096, 0); // the only worker is busy
    for (int i = 0; i < COUNT; i++) {
        fill(data[i], sizeof data[i], (unsigned)i);
        cbs[i] = request(fd, data[i], sizeof data[i], i * 50); // overlapping: a chain
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    sync = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_EQ(aio_cancel(fd, &cbs[which]), AIO_CANCELED);
    CHECK_EQ(aio_error(&cbs[which]), ECANCELED);
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    unsigned char model[COUNT * 50 + 50] = {0}, back[sizeof model] = {0};
    for (int i = 0; i < COUNT; i++) {
        if (i == which) continue;
        CHECK_DONE(&cbs[i], 0, sizeof data[i]);
        memcpy(model + i * 50, data[i], sizeof data[i]);
    }
    CHECK_DONE(&sync, 0, 0);
    CHECK(pread(fd, back, sizeof back, 0) >= 250);
    CHECK(memcmp(model, back, sizeof model) == 0);
}

int main(void) {
    aio_init(&(struct aioinit){.aio_threads = 1, .aio_num = 64}); // for libc
    for (int which = 0; which < COUNT; which++) cancel_one(which);
    return 0;
}
