// A program of one thread gets the lowest free descriptor, as POSIX says, while its first requests on streams are served:
// the library takes no low number, not for a moment.
// glibc: conforms
#include "check.h"

enum { CHILDREN = 150, TRIES = 1500 };

static void child(void) {
    int p[2], s[2];
    char bytes[2];
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    struct aiocb first = request(p[0], &bytes[0], 1, 0), second = request(s[0], &bytes[1], 1, 0);
    CHECK_EQ(aio_read(&first), 0);
    for (int i = 0; i < TRIES; i++) {
        if (i == TRIES / 2) CHECK_EQ(aio_read(&second), 0);
        CHECK_EQ(close(0), 0);
        CHECK_EQ(open("/dev/null", O_RDONLY), 0);
    }
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_EQ(write(s[1], "x", 1), 1);
    while (aio_error(&first) == EINPROGRESS || aio_error(&second) == EINPROGRESS) sched_yield();
    CHECK_EQ(aio_return(&first), 1);
    CHECK_EQ(aio_return(&second), 1);
    _exit(0);
}

int main(void) {
    for (int i = 0; i < CHILDREN; i++) {
        int status = -1;
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) child();
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d: %x", i, status);
    }
    return 0;
}
