// routes=worker: requests on pipes and sockets do the same without a thread that waits for all of them.
// env: AIO_RS=routes=worker
#include "check.h"

static void pipe_in_order(void) {
    int p[2];
    CHECK_EQ(pipe(p), 0);
    static struct aiocb reads[10];
    static char in[10][4];
    for (int i = 0; i < 10; i++) {
        reads[i] = request(p[0], in[i], 4, 0);
        CHECK_EQ(aio_read(&reads[i]), 0);
    }
    char out[] = "0aaa1bbb2ccc3ddd4eee5fff6ggg7hhh8iii9jjj";
    struct aiocb write = request(p[1], out, 40, 0);
    CHECK_EQ(aio_write(&write), 0);
    CHECK_DONE(&write, 0, 40);
    for (int i = 0; i < 10; i++) {
        CHECK_DONE(&reads[i], 0, 4);
        CHECK(memcmp(in[i], out + i * 4, 4) == 0, "%d: %.4s", i, in[i]);
    }
    CHECK_EQ(close(p[1]), 0);
    CHECK_EQ(aio_read(&reads[0]), 0);
    CHECK_DONE(&reads[0], 0, 0);
}

static void more_than_a_pipe_holds(void) {
    enum { LENGTH = 1000000 };
    static char out[LENGTH], in[LENGTH];
    int p[2];
    CHECK_EQ(pipe(p), 0);
    fill(out, LENGTH, 1);
    struct aiocb write = request(p[1], out, LENGTH, 0);
    CHECK_EQ(aio_write(&write), 0);
    for (size_t got = 0; got < LENGTH;) {
        struct aiocb read = request(p[0], in + got, LENGTH - got, 0);
        CHECK_EQ(aio_read(&read), 0);
        wait_done(&read);
        CHECK_EQ(aio_error(&read), 0);
        got += (size_t)aio_return(&read);
    }
    CHECK_DONE(&write, 0, LENGTH);
    CHECK(holds(in, LENGTH, 1));
}

static void datagrams(void) {
    int s[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, s), 0);
    static const size_t lengths[] = {5, 0, 7};
    for (int i = 0; i < 3; i++) {
        char in[8];
        struct aiocb write = request(s[0], "datagram", lengths[i], 0), read = request(s[1], in, sizeof in, 0);
        CHECK_EQ(aio_read(&read), 0);
        CHECK_EQ(aio_write(&write), 0);
        CHECK_DONE(&write, 0, lengths[i]);
        CHECK_DONE(&read, 0, lengths[i]);
    }
}

static void errors(void) {
    int p[2];
    CHECK_EQ(pipe2(p, O_NONBLOCK), 0);
    char byte;
    struct aiocb read = request(p[0], &byte, 1, 0), write = request(p[1], &byte, 1, 0);
    CHECK_EQ(aio_read(&read), 0);
    CHECK_DONE(&read, EAGAIN, -1);
    CHECK_EQ(close(p[0]), 0);
    CHECK_EQ(aio_write(&write), 0);
    CHECK_DONE(&write, EPIPE, -1); // and no SIGPIPE
}

int main(void) {
    pipe_in_order();
    more_than_a_pipe_holds();
    datagrams();
    errors();
    CHECK_EQ(threads_named("aio_rs/poller"), 0);
    return 0;
}
