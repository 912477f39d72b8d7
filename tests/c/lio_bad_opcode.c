// An opcode that is none makes its entry fail with EINVAL and the call with EIO; the other entries are done.
#include "check.h"

int main(void) {
    int fd = temp_file();
    const int bad[] = {77, -1, 5, 127, INT_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (int mode = LIO_WAIT; mode <= LIO_NOWAIT; mode++) {
            struct aiocb before = request(fd, "1", 1, 0), wrong = request(fd, "2", 1, 1);
            struct aiocb after = request(fd, "3", 1, 2);
            struct aiocb *list[] = {&before, &wrong, &after};
            before.aio_lio_opcode = after.aio_lio_opcode = LIO_WRITE;
            wrong.aio_lio_opcode = bad[i];
            int got = lio_listio(mode, list, 3, NULL), error = errno;
            // libc finds out too late to tell when it does not wait.
            CHECK((got == -1 && error == EIO) || (got == 0 && mode == LIO_NOWAIT && !is_library()));
            wait_done(&wrong);
            CHECK_EQ(aio_error(&wrong), EINVAL);
            CHECK_EQ(aio_return(&wrong), -1);
            CHECK_DONE(&before, 0, 1);
            CHECK_DONE(&after, 0, 1);
        }
    }
    char in[4] = "";
    CHECK_EQ(pread(fd, in, 3, 0), 3);
    CHECK(in[0] == '1' && in[1] == 0 && in[2] == '3');
    return 0;
}
