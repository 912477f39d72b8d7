// Reads and writes of one socket do not wait for each other: a read that waits for data leaves the writes going, a
// write that waits for room the reads.
// glibc: fails: one read that waits on a socket stops the writes of that socket
#include "check.h"

int main(void) {
    int s[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    char in[16] = "", out[] = "question", got[16] = "";

    struct aiocb read_cb = request(s[0], in, sizeof in, 0), write_cb = request(s[0], out, sizeof out, 0);
    CHECK_EQ(aio_read(&read_cb), 0);
    CHECK_EQ(aio_write(&write_cb), 0);
    CHECK_DONE(&write_cb, 0, sizeof out);
    CHECK_EQ(read(s[1], got, sizeof got), (ssize_t)sizeof out);
    CHECK(strcmp(got, "question") == 0, "%s", got);
    CHECK_EQ(aio_error(&read_cb), EINPROGRESS);
    CHECK_EQ(write(s[1], "answer", 7), 7);
    CHECK_DONE(&read_cb, 0, 7);
    CHECK(strcmp(in, "answer") == 0, "%s", in);

    // The other way round: more than the socket holds.
    size_t much = 4 << 20;
    char *data = malloc(much), *back = malloc(much);
    fill(data, much, 1);
    write_cb = request(s[0], data, much, 0);
    CHECK_EQ(aio_write(&write_cb), 0);
    for (int i = 0; i < 10; i++) {
        read_cb = request(s[0], in, sizeof in, 0);
        CHECK_EQ(aio_read(&read_cb), 0);
        CHECK_EQ(write(s[1], "ping", 5), 5);
        CHECK_DONE(&read_cb, 0, 5);
    }
    CHECK_EQ(aio_error(&write_cb), EINPROGRESS);
    CHECK_EQ(recv(s[1], back, much, MSG_WAITALL), (ssize_t)much);
    CHECK(holds(back, much, 1));
    CHECK_DONE(&write_cb, 0, much);
    return 0;
}
