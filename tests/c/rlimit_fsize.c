// A write beyond RLIMIT_FSIZE ends with EFBIG, one across it with the part that fits, and SIGXFSZ does not kill the
// process.
#include "check.h"

int main(void) {
    CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
    int fd = temp_file(), append = temp_open("append", O_RDWR | O_APPEND);
    CHECK_EQ(ftruncate(append, 8192), 0);
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 8192;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    char data[8192];
    memset(data, 'x', sizeof data);
    for (int i = 0; i < 20; i++) {
        struct aiocb cb = request(fd, data, 100, 8192 + i * 100);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, EFBIG, -1);
        cb = request(append, data, 100, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, EFBIG, -1);
        cb = request(fd, data, sizeof data, 4096);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0, 4096);
        struct aiocb member = request(fd, data, 100, 10000), *list[1] = {&member};
        member.aio_lio_opcode = LIO_WRITE;
        CHECK_FAILS(lio_listio(LIO_WAIT, list, 1, NULL), EIO);
        CHECK_EQ(aio_error(&member), EFBIG);
        CHECK_EQ(ftruncate(fd, 0), 0);
    }
    sigset_t pending;
    CHECK_EQ(sigpending(&pending), 0);
    CHECK(!sigismember(&pending, SIGXFSZ));
    return 0;
}
