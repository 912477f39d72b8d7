// With fsync=strict a descriptor that is not open for writing is -1/EBADF at once, as QNX and the older POSIX have it.
// glibc: skip: the setting is this library's
// env: AIO_RS=fsync=strict
#include "check.h"

int main(void) {
    int write_only = temp_open("file", O_WRONLY), both = temp_open("file", O_RDWR);
    int read_only = temp_open("file", O_RDONLY), directory = open(temp_dir(), O_RDONLY | O_DIRECTORY);
    const int bad[] = {read_only, directory, -1}, good[] = {write_only, both};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct aiocb cb = request(bad[i], NULL, 0, 0);
        CHECK_FAILS(aio_fsync(O_SYNC, &cb), EBADF);
        CHECK_FAILS(aio_fsync(O_DSYNC, &cb), EBADF);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct aiocb cb = request(good[i], NULL, 0, 0);
        CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
        CHECK_DONE(&cb, 0, 0);
    }
    return 0;
}
