// What cannot be synchronised - pipe, socket, terminal, /dev/null - gives EINVAL, at once or through the status.
#include "check.h"

static void check(int fd) {
    CHECK(fd >= 0);
    struct aiocb cb = request(fd, NULL, 0, 0);
    CHECK_EQ(ERROR_OF(aio_fsync(O_SYNC, &cb), &cb), EINVAL);
    CHECK_EQ(ERROR_OF(aio_fsync(O_DSYNC, &cb), &cb), EINVAL);
}

int main(void) {
    int p[2], s[2];
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    check(p[1]);
    check(p[0]);
    check(s[0]);
    check(open("/dev/null", O_RDWR));
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal >= 0) check(terminal);
    return 0;
}
