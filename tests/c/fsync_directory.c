// A directory, and a file open for reading only, can be synchronised, as with fsync: so programs make new names
// durable.
#include "check.h"

static void check(int fd) {
    CHECK(fd >= 0);
    struct aiocb cb = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
    CHECK_DONE(&cb, 0, 0);
    CHECK_EQ(aio_fsync(O_DSYNC, &cb), 0);
    CHECK_DONE(&cb, 0, 0);
}

int main(void) {
    check(open(temp_dir(), O_RDONLY | O_DIRECTORY));
    temp_open("file", O_WRONLY);
    check(temp_open("file", O_RDONLY));
    return 0;
}
