// A full signal queue delays notifications: it changes no result and loses none. 2,000 requests with a queue for 64.
// glibc: fails: with a full signal queue good requests report EAGAIN and their signals are lost
#include "check.h"

enum { COUNT = 2000, QUEUE = 64 };

int main(void) {
    block_signal(SIGRTMIN + 1);
    own_signal_queue();
    limit_signals(QUEUE);
    int fd = temp_file();
    static struct aiocb cbs[COUNT];
    static unsigned char data[COUNT][16];
    static int seen[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fill(data[i], 16, (unsigned)i);
        CHECK_EQ(pwrite(fd, data[i], 16, i * 16), 16);
        memset(data[i], 0, 16);
    }
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(fd, data[i], 16, i * 16);
        cbs[i].aio_sigevent =
            (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = i};
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_DONE(&cbs[i], 0, 16);
        CHECK(holds(data[i], 16, (unsigned)i));
    }
    // Other notifications and requests go on meanwhile.
    struct aiocb plain = request(fd, data[0], 16, 0);
    CHECK_EQ(aio_write(&plain), 0);
    CHECK_DONE(&plain, 0, 16);
    for (int n = 0; n < COUNT; n++) {
        siginfo_t info = take_signal(SIGRTMIN + 1);
        CHECK_EQ(info.si_code, SI_ASYNCIO);
        int i = info.si_value.sival_int;
        CHECK(i >= 0 && i < COUNT, "value %d", i);
        CHECK_EQ(seen[i]++, 0);
    }
    sigset_t pending;
    CHECK_EQ(sigpending(&pending), 0);
    CHECK(!sigismember(&pending, SIGRTMIN + 1));
    return 0;
}
