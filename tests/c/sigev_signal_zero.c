// A zeroed sigevent means SIGEV_SIGNAL with signal 0: accepted, nothing is sent.
#include "check.h"

int main(void) {
    CHECK_EQ(SIGEV_SIGNAL, 0);
    sigset_t all, pending;
    sigfillset(&all);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
    int fd = temp_file();
    char back[4] = "";
    struct aiocb cb;
    memset(&cb, 0, sizeof cb);
    cb.aio_fildes = fd;
    cb.aio_buf = "data";
    cb.aio_nbytes = 4;
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 4);
    CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
    CHECK_DONE(&cb, 0, 0);
    cb.aio_buf = back;
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, 4);
    CHECK(memcmp(back, "data", 4) == 0);
    struct aiocb *list[1] = {&cb};
    struct sigevent none;
    memset(&none, 0, sizeof none);
    cb.aio_lio_opcode = LIO_READ;
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 1, &none), 0);
    CHECK_DONE(&cb, 0, 4);
    CHECK_EQ(sigpending(&pending), 0);
    for (int i = 1; i <= SIGRTMAX; i++) CHECK(sigismember(&pending, i) != 1, "signal %d was sent", i);
    return 0;
}
