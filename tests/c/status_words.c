// The words of struct aiocb in which glibc keeps the error and the result hold them here too: some programs read them.
#include "check.h"

// POSIX has no names for them; glibc's are __error_code and __return_value.
static int error_word(const struct aiocb *cb) { return *(const volatile int *)((const char *)cb + 112); }
static ssize_t return_word(const struct aiocb *cb) { return *(const volatile ssize_t *)((const char *)cb + 120); }

int main(void) {
    CHECK_EQ(offsetof(struct aiocb, __error_code), 112);
    CHECK_EQ(offsetof(struct aiocb, __return_value), 120);
    CHECK_EQ(sizeof(struct aiocb), 168);

    int fd = temp_file();
    struct held h;
    struct aiocb cb;
    held_write(&h, &cb, fd, 4096, 0, 1);
    CHECK_EQ(error_word(&cb), EINPROGRESS);
    release_held(&h);
    WAIT_FOR(error_word(&cb) != EINPROGRESS);
    CHECK_EQ(error_word(&cb), 0);
    CHECK_EQ(return_word(&cb), 4096);

    char byte;
    cb = request(-1, &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    wait_done(&cb);
    CHECK_EQ(error_word(&cb), EBADF);
    CHECK_EQ(return_word(&cb), -1);
    return 0;
}
