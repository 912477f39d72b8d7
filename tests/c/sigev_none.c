// SIGEV_NONE notifies nobody, whatever the rest of the sigevent says.
#include "check.h"

static void never(union sigval value) {
    (void)value;
    FAIL("called");
}

int main(void) {
    sigset_t all, pending;
    sigfillset(&all);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
    int fd = temp_file();
    struct aiocb cb = request(fd, "data", 4, 0), *list[1] = {&cb};
    cb.aio_sigevent.sigev_signo = SIGUSR1;
    cb.aio_sigevent.sigev_notify_function = never;
    struct sigevent event = cb.aio_sigevent;
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 4);
    }
    cb.aio_lio_opcode = LIO_WRITE;
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 1, &event), 0);
    CHECK_DONE(&cb, 0, 4);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 1, NULL), 0);
    CHECK_DONE(&cb, 0, 4);
    CHECK_EQ(sigpending(&pending), 0);
    for (int i = 1; i <= SIGRTMAX; i++) CHECK(sigismember(&pending, i) != 1, "signal %d was sent", i);
    return 0;
}
