// A program that has its own clock_gettime, which is ahead, behind or stands still: what the library waits for takes the time that
// it should, as the kernel measures it.
#include "check.h"

static double ahead;
static bool stopped;

int clock_gettime(clockid_t clock, struct timespec *time) {
    int done = (int)syscall(SYS_clock_gettime, clock, time);
    if (done == 0 && clock == CLOCK_MONOTONIC) time->tv_sec = stopped ? 1000 : time->tv_sec + (time_t)ahead;
    return done;
}

static double kernel_time(void) {
    struct timespec time;
    CHECK_EQ(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time), 0);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void check_time_outs(void) {
    int p[2];
    char bytes[2];
    CHECK_EQ(pipe(p), 0);
    struct aiocb cbs[] = {request(p[0], &bytes[0], 1, 0), request(p[0], &bytes[1], 1, 0)};
    const struct aiocb *list[] = {&cbs[0], &cbs[1]};
    for (int i = 0; i < 2; i++) CHECK_EQ(aio_read(&cbs[i]), 0);
    for (int listed = 1; listed <= 2; listed++) {
        struct timespec patience = {0, 50000000};
        double begin = kernel_time();
        CHECK_FAILS(aio_suspend(list, listed, &patience), EAGAIN);
        double took = kernel_time() - begin;
        CHECK(took >= 0.049 && took < PATIENCE_S, "%f s", took);
    }
    CHECK_EQ(write(p[1], "xy", 2), 2);
    for (int i = 0; i < 2; i++) CHECK_DONE(&cbs[i], 0, 1);
    close(p[0]);
    close(p[1]);
}

static void check_transfers(int flags) {
    int fd = temp_open("file", O_RDWR | flags);
    void *memory = NULL;
    CHECK_EQ(posix_memalign(&memory, 4096, 4096), 0);
    memset(memory, 1, 4096);
    for (int round = 0; round < 3; round++) {
        struct aiocb cb = request(fd, memory, 4096, 0);
        CHECK_EQ(aio_write(&cb), 0);
        while (aio_error(&cb) == EINPROGRESS) {
            const struct aiocb *list[] = {&cb};
            struct timespec patience = {PATIENCE_S, 0};
            CHECK_EQ(aio_suspend(list, 1, &patience), 0);
        }
        CHECK_EQ(aio_return(&cb), 4096);
        CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
        CHECK_DONE(&cb, 0, 0);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 0, 4096);
    }
    free(memory);
    close(fd);
}

int main(void) {
    const double shifts[] = {0, 5, -5, 1000000, -1000000};
    alarm(50);
    for (size_t i = 0; i <= sizeof shifts / sizeof *shifts; i++) {
        stopped = i == sizeof shifts / sizeof *shifts;
        if (!stopped) ahead = shifts[i];
        check_time_outs();
        check_transfers(0);
        check_transfers(O_DIRECT);
    }
    return 0;
}
