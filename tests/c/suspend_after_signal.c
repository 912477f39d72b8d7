// A thread that sleeps in aio_suspend or LIO_WAIT until a request with a signal ends has run the handler when the call returns.
// timeout: 120
#include "check.h"

enum { ROUNDS = 150 };

static volatile sig_atomic_t handled;

static void handle(int number) {
    (void)number;
    handled = 1;
}

int main(void) {
    int p[2];
    char byte;
    CHECK_EQ(pipe(p), 0);
    on_signal(SIGRTMIN, handle);
    for (int round = 0; round < ROUNDS; round++) {
        struct aiocb cb = request(p[0], &byte, 1, 0), *list[] = {&cb};
        notify_by_signal(&cb, SIGRTMIN, round);
        cb.aio_lio_opcode = LIO_READ;
        handled = 0;
        pthread_t writer = write_when_blocked(p[1]);
        if (round % 2) {
            int got = lio_listio(LIO_WAIT, list, 1, NULL);
            CHECK(got == 0 || errno == EINTR);
        } else {
            CHECK_EQ(aio_read(&cb), 0);
            while (aio_suspend((const struct aiocb *const *)list, 1, NULL)) CHECK_EQ(errno, EINTR);
        }
        CHECK(handled == 1, "round %d", round);
        join_thread(writer);
        CHECK_DONE(&cb, 0, 1);
    }
    return 0;
}
