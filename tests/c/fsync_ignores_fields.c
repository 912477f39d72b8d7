// aio_fsync ignores aio_reqprio, aio_buf, aio_nbytes, aio_offset and aio_lio_opcode.
#include "check.h"

int main(void) {
    int fd = temp_file();
    put_pattern(fd, 0, 4096, 1);
    const int priorities[] = {0, 20, 21, -1, INT_MIN, INT_MAX};
    for (size_t i = 0; i < sizeof priorities / sizeof *priorities; i++) {
        struct aiocb cb = request(fd, (void *)8, SIZE_MAX, -1);
        cb.aio_reqprio = priorities[i];
        cb.aio_lio_opcode = -99;
        CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
        CHECK_DONE(&cb, 0, 0);
        CHECK_EQ(aio_fsync(O_DSYNC, &cb), 0);
        CHECK_DONE(&cb, 0, 0);
    }
    CHECK(file_holds(fd, 0, 4096, 1));
    return 0;
}
