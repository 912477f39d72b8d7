// A descriptor that is closed, or open for the other direction only, is accepted; its EBADF comes through aio_error.
// aio_fsync refuses a closed one at once.
#include "check.h"

static void check_read(int fd) {
    char buffer[16];
    struct aiocb cb = request(fd, buffer, sizeof buffer, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, EBADF, -1);
}

static void check_write(int fd) {
    char buffer[16] = "0123456789abcde";
    struct aiocb cb = request(fd, buffer, sizeof buffer, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, EBADF, -1);
}

static void check_fsync(int fd) {
    struct aiocb cb = request(fd, NULL, 0, 0);
    CHECK_FAILS(aio_fsync(O_SYNC, &cb), EBADF);
    CHECK_FAILS(aio_fsync(O_DSYNC, &cb), EBADF);
}

int main(void) {
    int write_only = temp_open("file", O_WRONLY), read_only = temp_open("file", O_RDONLY);
    int path_only = temp_open("file", O_PATH);
    int closed = dup(read_only);
    close(closed);
    int bad[] = {-1, INT_MIN, INT_MAX, 999999, closed};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        check_read(bad[i]);
        check_write(bad[i]);
        check_fsync(bad[i]);
    }
    check_read(write_only);
    check_write(read_only);

    // O_PATH: open, but for nothing.
    check_read(path_only);
    check_write(path_only);
    struct aiocb cb = request(path_only, NULL, 0, 0);
    CHECK_EQ(ERROR_OF(aio_fsync(O_SYNC, &cb), &cb), EBADF);

    // The same on pipes, which take another way.
    int p[2];
    CHECK_EQ(pipe(p), 0);
    check_read(p[1]);
    check_write(p[0]);
    return 0;
}
