// Writes that wait for room in a stream when its descriptor is closed are still written, in order; then the other end
// sees the end of the stream. The next owner of the number gets none of them.
// glibc: fails: queued writes of a closed stream go to whoever gets its number
#include "check.h"

enum { WRITES = 5, LENGTH = 300000 };

static void run(bool socket) {
    int p[2];
    static unsigned char data[WRITES][LENGTH], back[WRITES * LENGTH + 1];
    struct aiocb writes[WRITES];
    if (socket)
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
    else
        CHECK_EQ(pipe(p), 0);
    for (int i = 0; i < WRITES; i++) {
        fill(data[i], LENGTH, (unsigned)i);
        writes[i] = request(p[1], data[i], LENGTH, 0);
        CHECK_EQ(aio_write(&writes[i]), 0);
    }
    CHECK_EQ(aio_error(&writes[1]), EINPROGRESS);
    CHECK_EQ(close(p[1]), 0);
    // The library may have a low number in use for a moment.
    int reused = -1;
    WAIT_FOR((reused = temp_file()) == p[1] || close(reused) != 0);

    size_t at = 0;
    while (at < sizeof back) {
        ssize_t got = read(p[0], back + at, sizeof back - at);
        CHECK(got >= 0);
        if (got == 0) break;
        at += (size_t)got;
    }
    CHECK_EQ(at, WRITES * LENGTH);
    for (int i = 0; i < WRITES; i++) {
        CHECK_DONE(&writes[i], 0, LENGTH);
        CHECK(memcmp(back + i * LENGTH, data[i], LENGTH) == 0, "write %d", i);
    }
    struct stat st;
    CHECK_EQ(fstat(reused, &st), 0);
    CHECK_EQ(st.st_size, 0);
    close(reused);
    close(p[0]);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 10; i++) run(i % 2);
    return 0;
}
