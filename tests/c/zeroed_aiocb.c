// An aiocb of zeros that was never submitted: aio_error gives 0 or EINVAL, nothing crashes or waits. Submitted so, it
// means SIGEV_SIGNAL with signal 0: it is accepted and sends nothing.
#include "check.h"

int main(void) {
    struct aiocb cb;
    memset(&cb, 0, sizeof cb);
    int error = aio_error(&cb);
    CHECK(error == 0 || error == EINVAL || (error == -1 && errno == EINVAL), "aio_error gives %d", error);
    ssize_t result = aio_return(&cb);
    CHECK(result == 0 || (result == -1 && errno == EINVAL), "aio_return gives %zd", result);
    const struct aiocb *list[] = {&cb};
    CHECK_EQ(aio_suspend(list, 1, NULL), 0);
    cb.aio_fildes = temp_file();
    int cancelled = aio_cancel(cb.aio_fildes, &cb);
    CHECK(cancelled == AIO_ALLDONE || (cancelled == -1 && errno == EINVAL), "aio_cancel gives %d", cancelled);

    // Every signal would be seen: default actions kill, the rest is pending.
    sigset_t all, pending;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    char buffer[4] = "abc";
    cb.aio_buf = buffer;
    cb.aio_nbytes = sizeof buffer;
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, sizeof buffer);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0, sizeof buffer);
    CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
    CHECK_DONE(&cb, 0, 0);
    settle();
    sigpending(&pending);
    CHECK(sigisemptyset(&pending));
    return 0;
}
