// A read that keeps a processor busy for long, without ever sleeping, does not hold up the reads of other files: not even
// after many short ones, when one thread seemed enough for all.
// env: AIO_RS=idle=60s
// holds-reads
#include "check.h"

enum { LONG = 256 << 20, IDLE = 4 };

int main(void) {
    int fd = temp_file(), random = open("/dev/urandom", O_RDONLY);
    CHECK(random >= 0);
    put_pattern(fd, 0, 4096, 1);
    unsigned char *much = malloc(LONG), page[4096];
    memset(much, 1, LONG);
    // Several idle threads, so that none is started for what follows.
    struct held held[IDLE];
    struct aiocb slow[IDLE];
    for (int i = 0; i < IDLE; i++) {
        held[i] = hold(4096);
        slow[i] = request(fd, held[i].buffer, 4096, 0);
        CHECK_EQ(aio_read(&slow[i]), 0);
        if (is_library()) wait_held(&held[i]);
    }
    for (int i = 0; i < IDLE; i++) {
        release_held(&held[i]);
        CHECK_DONE(&slow[i], 0, 4096);
    }
    struct aiocb small = request(fd, page, sizeof page, 0);
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(aio_read(&small), 0);
        CHECK_DONE(&small, 0, sizeof page);
    }
    struct aiocb big = request(random, much, LONG, 0);
    CHECK_EQ(aio_read(&big), 0);
    CHECK_EQ(aio_read(&small), 0);
    CHECK_DONE(&small, 0, sizeof page);
    CHECK_EQ(aio_error(&big), EINPROGRESS);
    wait_done(&big);
    free(much);
    return 0;
}
