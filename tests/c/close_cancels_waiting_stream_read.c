// Closing a stream on which reads wait cancels them: they take no data, and the other end sees the hang-up at once.
// glibc: fails: reads that wait on a stream stay when it is closed, or take data of the next owner of its number
// takes: 8
#include "check.h"

static void close_pipe(int how) {
    int p[2], null = open("/dev/null", O_RDONLY);
    CHECK_EQ(pipe(p), 0);
    char to[3][8] = {"", "", ""};
    struct aiocb reads[3];
    for (int i = 0; i < 3; i++) {
        reads[i] = request(p[0], to[i], sizeof to[i], 0);
        CHECK_EQ(aio_read(&reads[i]), 0);
    }
    int kept = how ? dup(p[0]) : -1;
    CHECK_EQ(how == 2 ? dup2(null, p[0]) : close(p[0]), how == 2 ? p[0] : 0);
    for (int i = 0; i < 3; i++) {
        CHECK_DONE(&reads[i], ECANCELED, -1);
    }
    if (kept == -1) {
        struct pollfd out = {.fd = p[1], .events = POLLOUT};
        WAIT_FOR(poll(&out, 1, 0) == 1 && out.revents & POLLERR);
    } else {
        // What is written now is for the other descriptor of the pipe.
        char back[8] = "";
        CHECK_EQ(write(p[1], "rest", 4), 4);
        struct aiocb cb = request(kept, back, sizeof back, 0);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 0, 4);
        CHECK(strcmp(back, "rest") == 0);
    }
    for (int i = 0; i < 3; i++) CHECK_EQ(to[i][0], 0);
}

static void close_socket(void) {
    int s[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    char byte = 0;
    struct aiocb cb = request(s[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(close(s[0]), 0);
    CHECK_DONE(&cb, ECANCELED, -1);
    struct pollfd in = {.fd = s[1], .events = POLLIN};
    WAIT_FOR(poll(&in, 1, 0) == 1);
    CHECK_EQ(read(s[1], &byte, 1), 0);
}

int main(void) {
    for (int i = 0; i < 100; i++) {
        for (int how = 0; how < 3; how++) close_pipe(how);
        close_socket();
    }
    return 0;
}
