// aio_fsync waits for the requests of its own file only.
#include "check.h"

int main(void) {
    int fd = temp_file(), other = temp_file();
    struct held h;
    struct aiocb running, barrier = request(other, NULL, 0, 0);
    held_write(&h, &running, fd, 4096, 0, 1);
    CHECK_EQ(aio_fsync(O_SYNC, &barrier), 0);
    CHECK_DONE(&barrier, 0, 0);
    CHECK_EQ(aio_error(&running), EINPROGRESS);
    release_held(&h);
    CHECK_DONE(&running, 0, 4096);
    return 0;
}
