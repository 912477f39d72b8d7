// Each function and its 64 twin agree on the same block, whichever started the request.
// holds-reads
#include "check.h"

int main(void) {
    // Same layout on every 64-bit target, which is what makes the twins one.
    CHECK_EQ(sizeof(struct aiocb), sizeof(struct aiocb64));
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    static unsigned char data[4096];
    union {
        struct aiocb cb;
        struct aiocb64 cb64;
    } u;
    struct timespec timeout = {PATIENCE_S, 0};

    u.cb = request(fd, data, sizeof data, 0);
    CHECK_EQ(aio_read64(&u.cb64), 0);
    wait_done(&u.cb);
    CHECK_EQ(aio_error64(&u.cb64), 0);
    CHECK_EQ(aio_error(&u.cb), 0);
    CHECK_EQ(aio_return(&u.cb), 4096);
    CHECK(holds(data, sizeof data, 1));

    fill(data, sizeof data, 2);
    u.cb = request(fd, data, sizeof data, 4096);
    CHECK_EQ(aio_write64(&u.cb64), 0);
    const struct aiocb64 *list64[] = {&u.cb64};
    CHECK_EQ(aio_suspend64(list64, 1, &timeout), 0);
    CHECK_EQ(aio_error(&u.cb), 0);
    CHECK_EQ(aio_return64(&u.cb64), 4096);
    CHECK(file_holds(fd, 4096, 4096, 2));

    u.cb = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync64(O_SYNC, &u.cb64), 0);
    CHECK_DONE(&u.cb, 0, 0);
    CHECK_FAILS(aio_fsync64(0, &u.cb64), EINVAL);
    CHECK_EQ(aio_cancel64(fd, NULL), AIO_ALLDONE);

    u.cb = request(fd, data, sizeof data, 0);
    u.cb.aio_lio_opcode = LIO_WRITE;
    struct aiocb64 *entries[] = {&u.cb64};
    CHECK_EQ(lio_listio64(LIO_WAIT, entries, 1, NULL), 0);
    CHECK_EQ(aio_return(&u.cb), 4096);

    // In flight, the twin sees EINPROGRESS and waits.
    struct held h;
    held_read(&h, &u.cb, fd, 4096, 0);
    CHECK_EQ(aio_error64(&u.cb64), EINPROGRESS);
    timeout = (struct timespec){0, 1000000};
    CHECK_FAILS(aio_suspend64(list64, 1, &timeout), EAGAIN);
    CHECK_EQ(aio_cancel64(fd, &u.cb64), AIO_NOTCANCELED);
    release_held(&h);
    CHECK_DONE(&u.cb, 0, 4096);
    return 0;
}
