// Many aio_fsync of one file, O_SYNC and O_DSYNC, through several descriptors, all wait and all end well.
#include "check.h"

enum { N = 200 };

int main(void) {
    int fd = temp_open("file", O_RDWR), fds[] = {fd, dup(fd), temp_open("file", O_RDWR)};
    for (int round = 0; round < 20; round++) {
        struct held h;
        struct aiocb running;
        static struct aiocb barriers[N];
        held_write(&h, &running, fd, 4096, 0, 1);
        for (int i = 0; i < N; i++) {
            barriers[i] = request(is_library() ? fds[i % 3] : fd, NULL, 0, 0);
            CHECK_EQ(aio_fsync(i % 2 ? O_SYNC : O_DSYNC, &barriers[i]), 0);
        }
        for (int i = 0; i < N; i++) CHECK_EQ(aio_error(&barriers[i]), EINPROGRESS);
        release_held(&h);
        for (int i = 0; i < N; i++) CHECK_DONE(&barriers[i], 0, 0);
        CHECK_DONE(&running, 0, 4096);
        free_held(&h);
    }
    return 0;
}
