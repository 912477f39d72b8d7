// A signal handler that interrupts AIO calls may fork, and its child makes requests of its own.
// glibc: races: AIO in a child forked in a signal handler hangs
// timeout: 120
#include "check.h"

enum { FORKS = 100 };

static pthread_t main_thread;
static int child_fd;
static volatile unsigned forks;

static void handler(int number) {
    (void)number;
    int saved = errno;
    // _Fork is the one that POSIX allows here; the portable library does not notice it.
    pid_t pid = is_portable() ? fork() : _Fork();
    if (pid < 0) FAIL("_Fork: %s", strerrorname_np(errno));
    if (pid == 0) {
        alarm(PATIENCE_S);
        struct aiocb cb = request(child_fd, "data", 4, (off_t)forks * 4);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 4);
        CHECK_EQ(aio_fsync(O_DSYNC, &cb), 0);
        CHECK_DONE(&cb, 0, 0);
        _exit(0);
    }
    int status = -1;
    while (waitpid(pid, &status, 0) < 0) CHECK_EQ(errno, EINTR);
    if (status) FAIL("child %u: status %x", forks, status);
    forks++;
    errno = saved;
}

static void *interrupt_main(void *unused) {
    (void)unused;
    for (unsigned n = 0; n < FORKS; n++) {
        for (unsigned spin = 0; spin < n * 37 % 1000; spin++) __asm__ volatile("" ::: "memory");
        pthread_kill(main_thread, SIGUSR1);
        WAIT_FOR(forks > n);
    }
    return NULL;
}

int main(void) {
    main_thread = pthread_self();
    on_signal(SIGUSR1, handler);
    int fd = temp_file();
    child_fd = temp_file();
    struct aiocb cbs[8];
    char data[8][64];
    memset(data, 'x', sizeof data);
    for (int i = 0; i < 8; i++) {
        cbs[i] = request(fd, data[i], 64, i * 64);
        CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    pthread_t other = start_thread(interrupt_main, NULL);
    while (forks < FORKS) {
        for (int i = 0; i < 8; i++) {
            const struct aiocb *list[1] = {&cbs[i]};
            struct timespec zero = {0, 0};
            aio_suspend(list, 1, &zero);
            if (aio_error(&cbs[i]) == EINPROGRESS) continue;
            CHECK_EQ(aio_error(&cbs[i]), 0);
            CHECK_EQ(aio_return(&cbs[i]), 64);
            CHECK_EQ(i == 7 ? aio_fsync(O_DSYNC, &cbs[i]) : aio_write(&cbs[i]), 0);
            if (i == 7) {
                CHECK_DONE(&cbs[i], 0, 0);
                CHECK_EQ(aio_write(&cbs[i]), 0);
            }
        }
    }
    join_thread(other);
    for (int i = 0; i < 8; i++) CHECK_DONE(&cbs[i], 0, 64);
    return 0;
}
