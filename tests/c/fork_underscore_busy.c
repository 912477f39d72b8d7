// _Fork, which puts no lock of the C library in order, while other threads make and end threads: AIO works in the child, without
// any thread. A function to call, which needs one, is refused.
// glibc: fails: AIO in the child of a _Fork hangs
#include "check.h"

enum { CHILDREN = 200, MAKERS = 4, BIG = 200000 };
static volatile sig_atomic_t told;
static int over;

static void *nothing(void *none) { return none; }

static void *make_threads(void *none) {
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, NULL) == 0) pthread_join(thread, NULL);
    }
    return none;
}

static void not_called(union sigval value) { FAIL("called with %d", value.sival_int); }

static void note(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    told += info->si_code == SI_ASYNCIO && info->si_value.sival_int == 7;
}

static void use_file(int fd) {
    char text[16] = "written by it", back[16] = "";
    struct aiocb out = request(fd, text, 16, 0), sync = request(fd, NULL, 0, 0), in = request(fd, back, 16, 0);
    out.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    out.aio_sigevent.sigev_signo = SIGUSR1;
    out.aio_sigevent.sigev_value.sival_int = 7;
    CHECK_EQ(aio_write(&out), 0);
    CHECK_EQ(told, 1);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_EQ(aio_read(&in), 0);
    CHECK_DONE(&out, 0, 16);
    CHECK_DONE(&sync, 0, 0);
    CHECK_DONE(&in, 0, 16);
    CHECK(memcmp(text, back, 16) == 0);
    struct aiocb *list[] = {&out, &in};
    out.aio_lio_opcode = LIO_WRITE, in.aio_lio_opcode = LIO_READ;
    out.aio_sigevent.sigev_notify = SIGEV_NONE;
    CHECK_EQ(lio_listio(LIO_WAIT, list, 2, NULL), 0);
    out.aio_sigevent.sigev_notify = SIGEV_THREAD;
    out.aio_sigevent.sigev_notify_function = not_called;
    CHECK_FAILS(aio_write(&out), EAGAIN);
    CHECK_FAILS(lio_listio(LIO_NOWAIT, list, 0, &out.aio_sigevent), EAGAIN);
}

static void use_pipe(void) {
    int p[2];
    char byte = 0, other = 0;
    CHECK_EQ(pipe(p), 0);
    struct aiocb first = request(p[0], &byte, 1, 0), second = request(p[0], &other, 1, 0);
    const struct aiocb *list[] = {&second};
    struct timespec moment = {0, 3000000};
    CHECK_EQ(aio_read(&first), 0);
    CHECK_EQ(aio_read(&second), 0);
    CHECK_EQ(aio_error(&first), EINPROGRESS);
    CHECK_FAILS(aio_suspend(list, 1, &moment), EAGAIN);
    CHECK_EQ(write(p[1], "ab", 2), 2);
    CHECK_EQ(aio_suspend(list, 1, NULL), 0);
    CHECK_DONE(&first, 0, 1);
    CHECK_DONE(&second, 0, 1);
    CHECK(byte == 'a' && other == 'b');
    CHECK_EQ(aio_read(&first), 0);
    CHECK_EQ(aio_cancel(p[0], NULL), AIO_CANCELED);
    CHECK_DONE(&first, ECANCELED, -1);
    // More than fits: what is left is written while the program waits for something else.
    static char much[BIG], back[BIG];
    memset(much, 'x', BIG);
    struct aiocb out = request(p[1], much, BIG, 0);
    CHECK_EQ(aio_write(&out), 0);
    CHECK_EQ(aio_error(&out), EINPROGRESS);
    for (size_t got = 0; got < BIG;) {
        struct aiocb in = request(p[0], back + got, BIG - got, 0);
        CHECK_EQ(aio_read(&in), 0);
        wait_done(&in);
        got += (size_t)aio_return(&in);
    }
    CHECK_DONE(&out, 0, BIG);
    CHECK(memcmp(much, back, BIG) == 0);
    CHECK_EQ(close(p[0]), 0);
    CHECK_EQ(aio_write(&out), 0); // and no SIGPIPE
    CHECK_DONE(&out, EPIPE, -1);
}

int main(void) {
    if (is_portable()) return 0; // POSIX has no way to notice it
    if (emulated()) SKIP("the emulator does not wipe pages in a child, and has locks of its own");
    int fd = temp_file();
    char byte = 'x';
    struct aiocb cb = request(fd, &byte, 1, 0);
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 1);
    pthread_t makers[MAKERS];
    for (int i = 0; i < MAKERS; i++) CHECK_EQ(pthread_create(&makers[i], NULL, make_threads, NULL), 0);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t pid = _Fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            use_file(fd);
            use_pipe();
            _exit(0);
        }
        int status = -1;
        WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid);
        CHECK_EQ(status, 0);
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < MAKERS; i++) CHECK_EQ(pthread_join(makers[i], NULL), 0);
    return 0;
}
