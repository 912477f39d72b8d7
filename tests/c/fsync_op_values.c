// aio_fsync takes O_SYNC and O_DSYNC; any other op is -1/EINVAL at once.
#include "check.h"

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    const int bad[] = {0, 1, 2, -1, O_APPEND, O_CREAT, O_SYNC | 1, O_DSYNC | O_RDWR, O_SYNC & ~O_DSYNC, 4, 3, INT_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct aiocb cb = request(fd, NULL, 0, 0);
        CHECK_FAILS(aio_fsync(bad[i], &cb), EINVAL);
    }
    const int good[] = {O_SYNC, O_DSYNC};
    for (size_t i = 0; i < 2; i++) {
        struct aiocb cb = request(fd, NULL, 0, 0);
        CHECK_EQ(aio_fsync(good[i], &cb), 0);
        CHECK_DONE(&cb, 0, 0);
    }
    return 0;
}
