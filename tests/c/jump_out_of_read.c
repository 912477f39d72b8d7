// A signal handler that jumps out of aio_read costs that aiocb at most: however often it does, reads of others are served as before.
// glibc: skip: it may be left with its lock taken
// timeout: 120
#include "check.h"
#include <setjmp.h>
#include <sys/time.h>

enum { TRIES = 600, LENGTH = 65536 };

static sigjmp_buf before_read;
static volatile sig_atomic_t armed;

static void jump(int number) {
    (void)number;
    if (!armed) return;
    armed = 0;
    siglongjmp(before_read, 1);
}

int main(void) {
    static struct aiocb cbs[TRIES];
    static char buffer[LENGTH];
    int fd = temp_file();
    put_pattern(fd, 0, LENGTH, 1);
    // The first call makes the engine and a thread: not while a handler may jump out of malloc.
    struct aiocb first = request(fd, buffer, 16, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &first), 0);
    CHECK_DONE(&first, 0, 0);
    on_signal(SIGALRM, jump);
    for (int i = 0; i < TRIES; i++) {
        cbs[i] = request(fd, buffer, LENGTH, 0);
        if (sigsetjmp(before_read, 1)) continue;
        armed = 1;
        struct itimerval soon = {{0, 0}, {0, 20 + i % 60}};
        CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
        while (armed) {
            aio_read(&cbs[i]);
            while (aio_error(&cbs[i]) == EINPROGRESS) {}
        }
    }
    unsigned long before = counts().route_inline;
    for (int i = 0; i < 1000; i++) {
        static struct aiocb others[1000];
        others[i] = request(fd, buffer, 16, i);
        CHECK_EQ(aio_read(&others[i]), 0);
        CHECK_DONE(&others[i], 0, 16);
    }
    if (has_inline_route() && can_read_cached(fd) && aio_rs_stats)
        CHECK(counts().route_inline >= before + 500, "%lu", (unsigned long)counts().route_inline - before);
    return 0;
}
