// A write gives its file the time of the last tick, as plain write does, and no stamp of its own, which each fsync would have
// to write to the disk: the library does not ask for time stamps (statx(2); Linux 6.13 and later give a finer one to a
// file whose stamp was asked for).
#include "check.h"

static struct timespec tick(void) {
    struct timespec now;
    CHECK_EQ(clock_gettime(CLOCK_REALTIME_COARSE, &now), 0);
    return now;
}

static bool later(struct timespec a, struct timespec b) {
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

int main(void) {
    int fd = temp_file(), own = 0;
    unsigned char data[64] = {1};
    for (int i = 0; i < 100; i++) {
        // The first write behind a tick takes its time, whoever asked; the second one must, too.
        struct timespec start = tick();
        while (!later(tick(), start)) sched_yield();
        for (int k = 0; k < 2; k++) {
            struct aiocb cb = request(fd, data, sizeof data, 0);
            CHECK_EQ(aio_write(&cb), 0);
            CHECK_DONE(&cb, 0, sizeof data);
            struct aiocb sync = request(fd, NULL, 0, 0);
            CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
            CHECK_DONE(&sync, 0, 0);
        }
        struct timespec now = tick();
        struct stat found;
        CHECK_EQ(fstat(fd, &found), 0);
        own += later(found.st_mtim, now);
    }
    // A file of another process that got one may have moved the clock for all.
    CHECK(own < 50, "%d of 100 times a write left a stamp of its own", own);
    return 0;
}
