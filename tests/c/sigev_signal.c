// SIGEV_SIGNAL queues the signal with the value, si_code SI_ASYNCIO and the sender's pid, once per request, including
// failed ones and lists.
#include "check.h"

enum { COUNT = 200 };

static void check_info(const siginfo_t *info) {
    CHECK_EQ(info->si_code, SI_ASYNCIO);
    CHECK_EQ(info->si_pid, getpid());
    CHECK_EQ(info->si_uid, getuid());
}

int main(void) {
    for (int i = 0; i < 3; i++) block_signal(SIGRTMIN + i);
    block_signal(SIGUSR1);
    int fd = temp_file();
    static struct aiocb cbs[COUNT];
    static int seen[COUNT];
    for (int i = 0; i < COUNT; i++) {
        // Every tenth fails, every seventh is a barrier.
        cbs[i] = request(i % 10 == 9 ? -1 : fd, "data", 4, i * 4);
        cbs[i].aio_sigevent =
            (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + i % 2, .sigev_value.sival_int = i};
        if (i % 7 == 6 && i % 10 != 9)
            CHECK_EQ(aio_fsync(O_SYNC, &cbs[i]), 0);
        else
            CHECK_EQ(aio_write(&cbs[i]), 0);
    }
    for (int n = 0; n < COUNT; n++) {
        siginfo_t info = take_signal(SIGRTMIN + n % 2);
        check_info(&info);
        int i = info.si_value.sival_int;
        CHECK(i >= 0 && i < COUNT && i % 2 == n % 2, "value %d", i);
        CHECK_EQ(seen[i]++, 0);
        CHECK_EQ(aio_error(&cbs[i]), i % 10 == 9 ? EBADF : 0);
    }

    // A classic signal, with a pointer.
    struct aiocb cb = request(fd, "data", 4, 0);
    cb.aio_sigevent =
        (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_ptr = &cb};
    CHECK_EQ(aio_write(&cb), 0);
    siginfo_t info = take_signal(SIGUSR1);
    check_info(&info);
    CHECK(info.si_value.sival_ptr == &cb);
    CHECK_EQ(aio_return(&cb), 4);

    // A list: its own signal besides those of its members.
    struct aiocb *list[2] = {&cbs[0], &cbs[1]};
    for (int i = 0; i < 2; i++) list[i]->aio_lio_opcode = LIO_WRITE;
    struct sigevent all = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = 4711};
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 2, &all), 0);
    info = take_signal(SIGRTMIN + 2);
    check_info(&info);
    CHECK_EQ(info.si_value.sival_int, 4711);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(aio_error(&cbs[i]), 0);
        info = take_signal(SIGRTMIN + i);
        CHECK_EQ(info.si_value.sival_int, i);
    }
    sigset_t pending;
    CHECK_EQ(sigpending(&pending), 0);
    for (int i = 0; i < 3; i++) CHECK(!sigismember(&pending, SIGRTMIN + i));
    CHECK(!sigismember(&pending, SIGUSR1));
    return 0;
}
