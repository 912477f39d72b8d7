// No thread exists before a request needs one: not at load, not by the calls that make no request.
#include "check.h"

int main(void) {
    CHECK_EQ(thread_count(), 1);
    int fd = temp_file(), p[2];
    struct aiocb cb = request(fd, "data", 4, 0);
    const struct aiocb *list[1] = {NULL};
    struct aiocb *nothing = NULL;
    struct timespec zero = {0, 0};
    aio_init(&(struct aioinit){.aio_threads = 4, .aio_num = 64});
    aio_error(&cb);
    aio_cancel(fd, NULL);
    aio_suspend(list, 1, &zero);
    CHECK_FAILS(aio_fsync(4711, &cb), EINVAL);
    CHECK_EQ(lio_listio(LIO_WAIT, &nothing, 0, NULL), 0);
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(dup2(fd, p[0]), p[0]);
    CHECK_EQ(close(p[1]), 0);
    CHECK_EQ(thread_count(), 1);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0, 4);
    return 0;
}
