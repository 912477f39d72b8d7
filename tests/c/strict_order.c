// With order=strict the requests of one descriptor run one at a time in call order, as libc runs them; other descriptors
// do not wait.
// env: AIO_RS=order=strict
// holds-reads
#include "check.h"

enum { COUNT = 50 };

int main(void) {
    int fd = temp_file(), other = temp_file();
    put_pattern(fd, 0, 65536, 1);
    struct held h;
    struct aiocb head, cbs[COUNT];
    static unsigned char buffers[COUNT][512];
    held_read(&h, &head, fd, 4096, 0);
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(fd, buffers[i], 512, 4096 + i * 512);
        CHECK_EQ(i % 2 ? aio_write(&cbs[i]) : aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < 200; i++) {
        struct aiocb cb = request(other, buffers[1], 512, i * 512);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 512);
    }
    for (int i = 0; i < COUNT; i++) CHECK_EQ(aio_error(&cbs[i]), EINPROGRESS);
    // None of them has started.
    CHECK_EQ(aio_cancel(fd, &cbs[COUNT - 1]), AIO_CANCELED);
    CHECK_EQ(aio_cancel(fd, &cbs[COUNT - 2]), AIO_CANCELED);

    // In call order: a second held one in the midst lets end what is before it, and nothing behind it.
    struct held middle = hold(4096);
    struct aiocb second = request(fd, middle.buffer, 4096, 0), last = request(fd, buffers[0], 512, 40000);
    CHECK_EQ(aio_read(&second), 0);
    CHECK_EQ(aio_read(&last), 0);
    CHECK(untouched(&middle));
    release_held(&h);
    CHECK_DONE(&head, 0, 4096);
    for (int i = 0; i < COUNT - 2; i++) CHECK_DONE(&cbs[i], 0, 512);
    wait_held(&middle);
    CHECK_EQ(aio_error(&last), EINPROGRESS);
    CHECK_EQ(aio_cancel(fd, &last), AIO_CANCELED);
    release_held(&middle);
    CHECK_DONE(&second, 0, 4096);
    return 0;
}
