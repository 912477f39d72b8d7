// The sigevent of a list is copied: what the caller puts there afterwards does not count.
#include "check.h"

int main(void) {
    block_signal(SIGRTMIN);
    block_signal(SIGRTMIN + 1);
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    for (int round = 0; round < 20; round++) {
        char byte;
        struct aiocb cb = request(ends[0], &byte, 1, 0), of_list = {0}, *list[] = {&cb};
        cb.aio_lio_opcode = LIO_READ;
        notify_by_signal(&of_list, SIGRTMIN, round);
        CHECK_EQ(lio_listio(LIO_NOWAIT, list, 1, &of_list.aio_sigevent), 0);
        notify_by_signal(&of_list, SIGRTMIN + 1, 999);
        list[0] = NULL;
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_EQ(take_signal(SIGRTMIN).si_value.sival_int, round);
        CHECK_DONE(&cb, 0, 1);
    }
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGRTMIN + 1));
    return 0;
}
