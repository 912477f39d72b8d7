// NULL entries and entries with LIO_NOP are skipped: they do not count, fail or notify.
#include "check.h"

int main(void) {
    block_signal(SIGRTMIN);
    block_signal(SIGRTMIN + 1);
    int fd = temp_file();
    char byte = 'x';
    struct aiocb write = request(fd, &byte, 1, 0), nop = request(-1, (void *)8, 99, -1), of_list = {0};
    write.aio_lio_opcode = LIO_WRITE;
    nop.aio_lio_opcode = LIO_NOP;
    notify_by_signal(&nop, SIGRTMIN, 1);
    notify_by_signal(&of_list, SIGRTMIN + 1, 2);
    struct aiocb *list[] = {NULL, &nop, &write, NULL, &nop}, *nothing[] = {NULL, &nop, NULL};

    CHECK_EQ(lio_listio(LIO_WAIT, list, 5, NULL), 0);
    CHECK_EQ(aio_return(&write), 1);
    CHECK_EQ(lio_listio(LIO_WAIT, nothing, 3, NULL), 0);

    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 5, &of_list.aio_sigevent), 0);
    CHECK_EQ(take_signal(SIGRTMIN + 1).si_value.sival_int, 2);
    CHECK_DONE(&write, 0, 1);
    CHECK_EQ(lio_listio(LIO_NOWAIT, nothing, 3, &of_list.aio_sigevent), 0);
    CHECK_EQ(take_signal(SIGRTMIN + 1).si_value.sival_int, 2);

    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGRTMIN) && !sigismember(&pending, SIGRTMIN + 1));
    return 0;
}
