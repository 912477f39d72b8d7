// One thread forks while others submit without a pause: every child makes requests of its own and exits, and no request
// of the parent is lost.
// glibc: races: AIO in a child forked amid submissions hangs
// timeout: 120
#include "check.h"

enum { FORKS = 200, SUBMITTERS = 2, SLOTS = 16 };

static volatile bool over;
static int child_fd;
static unsigned long total;

static void *submit(void *argument) {
    unsigned self = (unsigned)(uintptr_t)argument;
    int fd = temp_file(), p[2];
    CHECK_EQ(pipe(p), 0);
    struct aiocb cbs[SLOTS];
    uint32_t data[SLOTS];
    for (uint32_t n = 0; !over; n++) {
        for (unsigned i = 0; i < SLOTS; i++) {
            data[i] = n * SLOTS + i + self;
            cbs[i] = request(i == 3 ? p[1] : i == 4 ? p[0] : fd, &data[i], 4, i * 4);
            CHECK_EQ(i == SLOTS - 1 && n % 8 == 0 ? aio_fsync(O_DSYNC, &cbs[i]) : i == 4 ? aio_read(&cbs[i]) : aio_write(&cbs[i]), 0);
        }
        for (unsigned i = 0; i < SLOTS; i++) {
            wait_done(&cbs[i]);
            CHECK_EQ(aio_error(&cbs[i]), 0);
            __atomic_add_fetch(&total, 1, __ATOMIC_RELAXED);
        }
        uint32_t back = 0;
        CHECK_EQ(pread(fd, &back, 4, 20), 4);
        CHECK_EQ(back, data[5]);
    }
    return NULL;
}

int main(void) {
    child_fd = temp_file();
    pthread_t threads[SUBMITTERS];
    for (uintptr_t i = 0; i < SUBMITTERS; i++) threads[i] = start_thread(submit, (void *)i);
    for (int n = 0; n < FORKS; n++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(PATIENCE_S);
            struct aiocb cb = request(child_fd, "data", 4, n * 4);
            char back[4] = "";
            CHECK_EQ(aio_write(&cb), 0);
            CHECK_DONE(&cb, 0, 4);
            CHECK_EQ(aio_fsync(O_DSYNC, &cb), 0);
            CHECK_DONE(&cb, 0, 0);
            cb = request(child_fd, back, 4, n * 4);
            CHECK_EQ(aio_read(&cb), 0);
            CHECK_DONE(&cb, 0, 4);
            CHECK(memcmp(back, "data", 4) == 0);
            _exit(0);
        }
        int status = -1;
        WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid);
        CHECK(status == 0, "child %d: status %x", n, status);
    }
    unsigned long before = total;
    WAIT_FOR(__atomic_load_n(&total, __ATOMIC_RELAXED) > before + 100);
    over = true;
    for (int i = 0; i < SUBMITTERS; i++) join_thread(threads[i]);
    return 0;
}
